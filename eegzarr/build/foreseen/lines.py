"""What a recipe finds in recordings, as a value and as lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from eegzarr.amounts import counted
from eegzarr.recipes.windows import WITHOUT_A_PLACE

_MOST_VALUES = 20  # that are printed


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a recipe finds in recordings.

    Attributes
    ----------
    noun : {"trial", "event", "window"}
        What windows are counted of.
    windows, built, recordings : int
        Windows, recordings with one, and all recordings.
    values : tuple of (str, int, str)
        Values of the events, how often each is there, and the class that has it, or what it is of a trial; "" for
        those that the recipe doesn't use.
    classes : mapping of str to mapping of str to int
        Windows of each class, by the label of the target; those without one under "".
    dropped : int
    left_out : Counter of str
        As of `BuildSummary`.
    skipped : Counter of str
        Recordings without a window, by the reason.
    examples : mapping of str to str
        A recording for each reason.
    unused : tuple of str
        What the recipe names of events and no recording has, a line for each.
    """

    noun: str = "trial"
    windows: int = 0
    built: int = 0
    recordings: int = 0
    values: tuple[tuple[str, int, str], ...] = ()
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    dropped: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    examples: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()


def left_out_lines(dropped: int, left_out: Mapping[str, int], noun: str) -> list[str]:
    """Return what of a group's trials, events or windows was left out, a line for each reason."""
    lines = [f"{counted(dropped, noun)} left out: {WITHOUT_A_PLACE}"] if dropped else []
    by_count = sorted(left_out.items(), key=lambda pair: -pair[1])
    return lines + [f"{counted(count, noun)} left out: the {noun} {why}" for why, count in by_count]


def class_lines(classes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return how many windows each class of each target has, a line for each target."""
    lines = []
    for name, counts in classes.items():
        told = ", ".join(f"{kind or 'missing'} {count:,}" for kind, count in counts.items())
        lines.append(f"classes of {name}: {told}")
    return lines


def lines_of(found: Explanation, *, skipped: bool = True) -> list[str]:
    """Return an explanation in lines for people.

    Those of skipped recordings, and of what no recording has, only where these aren't listed anyway.
    """
    lines = class_lines(found.classes)
    if found.values:
        used = [f"{value!r} ({count:,}: {use})" for value, count, use in found.values if use]
        unused = [f"{value!r} ({count:,})" for value, count, use in found.values if not use]
        lines.append(f"values of events: {_some(used) or 'none that the recipe uses'}")
        if unused:
            lines.append(f"unused values: {_some(unused)}")
    for why, count in found.left_out.most_common():
        lines.append(f"{counted(count, found.noun)} left out: the {found.noun} {why}, as in {found.examples[why]}")
    if found.dropped:
        lines.append(
            f"{counted(found.dropped, found.noun)} left out: {WITHOUT_A_PLACE}, as in {found.examples[WITHOUT_A_PLACE]}"
        )
    lines += found.unused if skipped else ()
    for why, count in found.skipped.most_common() if skipped else ():
        lines.append(f"{counted(count, 'recording')} without a window: {why}, such as {found.examples[why]}")
    return lines


def _some(told: list[str]) -> str:
    more = f" and {len(told) - _MOST_VALUES} others" if len(told) > _MOST_VALUES else ""
    return f"{', '.join(told[:_MOST_VALUES])}{more}"
