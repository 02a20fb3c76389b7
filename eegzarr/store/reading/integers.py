"""Windows that are stored as integers, decoded, scaled to uV and placed in one pass."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eegzarr.store.integers import to_microvolts
from eegzarr.store.reading.addresses import addresses_of
from eegzarr.store.reading.checked import undecodable
from eegzarr.store.reading.compiled import compiled_loops
from eegzarr.store.reading.read import WindowDecoder

if TYPE_CHECKING:
    from eegzarr.store.reading.loops import Loops

_NO_TIMES = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Picked:
    """Which channels and times of a stored window are wanted.

    Attributes
    ----------
    channels : array of int64, shape (channel,)
    times : array of int64
        Empty where all samples are wanted as they follow each other, from the one of number `first` on.
    first : int
    """

    channels: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64] = field(default_factory=lambda: _NO_TIMES)
    first: int = 0

    @classmethod
    def of(cls, channels: slice | npt.NDArray[np.int64], times: slice | npt.NDArray[np.int64]) -> Picked:
        """Return what slices without open ends, or arrays of numbers, pick."""
        if isinstance(times, slice):
            if times.step in (None, 1):
                return cls(_numbers(channels), first=times.start)
            times = _numbers(times)
        return cls(_numbers(channels), np.ascontiguousarray(times, np.int64))

    def same(self, other: Picked) -> bool:
        """Return whether another one picks the same."""
        arrays = zip((self.channels, self.times), (other.channels, other.times), strict=True)
        return self.first == other.first and all(np.array_equal(one, another) for one, another in arrays)


class IntegerDecoder:
    """Decodes windows of readers of integers into rows of uV; for any number of threads.

    Parameters
    ----------
    decoder : WindowDecoder
        Whose readers have windows of one shape; the steps may differ.
    """

    def __init__(self, decoder: WindowDecoder) -> None:
        self._decoder = decoder
        self._steps = np.array([reader.geometry.step for reader in decoder.readers])
        self._scratch = threading.local()

    def decode(
        self,
        groups: npt.NDArray[np.int32],
        windows: npt.NDArray[np.int64],
        picked: Picked,
        offsets: npt.NDArray[np.int64],
        rows: npt.NDArray[np.float32],
    ) -> None:
        """Decode windows, each named by its reader's place and its number there.

        Parameters
        ----------
        groups, windows, offsets : array, shape (window,)
            A row begins with the picked sample of its offset.
        rows : array of float32, shape (window, channel, time)
            C-contiguous.

        Raises
        ------
        LakeError
            If a window can't be decoded.
        """
        geometry = self._decoder.readers[int(groups[0])].geometry
        shape = (geometry.n_channels, geometry.n_times)
        firsts = offsets + picked.first
        stored = self._window(shape)
        loops = compiled_loops()
        if loops is not None:
            self._decoder.wish(groups, windows)
            addresses, held = self._decoder.addresses(groups, windows)
            if addresses.all():
                failed = self._gathered(loops, groups, addresses, picked, firsts, rows)
                del held
                if failed >= 0:
                    raise undecodable(self._decoder.readers[groups[failed]].name, int(windows[failed]))
                return
        for number, (row, first) in enumerate(zip(rows, firsts.tolist(), strict=True)):
            self._decoder.decode(groups[number : number + 1], windows[number : number + 1], stored)
            end = first + row.shape[1]
            times = picked.times[first:end] if len(picked.times) else slice(first, end)
            to_microvolts(stored[0][picked.channels][:, times], float(self._steps[groups[number]]), out=row)

    def _gathered(
        self,
        loops: Loops,
        groups: npt.NDArray[np.int32],
        addresses: npt.NDArray[np.int64],
        picked: Picked,
        firsts: npt.NDArray[np.int64],
        rows: npt.NDArray[np.float32],
    ) -> int:
        """Decode windows by compiled code; return the place of one that failed, or -1."""
        for step in np.unique(self._steps[groups]).tolist():
            own = np.flatnonzero(self._steps[groups] == step)
            geometry = self._decoder.readers[int(groups[own[0]])].geometry
            room = addresses_of(self._window((geometry.n_channels, geometry.n_times)))
            tiles, windows = (addresses[own], np.repeat(room, len(own))), (own, np.arange(len(own)), firsts[own])
            failed = loops.gather(geometry, tiles, windows, picked.channels, rows, picked.times)
            if failed >= 0:
                return int(own[failed])
        return -1

    def _window(self, shape: tuple[int, int]) -> npt.NDArray[np.int16]:
        """Return a thread's memory for a stored window, (1, channel, time)."""
        windows: dict[tuple[int, int], npt.NDArray[np.int16]] = self._scratch.__dict__.setdefault("windows", {})
        if shape not in windows:
            windows[shape] = np.empty((1, *shape), np.int16)
        return windows[shape]


def _numbers(part: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    if isinstance(part, slice):
        return np.arange(part.start, part.stop, part.step or 1, dtype=np.int64)
    return np.ascontiguousarray(part, np.int64)
