"""Which events a recipe is about and what they mean: its table ``[events]``."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from eegzarr.errors import RecipeError
from eegzarr.recipes.expression import check_condition
from eegzarr.suggest import did_you_mean

Repeats = Literal["all", "first", "last"]
# A name and its event values, or its seconds: pairs, so that their order is part of the recipe.
Classes = tuple[tuple[str, tuple[str, ...]], ...]
Spans = tuple[tuple[str, tuple[float, float]], ...]
MISSING = ("", "n/a", "N/A", "NA", "nan", "NaN", "None")  # of cells of events.tsv
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0*")
_OF_TRIALS = ("trial_start", "stimulus", "response", "end", "correct", "wrong")
ADDED = ("column", "classes", "where", "keep", "within", "repeats", "min_gap", "drop_overlapping")


def plain_value(text: str) -> str:
    """Return an event's value as all that mean the same are written.

    Programs write the trigger 1 as ``1.0`` where another row of the column has none, and macOS writes letters with
    accents as two characters. Other numbers stay as they are: ``1.10`` and ``01`` may be names.
    """
    if (whole := _WHOLE.fullmatch(text)) is not None:
        return whole[1]
    return text if text.isascii() else unicodedata.normalize("NFC", text)


@dataclass(frozen=True, kw_only=True)
class EventRules:
    """Which events a recipe is about, and what they mean.

    The first six are values of the columns ``value`` and ``feedback`` of events.tsv that make a trial. Their
    defaults are those of HBN's contrast change detection task.

    Parameters
    ----------
    column : str
        Column of events.tsv that has the events' values; "" for ``trial_type``, else ``value``.
    classes : mapping of str to sequence of str
        Event values of each class, in the order of the codes; empty for a class of each value.
    where : str
        Condition on columns of events.tsv, such as ``response_time > 0.2``.
    keep : tuple of str
        Columns of events.tsv that become labels; of trials also ``presses`` and ``premature``.
    within : mapping of str to (float, float)
        With the anchor ``interval``: seconds after an event of this class that are tiled, instead of its duration.
    repeats : {"all", "first", "last"}
        Which of several events of one class in a row count.
    min_gap : float
        Seconds that must lie between an event and the one that counted before it.
    drop_overlapping : bool
        Leave out windows that overlap the one before them.
    """

    trial_start: tuple[str, ...] = ("contrastTrial_start",)
    stimulus: tuple[str, ...] = ("left_target", "right_target")
    response: tuple[str, ...] = ("left_buttonPress", "right_buttonPress")
    end: tuple[str, ...] = ("end_experiment",)
    correct: tuple[str, ...] = ("smiley_face",)
    wrong: tuple[str, ...] = ("sad_face",)
    column: str = ""
    classes: Classes = ()
    where: str = ""
    keep: tuple[str, ...] = ()
    within: Spans = ()
    repeats: Repeats = "all"
    min_gap: float = 0.0
    drop_overlapping: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", _classes(self.classes))
        object.__setattr__(self, "within", _spans(self.within))
        if self.where:
            check_condition(self.where)
        if self.repeats not in get_args(Repeats):
            raise RecipeError(f"events.repeats must be {', '.join(get_args(Repeats))}, got {self.repeats!r}")
        if not 0 <= self.min_gap < math.inf:
            raise RecipeError(f"events.min_gap must be at least 0, in seconds, got {self.min_gap}")
        twice = [name for name, count in Counter(self.keep).items() if count > 1]
        if twice:
            raise RecipeError(f"events.keep names {twice[0]!r} twice")
        known = [name for name, _ in self.classes]
        for name, _ in self.within:
            if known and name not in known:
                raise RecipeError(
                    f"events.within names {name!r}, which isn't a class.{did_you_mean(name, known)} "
                    f"The classes are {', '.join(known)}"
                )

    @property
    def class_of(self) -> dict[str, str]:
        """Return the class of each event value; empty where every value is a class of its own."""
        return {value: name for name, values in self.classes for value in values}

    def check(self, anchor: str) -> None:
        """Refuse what has no meaning with an anchor.

        Raises
        ------
        RecipeError
        """
        defaults = {field.name: field.default for field in fields(self)}
        given = [name for name in defaults if getattr(self, name) != defaults[name]]
        if anchor in ("event", "interval"):
            meaningless = [name for name in given if name in _OF_TRIALS]
            instead = "name event values under events.classes"
            if anchor == "event" and "within" in given:
                meaningless, instead = ["within"], "it tiles intervals: take the anchor 'interval', or span"
        elif anchor == "recording":
            meaningless = [name for name in given if name not in (*_OF_TRIALS, "column", "where")]
            instead = "label windows by [labels.NAME], or take the anchor 'event' or 'interval'"
        else:
            meaningless = [name for name in given if name in ADDED and name != "keep"]
            instead = "take the anchor 'event' for windows around any event"
        if meaningless:
            raise RecipeError(f"events.{meaningless[0]} has no meaning with the anchor {anchor!r}: {instead}")


def _classes(given: object) -> Classes:
    if isinstance(given, Mapping):
        given = list(given.items())
    if not isinstance(given, (list, tuple)) or any(
        not isinstance(one, (list, tuple)) or len(one) != 2 for one in given
    ):
        example = '{ left = ["T1"], right = ["T2"] }'
        raise RecipeError(f"events.classes must be a table of event values, such as {example}, got {given!r}")
    classes = tuple((str(name), event_texts(values, f"events.classes.{name}")) for name, values in given)
    owners: dict[str, str] = {}
    for name, values in classes:
        if not name.strip():
            raise RecipeError("events.classes has a class without a name")
        for value in values:
            if owners.setdefault(value, name) != name:
                raise RecipeError(f"events.classes: the event value {value!r} is in {owners[value]} and in {name}")
    twice = [name for name, count in Counter(name for name, _ in classes).items() if count > 1]
    if twice:
        raise RecipeError(f"events.classes names {twice[0]!r} twice")
    return classes


def event_texts(given: object, where: str) -> tuple[str, ...]:
    """Return event values as texts: a trigger's number is the text in the file."""
    values = given if isinstance(given, (list, tuple)) else [given]
    if not values or any(isinstance(v, bool) or not isinstance(v, (str, int, float)) for v in values):
        raise RecipeError(f'{where} must be a list of event values, such as ["T1"], got {given!r}')
    written = tuple(plain_value(str(value).strip()) for value in values)
    for text in written:
        if text in MISSING:
            raise RecipeError(f"{where} has {text!r}, which is how events.tsv writes a missing value")
    return written


def _spans(given: object) -> Spans:
    if isinstance(given, Mapping):
        given = list(given.items())
    spans = []
    pairs: Sequence[Any] = given if isinstance(given, (list, tuple)) else [given]
    for one in pairs:
        try:
            name, seconds = one
            start, stop = map(float, seconds)
        except (TypeError, ValueError):
            raise RecipeError(
                f"events.within must be a table of seconds, such as {{ closed = [15, 29] }}, got {given!r}"
            ) from None
        if not -math.inf < start < stop < math.inf:
            raise RecipeError(f"events.within.{name} must end after it starts, got {start:g} s and {stop:g} s")
        spans.append((str(name), (start, stop)))
    return tuple(spans)


TRIALS = EventRules()  # those of HBN's contrast change detection task
