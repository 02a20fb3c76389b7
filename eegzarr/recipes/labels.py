"""Labels of windows along a recording, by its events: a recipe's tables ``[labels.NAME]``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from eegzarr.errors import RecipeError
from eegzarr.recipes.rules import event_texts
from eegzarr.suggest import did_you_mean


@dataclass(frozen=True, kw_only=True)
class IntervalLabel:
    """A label of windows along a recording: whether they overlap an event.

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
        _check_name(self.name)
        object.__setattr__(self, "events", event_texts(self.events, f"labels.{self.name}.events"))
        if not _is_number(self.overlap) or not 0 < self.overlap <= 1:
            raise RecipeError(f"labels.{self.name}.overlap must be above 0 and at most 1, got {self.overlap!r}")

    @property
    def values(self) -> tuple[str, ...]:
        """Event values that it is about."""
        return self.events

    @property
    def meanings(self) -> tuple[str, str]:
        """What 0 and 1 mean."""
        return f"no_{self.name}", self.name


@dataclass(frozen=True, kw_only=True)
class TimeLabel:
    """A label of windows along a recording: the seconds from their end until an event begins, NaN where none does.

    Parameters
    ----------
    name : str
    until : tuple of str
        Event values; the next such event counts.
    first : bool
        Whether only the first one of the recording counts: windows that end after it began have no value.
    most : float
        What longer times are set to, in s.
    """

    name: str
    until: tuple[str, ...]
    first: bool = False
    most: float = math.inf

    def __post_init__(self) -> None:
        _check_name(self.name)
        object.__setattr__(self, "until", event_texts(self.until, f"labels.{self.name}.until"))
        if not isinstance(self.first, bool):
            raise RecipeError(f"labels.{self.name}.first must be true or false, got {self.first!r}")
        if not _is_number(self.most) or not self.most > 0:
            raise RecipeError(f"labels.{self.name}.most must be above 0, in seconds, got {self.most!r}")
        object.__setattr__(self, "most", float(self.most))

    @property
    def values(self) -> tuple[str, ...]:
        """Event values that it is about."""
        return self.until


Label = IntervalLabel | TimeLabel
Labels = tuple[Label, ...]


def label_rules(given: object) -> Labels:
    """Return the labels of ``[labels]`` as TOML, JSON or Python gives them.

    Raises
    ------
    RecipeError
    """
    if isinstance(given, Mapping):
        given = [{"name": str(name), **_table(name, table)} for name, table in given.items()]
    if not isinstance(given, (list, tuple)) or any(not isinstance(one, (Mapping, Label)) for one in given):
        raise RecipeError(f"labels must be tables such as [labels.seizure], got {given!r}")
    return tuple(one if isinstance(one, Label) else _label(one) for one in given)


def _label(given: Mapping[str, Any]) -> Label:
    name = given.get("name")
    if "events" in given and "until" in given:
        raise RecipeError(f"labels.{name} has events and until: make two labels of them")
    kind = TimeLabel if "until" in given else IntervalLabel
    known = [field.name for field in fields(kind) if field.name != "name"]
    if unknown := sorted(set(given) - {"name", *known}):
        hint = did_you_mean(unknown[0], (*known, "until"))
        raise RecipeError(f"labels.{name} has no {unknown[0]}; it can have {', '.join(known)}.{hint}")
    if kind is IntervalLabel and "events" not in given:
        raise RecipeError(f"labels.{name} needs events, or until")
    return kind(**given)


def _table(name: object, table: object) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        raise RecipeError(f"labels.{name} must be a table with events, such as [labels.{name}], got {table!r}")
    return table


def _check_name(name: str) -> None:
    if not name.isidentifier():
        raise RecipeError(f"labels.{name}: a label's name is made of letters, digits and _")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
