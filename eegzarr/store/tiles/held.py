"""Decoded tiles that are held for the windows that come next."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from eegzarr.store.layout import Geometry


class HeldTiles:
    """Some decoded tiles of one group, the ones that were asked for last; for any number of threads.

    A thread takes the tiles that it needs, decodes those that aren't there where they belong, and gives them back.
    Until then they stay where they are, and no other thread counts on those that it decodes.

    Parameters
    ----------
    geometry : Geometry
    n_tiles : int
        Of the group.
    nbytes : int
        That they may take.

    Attributes
    ----------
    room : array, shape (slot, channel, time)
    """

    def __init__(self, geometry: Geometry, n_tiles: int, nbytes: int) -> None:
        slots = min(n_tiles, nbytes // geometry.window_bytes)
        self.room = np.empty((slots, geometry.n_channels, geometry.n_times), geometry.dtype)
        self._slot = np.full(n_tiles, -1, np.int64)  # of each tile
        self._tile = np.full(slots, -1, np.int64)  # in each slot
        self._users = np.zeros(slots, np.int64)
        self._is_decoded = np.zeros(slots, bool)
        self._next = 0
        self._lock = threading.Lock()

    def take(self, tiles: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return the slot of each tile, -1 for one that has none, and whether it is decoded there already.

        Parameters
        ----------
        tiles : array of int64
            Each once.
        """
        with self._lock:
            slots = self._slot[tiles]
            is_there = (slots >= 0) & self._is_decoded[slots]
            missing = np.flatnonzero(slots < 0)
            slots[(slots >= 0) & ~is_there] = -1  # another thread decodes it just now
            self._users[slots[is_there]] += 1
            free = self._freed(len(missing))
            missing = missing[: len(free)]
            slots[missing] = free
            self._slot[tiles[missing]] = free
            self._tile[free] = tiles[missing]
            self._users[free] = 1
        return slots, is_there

    def give(self, slots: npt.NDArray[np.int64], *, are_decoded: bool) -> None:
        """Give back the slots that were taken; where they weren't all decoded, forget the new ones."""
        own = slots[slots >= 0]
        with self._lock:
            new = own[~self._is_decoded[own]]
            self._users[own] -= 1
            if are_decoded:
                self._is_decoded[new] = True
            else:
                self._slot[self._tile[new]] = -1
                self._tile[new] = -1

    def _freed(self, count: int) -> npt.NDArray[np.int64]:
        """Return up to this many unused slots, those filled first, emptied."""
        order = np.roll(np.arange(len(self._tile)), -self._next)
        free = order[self._users[order] == 0][:count]
        if len(free):
            held = self._tile[free]
            self._slot[held[held >= 0]] = -1
            self._is_decoded[free] = False
            self._next = int(free[-1]) + 1
        return free
