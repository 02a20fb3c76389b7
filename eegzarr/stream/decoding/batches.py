"""Batches decoded ahead by threads, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import get_worker_info

from eegzarr.errors import UsageError
from eegzarr.machine.system import usable_cores
from eegzarr.store.reading.compiled import compile_for
from eegzarr.store.reading.fetched import RemoteReader
from eegzarr.stream.counts import whole
from eegzarr.stream.decoding.buffers import BufferPool
from eegzarr.stream.decoding.opened import OpenRows
from eegzarr.stream.rows import WindowRows

# Windows a thread decodes at a time. Fewer share a batch out better, but each hand-over between
# threads waits for Python's lock: 64 streamed a quarter faster than 16.
_WINDOWS_A_JOB = 64
_APART = 8  # batches between two uses of a frame from a bucket, above which it may have to be fetched again
# Frames ahead of those that are fetched whose shards' indexes are: no frame has to wait for its index first.
_LOOKED_UP = 32
_EXPECTED = 4  # batches that a disk is asked for before they are decoded: else it waits while all threads decode
# Shards' files are looked at as often as takes a 200th of the time (2 us for each), between these limits, in s: a
# file that is truncated in place ends the process once it is touched.
_LEAST_PAUSE, _LARGEST_PAUSE, _SHARE = 0.02, 1.0, 200


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How batches are read; none of it changes a batch.

    Attributes
    ----------
    threads : int or None
        That decode; None is one per core, in a DataLoader worker one.
    ahead : int
        Batches that are decoded before they are asked for.
    pin_memory : bool
    memory : int
        Bytes of frames from a bucket that are held at most.
    concurrency : int
        Requests to a bucket that are under way at a time.

    Raises
    ------
    UsageError
        If a number is below 1.
    """

    threads: int | None
    ahead: int
    pin_memory: bool
    memory: int
    concurrency: int

    def __post_init__(self) -> None:
        for name in ("ahead", "concurrency", "memory"):
            whole(name, getattr(self, name), 1)
        if self.threads is not None:
            whole("threads", self.threads, 1)

    @property
    def n_threads(self) -> int:
        """Threads that decode in this process."""
        return self.threads or (1 if get_worker_info() else usable_cores())

    def check_holds(self, rows: WindowRows) -> None:
        """Refuse a memory that can't hold a frame from a bucket.

        Raises
        ------
        UsageError
        """
        if rows.is_remote and self.memory < rows.frame_bytes:
            raise UsageError(
                f"memory of {self.memory} bytes can't hold one frame of {rows.frame_bytes} bytes: give at least that"
            )


class Decoder:
    """Decodes batches of windows; belongs to the process that made it.

    Parameters
    ----------
    rows : WindowRows
    reading : Reading
    by_block : bool
        Whether windows come by the blocks that they lie in: then tiles that several share are decoded once.
    """

    def __init__(self, rows: WindowRows, reading: Reading, *, by_block: bool = False) -> None:
        self._rows = rows
        # What a block shuffle mixes, and an eighth for tiles that its windows reach into.
        held = reading.memory // 16 * 9 if by_block and rows.windows_share_tiles() else 0
        self.opened = OpenRows(rows, reading.memory, reading.concurrency, held)
        self._idle_pools: list[BufferPool] = []

    @property
    def pid(self) -> int:
        """The process that it belongs to."""
        return self.opened.pid

    def batches(
        self,
        members: Sequence[npt.NDArray[np.int64]],
        offsets: Sequence[npt.NDArray[np.int64]],
        reading: Reading,
    ) -> Generator[torch.Tensor, None, None]:
        """Yield each batch in turn while later ones are decoded into buffers that nothing holds any longer.

        Parameters
        ----------
        members : sequence of array
            Windows of each batch, as places in the selection.
        offsets : sequence of array
            Where the crop of each of them begins.
        reading : Reading
            What of it is chosen again for each iteration: threads, batches ahead, pinned memory.
        """
        pool = self._buffers(max(map(len, members), default=0), reading.pin_memory)
        waiting: deque[tuple[torch.Tensor, list[Future[None]]]] = deque()
        lookahead = _Lookahead(self.opened, self._rows, members, offsets)
        upcoming = iter(zip(members, offsets, strict=True))
        executor = ThreadPoolExecutor(reading.n_threads, thread_name_prefix="eegzarr-decode")
        # In a thread of its own: one of two that decode would be missing for the first batches.
        compiling = threading.Thread(target=compile_for, args=(sum(map(len, members)),), name="eegzarr-compile")
        compiling.start()
        try:
            lookahead.reach(executor)  # a bucket answers both together
            self.opened.check()
            checked, pause = time.monotonic(), _LEAST_PAUSE
            while True:
                now = time.monotonic()
                if now - checked > pause:
                    self.opened.check_files()
                    checked = time.monotonic()
                    pause = min(_LARGEST_PAUSE, max(_LEAST_PAUSE, _SHARE * (checked - now)))
                while len(waiting) < reading.ahead and (following := next(upcoming, None)) is not None:
                    lookahead.reach(executor)
                    tensor, rows = pool.take(len(following[0]))
                    waiting.append((tensor, self._start(executor, rows, *following)))
                    del tensor
                if not waiting:
                    return
                batch, jobs = waiting.popleft()
                for job in jobs:
                    job.result()
                lookahead.passed()
                yield batch
                del batch  # or its buffer would be held here while the next is looked for
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            compiling.join()
            pool.trim(reading.ahead + 2)
            self._idle_pools[:] = [pool]

    def _buffers(self, count: int, pin_memory: bool) -> BufferPool:
        """Return buffers for batches of up to `count` windows; they outlive an epoch, since new pages are slow."""
        shape = (count, self._rows.shape.n_channels, self._rows.shape.n_times)
        pool = self._idle_pools.pop() if self._idle_pools else None
        if pool is None or pool.shape[0] < count:
            return BufferPool(shape, self._rows.shape.dtype, pin_memory=pin_memory)
        return pool

    def _start(
        self,
        executor: ThreadPoolExecutor,
        rows: npt.NDArray,
        chosen: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
    ) -> list[Future[None]]:
        def decode(job: slice) -> None:
            self.opened.fill(rows[job], chosen[job], offsets[job])

        firsts = range(0, len(chosen), _WINDOWS_A_JOB)
        return [executor.submit(decode, slice(first, min(first + _WINDOWS_A_JOB, len(chosen)))) for first in firsts]


@dataclass(frozen=True)
class _Use:
    """Windows of a frame in a bucket that several batches read, so near each other that the frame stays in memory.

    Attributes
    ----------
    windows : array of int64
        By their numbers in the group.
    first, last : int
        Batches.
    is_last : bool
        Whether no later batch reads the frame.
    """

    reader: RemoteReader
    frame: int
    windows: npt.NDArray[np.int64]
    first: int
    last: int
    is_last: bool


def _frame_uses(
    opened: OpenRows,
    rows: WindowRows,
    members: Sequence[npt.NDArray[np.int64]],
    offsets: Sequence[npt.NDArray[np.int64]],
) -> list[_Use]:
    """Return the uses of all frames in a bucket, in the order of their first batches."""
    if not any(isinstance(reader, RemoteReader) for reader in opened.readers) or not members:
        return []
    chosen, batch = np.concatenate(members), np.repeat(np.arange(len(members)), list(map(len, members)))
    first, last = rows.stored_in(chosen, np.concatenate(offsets))
    reader_of, read = opened.reader_of(chosen), []
    for number, reader in enumerate(opened.readers):
        if isinstance(reader, RemoteReader):
            own = np.flatnonzero(reader_of == number)
            counts = last[own] - first[own] + 1
            nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            window, by = np.repeat(first[own], counts) + nth, np.repeat(batch[own], counts)
            order = np.argsort(window // reader.geometry.windows_per_frame * len(members) + by, kind="stable")
            window, by = window[order], by[order]
            frame = window // reader.geometry.windows_per_frame
            read.append((reader, window, by, frame, np.append(True, frame[1:] != frame[:-1])[: len(frame)]))
    frames, found = sum(int(is_other.sum()) for *_, is_other in read), []
    for reader, window, by, frame, is_other in read:
        apart = len(members) if reader.holds(frames) else _APART
        begins = np.flatnonzero(is_other | (np.diff(by, prepend=0) > apart))
        ends = np.append(begins[1:], len(frame))[: len(begins)]
        are_last = np.append(is_other[begins[1:]], True)[: len(begins)]
        found += [
            _Use(reader, int(frame[a]), window[a:b], int(by[a]), int(by[b - 1]), is_last)
            for a, b, is_last in zip(begins.tolist(), ends.tolist(), are_last.tolist(), strict=True)
        ]
    return sorted(found, key=lambda use: use.first)


class _Lookahead:
    """What comes next: of a local lake the system is asked to read it; of a bucket, frames are fetched.

    Frames are begun in the order of their first use, and dropped after their last.
    """

    def __init__(
        self,
        opened: OpenRows,
        rows: WindowRows,
        members: Sequence[npt.NDArray[np.int64]],
        offsets: Sequence[npt.NDArray[np.int64]],
    ) -> None:
        self._uses = _frame_uses(opened, rows, members, offsets)
        self._over: dict[int, list[_Use]] = {}
        for use in self._uses:
            self._over.setdefault(use.last, []).append(use)
        self._begun = self._looked_up = 0
        self._batch = 0
        self._opened, self._batches = opened, list(zip(members, offsets, strict=True)) if opened.expects else []
        self._expected = 0
        opened.has_expected = False

    def reach(self, executor: ThreadPoolExecutor) -> None:
        """Begin to read and to fetch what comes next, as far as memory allows."""
        for batch in self._batches[self._expected : self._expected + (1 if self._expected else _EXPECTED)]:
            executor.submit(self._opened.expect, *batch)
            self._expected += 1
        while self._begun < len(self._uses):
            for coming in self._uses[self._looked_up : self._begun + _LOOKED_UP]:
                coming.reader.look_up(coming.frame)
            self._looked_up = self._begun + _LOOKED_UP
            use = self._uses[self._begun]
            if not use.reader.prefetch(use.frame, use.windows.tolist()):
                return
            self._begun += 1

    def passed(self) -> None:
        """Note that the oldest batch is decoded: let go of the frames that only it still needed."""
        for use in self._over.pop(self._batch, ()):
            if use.is_last:
                use.reader.forget(use.frame)
            else:  # else it might stand in the way of others until then
                use.reader.spare(use.frame)
        self._batch += 1
        if self._batch == len(self._batches) and not self._opened.has_expected:
            self._opened.expects = False  # all was read before
