"""Labels of windows along a recording: which events they overlap, and how long it is until one begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eegzarr.recipes.events import NO_ONSET, ChosenEvents, Columns, choose_events
from eegzarr.recipes.labels import IntervalLabel, Label, Labels, TimeLabel
from eegzarr.recipes.rules import EventRules

UNKNOWN = np.int8(-1)  # of a label by intervals
_EXACT = 1e-6  # s, or share of a window: what decimal fractions lose in binary

Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """Labels of a recording's windows.

    Attributes
    ----------
    columns : mapping of str to array, shape (window,)
        Of an `IntervalLabel` int8, `UNKNOWN` in a recording without events; of a `TimeLabel` float32 in s, NaN where
        there is no such event.
    found : Counter of str
        How often each event value is in the recording.
    notes : tuple of str
        What of the events has no meaning for the labels.
    """

    columns: Mapping[str, npt.NDArray] = field(default_factory=dict)
    found: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()


def labels_along(events: Columns | None, labels: Labels, rules: EventRules, start: Seconds, stop: Seconds) -> Labelled:
    """Return the labels of windows that last from `start` to `stop`, in s from the start of the recording.

    Raises
    ------
    RecordingError
        If the events lack what the recipe needs.
    """
    if events is None:
        columns = {label.name: _unknown(label, len(start)) for label in labels}
        return Labelled(columns, notes=tuple(f"it has no events: the label {name} is missing" for name in columns))
    columns, notes, found = {}, [], Counter[str]()
    for label in labels:
        own = EventRules(column=rules.column, classes=((label.name, label.values),), where=rules.where)
        chosen = choose_events(events, own)
        found = chosen.found
        if count := chosen.lost[NO_ONSET]:
            notes.append(f"{count} events of the label {label.name} have no onset: they label nothing")
        if isinstance(label, TimeLabel):
            columns[label.name] = _until(chosen, label, stop)
            continue
        columns[label.name] = _goes_on(chosen, label, start, stop)
        if count := int((~(chosen.duration > 0)).sum()):
            notes.append(f"{count} events of the label {label.name} have no duration: they label nothing")
    return Labelled(columns, found, tuple(notes))


def _unknown(label: Label, count: int) -> npt.NDArray:
    return np.full(count, UNKNOWN) if isinstance(label, IntervalLabel) else np.full(count, np.nan, np.float32)


def _until(chosen: ChosenEvents, label: TimeLabel, stop: Seconds) -> npt.NDArray[np.float32]:
    """Return the seconds from the end of each window to the next event, or to the first one."""
    onset = chosen.onset[:1] if label.first else chosen.onset
    following = np.append(onset, np.nan)[np.searchsorted(onset, stop - _EXACT)]
    return np.clip(following - stop, 0, label.most).astype(np.float32)


def _goes_on(chosen: ChosenEvents, label: IntervalLabel, start: Seconds, stop: Seconds) -> npt.NDArray[np.int8]:
    """Return whether events cover enough of each window."""
    lasting = chosen.duration > 0
    covered = _covered(chosen.onset[lasting], chosen.duration[lasting], start, stop)
    return (covered >= label.overlap * (stop - start) - _EXACT * (stop - start)).astype(np.int8)


def _covered(onset: Seconds, duration: Seconds, start: Seconds, stop: Seconds) -> Seconds:
    """Return how many seconds of each window at least one of the intervals covers; their onsets ascend."""
    if not len(onset):
        return np.zeros(len(start))
    end = np.maximum.accumulate(onset + duration)
    begin = np.maximum(onset, np.append(-np.inf, end[:-1]))  # without what an earlier one covers
    own = end - begin
    at = np.ravel([begin, end], order="F")
    total = np.ravel([np.cumsum(own) - own, np.cumsum(own)], order="F")
    return np.asarray(np.interp(stop, at, total) - np.interp(start, at, total))
