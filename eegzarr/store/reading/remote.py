"""Bytes from a bucket: ranges of objects, in threads and with retries, held in bounded memory."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import fsspec
import numpy as np
import numpy.typing as npt

from eegzarr.errors import LakeError
from eegzarr.store.bucket import BucketStore
from eegzarr.store.layout import open_store
from eegzarr.store.reading.lent import LentMemory
from eegzarr.store.reading.signed import Declined, SignedRanges

_log = logging.getLogger(__name__)
_ATTEMPTS = 6
_FIRST_WAIT = 0.1  # s, doubled at each further attempt
_Result = TypeVar("_Result")
_Held = TypeVar("_Held")


class RangeFetcher:
    """Byte ranges of objects below a URL, and the threads to wait for them.

    Parameters
    ----------
    url : str
        Any that fsspec knows.
    concurrency : int
        Threads, and so requests under way at a time.
    memory : LentMemory, optional
        For what comes.
    """

    def __init__(self, url: str, concurrency: int, memory: LentMemory | None = None) -> None:
        self._url = url
        store = open_store(url, read_only=True)
        assert isinstance(store, BucketStore)
        self._root = store.path
        self._signed = SignedRanges.of(store.fs, memory or LentMemory(0))
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="eegzarr-fetch")

    def submit(self, function: Callable[..., _Result], *arguments: Any) -> Future[_Result]:
        """Run a function that fetches in one of the threads."""
        return self._pool.submit(function, *arguments)

    def fetch(self, key: str, start: int, stop: int | None) -> npt.NDArray[np.uint8]:
        """Return bytes of an object; a negative `start` counts from its end.

        Raises
        ------
        LakeError
            If the object is missing, or can't be read after several attempts.
        """
        path = f"{self._root}/{key}"
        for attempt in range(_ATTEMPTS):
            try:
                return _asked(self._read(path, start, stop), start, stop)
            except FileNotFoundError as error:
                raise LakeError(f"{path} is missing: python -m eegzarr.verify finds what else is") from error
            except OSError as error:  # fsspec's and the network's errors, time-outs among them
                if attempt == _ATTEMPTS - 1:
                    raise LakeError(f"{path} can't be read after {_ATTEMPTS} attempts: {error}") from error
            time.sleep(_FIRST_WAIT * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _read(self, path: str, start: int, stop: int | None) -> npt.NDArray[np.uint8]:
        signed = self._signed  # which another thread may take away meanwhile
        if signed is not None:
            try:
                return signed.get(path, start, stop)
            except Declined as declined:
                before, self._signed = self._signed, None  # s3fs knows more ways in
                if before is not None:  # no other thread has said so
                    _log.warning("requests are left to s3fs, which takes about twice as long: %s", declined)
        filesystem, _ = fsspec.core.url_to_fs(self._url)  # one that waits for its answers; fsspec keeps it
        return np.frombuffer(filesystem.cat_file(path, start=start, end=stop), np.uint8)

    def close(self) -> None:
        """End the threads; what is under way is let go."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _asked(found: npt.NDArray[np.uint8], start: int, stop: int | None) -> npt.NDArray[np.uint8]:
    """Return the bytes that were asked for; servers that know no ranges, as Python's own, send all of an object."""
    if stop is None:
        return found[start:] if start < 0 else found
    return found[start:stop] if len(found) > stop - start else found


class FrameCache:
    """Frames under way or fetched, by (group, number); the longest unused goes first, before it those that are spare.

    Parameters
    ----------
    budget : int
        Bytes that are held at most; one frame always is.

    Attributes
    ----------
    memory : LentMemory
        For these frames.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.memory = LentMemory(budget)
        self._frames: OrderedDict[tuple[int, int], tuple[Any, int]] = OrderedDict()
        self._spare: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._held = self._spared = 0  # bytes
        self._lock = threading.Lock()

    def has_room(self, nbytes: int) -> bool:
        """Return whether another frame fits beside those held, not counting spare ones."""
        with self._lock:
            return self._held - self._spared + nbytes <= self.budget

    def get(self, key: tuple[int, int]) -> Any:
        """Return a frame that is held or under way, or None."""
        with self._lock:
            if key not in self._frames:
                return None
            self._unspare(key)
            self._frames.move_to_end(key)
            return self._frames[key][0]

    def hold(
        self, key: tuple[int, int], nbytes: int, begin: Callable[[], _Held], is_enough: Callable[[_Held], bool]
    ) -> _Held:
        """Return a frame; begin to fetch it if nobody has, or too little of it; let others go where it takes that."""
        with self._lock:
            if key in self._frames:
                held: _Held = self._frames[key][0]
                if is_enough(held):
                    return held
                self._drop(key)
            while self._frames and self._held + nbytes > self.budget:
                self._drop(next(iter(self._spare or self._frames)))
            held = begin()
            self._frames[key] = held, nbytes
            self._held += nbytes
            return held

    def settle(self, key: tuple[int, int], nbytes: int) -> None:
        """Note what a frame that has come takes, where more was set aside for it."""
        with self._lock:
            if key in self._frames:
                frame, before = self._frames[key]
                self._frames[key] = frame, nbytes
                self._held += nbytes - before
                self._spared += nbytes - before if key in self._spare else 0

    def spare(self, key: tuple[int, int]) -> None:
        """Let a frame that isn't needed soon go before others."""
        with self._lock:
            if key in self._frames and key not in self._spare:
                self._spare[key] = None
                self._spared += self._frames[key][1]

    def drop(self, key: tuple[int, int]) -> None:
        """Let a frame go that isn't needed any more."""
        with self._lock:
            if key in self._frames:
                self._drop(key)

    def _unspare(self, key: tuple[int, int]) -> None:
        if key in self._spare:
            del self._spare[key]
            self._spared -= self._frames[key][1]

    def _drop(self, key: tuple[int, int]) -> None:
        self._unspare(key)
        self._held -= self._frames.pop(key)[1]
