"""Windows that begin at any sample, gathered out of tiles: each tile is decoded once for all windows in it.

All tiles of a group, one after another, are one line of samples; where a window begins is its *position* on that
line. The tiles of a recording are consecutive, so that no window that lies in one recording needs to know more.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eegzarr.store.integers import to_microvolts
from eegzarr.store.reading.addresses import addresses_of
from eegzarr.store.reading.checked import undecodable
from eegzarr.store.reading.compiled import compiled_loops
from eegzarr.store.reading.read import WindowDecoder, WindowReader
from eegzarr.store.tiles.held import HeldTiles

if TYPE_CHECKING:
    from eegzarr.store.reading.loops import Loops

_TOGETHER = 16  # windows that are converted at a time, in the processor's cache


@dataclass(frozen=True)
class Needed:
    """The tiles that windows are made of, and where in them windows begin.

    Attributes
    ----------
    tiles : array of int64, shape (tile,)
        Number of each tile that any window needs, once and in order.
    order : array of int64, shape (window,)
        The windows in the order in which they begin.
    firsts, offsets : array of int64, shape (window,)
        In that order: the place in `tiles` of the tile that each begins in, and the sample there.
    most : int
        Tiles that a window lies in, at most: so many have to be there at a time.
    """

    tiles: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    most: int

    @classmethod
    def of(cls, positions: npt.NDArray[np.int64], n_times: int, tile_times: int) -> Needed:
        """Return what windows of `n_times` samples need, out of tiles of `tile_times`."""
        order = np.argsort(positions, kind="stable")
        first, offset = np.divmod(positions[order], tile_times)
        counts = (offset + n_times - 1) // tile_times + 1
        most = int(counts.max(initial=1))
        every = (first[:, None] + np.arange(most))[np.arange(most) < counts[:, None]]
        tiles = np.unique(every)
        return cls(tiles, order, np.searchsorted(tiles, first), offset, most)

    @property
    def in_order(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The windows, the places of their first tiles, and the samples there."""
        return self.order, self.firsts, self.offsets


def spanned(first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return all numbers from each first to its last, once and in order."""
    counts = last - first + 1
    nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.unique(np.repeat(first, counts) + nth)


class TileGatherer:
    """Gathers windows out of the tiles of one group; one a process, any number of threads.

    Parameters
    ----------
    reader : WindowReader
        Of the group.
    held : int
        Bytes of decoded tiles that are held: worth it where windows that come soon after each other share tiles.
    """

    def __init__(self, reader: WindowReader, held: int = 0) -> None:
        self.reader = reader
        self._held = HeldTiles(reader.geometry, reader.n_windows, held)
        self._holds = len(self._held.room) > 0
        self._decoder = WindowDecoder([reader])
        self._scratch = threading.local()

    def gather(self, positions: npt.NDArray[np.int64], channels: npt.NDArray[np.int64], rows: npt.NDArray) -> None:
        """Fill rows with windows.

        Parameters
        ----------
        positions : array of int64, shape (window,)
            Where each begins.
        channels : array of int64, shape (channel,)
            Which channels of the tiles, in this order.
        rows : array, shape (window, channel, time)
            C-contiguous, of the stored type; or float32, which then are in uV.
        """
        geometry = self.reader.geometry
        n_times = rows.shape[2]
        if not rows.size:
            return
        end = self.reader.n_windows * geometry.n_times
        if positions.min() < 0 or positions.max() + n_times > end:
            raise ValueError(f"windows outside of the {end} samples of {self.reader.name}")
        as_stored = rows.dtype == geometry.dtype
        if not as_stored and not geometry.step:
            for begin in range(0, len(rows), _TOGETHER):
                several = slice(begin, begin + _TOGETHER)
                stored = np.empty(rows[several].shape, geometry.dtype)
                self.gather(positions[several], channels, stored)
                rows[several] = stored
            return
        needed = Needed.of(positions, n_times, geometry.n_times)
        if self.reader.beyond_memory:
            self.reader.wish(needed.tiles)
        loops = compiled_loops()
        if loops is not None:
            addresses, held = self.reader.addresses(needed.tiles)
            if addresses.all():
                failed = self._gathered(loops, addresses, needed, channels, rows)
                del held
                if failed >= 0:
                    raise undecodable(self.reader.name, int(needed.tiles[failed]))
                return
        ring, done = self._ring(needed.most), 0
        for window, first, source in zip(*(one.tolist() for one in needed.in_order), strict=True):
            to = 0
            for place in range(first, first + (source + n_times - 1) // geometry.n_times + 1):
                tile = ring[place % len(ring)]
                if place == done:
                    self._decoder.decode(np.zeros(1, np.int32), needed.tiles[place : place + 1], tile[None])
                    done += 1
                samples = tile[channels, source : source + n_times - to]
                to, begin, source = to + samples.shape[1], to, 0
                rows[window, :, begin:to] = samples if as_stored else to_microvolts(samples, geometry.step)

    def _gathered(
        self, loops: Loops, addresses: npt.NDArray, needed: Needed, channels: npt.NDArray, rows: npt.NDArray
    ) -> int:
        """Gather by compiled code; return the place of a tile that failed, or -1."""
        ring = addresses_of(self._ring(needed.most))
        rooms = ring[np.arange(len(addresses)) % len(ring)]
        if not self._holds:
            return loops.gather(self.reader.geometry, (addresses, rooms), needed.in_order, channels, rows)
        slots, is_there = self._held.take(needed.tiles)
        rooms = np.where(slots < 0, rooms, addresses_of(self._held.room)[slots])
        tiles = np.where(is_there, 0, addresses), rooms
        failed = loops.gather(self.reader.geometry, tiles, needed.in_order, channels, rows)
        self._held.give(slots, are_decoded=failed < 0)
        return failed

    def _ring(self, places: int) -> npt.NDArray:
        """Return this thread's room for this many tiles, (place, channel, time)."""
        ring: npt.NDArray | None = getattr(self._scratch, "ring", None)
        if ring is None or len(ring) < places:
            geometry = self.reader.geometry
            ring = self._scratch.ring = np.empty((places, geometry.n_channels, geometry.n_times), geometry.dtype)
        return ring
