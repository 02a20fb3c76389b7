"""What the challenge's evaluator shows a model of a window, and which windows it scores.

From ``local_scoring.py`` of the start kit (https://github.com/eeg2025/startkit): both challenges are
scored on the contrast change detection task. Challenge 1 gives the whole window of 2 s. Challenge 2
cuts each recording into windows of 4 s, every 2 s, and gives 2 s of each. Where these begin is drawn
by ``random.Random(42).randint``, with a generator of its own for each recording, window by window.
"""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import xarray as xr

from eegzarr.challenge.rules import CROP_SEED, SCORED_TASK, SEEN_SECONDS


def scored_windows(windows: xr.Dataset, recipe: str) -> xr.Dataset:
    """Return the windows of the task that a challenge scores; all, if the recipe is none of a challenge.

    A lake without any window of that task is returned as it is: there is nothing else to score on.
    """
    task = SCORED_TASK.get(recipe)
    if task is None or "task" not in windows.coords:
        return windows
    is_scored = windows["task"].to_numpy().astype(object) == task
    if is_scored.all() or not is_scored.any():
        return windows
    return windows.isel(window=np.flatnonzero(is_scored))


def seen_samples(recipe: str, n_times: int, sfreq: float) -> int:
    """Return how many of a window's `n_times` samples at `sfreq` Hz the evaluator gives to a model."""
    seconds = SEEN_SECONDS.get(recipe)
    return n_times if seconds is None else min(n_times, round(seconds * sfreq))


def first_samples(place: npt.NDArray[np.int64], room: int) -> npt.NDArray[np.int64]:
    """Return the first sample that the evaluator gives of each window.

    Parameters
    ----------
    place : array of int, shape (window,)
        Number of the window in its recording, from 0.
    room : int
        Samples of a window that it doesn't give; 0 where it gives all.
    """
    generator = random.Random(CROP_SEED)
    drawn = [generator.randint(0, room) for _ in range(int(np.max(place, initial=-1)) + 1)]
    return np.array(drawn, np.int64)[place]
