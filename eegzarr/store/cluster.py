"""Dask: processes that inspect recordings and write shards, within a memory limit."""

from __future__ import annotations

import logging
import math
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dask
from dask.distributed import Client, Future, LocalCluster, as_completed

from eegzarr.errors import UsageError
from eegzarr.recipe import Recipe
from eegzarr.sources import Recording
from eegzarr.store.guard import machine_memory
from eegzarr.store.plan import Inspection, inspect
from eegzarr.store.shard import Receipt, ShardTask, write_shard

_MIB = 2**20
# Measured as proportional set size: the main process with the scheduler, xarray and zarr, and
# a worker with MNE, pandas and zarr, neither at work.
MAIN_IDLE = 230 * _MIB
WORKER_IDLE = 170 * _MIB

_INSPECT_BATCH = 16


def projected_worker_memory(shard_size: int, itemsize: int) -> int:
    """Return the bytes that a worker needs to write shards of a size, given in stored bytes.

    It holds a shard's windows as float32, their encoded frames, and what reading a
    recording takes besides.
    """
    return WORKER_IDLE + shard_size * 4 // itemsize + int(1.2 * shard_size) + 40 * _MIB


@dataclass(frozen=True, kw_only=True)
class Resources:
    """How many workers share which memory.

    Attributes
    ----------
    memory : int
        Bytes for the whole process tree.
    """

    workers: int
    memory: int

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
        memory = memory or machine_memory() // 2
        affordable = (memory - MAIN_IDLE) // worker_at_work
        wanted = workers or max(1, min(_cores(), affordable))
        if affordable < wanted:
            needed = math.ceil((MAIN_IDLE + wanted * worker_at_work) / _MIB)
            raise UsageError(
                f"--memory-limit {memory / _MIB:.0f}MiB is too small for {wanted} worker{'s' * (wanted > 1)}: "
                f"give at least {needed}MiB{', or fewer --workers' if wanted > 1 else ''}"
            )
        return cls(workers=wanted, memory=memory)


@contextmanager
def local_client(resources: Resources) -> Iterator[Client]:
    """Run worker processes on this machine, inside the ``with``."""
    config = {
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": 0.85,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.comm.timeouts.connect": "60s",
        # Read when a process starts. Shards go back to the system when freed, segments of a
        # recording stay: a page fault for each of them took twice the time of reading it.
        "distributed.nanny.pre-spawn-environ": {
            "MALLOC_MMAP_THRESHOLD_": str(16 * _MIB),
            "MALLOC_TRIM_THRESHOLD_": str(32 * _MIB),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            # MNE asks numba for help that reading recordings never needs; it costs 40 MB.
            "MNE_USE_NUMBA": "false",
        },
    }
    with (
        tempfile.TemporaryDirectory(prefix="eegzarr-", ignore_cleanup_errors=True) as scratch,
        dask.config.set(config),
        _started_without_interrupts(
            LocalCluster,
            n_workers=resources.workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=resources.worker_memory,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            local_directory=scratch,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _started_without_interrupts(cluster: type[LocalCluster], **options: Any) -> LocalCluster:
    """Start a cluster whose processes never see Ctrl-C, also those that are started again later.

    A blocked signal stays blocked in threads and processes that come from this thread; the
    main process alone decides what an interrupt means.
    """
    if threading.current_thread() is not threading.main_thread():
        return cluster(**options)
    resource_tracker.ensure_running()  # which would unblock the signal when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return cluster(**options)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def inspect_on(
    client: Client, root: Path, recipe: Recipe, recordings: Sequence[Recording], on_done: Callable[[int], None]
) -> list[Inspection]:
    """Inspect recordings on the workers; return inspections in the recordings' order."""
    batches = [recordings[first : first + _INSPECT_BATCH] for first in range(0, len(recordings), _INSPECT_BATCH)]
    found: dict[int, list[Inspection]] = {}
    done = 0
    for index, inspections in _unordered(
        client, lambda i: (_inspect_batch, root, batches[i], recipe), range(len(batches)), ahead=4
    ):
        found[index] = inspections
        done += len(inspections)
        on_done(done)
    return [inspection for index in range(len(batches)) for inspection in found[index]]


def _inspect_batch(root: Path, recordings: Sequence[Recording], recipe: Recipe) -> list[Inspection]:
    return [inspect(root, recording, recipe) for recording in recordings]


def write_shards(client: Client, tasks: Callable[[int], ShardTask], shards: Iterable[int]) -> Iterator[Receipt]:
    """Write shards on the workers; yield each receipt as it comes."""
    for _, receipt in _unordered(client, lambda shard: (write_shard, tasks(shard)), shards, ahead=2):
        yield receipt


def _unordered(
    client: Client, call: Callable[[int], tuple], keys: Iterable[int], ahead: int
) -> Iterator[tuple[int, Any]]:
    """Run ``call(key)`` on the cluster, at most `ahead` calls a worker under way or queued.

    The scheduler never holds more than that, whatever the number of keys.
    """
    pending = iter(keys)
    running: dict[Any, int] = {}
    completed = as_completed()

    def submit_next() -> None:
        for key in pending:
            function, *arguments = call(key)
            future: Future = client.submit(function, *arguments, pure=False, retries=2)
            running[future.key] = key
            completed.add(future)
            return

    for _ in range(ahead * max(1, len(client.nthreads()))):
        submit_next()
    for future in completed:
        result = future.result()
        key = running.pop(future.key)
        future.release()
        submit_next()
        yield key, result


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
