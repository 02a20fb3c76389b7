"""Single windows out of shards: found, checked once, decoded straight into place.

A window is a Blosc buffer of its own inside its frame (see `eegzarr.store.frame`), so it is
decoded where it lies: in the page cache, for a lake on a local path.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from eegzarr.errors import LakeError
from eegzarr.store.group import check_windows, geometry_of, open_signals, stored_digest
from eegzarr.store.layout import EEG, METADATA, Geometry
from eegzarr.store.reading.checked import Frame, checked_frame, frame_range, index_bytes, read_index, undecodable
from eegzarr.store.reading.gather import plain_loop
from eegzarr.store.reading.remote import FrameCache, RangeFetcher
from eegzarr.store.reading.spent import Spent

_WISHED = 8  # a part of a cache that is filled by one wish: several threads have such


class WindowReader(ABC):
    """Reads windows of one group; one a process, any number of threads.

    Parameters
    ----------
    lake, group : str
        Where the group is.
    digest : str, optional
        The group's `plan_digest` when its labels were read: a group that was rebuilt since then is refused.

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

    def __init__(self, lake: str, group: str, digest: str | None = None) -> None:
        self.name = f"{lake}/{group}"
        self._digest = digest
        self.spent = Spent()
        try:
            array = open_signals(lake, group)
        except FileNotFoundError as error:
            raise LakeError(f"{self.name} has no array of signals") from error
        self.geometry = geometry_of(array, f"{self.name}/{EEG}")
        self.n_windows = array.shape[0]
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

    def buffer(self, window: int) -> memoryview | None:
        """Return a window's own Blosc buffer, checked; None where it has none."""
        number, slot = divmod(window, self.geometry.windows_per_frame)
        frame = self.frame(number)
        return None if frame.bounds is None else frame.content[frame.bounds[slot] : frame.bounds[slot + 1]]

    def wish(self, windows: npt.NDArray[np.int64]) -> None:
        """Have the system begin to read windows, where it can be asked."""
        return

    def addresses(self, windows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], object]:
        """Return where in memory each window's own Blosc buffer is, 0 where it has none.

        The second value holds that memory: keep it for as long as the addresses are used.
        """
        numbers, slots = np.divmod(windows, self.geometry.windows_per_frame)
        frames = [self.frame(number) for number in numbers.tolist()]
        found = [
            0 if frame.bounds is None else frame.address + frame.bounds[slot]
            for frame, slot in zip(frames, slots.tolist(), strict=True)
        ]
        return np.array(found, np.int64), frames


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
        loop = plain_loop()
        if loop is not None:
            addresses, held = self.addresses(groups, windows)
            if addresses.all():
                failed = loop(addresses, rows)
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


class RemoteReader(WindowReader):
    """Reads from a bucket: whole frames, fetched ahead where asked to, in a shared cache.

    Parameters
    ----------
    cache : FrameCache
        Of frames of all the groups that are read together.
    number : int
        Of this group among them.
    concurrency : int
        Requests under way at a time.
    """

    beyond_memory = True

    def __init__(
        self, lake: str, group: str, cache: FrameCache, number: int, concurrency: int, digest: str | None = None
    ) -> None:
        super().__init__(lake, group, digest)
        self._metadata = f"{group}/{METADATA}"
        self._prefix = f"{group}/{EEG}"
        self._url = f"{lake}/{group}/{EEG}"
        self._cache = cache
        self._number = number
        self._fetcher = RangeFetcher(lake, concurrency, cache.memory)
        self._indexes: dict[int, Future[npt.NDArray[np.uint64]]] = {}
        self._lock = threading.Lock()

    @property
    def frame_nbytes(self) -> int:
        """Bytes of a frame before compression, which it takes at most, more or less."""
        return self.geometry.windows_per_frame * self.geometry.window_bytes

    def wish(self, windows: npt.NDArray[np.int64]) -> None:
        """Begin to fetch the first few frames of windows, so that they come beside each other."""
        most = max(1, self._cache.budget // (_WISHED * self.frame_nbytes))
        for number in np.unique(windows // self.geometry.windows_per_frame)[:most].tolist():
            if self._cache.get((self._number, number)) is None:
                self._begin(number)

    def holds(self, frames: int) -> bool:
        """Return whether the cache holds as many frames at a time."""
        return frames * self.frame_nbytes <= self._cache.budget

    def prefetch(self, number: int) -> bool:
        """Begin to fetch a frame, if it isn't there and the cache has room; return whether it was begun."""
        if self._cache.get((self._number, number)) is not None:
            return True
        if not self._cache.has_room(self.frame_nbytes):
            return False
        self._begin(number)
        return True

    def spare(self, number: int) -> None:
        """Let a frame go before others: it isn't needed soon."""
        self._cache.spare((self._number, number))

    def forget(self, number: int) -> None:
        """Let a frame go."""
        self._cache.drop((self._number, number))

    def frame(self, number: int) -> Frame:
        """Return a frame; wait for it if it is being fetched."""
        frame = self._cache.get((self._number, number)) or self._begin(number)
        if not frame.done():
            with self.spent.waiting():
                return frame.result()
        return frame.result()

    def close(self) -> None:
        """End the requests."""
        self._fetcher.close()

    def _begin(self, number: int) -> Future[Frame]:
        return self._cache.hold(
            (self._number, number), self.frame_nbytes, lambda: self._fetcher.submit(self._fetch_frame, number)
        )

    def _fetch_frame(self, number: int) -> Frame:
        shard, in_shard = divmod(number, self.geometry.frames_per_shard)
        key = f"{self._prefix}/{self.geometry.shard_key(shard)}"
        name = f"{self._url}/{self.geometry.shard_key(shard)}, frame {in_shard}"
        with self.spent.reading():
            offset, length = frame_range(self._index(shard, key), in_shard, name)
            stored = self._fetcher.fetch(key, offset, offset + length)
        # What compression has saved is room for further frames: without it the last frames of each block were asked
        # for only when the block before was done.
        self._cache.settle((self._number, number), min(length, self.frame_nbytes))
        with self.spent.checking():
            return checked_frame(stored, length, self.geometry, name)

    def _stored_digest(self) -> str | None:
        return stored_digest(self._fetcher.fetch(self._metadata, 0, None).tobytes())

    def _index(self, shard: int, key: str) -> npt.NDArray[np.uint64]:
        """Return a shard's index; the first to ask fetches it, others wait."""
        with self._lock:
            mine = shard not in self._indexes
            future: Future[npt.NDArray[np.uint64]] = self._indexes.setdefault(shard, Future())
        if mine:
            try:
                tail = self._fetcher.fetch(key, -index_bytes(self.geometry), None).tobytes()
                self.check_group()
                future.set_result(read_index(tail, self.geometry, f"{self._url}/{self.geometry.shard_key(shard)}"))
            except LakeError as error:
                future.set_exception(error)
        return future.result()
