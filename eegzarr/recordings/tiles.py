"""Tiles of a recording: its samples in pieces of one length, NaN where nothing was recorded."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eegzarr.recordings.header import Header
from eegzarr.recordings.reader import read_windows


def read_tiles(
    path: Path, starts: npt.NDArray[np.int64], channels: tuple[str, ...], out: npt.NDArray, header: Header
) -> None:
    """Read tiles of a recording.

    Parameters
    ----------
    path, channels, out
        As for `eegzarr.recordings.reader.read_windows`.
    starts : array of int, shape (tile,)
        First sample of each, anywhere in the recording.
    header : Header
        At the recording's own rate.
    """
    length = out.shape[2]
    whole = np.zeros(len(starts), bool)
    for first, stop in header.spans:
        whole |= (starts >= first) & (starts + length <= stop)
    edges = [0, *(np.flatnonzero(np.diff(whole)) + 1).tolist(), len(starts)]
    for begin, end in pairwise(edges):
        if begin < end and whole[begin]:
            read_windows(path, starts[begin:end], channels, out[begin:end], header)
    for number in np.flatnonzero(~whole).tolist():
        _read_parts(path, int(starts[number]), channels, out[number], header)


def _read_parts(path: Path, start: int, channels: tuple[str, ...], tile: npt.NDArray, header: Header) -> None:
    """Read one tile, (channel, time), that a gap, a join or the recording's end lies in."""
    tile[:] = np.nan
    for first, stop in header.spans:
        begin, end = max(first, start), min(stop, start + tile.shape[1])
        if begin < end:
            part = np.empty((1, len(tile), end - begin), tile.dtype)
            read_windows(path, np.array([begin]), channels, part, header)
            tile[:, begin - start : end - start] = part[0]
