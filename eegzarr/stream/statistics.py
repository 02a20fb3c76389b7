"""Means and standard deviations to normalise by, from what the lake knows of its recordings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt

from eegzarr.errors import UsageError
from eegzarr.store.open import quartiles_in, recording_moments, recording_quartiles
from eegzarr.store.receipt import Moments
from eegzarr.stream.selection import Loaded, Selection, Source

_LEVELS = (0.25, 0.5, 0.75)
_ROUNDING = 4 * float(np.finfo(np.float32).eps)
_SMALLEST = 1e-5  # of the median channel's: below it a deviation is the rounding of a channel that is flat
_OF_NORMAL = 1.349  # standard deviations between the quartiles of a normal distribution
Pair = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def dataset_statistics(selection: Selection, over: Selection, *, is_given: bool) -> list[Pair]:
    """Return mean and standard deviation of the channels of each source, (channel, 1), in uV.

    Over all valid windows of the recordings that have a window in `over`: all Datasets of it together if it
    `is_given` for the purpose, else for each source those of its own Dataset.

    Raises
    ------
    UsageError
        If `over` lacks a channel.
    """
    if missing := [name for name in selection.channels if name not in over.channels]:
        raise UsageError(f"the statistics have no channel {missing[0]!r}; they are of {len(over.channels)} channels")
    if not len(over):
        raise UsageError("the statistics are over no window: give the training part")
    order = _among(selection.channels, over.channels)
    pooled = _by_dataset(over)
    if is_given:
        pooled = [reduce(add, pooled)] * (max(selection.dataset) + 1)
    if any(moments.is_empty for moments in pooled):
        raise UsageError("the statistics are over no window that could be read: give statistics=, the training part")
    scales = [_scales(moments) for moments in pooled]
    return [(scales[number][0][order], scales[number][1][order]) for number in selection.dataset]


def _among(channels: tuple[str, ...], over: tuple[str, ...]) -> list[int]:
    """Return where channels are among those that statistics are of, by their names."""
    if channels == over:  # names may repeat
        return list(range(len(channels)))
    return [over.index(name) for name in channels]


def recording_statistics(selection: Selection) -> list[Pair]:
    """Return mean and standard deviation of each source's recordings and channels, (recording, channel, 1), in uV."""
    _check_named(selection)
    found = []
    for number, source in enumerate(selection.sources):
        own = np.unique(selection.recording[selection.source == number]).tolist()
        rows = int(max(own, default=-1)) + 1
        mean = np.zeros((rows, len(selection.channels), 1), np.float32)
        std = np.ones_like(mean)
        moments = _moments(source, selection, number, own)
        for row, of_recording in zip(own, moments, strict=True):
            mean[row], std[row] = _scales(of_recording)
        found.append((mean, std))
    return found


def lacks_statistics(selection: Selection) -> npt.NDArray[np.bool_]:
    """Return which windows are of a recording that has no statistics, since none of its windows is valid, (window,)."""
    lacking = np.zeros(len(selection), bool)
    for number, source in enumerate(selection.sources):
        own = selection.source == number
        recordings = np.unique(selection.recording[own])
        empty = [moments.is_empty for moments in _moments(source, selection, number, recordings.tolist())]
        lacking |= own & np.isin(selection.recording, recordings[np.array(empty, bool)])
    return lacking


def robust_statistics(selection: Selection) -> list[Pair]:
    """Return median and scale of each source's recordings and channels, (recording, channel, 1), in uV.

    The scale is the interquartile range over 1.349, which of normal samples is their standard deviation.

    Raises
    ------
    LakeError
        If a lake doesn't have them.
    """
    _check_named(selection)
    found = []
    for number, source in enumerate(selection.sources):
        own = np.unique(selection.recording[selection.source == number])
        shape = (int(own.max(initial=-1)) + 1, len(selection.channels), 1)
        median, scale = np.zeros(shape, np.float32), np.ones(shape, np.float32)
        if len(own):
            lower, middle, upper = np.moveaxis(_quartiles(source, selection, number, own.tolist()), 1, 0)
            spread = (upper - lower) / _OF_NORMAL
            median[own, :, 0] = np.nan_to_num(middle)
            scale[own, :, 0] = [_divisors(of_recording) for of_recording in spread]
        found.append((median, scale))
    return found


def _quartiles(source: Source, selection: Selection, number: int, recordings: Sequence[int]) -> npt.NDArray:
    """Return the quartiles of recordings of a source, (recording, 3, channel), of its channels in their order."""
    channels = list(source.channels)
    if not isinstance(source, Loaded) and source.cut is not None:
        places, table = source.cut.places(channels), source.cut.table
        if table is not None:
            return quartiles_in(table.isel(recording=list(recordings)))[:, :, places]
        return recording_quartiles(source.lake, source.cut.group, recordings)[:, :, places]
    if not isinstance(source, Loaded):
        return recording_quartiles(source.lake, source.group, recordings)[:, :, channels]
    own = selection.source == number
    rows, recording = selection.window[own], selection.recording[own]
    return np.stack([_quantiles(source.values[rows[recording == one]][:, channels]) for one in recordings])


def _quantiles(windows: npt.NDArray) -> npt.NDArray:
    """Return quartiles of windows in memory, (3, channel): of those samples that are numbers."""
    if not np.isnan(windows).any():
        return np.asarray(np.quantile(windows, _LEVELS, axis=(0, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a channel without any
        return np.asarray(np.nanquantile(windows, _LEVELS, axis=(0, 2)))


def _moments_in(windows: npt.NDArray) -> Moments:
    """Return the moments of windows in memory: of those samples that are numbers."""
    missing = np.isnan(windows)
    if not missing.any():
        return Moments.of(windows)
    count = (~missing).sum(axis=(0, 2))
    samples = np.where(missing, 0, windows.astype(np.float64))
    mean = samples.sum(axis=(0, 2)) / np.maximum(1, count)
    samples = np.where(missing, 0, samples - mean[:, None])
    return Moments(count, mean, np.einsum("wct,wct->c", samples, samples))


def _check_named(selection: Selection) -> None:
    """Refuse windows in memory of which it isn't known what recordings they are of.

    Raises
    ------
    UsageError
    """
    if any(isinstance(source, Loaded) and not source.names_recordings for source in selection.sources):
        raise UsageError(
            "signals in memory are normalised by recording only where the label 'recording' names it: keep that label, "
            "or give normalize='window'"
        )


def _by_dataset(selection: Selection) -> list[Moments]:
    pooled = []
    for dataset in range(max(selection.dataset) + 1):
        moments = [Moments(0, np.zeros(len(selection.channels)), np.zeros(len(selection.channels)))]
        seen: set[tuple[object, int]] = set()
        for number, source in enumerate(selection.sources):
            if selection.dataset[number] != dataset:
                continue
            own = np.unique(selection.recording[selection.source == number]).tolist()
            # A group can be in several sources, with other times in each; a recording counts once.
            key = id(source) if isinstance(source, Loaded) else (source.lake, source.group, source.cut)
            own = [row for row in own if (key, row) not in seen]
            seen |= {(key, row) for row in own}
            moments += _moments(source, selection, number, own)
        pooled.append(reduce(add, moments))
    return pooled


def _moments(source: Source, selection: Selection, number: int, recordings: Sequence[int]) -> list[Moments]:
    """Return the moments of recordings of a source, of its channels in their order."""
    channels = list(source.channels)
    if not isinstance(source, Loaded):
        if source.cut is not None:
            return source.cut.moments(recordings, channels)
        every = recording_moments(source.lake, source.group, recordings)
        return [one.picked(channels) for one in every]
    own = selection.source == number
    rows, recording = selection.window[own], selection.recording[own]
    return [_moments_in(source.values[rows[recording == one]][:, channels]) for one in recordings]


def _scales(moments: Moments) -> Pair:
    count = np.maximum(1, moments.count)
    mean = np.asarray(moments.mean, np.float32)[:, None]
    std = np.sqrt(np.maximum(moments.squares, 0) / np.broadcast_to(count, moments.mean.shape)).astype(np.float32)
    # The deviation of a flat channel is what rounding has left, where the channel isn't 0.
    std[std <= _ROUNDING * np.abs(mean[:, 0])] = 0
    return mean, _divisors(std)[:, None]


def _divisors(deviations: npt.NDArray) -> npt.NDArray[np.float32]:
    """Return what to divide channels by, (channel,): their deviations, and 1 for those that are flat.

    A reference channel that was filtered isn't 0 but what rounding leaves, such as 3e-7 uV in HBN-EEG's Cz, which
    divided by its own deviation would look like a channel.
    """
    varies = deviations[deviations > 0]
    least = _SMALLEST * float(np.median(varies)) if len(varies) else 0.0
    return np.where(deviations > least, deviations, 1).astype(np.float32)
