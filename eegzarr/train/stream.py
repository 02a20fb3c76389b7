"""WindowStream: shuffled batches, decoded by threads straight into a ring of tensors."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch.utils.data import IterableDataset, get_worker_info

from eegzarr.errors import LakeError, UsageError
from eegzarr.store.read import GroupReader
from eegzarr.train.order import Uneven, batch_count, global_order, rank_batches
from eegzarr.train.selection import select

Batch = tuple[torch.Tensor, torch.Tensor]

# Windows a thread decodes at a time: enough to hide the hand-over, few enough to share a batch.
_WINDOWS_A_JOB = 16


class WindowStream(IterableDataset[Batch]):
    """Batches of a selection of windows, every window exactly once an epoch.

    The order depends on the selection, `seed` and the epoch alone: with any number of
    DataLoader workers it is the same sequence of batches. Call `set_epoch` before each
    epoch, as with PyTorch's ``DistributedSampler``, or the order repeats.

    Parameters
    ----------
    windows : Dataset
        As `eegzarr.open_windows` returns it, or any selection of it. Windows without a target
        and windows that could not be read are left out; see `left_out`.
    batch_size : int
        Windows in a batch; the last one of an epoch can be smaller.
    shuffle : bool
        A random permutation for each epoch; else the order of the selection.
    seed : int
        Of the permutations.
    target : str
        Label to give as y: any numeric coordinate along ``window``.
    drop_last : bool
        Leave out a smaller last batch.
    threads : int, optional
        Threads that decode; default one a core, in a DataLoader worker one.
    ahead : int
        Batches that are decoded before they are asked for. A consumer slower than the reader
        blocks it there.
    keep : int
        A batch's memory is used again after `keep` further ones were asked for.
    copy : bool
        Give each batch memory of its own, for those who keep batches. DataLoader workers
        always do.
    pin_memory : bool
        Put the ring into page-locked memory, for copies to a GPU that don't block.
    rank, ranks : int, optional
        Which share of the batches to yield; default from ``torch.distributed``, if that is
        initialised, else all.
    uneven : {"drop", "pad"}
        What to do with batches that don't share out evenly among ranks.

    Yields
    ------
    x : Tensor, shape (batch, channel, time)
        In uV, of the stored dtype.
    y : Tensor, shape (batch,)
        float32 targets.

    Attributes
    ----------
    left_out : dict of str to int
        Windows of the selection that are not streamed, by reason.

    Raises
    ------
    UsageError
        If the selection is empty or smaller than a batch that may not be dropped, or the
        target isn't there.
    LakeError
        While iterating, if a frame is damaged; it names the shard and the frame.
    """

    def __init__(
        self,
        windows: xr.Dataset,
        batch_size: int = 128,
        *,
        shuffle: bool = False,
        seed: int = 0,
        target: str = "target",
        drop_last: bool = False,
        threads: int | None = None,
        ahead: int = 4,
        keep: int = 1,
        copy: bool = False,
        pin_memory: bool = False,
        rank: int | None = None,
        ranks: int | None = None,
        uneven: Uneven = "drop",
    ) -> None:
        super().__init__()
        for name, value in {"batch_size": batch_size, "ahead": ahead, "keep": keep, "threads": threads or 1}.items():
            if value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        self._selection = select(windows, target)
        count = len(self._selection)
        if not count:
            raise UsageError(f"no window to stream: {_why_empty(windows, self.left_out)}")
        if drop_last and batch_size > count:
            raise UsageError(f"batch_size {batch_size} is larger than the selection of {count} windows, with drop_last")
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self._threads = threads
        self._ahead = ahead
        self._keep = keep
        self._copy = copy
        self._pin_memory = pin_memory
        self._rank, self._ranks = _rank_and_ranks(rank, ranks)
        self._uneven = uneven
        # Shared with DataLoader workers that outlive an epoch.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._done = 0
        self._readers: list[GroupReader] = []
        self._readers_pid = 0

    @property
    def left_out(self) -> dict[str, int]:
        """Windows of the selection that are not streamed, by reason."""
        return {"no target": self._selection.without_target, "signal not readable": self._selection.invalid}

    @property
    def targets(self) -> npt.NDArray[np.float32]:
        """Targets of all windows of the stream, (window,), in the order of the selection."""
        return self._selection.target

    @property
    def n_windows(self) -> int:
        """Windows in an epoch, over all ranks."""
        return len(self._selection)

    @property
    def epoch(self) -> int:
        """The epoch whose order the next iteration has."""
        return int(self._epoch.item())

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration has, from its beginning."""
        self._epoch.fill_(epoch)
        self._done = 0

    def state_dict(self) -> dict[str, int]:
        """Return where the stream is: ``epoch`` and ``batches`` of it that were yielded on all ranks."""
        return {"seed": self.seed, "epoch": self.epoch, "batches": self._done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches of a `state_dict`, on any number of ranks.

        Raises
        ------
        UsageError
            If it is of a stream with another seed.
        """
        if state["seed"] != self.seed:
            raise UsageError(f"the saved stream had seed {state['seed']}, this one has {self.seed}")
        self._epoch.fill_(state["epoch"])
        self._done = state["batches"]

    def __len__(self) -> int:
        """Batches that this rank yields in an epoch."""
        return len(self._my_batches())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": [], "_readers_pid": 0}

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        numbers = self._my_batches()
        numbers = numbers[np.arange(len(numbers)) * self._ranks + self._rank >= self._done]
        if worker is not None:
            numbers = numbers[worker.id :: worker.num_workers]
        threads = self._threads or (1 if worker else _cores())
        order = self._order()
        self._open_readers()
        for number, x, y in self._decode_ahead(numbers, order, threads, copy=self._copy or worker is not None):
            self._done = (int(number) // self._ranks + 1) * self._ranks
            yield x, y
        self._done = 0

    def _my_batches(self) -> npt.NDArray[np.int64]:
        return rank_batches(
            batch_count(self.n_windows, self.batch_size, self.drop_last), self._rank, self._ranks, self._uneven
        )

    def _order(self) -> npt.NDArray[np.int64]:
        if self.shuffle:
            return global_order(self.n_windows, self.seed, self.epoch)
        return np.arange(self.n_windows)

    def _open_readers(self) -> None:
        """Open the groups in this process; what a parent opened before a fork isn't used."""
        if self._readers_pid != os.getpid():
            self._readers = [GroupReader(self._selection.lake, group) for group in self._selection.groups]
            shapes = {(r.geometry.n_channels, r.geometry.n_times, r.geometry.dtype) for r in self._readers}
            if len(shapes) > 1:
                raise LakeError(f"windows of {', '.join(self._selection.groups)} differ in shape or dtype")
            self._readers_pid = os.getpid()

    def _decode_ahead(
        self, numbers: npt.NDArray[np.int64], order: npt.NDArray[np.int64], threads: int, copy: bool
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield batches in turn while later ones are decoded into the free rows of the ring."""
        ring = deque(self._new_buffer() for _ in range(0 if copy else self._ahead + self._keep))
        waiting: deque[tuple[int, npt.NDArray[np.int64], torch.Tensor, list[Future[None]]]] = deque()
        upcoming = iter(numbers.tolist())
        pool = ThreadPoolExecutor(threads, thread_name_prefix="eegzarr-decode")
        try:
            while True:
                while len(waiting) < self._ahead and (number := next(upcoming, None)) is not None:
                    members = order[number * self.batch_size : (number + 1) * self.batch_size]
                    buffer = self._new_buffer() if copy else ring[0]
                    ring.rotate(-1)
                    waiting.append((number, members, buffer, self._start(pool, members, buffer)))
                if not waiting:
                    return
                number, members, buffer, jobs = waiting.popleft()
                for job in jobs:
                    job.result()
                yield number, buffer[: len(members)], torch.from_numpy(self._selection.target[members])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _new_buffer(self) -> torch.Tensor:
        geometry = self._readers[0].geometry
        shape = (min(self.batch_size, self.n_windows), geometry.n_channels, geometry.n_times)
        return torch.empty(shape, dtype=getattr(torch, geometry.dtype), pin_memory=self._pin_memory)

    def _start(
        self, pool: ThreadPoolExecutor, members: npt.NDArray[np.int64], buffer: torch.Tensor
    ) -> list[Future[None]]:
        rows = buffer.numpy()
        groups = self._selection.group[members].tolist()
        windows = self._selection.window[members].tolist()

        def decode(first: int) -> None:
            for row in range(first, min(first + _WINDOWS_A_JOB, len(windows))):
                self._readers[groups[row]].read_into(windows[row], rows[row])

        return [pool.submit(decode, first) for first in range(0, len(windows), _WINDOWS_A_JOB)]


def _rank_and_ranks(rank: int | None, ranks: int | None) -> tuple[int, int]:
    distributed = torch.distributed
    if ranks is None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    rank, ranks = rank or 0, ranks or 1
    if not 0 <= rank < ranks:
        raise UsageError(f"rank must be from 0 to {ranks - 1}, got {rank}")
    return rank, ranks


def _why_empty(windows: xr.Dataset, left_out: dict[str, int]) -> str:
    told = ", ".join(f"{count} with {reason}" for reason, count in left_out.items() if count)
    return f"of {windows.sizes['window']} in the selection, {told} were left out" if told else "the selection is empty"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
