"""Lengths and checksums of single windows, which let a window be read and checked without the frame around it.

With the checksum of a frame alone, the first window that is read of it has megabytes checked for its kilobytes. So the
group's table of shards has a length and a CRC-32C for each window, too. Shards are as they would be without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eegzarr.store.crc import crc32c
from eegzarr.store.frame import find_windows, first_window, is_sound
from eegzarr.store.layout import SHARDS, UNREADABLE, WINDOW_CRC32C, WINDOW_NBYTES, Geometry, open_array
from eegzarr.store.receipt import WindowChecks


def window_checks(frame: bytes, geometry: Geometry, count: int) -> WindowChecks:
    """Return what the first windows of an encoded frame, without its checksum, must be."""
    bounds = find_windows(memoryview(frame), geometry)
    if bounds is None:
        return WindowChecks(np.zeros(count, np.uint32), np.zeros(count, np.uint32))
    content = np.frombuffer(frame, np.uint8)
    checksums = [crc32c(content[bounds[slot] : bounds[slot + 1]]) for slot in range(count)]
    return WindowChecks(np.diff(bounds)[:count].astype(np.uint32), np.array(checksums, np.uint32))


@dataclass(frozen=True, eq=False)
class SingleWindows:
    """Where in its frame the own Blosc buffer of each window of a group is, and what it must be.

    Attributes
    ----------
    starts, nbytes, crc32c : array of uint32, shape (window,)
        In bytes from the beginning of the frame. A length of 0 says that the window is found by its frame only.
    """

    starts: npt.NDArray[np.uint32]
    nbytes: npt.NDArray[np.uint32]
    crc32c: npt.NDArray[np.uint32]

    @classmethod
    def read(cls, lake: str, group: str, geometry: Geometry, n_windows: int) -> SingleWindows:
        """Read them from a group's table of shards; none where it lacks them, or they are damaged."""
        rows = -(-n_windows // geometry.windows_per_shard)
        try:
            arrays = [open_array(lake, f"{group}/{SHARDS}/{name}") for name in (WINDOW_NBYTES, WINDOW_CRC32C)]
            # What the metadata claim is compared with the windows before memory is taken for it.
            is_whole = all(
                array.shape == (rows, geometry.windows_per_shard)
                and array.chunks[0] <= rows
                and array.chunks[1] == geometry.windows_per_shard
                for array in arrays
            )
            nbytes, checksums = (np.asarray(array[:] if is_whole else 0, np.uint32).reshape(-1) for array in arrays)
        except UNREADABLE:  # missing or damaged
            is_whole = False
        if not is_whole:  # every frame has a checksum of its own
            nothing = np.zeros(n_windows, np.uint32)
            return cls(nothing, nothing, nothing)
        in_frames = nbytes.reshape(-1, geometry.windows_per_frame)
        starts = first_window(geometry) + np.cumsum(in_frames, axis=1, dtype=np.uint32) - in_frames
        return cls(starts.reshape(-1)[:n_windows], nbytes[:n_windows], checksums[:n_windows])

    def of(self, windows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
        """Return starts, lengths and checksums of some windows."""
        starts, nbytes, checksums = (one[windows].astype(np.int64) for one in (self.starts, self.nbytes, self.crc32c))
        return starts, nbytes, checksums


def is_own(content: npt.NDArray[np.uint8], nbytes: int, checksum: int, decoded: int) -> bool:
    """Return whether bytes are a window's own Blosc buffer, of so many bytes when it is decoded."""
    return len(content) == nbytes and crc32c(content) == checksum and is_sound(content.data, decoded)


def ranges_of(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], whole: int, a_request: int
) -> list[tuple[int, int]]:
    """Return the ranges that bring some windows of a frame; none where all of it takes less time.

    Parameters
    ----------
    starts, ends : array of int64, shape (window,)
        In bytes from the beginning of the frame, in ascending order.
    whole : int
        Bytes of the frame.
    a_request : int
        Bytes that take as long as one more request. What lies between two windows comes along, where it is less.
    """
    apart = np.flatnonzero(starts[1:] - ends[:-1] > a_request)
    begins, stops = starts[np.append(0, apart + 1)], ends[np.append(apart, len(ends) - 1)]
    takes = int((stops - begins).sum()) + len(begins) * a_request
    return list(zip(begins.tolist(), stops.tolist(), strict=True)) if takes < whole + a_request else []
