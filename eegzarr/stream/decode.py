"""Batches decoded ahead by threads, in bounded memory."""

from __future__ import annotations

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
from eegzarr.store.reading.gather import FEW, compile_gather, compile_plain, is_worth_compiling
from eegzarr.store.reading.read import RemoteReader
from eegzarr.stream.buffers import BufferPool
from eegzarr.stream.counts import whole
from eegzarr.stream.rows import OpenRows, WindowRows

# Windows a thread decodes at a time. Fewer share a batch out better, but each hand-over between
# threads waits for Python's lock: 64 streamed a quarter faster than 16.
_WINDOWS_A_JOB = 64
_APART = 8  # batches between two uses of a frame from a bucket, above which it may have to be fetched again
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
        self._converts = any(layout.step or layout.is_cut for layout in rows.layouts)
        # What a block shuffle mixes, and an eighth for tiles that its windows reach into.
        held = reading.memory // 16 * 9 if by_block and rows.windows_share_tiles() else 0
        self.opened = rows.open(reading.memory, reading.concurrency, held)
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
        try:
            windows = sum(map(len, members))
            if windows >= FEW:
                executor.submit(compile_plain)
            if self._converts and is_worth_compiling(windows):
                executor.submit(compile_gather)
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
        readers = opened.readers
        self._first: list[tuple[RemoteReader, int]] = []
        self._dropped_after: dict[int, list[tuple[RemoteReader, int]]] = {}
        self._spared_after: dict[int, list[tuple[RemoteReader, int]]] = {}
        self._begun = 0
        self._batch = 0
        self._opened, self._batches = opened, list(zip(members, offsets, strict=True)) if opened.expects else []
        self._expected = 0
        opened.has_expected = False
        uses: list[tuple[int, int, int]] = []
        selection = rows.selection
        for batch, chosen in enumerate(members) if any(isinstance(r, RemoteReader) for r in readers) else ():
            reader_of = opened.reader[selection.source[chosen]]
            for number in np.unique(reader_of).tolist():
                reader = readers[number]
                if not isinstance(reader, RemoteReader):
                    continue
                mine = reader_of == number
                own = np.concatenate(rows.frames(chosen[mine], offsets[batch][mine]))
                uses += [(batch, number, frame) for frame in dict.fromkeys(own.tolist())]
        remote = {number: one for number, one in enumerate(readers) if isinstance(one, RemoteReader)}
        wanted = {use[1:] for use in uses}
        apart = _APART if any(not remote[number].holds(len(wanted)) for number in remote) else len(members)
        last: dict[tuple[int, int], int] = {}
        for batch, number, frame in uses:
            before = last.get((number, frame))
            if before is None or batch - before > apart:
                self._first.append((remote[number], frame))
                if before is not None:  # else it might block others until then
                    self._spared_after.setdefault(before, []).append((remote[number], frame))
            last[number, frame] = batch
        for (number, frame), batch in last.items():
            self._dropped_after.setdefault(batch, []).append((remote[number], frame))

    def reach(self, executor: ThreadPoolExecutor) -> None:
        """Begin to read and to fetch what comes next, as far as memory allows."""
        for batch in self._batches[self._expected : self._expected + (1 if self._expected else _EXPECTED)]:
            executor.submit(self._opened.expect, *batch)
            self._expected += 1
        while self._begun < len(self._first):
            reader, frame = self._first[self._begun]
            if not reader.prefetch(frame):
                return
            self._begun += 1

    def passed(self) -> None:
        """Note that the oldest batch is decoded: drop the frames that only it still needed."""
        for reader, frame in self._dropped_after.pop(self._batch, ()):
            reader.forget(frame)
        for reader, frame in self._spared_after.pop(self._batch, ()):
            reader.spare(frame)
        self._batch += 1
        if self._batch == len(self._batches) and not self._opened.has_expected:
            self._opened.expects = False  # all was read before
