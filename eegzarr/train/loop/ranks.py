"""Several processes that train one model, as torchrun starts them: a GPU each."""

from __future__ import annotations

import itertools
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.distributed.rendezvous import rendezvous

from eegzarr.errors import FitStopped

PATIENCE = 300.0  # s that processes wait for one that doesn't come
_BEGINNING = 900.0  # s that they wait at the beginning, for machines that start at different times
_SHOWN = 160  # characters of a message that isn't ours
_FITS = itertools.count()  # of this process
Value = TypeVar("Value")


class Meeting:
    """Where the processes of a run wait for each other; one that doesn't come is named.

    Each process counts, in a store that all share, how often it has come. If it waits for longer than the processes'
    patience, or a connection ends, the counts say who is behind.

    Parameters
    ----------
    store : Store
    rank, count : int
    patience : float
        Seconds.
    """

    def __init__(self, store: distributed.Store, rank: int, count: int, patience: float) -> None:
        self._store, self._rank, self._count, self._patience = store, rank, count, patience
        self._times = 0

    def wait_for_all(self) -> None:
        """Wait until every process has come once."""
        self._store.wait([str(rank) for rank in range(self._count)], timedelta(seconds=_BEGINNING))

    def come(self) -> None:
        """Say that this process has come to the next place where the others may wait for it."""
        self._times += 1
        self._store.set(str(self._rank), f"{self._times} pid {os.getpid()} on {platform.node()}")

    def missing(self) -> str:
        """Return which processes haven't come to where this one is, for people."""
        try:
            told = {
                rank: self._store.get(str(rank)).decode() if self._store.check([str(rank)]) else "0 never seen"
                for rank in range(self._count)
            }
        except RuntimeError:  # the process that keeps the store is gone
            told = {}
        behind = [
            f"process {rank} ({where})"
            for rank, (times, _, where) in ((rank, text.partition(" ")) for rank, text in told.items())
            if int(times) < self._times
        ]
        if not behind:
            return "another process ended or doesn't answer"
        return f"{' and '.join(behind)} didn't come within {self._patience:g} s (--timeout), or ended"


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of a run.

    Attributes
    ----------
    meeting : Meeting or None
        None for a single process, and where a program has joined its processes itself.
    group : ProcessGroup or None
        For numbers and objects on the CPU; None for the default group.
    """

    rank: int
    count: int
    local: int
    device: torch.device
    meeting: Meeting | None = None
    group: distributed.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Name a process that doesn't come, where this one waits for it inside the ``with``.

        Raises
        ------
        FitStopped
        """
        self.come()
        try:
            yield
        except RuntimeError as error:
            # Gloo's errors have no class of their own.
            if self.meeting is None or not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
                raise
            cause = next(iter(str(error).splitlines()), "")[:_SHOWN]
            raise FitStopped(
                f"{self.meeting.missing()} ({cause}). See what it does there, and continue with --resume RUN"
            ) from error

    def come(self) -> None:
        """Say that this process has come to where others may wait for it."""
        if self.meeting is not None:
            self.meeting.come()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return self.largest(float(flag)) > 0

    def largest(self, value: float) -> float:
        """Return the largest value of all processes."""
        return value if self.count == 1 else self._reduced(value, is_sum=False)

    def from_first(self, value: float) -> float:
        """Return the first process's value."""
        return self.largest(value if self.is_first else float("-inf"))

    def mean(self, value: float) -> float:
        """Return the mean of a value over all processes."""
        return value if self.count == 1 else self._reduced(value, is_sum=True) / self.count

    def gathered(self, value: Value) -> list[Value]:
        """Return the value of every process, in order, in the first one; in the others nothing."""
        if self.count == 1:
            return [value]
        found: list[Value] | None = [value] * self.count if self.is_first else None
        with self.together():
            distributed.gather_object(value, found, dst=0, group=self.group)
        return found or []

    def give_weights(self, model: nn.Module) -> None:
        """Give all processes the first one's weights and statistics, in place."""
        if self.count == 1:
            return
        with self.together():
            for values in model.state_dict().values():
                distributed.broadcast(values, 0)

    def _reduced(self, value: float, *, is_sum: bool) -> float:
        # On the CPU where that is possible: it doesn't make a GPU wait.
        device = torch.device("cpu") if self.meeting is not None else self.device
        shared = torch.tensor(value, device=device, dtype=torch.float64)
        with self.together():
            how = distributed.ReduceOp.SUM if is_sum else distributed.ReduceOp.MAX
            distributed.all_reduce(shared, op=how, group=self.group)
        return float(shared.item())


@contextmanager
def joined_ranks(device: torch.device, patience: float = PATIENCE) -> Iterator[Ranks]:
    """Join the other processes of a torchrun, if it started this one, inside the ``with``.

    Parameters
    ----------
    device : torch.device
        This process's own.
    patience : float
        Seconds after which a process that doesn't come is given up.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or distributed.is_initialized():
        is_joined = distributed.is_available() and distributed.is_initialized()
        rank, count = (distributed.get_rank(), distributed.get_world_size()) if is_joined else (0, 1)
        yield Ranks(rank=rank, count=count, local=local_rank(), device=device)
        return
    store, rank, count = next(rendezvous("env://"))
    is_cuda, wait = device.type == "cuda", timedelta(seconds=patience)
    if is_cuda:
        torch.cuda.set_device(device)
    store = distributed.PrefixStore(f"eegzarr/{next(_FITS)}", store)  # it keeps what an earlier fit left in it
    meeting = Meeting(distributed.PrefixStore("met", store), rank, count, patience)
    ranks = Ranks(rank=rank, count=count, local=local_rank(), device=device, meeting=meeting)
    try:
        with ranks.together():
            meeting.wait_for_all()
            distributed.init_process_group(
                "nccl" if is_cuda else "gloo",
                store=distributed.PrefixStore("group", store),
                rank=rank,
                world_size=count,
                timeout=2 * wait
                if is_cuda
                else wait,  # NCCL ends the process without a message: Gloo should notice first
            )
            group = distributed.new_group(backend="gloo", timeout=wait) if is_cuda else None
        yield replace(ranks, group=group)
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def local_rank() -> int:
    """Return this process's number on its machine: which GPU is its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))
