"""The rows of an events table that a recipe is about: pure functions on columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecordingError
from eegzarr.recipes.expression import holds
from eegzarr.recipes.rules import MISSING, EventRules, plain_value
from eegzarr.suggest import did_you_mean

NO_ONSET = "starts at no onset"
VALUE_COLUMNS = ("trial_type", "value")
# What MNE leaves out of events, too: marks of bad times and of joins.
_NO_EVENT = re.compile(r"bad|edge", re.IGNORECASE)

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class ChosenEvents:
    """Events in the order of their onsets, an item an event in each array.

    Attributes
    ----------
    onset, duration : array of float
        In s; a duration is NaN where there is none.
    value : array of object
        Their own values, as texts.
    kind : array of object
        Their classes: of `EventRules.classes`, else their own values.
    row : array of int
        Their rows in the table.
    lost : Counter of str
        Events of the recipe's values that don't count, by the reason.
    found : Counter of str
        How often each value is in the table, also those that no class has.
    """

    onset: npt.NDArray[np.float64]
    duration: npt.NDArray[np.float64]
    value: npt.NDArray[np.object_]
    kind: npt.NDArray[np.object_]
    row: npt.NDArray[np.int64]
    lost: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.onset)

    def at(self, chosen: npt.NDArray, lost: Counter[str] | None = None) -> ChosenEvents:
        """Return some of the events."""
        parts = (self.onset[chosen], self.duration[chosen], self.value[chosen], self.kind[chosen], self.row[chosen])
        return ChosenEvents(*parts, self.lost + (lost or Counter()), self.found)


def choose_events(events: Columns, rules: EventRules) -> ChosenEvents:
    """Return the events that a recipe is about.

    Those of its classes (all that have a value, where it names none, but marks of bad times and of joins) for which its
    condition holds; of several in a row, and of those that follow each other too closely, the ones that its rules keep.

    Parameters
    ----------
    events : mapping of str to sequence
        Columns of events.tsv: ``onset`` and ``duration`` in s, values as texts or numbers.

    Raises
    ------
    RecordingError
        If there is no such column, an onset is no number, or the condition can't be computed.
    """
    value = event_values(events[value_column(events, rules.column)])
    class_of = rules.class_of or {own: own for own in set(value.tolist()) if not _NO_EVENT.match(own)}
    kind = np.array([class_of.get(own, "") for own in value.tolist()], object)
    matched = kind != ""
    lost: Counter[str] = Counter()
    if rules.where:
        fits = _condition(events, rules.where, len(value))
        lost[f"fails the condition {rules.where}"] = int((matched & ~fits).sum())
        matched &= fits
    onset = onsets(events)
    lost[NO_ONSET] = int((matched & np.isnan(onset)).sum())
    rows = np.flatnonzero(matched & ~np.isnan(onset))
    rows = rows[np.argsort(onset[rows], kind="stable")]
    duration = numbers(events["duration"]) if "duration" in events else np.full(len(value), np.nan)
    found = Counter(own for own in value.tolist() if own)
    chosen = ChosenEvents(onset[rows], duration[rows], value[rows], kind[rows], rows, +lost, found)
    return _spaced(_of_repeated(chosen, rules.repeats), rules.min_gap)


def value_column(events: Columns, named: str = "") -> str:
    """Return the column that has the events' values: the named one, else trial_type or value, the first with any.

    Raises
    ------
    RecordingError
        If there is none.
    """
    if named:
        if named not in events:
            hint = did_you_mean(named, map(str, events))
            raise RecordingError(f"events.tsv has no column {named}; it has {', '.join(map(str, events))}.{hint}")
        return named
    there = [name for name in VALUE_COLUMNS if name in events]
    if not there:
        raise RecordingError(
            f"events.tsv has no column trial_type or value; it has {', '.join(map(str, events))}: "
            f"give the one to use as events.column"
        )
    return next((name for name in there if (texts(events[name]) != "").any()), there[0])


def event_values(column: Sequence[Any]) -> npt.NDArray[np.object_]:
    """Return the values of events as texts that are compared: ``1.0`` is the trigger 1; "" where missing."""
    own = texts(column).tolist()
    plain = {text: plain_value(text) for text in set(own)}
    return np.array([plain[text] for text in own], object)


def texts(column: Sequence[Any]) -> npt.NDArray[np.object_]:
    """Return a column as texts, "" where missing; whole numbers without a decimal point."""
    return np.array([_text(value) for value in np.asarray(column, object).tolist()], object)


def numbers(column: Sequence[Any]) -> npt.NDArray[np.float64]:
    """Return a column as numbers, NaN where it has none."""
    return np.array([_number(value) for value in np.asarray(column, object).tolist()], float)


def onsets(events: Columns) -> npt.NDArray[np.float64]:
    """Return the onsets of all rows in s, NaN where there is none.

    Raises
    ------
    RecordingError
        If one is no number.
    """
    if "onset" not in events:
        raise RecordingError(f"events.tsv has no column onset; it has {', '.join(map(str, events))}")
    return np.array([_seconds(text) for text in events["onset"]], dtype=float)


def _text(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else str(int(value)) if value == int(value) else str(value)
    text = "" if value is None else str(value).strip()
    return "" if text in MISSING else text


def _number(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return np.nan
    return np.nan if np.isinf(number) or "_" in str(value) else number


def _seconds(text: object) -> float:
    if isinstance(text, str) and text.strip() in MISSING:
        return np.nan
    try:
        seconds = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = np.inf
    if np.isinf(seconds) or "_" in str(text):  # Python's own way to group digits
        raise RecordingError(f"events.tsv has an onset that is no number: {text!r}")
    return seconds


def _condition(events: Columns, where: str, count: int) -> npt.NDArray[np.bool_]:
    def texts_of(name: str) -> npt.NDArray[np.object_]:
        if name not in events:
            there = list(map(str, events))
            raise RecordingError(
                f"events.tsv has no column {name} for where = {where!r}; it has {', '.join(there)}."
                f"{did_you_mean(name, there)}"
            )
        return texts(events[name])

    def has_numbers(name: str) -> bool:
        there = texts_of(name) != ""
        return not np.isnan(numbers(events[name])[there]).any()

    def column(name: str, as_texts: bool) -> npt.NDArray:
        own = texts_of(name)
        if as_texts:
            return own
        values = numbers(events[name])
        if (own != "").any() and np.isnan(values).all():
            some = next(text for text in own if text)
            raise RecordingError(f"the column {name} of where = {where!r} is text: compare it with one, as {some!r}")
        return values

    try:
        return holds(where, column, has_numbers, count)
    except (TypeError, ValueError) as error:
        raise RecordingError(f"where = {where!r} can't be computed: {error}") from error


def _of_repeated(events: ChosenEvents, repeats: str) -> ChosenEvents:
    """Return the first or the last of events of one class that follow each other."""
    if repeats == "all" or not len(events):
        return events
    changes = events.kind[1:] != events.kind[:-1]
    kept = np.append(True, changes) if repeats == "first" else np.append(changes, True)
    return events.at(kept, Counter({f"isn't the {repeats} of its class in a row": int((~kept).sum())}))


def _spaced(events: ChosenEvents, min_gap: float) -> ChosenEvents:
    """Return the events that begin at least `min_gap` seconds after the last one that was kept."""
    if not min_gap:
        return events
    kept = apart(events.onset, min_gap)
    return events.at(kept, Counter({f"begins within {min_gap:g} s of the one before it": int((~kept).sum())}))


def apart(places: npt.NDArray, least: float) -> npt.NDArray[np.bool_]:
    """Return which of ascending places lie at least so far from the one before them that does."""
    kept = np.zeros(len(places), bool)
    before = -np.inf
    for number, place in enumerate(places.tolist()):
        if place - before >= least - 1e-9:
            kept[number], before = True, place
    return kept
