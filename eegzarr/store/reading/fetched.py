"""Windows of a lake in a bucket: frames that are fetched ahead, or parts of them, in a cache of bounded size."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eegzarr.store.group import StoredWindows, stored_digest
from eegzarr.store.layout import EEG, METADATA
from eegzarr.store.reading.checked import (
    Frame,
    FrameParts,
    checked_frame,
    frame_range,
    index_bytes,
    read_index,
)
from eegzarr.store.reading.read import WindowReader
from eegzarr.store.reading.remote import FrameCache, RangeFetcher
from eegzarr.store.reading.singles import SingleWindows, is_own, ranges_of

_WISHED = 8  # a part of a cache that is filled by one wish: several threads have such
# A request waits for 30 ms or so, among others that are under way; meanwhile 200 MB/s bring so many bytes.
_BYTES_A_WAIT = 6_000_000
_LOOKED_EVERY = 2.0  # s between two looks at whether the group is still the one that was opened
_A_TABLE, _A_WINDOW = 4, 8  # requests, and bytes of each window, to read the checksums of single windows


@dataclass(frozen=True)
class _Fetched:
    """A frame, or some windows of it by their slots: under way, or there."""

    future: Future[Frame | FrameParts]
    slots: frozenset[int] | None

    def has(self, slots: Collection[int]) -> bool:
        """Return whether some windows are, or will be, there."""
        return self.slots is None or self.slots.issuperset(slots)


@dataclass(frozen=True)
class _Index:
    """Where the frames of a shard are, (frame, 2); and whether the group was what was opened when that had come."""

    ranges: npt.NDArray[np.uint64]
    vouched: Future[None]


class LateChecks:
    """A check that is made once for all who ask before it begins, so that it is as late as each of them needs."""

    def __init__(self) -> None:
        self._next: Future[None] | None = None
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="eegzarr-check")

    def ask(self, check: Callable[[], None]) -> Future[None]:
        """Return the result of a check that begins after this call; `check` raises where something is wrong."""
        with self._lock:
            if self._next is None:
                self._next = self._thread.submit(self._run, check)
            return self._next

    def _run(self, check: Callable[[], None]) -> None:
        with self._lock:
            self._next = None
        check()

    def close(self) -> None:
        """Check no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class RemoteReader(WindowReader):
    """Reads from a bucket: frames, fetched ahead where asked to, in a shared cache.

    Of a frame of which few windows are wanted these alone are fetched, where that takes less time. If others of it are
    wanted later, all of it is.

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
        self,
        lake: str,
        group: str,
        cache: FrameCache,
        number: int,
        concurrency: int,
        digest: str | None = None,
        stored: StoredWindows | None = None,
    ) -> None:
        super().__init__(lake, group, digest, stored)
        self._place = lake, group
        self._metadata = f"{group}/{METADATA}"
        self._prefix = f"{group}/{EEG}"
        self._url = f"{lake}/{group}/{EEG}"
        self._cache = cache
        self._number = number
        self._fetcher = RangeFetcher(lake, concurrency, cache.memory)
        self._indexes: dict[int, Future[_Index]] = {}
        self._checks = LateChecks()
        self._looked: Future[None] | None = None
        self._looked_at = time.monotonic()
        self._lock = threading.Lock()
        self._a_request = _BYTES_A_WAIT // concurrency
        self._singles: SingleWindows | None = None
        self._saved = 0  # bytes that would have been saved with it
        self._singles_lock = threading.Lock()

    @property
    def frame_nbytes(self) -> int:
        """Bytes of a frame before compression, which it takes at most, more or less."""
        return self.geometry.windows_per_frame * self.geometry.window_bytes

    def wish(self, windows: npt.NDArray[np.int64]) -> None:
        """Begin to fetch the first few frames of windows, so that they come beside each other."""
        most = max(1, self._cache.budget // (_WISHED * self.frame_nbytes))
        numbers, slots = np.divmod(windows, self.geometry.windows_per_frame)
        for number in np.unique(numbers)[:most].tolist():
            wanted = slots[numbers == number].tolist()
            held = self._cache.get((self._number, number))
            if held is None or not held.has(wanted):
                self._begin(number, frozenset(wanted) if held is None else None)

    def holds(self, frames: int) -> bool:
        """Return whether the cache holds as many frames at a time."""
        return frames * self.frame_nbytes <= self._cache.budget

    def look_up(self, number: int) -> None:
        """Begin to fetch the index of the shard that a frame is in."""
        self._index_of(number)

    def prefetch(self, number: int, windows: Collection[int]) -> bool:
        """Begin to fetch windows of a frame, if they aren't there and there is room; return whether it was begun."""
        slots = frozenset(window - number * self.geometry.windows_per_frame for window in windows)
        held = self._cache.get((self._number, number))
        if held is not None and held.has(slots):
            return True
        if not self._cache.has_room(self.frame_nbytes):
            return False
        self._begin(number, slots)
        return True

    def spare(self, number: int) -> None:
        """Let a frame go before others: it isn't needed soon."""
        self._cache.spare((self._number, number))

    def forget(self, number: int) -> None:
        """Let a frame go."""
        self._cache.drop((self._number, number))

    def frame(self, number: int) -> Frame:
        """Return a whole frame; wait for it if it is being fetched."""
        held = self._cache.get((self._number, number))
        found = None if held is None else self._come(held)
        if not isinstance(found, Frame):
            found = self._come(self._begin(number, None))
        assert isinstance(found, Frame)
        return found

    def held(self, number: int, slot: int) -> Frame | FrameParts:
        """Return what is held of a frame if that has the window of a slot, else all of it; wait for it."""
        held = self._cache.get((self._number, number))
        return self._come(held if held is not None and held.has((slot,)) else self._begin(number, None))

    def check_files(self) -> None:
        """Refuse to continue if the group was found to be rebuilt; have it looked at again now and then.

        Frames of a rebuilt shard could be where those of the old one were, with checksums that are right.
        """
        if self._looked is not None and self._looked.done():
            self._looked.result()
        if time.monotonic() - self._looked_at > _LOOKED_EVERY:
            self._looked_at, self._looked = time.monotonic(), self._checks.ask(self.check_group)

    def close(self) -> None:
        """End the requests."""
        self._fetcher.close()
        self._checks.close()

    def _come(self, held: _Fetched) -> Frame | FrameParts:
        if not held.future.done():
            with self.spent.waiting():
                return held.future.result()
        return held.future.result()

    def _begin(self, number: int, slots: frozenset[int] | None) -> _Fetched:
        """Begin to fetch windows of a frame, or all of them."""

        def begin() -> _Fetched:
            index = self._index_of(number)  # before: threads take what was submitted first, and one waits for it
            return _Fetched(self._fetcher.submit(self._fetch, number, slots, index), slots)

        def is_enough(held: _Fetched) -> bool:
            return held.has(range(self.geometry.windows_per_frame) if slots is None else slots)

        return self._cache.hold((self._number, number), self.frame_nbytes, begin, is_enough)

    def _fetch(self, number: int, slots: frozenset[int] | None, coming: Future[_Index]) -> Frame | FrameParts:
        shard, in_shard = divmod(number, self.geometry.frames_per_shard)
        key = f"{self._prefix}/{self.geometry.shard_key(shard)}"
        name = f"{self._url}/{self.geometry.shard_key(shard)}, frame {in_shard}"
        with self.spent.reading():
            index = coming.result()
            offset, length = frame_range(index.ranges, in_shard, name)
        parts = None if slots is None else self._parts(number, sorted(slots), key, offset, length)
        found = parts or self._whole(number, key, offset, length, name)
        with self.spent.reading():
            index.vouched.result()
        return found

    def _whole(self, number: int, key: str, offset: int, length: int, name: str) -> Frame:
        with self.spent.reading():
            stored = self._fetcher.fetch(key, offset, offset + length)
        # What compression has saved is room for further frames: without it the last frames of each block were asked
        # for only when the block before was done.
        self._cache.settle((self._number, number), min(length, self.frame_nbytes))
        with self.spent.checking():
            return checked_frame(stored, length, self.geometry, name)

    def _parts(self, number: int, slots: list[int], key: str, offset: int, length: int) -> FrameParts | None:
        """Fetch some windows of a frame without the rest; None where that takes longer, or they aren't as noted."""
        per_frame = self.geometry.windows_per_frame
        share = length * len(slots) // per_frame
        if 2 * share > length:
            return None
        singles = self._known(length - share - self._a_request)
        if singles is None:
            return None
        windows = np.array(slots) + number * per_frame
        starts, nbytes, checksums = singles.of(windows)
        ranges = ranges_of(starts, starts + nbytes, length, self._a_request) if nbytes.all() else []
        if not ranges:
            return None
        found: dict[int, npt.NDArray[np.uint8]] = {}
        for first, stop in ranges:
            with self.spent.reading():
                piece = self._fetcher.fetch(key, offset + first, offset + stop)
            with self.spent.checking():
                for slot, start, size, checksum in zip(slots, starts, nbytes, checksums, strict=True):
                    if first <= start < stop:
                        found[slot] = piece[start - first : start - first + size]
                        if not is_own(found[slot], size, checksum, self.geometry.window_bytes):
                            return None  # damaged, or written again by another program
        self._cache.settle((self._number, number), sum(stop - first for first, stop in ranges))
        return FrameParts(found)

    def _known(self, saving: int) -> SingleWindows | None:
        """Return the checksums of single windows, read once they would have saved more bytes than they take."""
        with self._singles_lock:
            self._saved += saving
            if self._singles is None and self._saved > _A_TABLE * self._a_request + _A_WINDOW * self.n_windows:
                self._singles = SingleWindows.read(*self._place, self.geometry, self.n_windows)
            return self._singles

    def _stored_digest(self) -> str | None:
        return stored_digest(self._fetcher.fetch(self._metadata, 0, None).tobytes())

    def _index_of(self, number: int) -> Future[_Index]:
        """Return the index of the shard that a frame is in; the first to ask begins to fetch it."""
        shard = number // self.geometry.frames_per_shard
        with self._lock:
            if shard not in self._indexes:
                self._indexes[shard] = self._fetcher.submit(self._read_index, self.geometry.shard_key(shard))
            return self._indexes[shard]

    def _read_index(self, key: str) -> _Index:
        with self.spent.reading():
            tail = self._fetcher.fetch(f"{self._prefix}/{key}", -index_bytes(self.geometry), None).tobytes()
        ranges = read_index(tail, self.geometry, f"{self._url}/{key}")
        return _Index(ranges, self._checks.ask(self.check_group))
