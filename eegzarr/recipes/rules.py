"""Which events a recipe is about and what they mean: its tables ``[events]`` and ``[labels.NAME]``."""

from __future__ import annotations

import math
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
_OF_TRIALS = ("trial_start", "stimulus", "response", "end", "correct", "wrong")
ADDED = ("column", "classes", "where", "keep", "within", "repeats", "min_gap", "drop_overlapping")


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
                    f"events.within names {name!r}, which is no class.{did_you_mean(name, known)} "
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


@dataclass(frozen=True, kw_only=True)
class IntervalLabel:
    """A label of windows along a recording: whether an event goes on in them.

    Parameters
    ----------
    name : str
    events : tuple of str
        Event values whose durations count.
    overlap : float
        Share of the window that they must cover, above 0 and at most 1.
    """

    name: str
    events: tuple[str, ...]
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise RecipeError(f"labels.{self.name}: a label's name is made of letters, digits and _")
        object.__setattr__(self, "events", _values(self.events, f"labels.{self.name}.events"))
        if isinstance(self.overlap, bool) or not isinstance(self.overlap, (int, float)) or not 0 < self.overlap <= 1:
            raise RecipeError(f"labels.{self.name}.overlap must be above 0 and at most 1, got {self.overlap!r}")

    @property
    def meanings(self) -> tuple[str, str]:
        """What 0 and 1 mean."""
        return f"no_{self.name}", self.name


def interval_labels(given: object) -> tuple[IntervalLabel, ...]:
    """Return the labels of ``[labels]`` as TOML, JSON or Python gives them.

    Raises
    ------
    RecipeError
    """
    if isinstance(given, Mapping):
        given = [{"name": str(name), **_table(name, table)} for name, table in given.items()]
    if not isinstance(given, (list, tuple)):
        raise RecipeError(f"labels must be tables such as [labels.seizure], got {given!r}")
    made = []
    for one in given:
        if isinstance(one, IntervalLabel):
            made.append(one)
            continue
        if unknown := set(one) - {"name", "events", "overlap"}:
            name = sorted(unknown)[0]
            hint = did_you_mean(name, ("events", "overlap"))
            raise RecipeError(f"labels.{one.get('name')} has no {name}; it can have events, overlap.{hint}")
        if "events" not in one:
            raise RecipeError(f"labels.{one.get('name')} needs events")
        made.append(IntervalLabel(**one))
    return tuple(made)


def _table(name: object, table: object) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        raise RecipeError(f"labels.{name} must be a table with events, such as [labels.{name}], got {table!r}")
    return table


def _classes(given: object) -> Classes:
    if isinstance(given, Mapping):
        given = list(given.items())
    if not isinstance(given, (list, tuple)) or any(
        not isinstance(one, (list, tuple)) or len(one) != 2 for one in given
    ):
        example = '{ left = ["T1"], right = ["T2"] }'
        raise RecipeError(f"events.classes must be a table of event values, such as {example}, got {given!r}")
    classes = tuple((str(name), _values(values, f"events.classes.{name}")) for name, values in given)
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


def _values(given: object, where: str) -> tuple[str, ...]:
    """Return event values as texts: a trigger's number is the text that stands in the file."""
    values = given if isinstance(given, (list, tuple)) else [given]
    if not values or any(isinstance(v, bool) or not isinstance(v, (str, int, float)) or v == "" for v in values):
        raise RecipeError(f'{where} must be a list of event values, such as ["T1"], got {given!r}')
    return tuple(str(value) for value in values)


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
