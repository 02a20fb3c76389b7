"""Events to trials: pure functions on tables.

The rules are those of ``eegdash.hbn.windows.build_trial_table``, which the challenge's start
kit uses; tests compare the two row by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecordingError
from eegzarr.recipes.events import NO_ONSET, Columns, onsets
from eegzarr.recipes.recipe import TRIAL_COLUMNS
from eegzarr.recipes.rules import EventRules, plain_value

if TYPE_CHECKING:
    import pandas as pd

NO_END = "has no end event"
_VALUE_COLUMNS = ("value", "trial_type")
_MOST_VALUES = 5  # that a message lists


@dataclass(frozen=True)
class Trials:
    """The trials of one recording.

    Attributes
    ----------
    columns : dict of str to array
        `TRIAL_COLUMNS`, an item a trial; times in s from the start of the recording, NaN where there is none;
        ``response_type`` is "" and ``correct`` -1 where unknown. Besides these ``presses``, the responses from the
        stimulus on (from the start of the trial if there is no stimulus), and ``premature``, those before it.
    rows : dict of str to array
        Row of the events that ``trial_start``, ``stimulus_onset`` and ``response_onset`` are of, -1 where none is.
    lost : Counter of str
        Trials that began and aren't among them, by the reason.
    notes : tuple of str
        What of the events was left out or assumed.
    """

    columns: dict[str, npt.NDArray]
    rows: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns["trial_start"])


def trial_table(events: pd.DataFrame, values: EventRules) -> pd.DataFrame:
    """Return one row per trial, in the order of their starts, as `find_trials` finds them."""
    import pandas as pd  # not in workers

    trials = find_trials(events, values).columns  # type: ignore[arg-type]
    return pd.DataFrame({name: trials[name] for name in TRIAL_COLUMNS})


def find_trials(events: Columns, values: EventRules, duration: float = np.nan) -> Trials:
    """Find the trials in a recording's events.

    A trial lasts from its start event to the next one. The last one lasts to the end event; where `values`
    name an end and there is none after it, it is left out, as eegdash does, and counted; where they name none it
    lasts to the end of the recording. Its stimulus is the first in it, and its response the first one
    after the stimulus (after the start of the trial if there is no stimulus).

    Parameters
    ----------
    events : mapping of str to sequence
        Columns of events.tsv, at least ``onset`` (s) and ``value`` (else ``trial_type``); ``feedback`` says
        whether a response was correct. Rows without an onset are left out and counted.
    values : EventRules
        Which event values start a trial, are its stimulus, its response and its end.
    duration : float
        Of the recording in s; NaN where unknown.

    Raises
    ------
    RecordingError
        If a column is missing or an onset is no number.
    """
    onset, order = _sorted_onsets(events)
    texts, notes = _values(events, values)
    value = texts[order]
    lost: Counter[str] = Counter()
    unplaced = np.setdiff1d(np.arange(len(texts)), order)
    if len(unplaced):
        lost[NO_ONSET] = int(_is_one_of(texts[unplaced], values.trial_start).sum())
        notes.append(f"{len(unplaced)} of the {len(texts)} rows of events.tsv have no onset: left out")
    is_stimulus, is_response = _is_one_of(value, values.stimulus), _is_one_of(value, values.response)
    is_start = _is_one_of(value, values.trial_start)
    start = onset[is_start]
    stop = _stops(start, onset[_is_one_of(value, values.end)], values, duration)
    closed = ~np.isnan(stop)
    lost[NO_END] = int((~closed).sum())
    start, stop = start[closed], stop[closed]

    stimulus, stimulus_index = _first_within(onset[is_stimulus], start, stop)
    search_from = np.where(np.isnan(stimulus), start, stimulus)
    responses = onset[is_response]
    response, index = _first_within(responses, search_from, stop)
    before, first, after = (np.searchsorted(responses, times, side="left") for times in (start, search_from, stop))
    columns = {
        "trial_start": start,
        "trial_stop": stop,
        "stimulus_onset": stimulus,
        "response_onset": response,
        "rt_from_stimulus": response - stimulus,
        "rt_from_trialstart": response - start,
        "response_type": _take(value[is_response], index, ""),
        "correct": _take(_correctness(events, values, len(texts))[order][is_response], index, np.int8(-1)),
        "presses": after - first,
        "premature": first - before,
    }
    rows = {
        "trial_start": order[is_start][closed],
        "stimulus_onset": _take(order[is_stimulus], stimulus_index, -1),
        "response_onset": _take(order[is_response], index, -1),
    }
    return Trials(columns, rows, +lost, tuple(notes))


def _stops(
    start: npt.NDArray[np.float64], ends: npt.NDArray[np.float64], values: EventRules, duration: float
) -> npt.NDArray[np.float64]:
    """Return where each trial stops in s: where the next one starts, and NaN where the last one has no end."""
    stop = np.append(start, np.nan)[1:]
    if start.size and ends.size and ends[-1] > start[-1]:
        stop[-1] = ends[-1]
    elif start.size and not values.end:
        stop[-1] = np.inf if np.isnan(duration) else max(duration, np.nextafter(start[-1], np.inf))
    return stop


def values_found(events: Columns) -> str:
    """Return the commonest values of the events, for a message; "" where there are none."""
    for name in _VALUE_COLUMNS:
        if name in events:
            counts = Counter(str(text) for text in events[name])
            listed = ", ".join(f"{text!r} ({count})" for text, count in counts.most_common(_MOST_VALUES))
            more = f" and {len(counts) - _MOST_VALUES} others" if len(counts) > _MOST_VALUES else ""
            return f"{name} has {listed}{more}" if counts else ""
    return ""


def _values(events: Columns, values: EventRules) -> tuple[npt.NDArray, list[str]]:
    """Return the column of events that has the values of a trial: ``value``, or ``trial_type`` where it has none."""
    there = [name for name in _VALUE_COLUMNS if name in events]
    if not there:
        raise RecordingError(f"events.tsv has no column value or trial_type; it has {', '.join(map(str, events))}")
    for name in there:
        texts = _without_blanks(events[name])
        if _is_one_of(texts, values.trial_start).any():
            return texts, [] if name == "value" else ["the values of its events are those of trial_type"]
    return _without_blanks(events[there[0]]), []


def _without_blanks(column: Sequence[Any]) -> npt.NDArray[np.object_]:
    own = np.asarray(column, dtype=object).tolist()
    return np.array([value.strip() if isinstance(value, str) else value for value in own], dtype=object)


def _sorted_onsets(events: Columns) -> tuple[npt.NDArray, npt.NDArray]:
    """Onsets in ascending order, in s, and their rows; rows without an onset are left out."""
    onset = onsets(events)
    # A stable sort keeps the file's order of simultaneous events, and puts NaN last.
    order = np.argsort(onset, kind="stable")[: np.count_nonzero(~np.isnan(onset))]
    return onset[order], order


def _is_one_of(texts: np.ndarray, wanted: Collection[str]) -> np.ndarray:
    own = frozenset(map(plain_value, wanted))
    return np.fromiter((plain_value(str(text)) in own for text in texts), bool, len(texts))


def _first_within(times: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First of the sorted `times` in each [start, stop), or NaN, and its index, or -1."""
    index = np.searchsorted(times, start, side="left")
    candidate = np.append(times, np.nan)[np.minimum(index, times.size)]
    inside = candidate < stop
    return np.where(inside, candidate, np.nan), np.where(inside, index, -1)


def _take(values: np.ndarray, index: np.ndarray, missing: object) -> np.ndarray:
    taken = np.full(index.shape, missing, dtype=values.dtype)
    found = index >= 0
    taken[found] = values[index[found]]
    return taken


def _correctness(events: Columns, values: EventRules, rows: int) -> np.ndarray:
    correct = np.full(rows, -1, dtype=np.int8)
    if "feedback" in events:
        feedback = _without_blanks(events["feedback"])
        correct[_is_one_of(feedback, values.correct)] = 1
        correct[_is_one_of(feedback, values.wrong)] = 0
    return correct
