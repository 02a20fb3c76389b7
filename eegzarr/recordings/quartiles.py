"""Median and quartiles of channels, cheap enough to be made of every recording as it is written.

To sort all samples takes longer than to compress them. So a few are sorted, which gives a point near each quartile.
Then it is counted how many of all samples lie below each point, and each is moved by what its count says, twice. (To
count some windows only at first is no gain: more channels then fail what follows.) Where the last count still
differs from the quartile's by more than 3 % of the samples, or the last move is more than a tenth of the interquartile
range, as ties and far-apart modes make it, all samples of the channel are sorted. So what is returned is at most a
tenth of that range away from a point that at most 3 % of the samples separate from the quartile.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

LEVELS = np.array([0.25, 0.5, 0.75])
_SORTED = 128  # samples of a channel
_OFF = 0.03  # share of the samples between a counted point and the quartile
_FAR = 0.1  # of the interquartile range: the last move
_TOGETHER = 16  # windows that are compared at a time: what is compared stays in the processor's cache
_HALVINGS = 30
# A move assumes that ranks are those of a normal distribution between two points that were counted.
_SCORES = np.linspace(-5, 5, 1001)
_RANKS = np.array([NormalDist().cdf(score) for score in _SCORES])


def quartiles(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return lower quartile, median and upper quartile of each channel, (3, channel), in uV; NaN of no window.

    Parameters
    ----------
    windows : array, shape (window, channel, time)
        Finite.
    """
    count, n_channels, n_times = windows.shape
    if not count:
        return np.full((3, n_channels), np.nan, np.float32)
    if count * n_times <= 4 * _SORTED:
        return _exact(windows)
    points = _near(windows)
    points = _moved(points, _ranks(windows, points))
    ranks = _ranks(windows, points)
    counted, points = points, _moved(points, ranks)
    is_far = np.abs(points - counted) > _FAR * (points[2] - points[0])
    off = ((np.abs(ranks - LEVELS[:, None]) > _OFF) | is_far).any(axis=0)
    if off.any():
        points[:, off] = _exact(windows[:, off])
    return points


def merged(parts: Sequence[npt.NDArray], counts: Sequence[npt.ArrayLike]) -> npt.NDArray[np.float32]:
    """Return the quartiles of samples whose parts have quartiles of their own, (3, channel).

    They lie between the least and the largest of the parts'. Either side of a part's median is taken to be normal.

    Parameters
    ----------
    parts : sequence of array, shape (3, channel)
        NaN where a part has no samples of a channel.
    counts : sequence of int, or of array of shape (channel,)
        Samples of each part.
    """
    if len(parts) == 1:
        return np.asarray(parts[0], np.float32)
    values = np.stack(parts).astype(np.float64)
    weights = np.stack([np.broadcast_to(count, values.shape[2:]) for count in counts]).astype(np.float64)
    missing = np.isnan(values[:, 1])
    weights[missing] = 0
    weights /= np.maximum(weights.sum(axis=0), 1)
    below = np.where(missing[:, None], np.inf, values).min(axis=0)
    above = np.where(missing[:, None], -np.inf, values).max(axis=0)
    nowhere = missing.all(axis=0)
    below[:, nowhere] = above[:, nowhere] = np.nan
    values[np.broadcast_to(missing[:, None], values.shape)] = 0
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        share = (weights[:, None] * _shares_below(values, middle)).sum(axis=0)
        is_low = share < LEVELS[:, None]
        below, above = np.where(is_low, middle, below), np.where(is_low, above, middle)
    return ((below + above) / 2).astype(np.float32)


def _exact(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    exact: npt.NDArray = np.quantile(windows, LEVELS, axis=(0, 2))
    return exact.astype(np.float32)


def _near(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return points near the quartiles, (3, channel), from some samples, one at random of each stretch."""
    count, _, n_times = windows.shape
    edges = np.arange(_SORTED + 1) * (count * n_times) // _SORTED
    chosen = np.random.default_rng(0).integers(edges[:-1], edges[1:])
    some = np.ascontiguousarray(windows[chosen // n_times, :, chosen % n_times].T)
    some.sort(axis=1)
    return np.ascontiguousarray(some[:, (LEVELS * _SORTED).astype(int)].T)


def _ranks(windows: npt.NDArray[np.float32], points: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the share of each channel's samples that lie below its points, (3, channel)."""
    count, n_channels, n_times = windows.shape
    # As large as a window: broadcasting along time took twice as long.
    limits = np.repeat(points[:, :, None], n_times, axis=2)
    is_below = np.empty((min(count, _TOGETHER), n_channels, n_times), bool)
    below = np.zeros((3, n_channels), np.int64)
    for first in range(0, count, _TOGETHER):
        part = windows[first : first + _TOGETHER]
        for limit, total in zip(limits, below, strict=True):
            told = np.less(part, limit, out=is_below[: len(part)]).view(np.uint8)
            total += np.add.reduce(told, axis=0, dtype=np.uint8).sum(axis=1, dtype=np.int64)
    return below / (count * n_times)


def _moved(points: npt.NDArray[np.float32], ranks: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Move points to where the quartiles would be if ranks were normal between the points."""
    scores, wanted = np.interp(ranks, _RANKS, _SCORES), np.interp(LEVELS, _RANKS, _SCORES)
    apart, steps = np.diff(scores, axis=0), np.diff(points.astype(np.float64), axis=0)
    slopes = np.divide(steps, apart, out=np.zeros_like(steps), where=apart > 0)
    of_median = np.where(scores[1] < wanted[1], slopes[1], slopes[0])
    moves = (wanted[:, None] - scores) * np.stack([slopes[0], of_median, slopes[1]])
    return np.sort(points + moves, axis=0).astype(np.float32)


def _shares_below(parts: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the share of each part that lies below values, (part, 3, channel)."""
    lower, median, upper = (parts[:, level, None] for level in range(3))
    width = np.where(values < median, median - lower, upper - median)
    away = values - median
    at_once = np.sign(away) * _SCORES[-1]  # where a part is one value
    scores = np.divide(away * NormalDist().inv_cdf(0.75), width, out=at_once, where=width > 0)
    return np.interp(scores, _SCORES, _RANKS)
