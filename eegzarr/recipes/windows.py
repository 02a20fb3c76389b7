"""From events to windows: what a recipe makes of one recording, a pure function of its events and its extent.

A build calls it with the events of a file, and a cut with those that a lake has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecordingError
from eegzarr.recipes.along import labels_along
from eegzarr.recipes.events import NO_ONSET, ChosenEvents, Columns, apart, choose_events, texts
from eegzarr.recipes.recipe import Recipe
from eegzarr.recipes.rules import MISSING
from eegzarr.recipes.trials import find_trials, values_found
from eegzarr.suggest import did_you_mean

# Trial columns that every group has, also one whose windows aren't cut around trials.
NO_TRIAL = {
    "stimulus_onset": np.nan,
    "response_onset": np.nan,
    "rt_from_stimulus": np.nan,
    "rt_from_trialstart": np.nan,
    "response_type": "",
    "correct": np.int8(-1),
}
EVENT = "event"
OF_TRIALS = ("presses", "premature")  # what a recipe can keep of a trial, besides columns of events.tsv
_ANCHOR_COLUMN = {"stimulus": "stimulus_onset", "response": "response_onset", "trial_start": "trial_start"}
# Why a trial, an event or a place in a recording has no window, as every command words it.
WITHOUT_A_PLACE = "too near an end, a gap, a join or a bad time of the recording, or without an onset"
_NEAR = "too near an end, a gap, a join or a bad time of the recording"
_MOST_VALUES = 8  # that a message lists
_FAR = 2.0**50  # samples: more than a recording has, and few enough to count with


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The samples that a recording has.

    Attributes
    ----------
    sfreq : float
        In Hz, of the windows.
    n_times : int
        From the first sample to the last, gaps included.
    stretches : tuple of (int, int)
        First sample and end of each stretch without a gap or a join in it; empty for one stretch.
    bad_times : tuple of (int, int)
        Stretches annotated as bad, in samples.
    """

    sfreq: float
    n_times: int
    stretches: tuple[tuple[int, int], ...] = ()
    bad_times: tuple[tuple[int, int], ...] = ()

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.n_times / self.sfreq

    def holds(self, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.bool_]:
        """Return which windows of `length` samples lie in one stretch, outside of times annotated as bad."""
        inside = np.zeros(len(starts), bool)
        for first, stop in self.stretches or ((0, self.n_times),):
            inside |= (starts >= first) & (starts + length <= stop)
        for first, stop in self.bad_times:
            inside &= (starts + length <= first) | (starts >= stop)
        return inside


@dataclass(frozen=True)
class WindowTable:
    """The windows that a recipe cuts from one recording.

    Attributes
    ----------
    columns : mapping of str to array, shape (window,)
        ``start_sample``, `NO_TRIAL`, what `event_columns` names, and a `kept_column` for each that the recipe keeps:
        texts unchanged, numbers.
    trials : int
        Trials or events that the recipe asks for; with the anchor ``interval`` windows in them. They are in
        `columns`, `dropped` or `left_out`.
    dropped : int
        Those without a window because it would leave the recording, cross a gap or a join, or overlap a bad time, or
        because they have no onset.
    left_out : Counter of str
        Those that aren't what the recipe wants, by the reason.
    found : Counter of str
        How often each event value is in the recording, where the recipe asks for events.
    notes : tuple of str
        What was assumed or left out of the events.
    reason : str
        Why there is no window, "" where there is one.
    """

    columns: Mapping[str, npt.NDArray]
    trials: int = 0
    dropped: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()
    reason: str = ""

    def __len__(self) -> int:
        return len(self.columns["start_sample"])


def event_columns(recipe: Recipe) -> tuple[str, ...]:
    """Return the columns that a recipe's windows have beside ``start_sample``, `NO_TRIAL` and kept ones, in order."""
    own = (EVENT,) if recipe.anchor in ("event", "interval") else ()
    return (*own, *(label.name for label in recipe.labels))


def kept_column(name: str) -> str:
    """Return the column of window tables that holds a kept column of the events, whatever that is called."""
    return f"kept: {name}"


def window_table(events: Columns | None, extent: Extent, recipe: Recipe) -> WindowTable:
    """Return the windows of one recording.

    Parameters
    ----------
    events : mapping of str to sequence, or None
        Columns of events.tsv, or of the recording's own annotations (``onset``, ``duration``, ``value``); None where
        there are neither. A row that stands later has no other meaning than one that stands earlier.
    extent : Extent
        At the recipe's rate.

    Raises
    ------
    RecordingError
        If the events lack what the recipe needs.
    """
    if recipe.anchor == "recording":
        return _tiled(events, extent, recipe)
    if events is None:
        raise RecordingError("no events.tsv, and no annotations of its own")
    if recipe.anchor in _ANCHOR_COLUMN:
        return _around_trials(events, extent, recipe)
    if recipe.anchor == "event":
        return _around_events(events, extent, recipe)
    return _in_intervals(events, extent, recipe)


def _around_trials(events: Columns, extent: Extent, recipe: Recipe) -> WindowTable:
    trials = find_trials(events, recipe.events, extent.duration)
    anchor = _ANCHOR_COLUMN[recipe.anchor]
    onset = trials.columns[anchor]
    asked = ~np.isnan(onset)
    left_out = Counter(trials.lost)
    without_onset = left_out.pop(NO_ONSET, 0)
    for name in (anchor, *recipe.require):
        has_it = ~_is_missing(trials.columns[name])
        left_out[f"has no {name}"] += int((asked & ~has_it).sum()) if name != anchor else 0
        asked &= has_it
    left_out[f"has no {anchor}"] += int(np.isnan(onset).sum())
    starts = _samples(onset[asked], extent) + recipe.span.first_sample(recipe.sfreq)
    fits = extent.holds(starts, recipe.n_times)
    kept = {}
    for name in recipe.events.keep:
        column = trials.columns[name] if name in OF_TRIALS else _at(events, name, trials.rows[anchor])
        kept[kept_column(name)] = column[asked][fits]
    table = WindowTable(
        {
            "start_sample": starts[fits],
            **{name: trials.columns[name][asked][fits] for name in NO_TRIAL},
            **kept,
        },
        trials=len(trials) + sum(trials.lost.values()),
        dropped=without_onset + int((~fits).sum()),
        left_out=+left_out,
        found=_found(events),
        notes=trials.notes,
    )
    return _explained(table, values_found(events), without_onset, "trials")


def _found(events: Columns) -> Counter[str]:
    """Count the values of a recording's events."""
    names = [name for name in ("value", "trial_type") if name in events]
    return Counter(str(text) for text in events[names[0]] if str(text) not in MISSING) if names else Counter()


def _around_events(events: Columns, extent: Extent, recipe: Recipe) -> WindowTable:
    chosen = choose_events(events, recipe.events)
    starts = _samples(chosen.onset, extent) + recipe.span.first_sample(recipe.sfreq)
    return _of_events(events, chosen, np.arange(len(chosen)), starts, extent, recipe)


def _in_intervals(events: Columns, extent: Extent, recipe: Recipe) -> WindowTable:
    """Return windows that follow each other in each event's duration, or in the seconds that the recipe names."""
    chosen = choose_events(events, recipe.events)
    lost: Counter[str] = Counter()
    within = dict(recipe.events.within)
    offset = np.array([within[kind][0] if kind in within else 0.0 for kind in chosen.kind])
    length = np.array([np.subtract(*within[kind][::-1]) if kind in within else np.nan for kind in chosen.kind])
    length = np.where(np.isnan(length), chosen.duration, length)
    lost["has no duration"] = int((~(length > 0)).sum())
    begin = _samples(chosen.onset + offset, extent)
    # Whole samples in it, but for what decimal fractions lose in binary.
    samples = np.floor(np.round(np.clip(np.nan_to_num(length) * extent.sfreq, -1, _FAR), 3)).astype(np.int64)
    stride = _stride(recipe)
    begin = begin + recipe.span.first_sample(recipe.sfreq)
    tiles = np.maximum(0, (samples - recipe.span.first_sample(recipe.sfreq) - recipe.n_times) // stride + 1)
    lost["is shorter than a window"] = int(((tiles == 0) & (length > 0)).sum())
    # Only those in the recording are made: a duration in ms, or one of a century, is no reason for so many.
    skipped = np.clip(-(begin // stride), 0, tiles)
    stop = np.clip((extent.n_times - recipe.n_times - begin) // stride + 1, skipped, tiles)
    of_event = np.repeat(np.arange(len(chosen)), stop - skipped)
    number = np.arange(len(of_event)) - np.repeat(np.cumsum(stop - skipped) - stop, stop - skipped)
    starts = begin[of_event] + number * stride
    chosen = chosen.at(np.arange(len(chosen)), lost)
    outside = int(tiles.sum()) - len(of_event)
    return _of_events(events, chosen, of_event, starts, extent, recipe, outside)


def _of_events(
    events: Columns,
    chosen: ChosenEvents,
    of_event: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    extent: Extent,
    recipe: Recipe,
    outside: int = 0,
) -> WindowTable:
    """Return the windows that begin at `starts`, each of one of the events, as far as the recording holds them.

    `outside` are others of these events that it doesn't hold.
    """
    left_out = Counter(chosen.lost)
    without_onset = left_out.pop(NO_ONSET, 0)
    fits = extent.holds(starts, recipe.n_times)
    dropped = without_onset + outside + int((~fits).sum())
    starts, of_event = starts[fits], of_event[fits]
    if recipe.events.drop_overlapping:
        order = np.argsort(starts, kind="stable")
        alone = np.sort(order[apart(starts[order], recipe.n_times)])
        left_out["overlaps the window before it"] = len(starts) - len(alone)
        starts, of_event = starts[alone], of_event[alone]
    columns = {
        "start_sample": starts,
        **no_trial(len(starts)),
        EVENT: chosen.value[of_event],
        **{kept_column(name): _at(events, name, chosen.row[of_event]) for name in recipe.events.keep},
    }
    left_out = +left_out
    table = WindowTable(
        columns,
        trials=len(starts) + dropped + sum(left_out.values()),
        dropped=dropped,
        left_out=left_out,
        found=chosen.found,
    )
    matched = recipe.events.class_of
    told = _listed(chosen.found) if not matched or table.trials else _mismatch(chosen.found, matched)
    return _explained(table, told, without_onset, "events")


def _tiled(events: Columns | None, extent: Extent, recipe: Recipe) -> WindowTable:
    """Return windows that follow each other along the recording."""
    first = recipe.span.first_sample(recipe.sfreq)
    grid = np.arange(first, extent.n_times - recipe.n_times + 1, _stride(recipe), dtype=np.int64)
    whole = extent.holds(grid, recipe.n_times)
    starts, dropped = grid[whole], int((~whole).sum())
    reason = ""
    if not len(starts):
        reason = f"shorter than a window ({extent.duration:g} s)"
        if dropped:
            reason = f"none of {dropped} windows lies in one stretch that isn't marked bad"
    begin = starts / extent.sfreq
    labelled = labels_along(events, recipe.labels, recipe.events, begin, begin + recipe.n_times / extent.sfreq)
    columns = {"start_sample": starts, **no_trial(len(starts)), **labelled.columns}
    return WindowTable(columns, dropped=dropped, found=labelled.found, notes=labelled.notes, reason=reason)


def _stride(recipe: Recipe) -> int:
    assert recipe.stride is not None
    return max(1, round(recipe.stride * recipe.sfreq))


def _samples(onset: npt.NDArray[np.float64], extent: Extent) -> npt.NDArray[np.int64]:
    """Return onsets in samples; MNE rounds them with np.round, and so does the start kit through it."""
    return np.round(np.clip(onset * extent.sfreq, -_FAR, _FAR)).astype(np.int64)


def no_trial(count: int) -> dict[str, npt.NDArray]:
    """Return the columns of trials for windows that aren't of one."""
    return {
        name: np.full(count, value, object if isinstance(value, str) else np.asarray(value).dtype)
        for name, value in NO_TRIAL.items()
    }


def _is_missing(values: npt.NDArray) -> npt.NDArray[np.bool_]:
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)


def _at(events: Columns, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray:
    """Return a column of the events at some of its rows, as texts; "" for row -1, which is none."""
    if name not in events:
        there = list(map(str, events))
        raise RecordingError(
            f"events.tsv has no column {name} to keep; it has {', '.join(there)}.{did_you_mean(name, there)}"
        )
    return np.append(texts(events[name]), np.array([""], object))[rows]


def _explained(table: WindowTable, found: str, without_onset: int, noun: str) -> WindowTable:
    """Return a table, with the reason where it has no window."""
    if len(table):
        return table
    if not table.trials:
        reason = f"no {noun} in events.tsv: {found}" if found else f"no {noun} in events.tsv"
    else:
        lost = [f"{count} {why}" for why, count in table.left_out.most_common()]
        if without_onset:
            lost.append(f"{without_onset} without an onset")
        if near := table.dropped - without_onset:
            lost.append(f"{near} {_NEAR}")
        told = f"; {found}" if table.left_out and found else ""
        reason = f"none of {table.trials} {noun} has a window ({', '.join(lost)}{told})"
    return replace(table, reason=reason)


def _listed(found: Counter[str]) -> str:
    told = ", ".join(f"{value!r} ({count})" for value, count in found.most_common(_MOST_VALUES))
    more = f" and {len(found) - _MOST_VALUES} others" if len(found) > _MOST_VALUES else ""
    return f"they have {told}{more}" if found else ""


def _mismatch(found: Counter[str], matched: Mapping[str, str]) -> str:
    """Return what the events' values are where a recipe's classes have none of them."""
    if not found:
        return ""
    wanted = ", ".join(map(repr, list(matched)[:_MOST_VALUES]))
    hints = (did_you_mean(value, found) for value in matched)
    return f"{_listed(found)}, events.classes has {wanted}.{next((hint for hint in hints if hint), '')}"
