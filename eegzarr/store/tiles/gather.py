"""Windows that begin at any sample, gathered out of tiles: each tile is decoded once for all windows in it.

All tiles of a group, one after another, are one line of samples; where a window begins is its *position* on that
line. The tiles of a recording are consecutive, so that no window that lies in one recording needs to know more.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eegzarr.store.integers import to_microvolts
from eegzarr.store.reading.checked import undecodable
from eegzarr.store.reading.gather import Gather, compiled_gather
from eegzarr.store.reading.local import LocalReader
from eegzarr.store.reading.read import WindowDecoder, WindowReader
from eegzarr.store.tiles.held import HeldTiles

_TOGETHER = 16  # windows that are converted at a time, in the processor's cache
_WORDS = {2: np.uint16, 4: np.uint32}  # samples are copied as what has their size


@dataclass(frozen=True)
class Pieces:
    """The parts of tiles that windows are made of, tile by tile.

    Attributes
    ----------
    tiles : array of int64, shape (tile,)
        Number of each tile that any window needs, once.
    edges : array of int64, shape (tile + 1,)
        Its pieces are those from ``edges[i]`` to ``edges[i + 1]``.
    pieces : array of int64, shape (piece, 4)
        Of each the window that it is of, its first sample in the tile and in the window, and its samples.
    """

    tiles: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int64]
    pieces: npt.NDArray[np.int64]

    @classmethod
    def of(cls, positions: npt.NDArray[np.int64], n_times: int, tile_times: int) -> Pieces:
        """Return the pieces of windows of `n_times` samples, out of tiles of `tile_times`."""
        first, offset = np.divmod(positions, tile_times)
        counts = (offset + n_times - 1) // tile_times + 1
        window = np.repeat(np.arange(len(positions)), counts)
        nth = np.arange(len(window)) - np.repeat(np.cumsum(counts) - counts, counts)
        source = np.where(nth == 0, offset[window], 0)
        destination = np.where(nth == 0, 0, nth * tile_times - offset[window])
        length = np.minimum(tile_times - source, n_times - destination)
        tile = first[window] + nth
        order = np.argsort(tile, kind="stable")
        tiles, starts = np.unique(tile[order], return_index=True)
        edges = np.append(starts, len(order))
        return cls(tiles, edges, np.stack([window, source, destination, length], axis=1)[order])


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
        needed = Pieces.of(positions, n_times, geometry.n_times)
        if isinstance(self.reader, LocalReader) and self.reader.beyond_memory:
            self.reader.wish(needed.tiles)
        compiled = compiled_gather()
        if compiled is not None:
            addresses, held = self.reader.addresses(needed.tiles)
            if addresses.all():
                failed = self._compiled(compiled, addresses, needed, channels, rows)
                del held
                if failed >= 0:
                    raise undecodable(self.reader.name, int(needed.tiles[failed]))
                return
        tile = self._tile()
        for number, begin, stop in zip(needed.tiles.tolist(), needed.edges[:-1], needed.edges[1:], strict=True):
            self._decoder.decode(np.zeros(1, np.int32), np.array([number]), tile)
            samples = tile[0] if as_stored else to_microvolts(tile[0], geometry.step)
            for window, source, to, length in needed.pieces[begin:stop].tolist():
                rows[window, :, to : to + length] = samples[channels, source : source + length]

    def _compiled(
        self, compiled: Gather, addresses: npt.NDArray, needed: Pieces, channels: npt.NDArray, rows: npt.NDArray
    ) -> int:
        geometry, tile, room = self.reader.geometry, self._tile()[0], self._held.room
        slots = np.full(len(addresses), -1, np.int64)
        if self._holds:
            slots, is_there = self._held.take(needed.tiles)
            addresses = np.where(is_there, 0, addresses)
        if rows.dtype == geometry.dtype:
            words = _WORDS[geometry.itemsize]
            tile, room, rows = tile.view(words), room.view(words), rows.view(words)
        failed = compiled.tiles(
            addresses, needed.edges, needed.pieces, channels, room, slots, tile, rows, geometry.step
        )
        if self._holds:
            self._held.give(slots, are_decoded=failed < 0)
        return failed

    def _tile(self) -> npt.NDArray:
        """Return this thread's room for one tile, (1, channel, time)."""
        tile: npt.NDArray | None = getattr(self._scratch, "tile", None)
        if tile is None:
            geometry = self.reader.geometry
            tile = self._scratch.tile = np.empty((1, geometry.n_channels, geometry.n_times), geometry.dtype)
        return tile
