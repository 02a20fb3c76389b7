"""Events to trials: pure functions on tables.

The rules are those of ``eegdash.hbn.windows.build_trial_table``, which the challenge's start
kit uses; tests hold the two against each other row by row.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from eegzarr.errors import RecordingError
from eegzarr.recipes.recipe import TrialEvents

TRIAL_COLUMNS = (
    "trial_start",
    "trial_stop",
    "stimulus_onset",
    "response_onset",
    "rt_from_stimulus",
    "rt_from_trialstart",
    "response_type",
    "correct",
)


def trial_table(events: pd.DataFrame, values: TrialEvents) -> pd.DataFrame:
    """Return one row a trial, in the order of their starts.

    A trial lasts from its start event to the next one, the last to the end event; a last
    trial without an end is left out. Its stimulus is the first in it, and its response the
    first one after the stimulus (after the start of the trial if there is no stimulus).

    Parameters
    ----------
    events : DataFrame
        Of events.tsv, with at least ``onset`` (s) and ``value``; ``feedback`` tells whether
        a response was correct.
    values : TrialEvents
        Which event values start a trial, are its stimulus, its response and its end.

    Returns
    -------
    DataFrame
        Columns `TRIAL_COLUMNS`; times in s from the start of the recording, NaN where there
        is none; ``response_type`` is "" and ``correct`` -1 where unknown.

    Raises
    ------
    RecordingError
        If a column is missing or an onset is no number.
    """
    return pd.DataFrame(trial_columns(events, values))


def trial_columns(events: pd.DataFrame, values: TrialEvents) -> dict[str, np.ndarray]:
    """Return the columns of `trial_table` as arrays: with pandas they took half of a plan's time."""
    onset, order = _sorted_onsets(events)
    value = events["value"].to_numpy(object)[order]
    stimuli = onset[_is_one_of(value, values.stimulus)]
    is_response = _is_one_of(value, values.response)
    start = onset[_is_one_of(value, values.trial_start)]
    stop = np.append(start, np.nan)[1:]
    ends = onset[_is_one_of(value, values.end)]
    if start.size and ends.size and ends[-1] > start[-1]:
        stop[-1] = ends[-1]
    closed = ~np.isnan(stop)
    start, stop = start[closed], stop[closed]

    stimulus, _ = _first_within(stimuli, start, stop)
    search_from = np.where(np.isnan(stimulus), start, stimulus)
    response, index = _first_within(onset[is_response], search_from, stop)
    return {
        "trial_start": start,
        "trial_stop": stop,
        "stimulus_onset": stimulus,
        "response_onset": response,
        "rt_from_stimulus": response - stimulus,
        "rt_from_trialstart": response - start,
        "response_type": _take(value[is_response], index, ""),
        "correct": _take(_correctness(events, values)[order][is_response], index, np.int8(-1)),
    }


def _sorted_onsets(events: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Onsets in ascending order, in s, and the rows that they stand in."""
    missing = [name for name in ("onset", "value") if name not in events]
    if missing:
        raise RecordingError(f"events.tsv has no column {' and '.join(missing)}")
    try:
        onset = pd.to_numeric(events["onset"], errors="raise").to_numpy(float)
    except (ValueError, TypeError) as error:
        raise RecordingError(f"events.tsv has an onset that is no number: {error}") from error
    # A stable sort keeps the file's order of simultaneous events.
    order = np.argsort(onset, kind="stable")
    return onset[order], order


def _is_one_of(texts: np.ndarray, wanted: Collection[str]) -> np.ndarray:
    return np.fromiter((str(text) in wanted for text in texts), bool, len(texts))


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


def _correctness(events: pd.DataFrame, values: TrialEvents) -> np.ndarray:
    correct = np.full(len(events), -1, dtype=np.int8)
    if "feedback" in events:
        feedback = events["feedback"].to_numpy(object)
        correct[_is_one_of(feedback, values.correct)] = 1
        correct[_is_one_of(feedback, values.wrong)] = 0
    return correct
