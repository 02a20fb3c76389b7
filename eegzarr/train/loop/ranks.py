"""Several processes that train one model, as torchrun starts them: a GPU each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

_PATIENCE = timedelta(hours=6)  # the others wait while the first one evaluates


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of a run."""

    rank: int
    count: int
    local: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process evaluates, writes and reports."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return self.largest(float(flag)) > 0

    def largest(self, value: float) -> float:
        """Return the largest value of all processes."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, device=self.device, dtype=torch.float64)
        distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
        return float(shared.item())

    def from_first(self, value: float) -> float:
        """Return the first process's value."""
        return self.largest(value if self.is_first else float("-inf"))

    def mean(self, value: float) -> float:
        """Return the mean of a value over all processes."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, device=self.device, dtype=torch.float64)
        distributed.all_reduce(shared)
        return float(shared.item()) / self.count


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes of a torchrun, if it started this one, inside the ``with``."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or distributed.is_initialized():
        is_joined = distributed.is_available() and distributed.is_initialized()
        rank, count = (distributed.get_rank(), distributed.get_world_size()) if is_joined else (0, 1)
        yield Ranks(rank=rank, count=count, local=local_rank(), device=device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(rank=distributed.get_rank(), count=count, local=local_rank(), device=device)
    finally:
        distributed.destroy_process_group()


def local_rank() -> int:
    """Return this process's number on its machine: which GPU is its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))
