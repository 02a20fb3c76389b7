"""How many workers share which memory, and what memory a worker needs: decided before any starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eegzarr.errors import UsageError
from eegzarr.machine.memory import machine_memory
from eegzarr.machine.system import usable_cores

if TYPE_CHECKING:
    from dask.distributed import Client

_MIB = 2**20
# Measured as proportional set size: the main process with the scheduler, xarray and zarr, and
# a worker with MNE, pandas and zarr, neither at work.
MAIN_IDLE = 230 * _MIB
WORKER_IDLE = 170 * _MIB

_HALVINGS = 3  # of a shard, where memory is short


def projected_worker_memory(
    shard_size: int, itemsize: int, *, prepares: bool = False, remote: bool = False, reading: int | None = None
) -> int:
    """Return the bytes that a worker needs to write shards of a size, given in stored bytes.

    It holds as much as one recording has in a shard, at most all of it, as float32; what
    reading or preparing a recording takes besides, `reading` where that is known; and, where
    the lake is in a bucket, which takes whole objects, the shard's frames twice.
    """
    if reading is None:
        reading = 240 * _MIB if prepares else 0
    reading = int(1.1 * reading) + 60 * _MIB if reading else 40 * _MIB
    encoded = int(2.3 * shard_size) if remote else 0
    return WORKER_IDLE + shard_size * 4 // itemsize + encoded + reading


def affordable_shard_size(largest: int, itemsize: int, workers: int | None, memory: int | None, **kind: Any) -> int:
    """Return the largest shard that fits in a memory limit, one per worker, on as many cores as possible.

    `largest`, halved up to three times. `kind` is that of `projected_worker_memory`.
    """
    memory = memory or default_memory()
    sizes = [largest >> halvings for halvings in range(_HALVINGS + 1)]
    for wanted in [workers] if workers else range(usable_cores(), 0, -1):
        for size in sizes:
            if MAIN_IDLE + wanted * projected_worker_memory(size, itemsize, **kind) <= memory:
                return size
    return sizes[-1]


def least_shard_size(largest: int) -> int:
    """Return the smallest size that `affordable_shard_size` gives."""
    return largest >> _HALVINGS


def default_memory() -> int:
    """Return the memory limit where none is given: half of what this process may have."""
    return machine_memory() // 2


@dataclass(frozen=True, kw_only=True)
class Resources:
    """How many workers share which memory.

    Attributes
    ----------
    memory : int
        Bytes for the whole process tree; 0 where the workers belong to a cluster of the user's.
    """

    workers: int
    memory: int

    def projected(self, worker_at_work: int) -> int:
        """Bytes that all processes together will need, each worker `worker_at_work`."""
        return MAIN_IDLE + self.workers * worker_at_work

    @classmethod
    def of_cluster(cls, client: Client) -> Resources:
        """Return what a running cluster has now."""
        return cls(workers=sum(client.nthreads().values()), memory=0)

    @property
    def worker_memory(self) -> int:
        """Bytes at which Dask restarts a worker."""
        return (self.memory - MAIN_IDLE) // self.workers

    @classmethod
    def fit(cls, worker_at_work: int, workers: int | None = None, memory: int | None = None) -> Resources:
        """Choose workers for the memory, and the memory for the machine.

        Parameters
        ----------
        worker_at_work : int
            Bytes that a worker needs, see `projected_worker_memory`.
        workers : int, optional
            Default: one a core, as far as the memory goes.
        memory : int, optional
            Bytes; default half of the machine's or the cgroup's.

        Raises
        ------
        UsageError
            If the memory is too little for the workers asked for, or for one.
        """
        if workers is not None and workers < 1:
            raise UsageError(f"--workers must be at least 1, got {workers}")
        memory = memory or default_memory()
        affordable = (memory - MAIN_IDLE) // worker_at_work
        wanted = workers or max(1, min(usable_cores(), affordable))
        if affordable < wanted:
            needed = math.ceil((MAIN_IDLE + wanted * worker_at_work) / _MIB)
            raise UsageError(
                f"--memory-limit {memory / _MIB:.0f}MiB is too small for {wanted} worker{'s' * (wanted > 1)}: "
                f"give at least {needed}MiB{', or fewer --workers' if wanted > 1 else ''}"
            )
        return cls(workers=wanted, memory=memory)
