"""Single windows out of shards: found, checked once, decoded straight into place.

A window is a Blosc buffer of its own inside its frame (see `eegzarr.store.frame`), so it is
decoded where it lies: in the page cache, for a lake on a local path.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from eegzarr.errors import LakeError
from eegzarr.store.group import StoredWindows, check_windows, stored_windows
from eegzarr.store.layout import Geometry
from eegzarr.store.reading.checked import Frame, FrameParts, undecodable
from eegzarr.store.reading.compiled import compiled_loops
from eegzarr.store.reading.spent import Spent


class WindowReader(ABC):
    """Reads windows of one group; one a process, any number of threads.

    Parameters
    ----------
    lake, group : str
        Where the group is.
    digest : str, optional
        The group's `plan_digest` when its labels were read: a group that was rebuilt since then is refused.
    stored : StoredWindows, optional
        What was read of its array then, which costs a bucket's reader a request or two.

    Attributes
    ----------
    spent : Spent
        Where the time of reading goes; those who read several groups may give these one.
    beyond_memory : bool
        Whether windows are to be wished for before they are decoded.

    Raises
    ------
    LakeError
        Here or while reading, if the array or a shard is missing, a frame or an index
        doesn't match its checksum, or the group isn't the one that was opened.
    """

    beyond_memory = False

    def __init__(self, lake: str, group: str, digest: str | None = None, stored: StoredWindows | None = None) -> None:
        self.name = f"{lake}/{group}"
        self._digest = digest
        self.spent = Spent()
        stored = stored or stored_windows(lake, group)
        if stored is None:
            raise LakeError(f"{self.name} has no array of signals")
        self.geometry, self.n_windows = stored.geometry, stored.count
        check_windows(lake, group, self.n_windows, self.geometry)

    def check_files(self) -> None:
        """Refuse to continue if a shard was written to since it was opened, as far as that costs nothing to see."""
        return

    def check_files_of(self, windows: npt.NDArray[np.int64]) -> None:
        """Refuse to continue if a shard that holds some of these windows was written to since it was opened.

        As for `check_files`, only what costs nothing is looked at.
        """
        return

    def check(self) -> None:
        """Refuse to continue if a shard was written to, or the group was rebuilt, since it was opened."""
        self.check_files()
        self.check_group()

    def check_group(self) -> None:
        """Refuse to continue if the group was rebuilt since it was opened."""
        if self._digest is not None and self._stored_digest() != self._digest:
            raise LakeError(f"{self.name} was rebuilt while it was open: open it again")

    @abstractmethod
    def _stored_digest(self) -> str | None:
        """Return the group's digest as it is now."""

    @abstractmethod
    def frame(self, number: int) -> Frame:
        """Return a frame of the group, checked."""

    def held(self, number: int, slot: int) -> Frame | FrameParts:
        """Return a frame, or what is held of it if the window of a slot is."""
        return self.frame(number)

    def buffer(self, window: int) -> memoryview | None:
        """Return a window's own Blosc buffer, checked; None where it has none."""
        number, slot = divmod(window, self.geometry.windows_per_frame)
        return self.held(number, slot).window(slot)

    def wish(self, windows: npt.NDArray[np.int64]) -> None:
        """Have the system begin to read windows, where it can be asked."""
        return

    def addresses(self, windows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], object]:
        """Return where in memory each window's own Blosc buffer is, 0 where it has none.

        The second value holds that memory: keep it for as long as the addresses are used.
        """
        numbers, slots = np.divmod(windows, self.geometry.windows_per_frame)
        named = list(zip(numbers.tolist(), slots.tolist(), strict=True))
        held = [self.held(number, slot) for number, slot in named]
        found = [one.address_of(slot) for one, (_, slot) in zip(held, named, strict=True)]
        return np.array(found, np.int64), held


class WindowDecoder:
    """Decodes windows of readers into rows; for any number of threads.

    Parameters
    ----------
    readers : sequence of WindowReader

    Attributes
    ----------
    readers : tuple of WindowReader
    """

    def __init__(self, readers: Sequence[WindowReader]) -> None:
        self.readers = tuple(readers)
        self._beyond_memory = [(group, reader) for group, reader in enumerate(readers) if reader.beyond_memory]
        self._scratch = threading.local()

    def decode(self, groups: npt.NDArray[np.int32], windows: npt.NDArray[np.int64], rows: npt.NDArray) -> None:
        """Decode windows, each named by its reader's place and its number there.

        Parameters
        ----------
        groups, windows : array, shape (window,)
            Of readers whose windows have one shape and dtype; frames and shards may differ.
        rows : array, shape (window, channel, time)
            C-contiguous, of the stored dtype.
        """
        self.wish(groups, windows)
        loops = compiled_loops()
        if loops is not None:
            addresses, held = self.addresses(groups, windows)
            if addresses.all():
                failed = loops.decode(addresses, rows)
                del held
                if failed >= 0:
                    raise undecodable(self.readers[groups[failed]].name, int(windows[failed]))
                return
        for row, group, window in zip(rows, groups.tolist(), windows.tolist(), strict=True):
            reader = self.readers[group]
            alone = reader.buffer(window)
            try:
                if alone is not None:
                    blosc.decompress(alone, row)
                else:
                    number, slot = divmod(window, reader.geometry.windows_per_frame)
                    row[:] = self._whole(reader.frame(number), reader.geometry)[slot]
            except (RuntimeError, ValueError) as error:  # what numcodecs raises
                raise undecodable(reader.name, window) from error

    def wish(self, groups: npt.NDArray[np.int32], windows: npt.NDArray[np.int64]) -> None:
        """Have the system begin to read what is beyond the page cache."""
        for group, reader in self._beyond_memory:
            reader.wish(windows[groups == group])

    def addresses(
        self, groups: npt.NDArray[np.int32], windows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], object]:
        """Return where in memory the windows' own Blosc buffers are; see `WindowReader.addresses`."""
        if len(self.readers) == 1:
            return self.readers[0].addresses(windows)
        addresses, held = np.empty(len(windows), np.int64), []
        for group in np.unique(groups).tolist():
            own = groups == group
            addresses[own], memory = self.readers[group].addresses(windows[own])
            held.append(memory)
        return addresses, held

    def _whole(self, frame: Frame, geometry: Geometry) -> npt.NDArray:
        windows: npt.NDArray | None = getattr(self._scratch, "frame", None)
        shape = (frame.n_windows, geometry.n_channels, geometry.n_times)
        if windows is None or windows.shape != shape or windows.dtype != geometry.dtype:
            windows = self._scratch.frame = np.empty(shape, dtype=geometry.dtype)
        blosc.decompress(frame.content, windows)
        return windows
