"""Batches decoded ahead by threads, in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from eegzarr.store.gather import compile_gather
from eegzarr.store.read import LocalReader, RemoteReader, WindowReader
from eegzarr.store.remote import FrameCache
from eegzarr.stream.shape import RowFiller, RowShape

# Windows a thread decodes at a time. Fewer share a batch out better, but each hand-over between
# threads waits for Python's lock: 64 streamed a quarter faster than 16.
_WINDOWS_A_JOB = 64
# Windows after which a stream is long enough to compile what decodes them (see eegzarr.store.gather).
_LONG = 20_000


def open_readers(
    groups: Sequence[tuple[str, str]], memory: int, concurrency: int, *, beyond_memory: bool
) -> list[WindowReader]:
    """Open groups for reading in this process.

    Parameters
    ----------
    groups : sequence of (str, str)
        Lake and path of each.
    memory : int
        Bytes of frames that all the remote ones together hold.
    concurrency : int
        Requests of each remote one that are under way at a time.
    beyond_memory : bool
        As for `LocalReader`.
    """
    cache = FrameCache(memory)
    return [
        RemoteReader(lake, group, cache, number, concurrency)
        if "://" in lake
        else LocalReader(lake, group, beyond_memory=beyond_memory)
        for number, (lake, group) in enumerate(groups)
    ]


class Decoder:
    """Decodes batches of windows; belongs to the process that made it.

    Parameters
    ----------
    readers : list of WindowReader
    group, window : array, shape (window,)
        Which reader each window of the selection is of, and its number there.
    shape : RowShape
        What becomes of a window in its row.
    """

    def __init__(
        self,
        readers: list[WindowReader],
        group: npt.NDArray[np.int32],
        window: npt.NDArray[np.int64],
        shape: RowShape,
    ) -> None:
        self.pid = os.getpid()
        self._readers = readers
        self._group = group
        self._window = window
        self._shape = shape
        self._filler = RowFiller(shape, readers)
        self._idle_rings: list[deque[torch.Tensor]] = []
        self._decoded = 0

    def batches(
        self,
        members: list[npt.NDArray[np.int64]],
        offsets: npt.NDArray[np.int64],
        *,
        threads: int,
        ahead: int,
        keep: int,
        copy: bool,
        pin_memory: bool,
    ) -> Iterator[torch.Tensor]:
        """Yield each batch in turn while later ones are decoded into free buffers of a ring.

        Parameters
        ----------
        members : list of array
            Windows of each batch, as places in the selection.
        offsets : array of int, shape (window,)
            Where each window's crop begins.
        ahead, keep, copy, pin_memory
            As for `eegzarr.train.WindowStream`.
        """
        rows = max(map(len, members), default=0)

        def new_buffer() -> torch.Tensor:
            shape = (rows, self._shape.n_channels, self._shape.n_times)
            return torch.empty(shape, dtype=getattr(torch, self._shape.dtype), pin_memory=pin_memory)

        # The consumer holds `keep` batches and the one that it was given last. A ring outlives its epoch:
        # the pages of a new one would be faulted in again.
        ring = self._idle_rings.pop() if self._idle_rings else deque[torch.Tensor]()
        if not copy and (len(ring) != ahead + keep or len(ring[0]) < rows):
            ring = deque(new_buffer() for _ in range(ahead + keep))
        waiting: deque[tuple[torch.Tensor, list[Future[None]]]] = deque()
        lookahead = _Lookahead(self._readers, self._group, self._window, members)
        upcoming = iter(members)
        pool = ThreadPoolExecutor(threads, thread_name_prefix="eegzarr-decode")
        try:
            while True:
                while len(waiting) < ahead and (chosen := next(upcoming, None)) is not None:
                    lookahead.reach()
                    buffer = new_buffer() if copy else ring[0]
                    ring.rotate(-1)
                    waiting.append((buffer[: len(chosen)], self._start(pool, chosen, buffer.numpy(), offsets)))
                if not waiting:
                    return
                batch, jobs = waiting.popleft()
                for job in jobs:
                    job.result()
                lookahead.passed()
                if self._decoded <= _LONG < self._decoded + len(batch):
                    pool.submit(compile_gather)
                self._decoded += len(batch)
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._idle_rings[:] = [ring]

    def _start(
        self,
        pool: ThreadPoolExecutor,
        chosen: npt.NDArray[np.int64],
        rows: npt.NDArray,
        offsets: npt.NDArray[np.int64],
    ) -> list[Future[None]]:
        def decode(job: slice) -> None:
            part = chosen[job]
            self._filler.fill(rows[job], self._group[part], self._window[part], offsets[part])

        firsts = range(0, len(chosen), _WINDOWS_A_JOB)
        return [pool.submit(decode, slice(first, min(first + _WINDOWS_A_JOB, len(chosen)))) for first in firsts]


class _Lookahead:
    """Frames of remote groups: begun in the order of their first use, dropped after their last."""

    def __init__(
        self,
        readers: list[WindowReader],
        group: npt.NDArray[np.int32],
        window: npt.NDArray[np.int64],
        members: list[npt.NDArray[np.int64]],
    ) -> None:
        self._readers = readers
        self._first: list[tuple[RemoteReader, int]] = []
        self._dropped_after: dict[int, list[tuple[RemoteReader, int]]] = {}
        self._begun = 0
        self._batch = 0
        last: dict[tuple[int, int], int] = {}
        for batch, chosen in enumerate(members) if any(isinstance(r, RemoteReader) for r in readers) else ():
            for number in np.unique(group[chosen]).tolist():
                reader = readers[number]
                if not isinstance(reader, RemoteReader):
                    continue
                own = window[chosen[group[chosen] == number]] // reader.geometry.windows_per_frame
                for frame in dict.fromkeys(own.tolist()):
                    if (number, frame) not in last:
                        self._first.append((reader, frame))
                    last[number, frame] = batch
        for (number, frame), batch in last.items():
            reader = readers[number]
            assert isinstance(reader, RemoteReader)
            self._dropped_after.setdefault(batch, []).append((reader, frame))

    def reach(self) -> None:
        """Begin to fetch what comes next, as far as memory allows."""
        while self._begun < len(self._first):
            reader, frame = self._first[self._begun]
            if not reader.prefetch(frame):
                return
            self._begun += 1

    def passed(self) -> None:
        """Tell that the oldest batch is decoded: drop the frames that only it still needed."""
        for reader, frame in self._dropped_after.pop(self._batch, ()):
            reader.forget(frame)
        self._batch += 1
