"""Dask: processes that inspect recordings and write shards, within a memory limit."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

import dask
import psutil
from dask.distributed import Client, Future, LocalCluster

from eegzarr.bids.recordings import Recording
from eegzarr.build.inspect import Inspection, inspect_batch
from eegzarr.build.shards import write_shard
from eegzarr.build.task import ShardTask, drop_prepared, prepare
from eegzarr.build.workers.ahead import ENVIRONMENT
from eegzarr.build.workers.crew import Crew, Needs, Unfit, check_written, version
from eegzarr.build.workers.resources import WORKER_IDLE, Resources
from eegzarr.build.workers.script import GUARD, check_script
from eegzarr.build.workers.waiting import Results
from eegzarr.errors import BuildStopped, EegzarrError, UsageError
from eegzarr.events import Listener
from eegzarr.machine.memory import MemoryGate
from eegzarr.machine.system import interrupts_blocked, open_files_allowed
from eegzarr.recipes.recipe import Recipe
from eegzarr.store.receipt import Receipt

Task = TypeVar("Task")
_MIB = 2**20
_INSPECT_BATCH = 16
_CLOSING = 10  # s
_LEAST_FILES, _FILES_OF_WORKER = 48, 16  # open at once: those of any build, and at most those of a worker
_RETRIES = 2  # of a task whose worker died, or that failed
# What Ctrl-C in the middle of a request is reported to: a traceback, and a task that is asked for again. Dask's
# configuration gives them levels of their own.
_TOLD_OF_INTERRUPTS = ("asyncio", "distributed.client", "tornado.application")


@contextmanager
def local_client(resources: Resources) -> Iterator[Client]:
    """Run worker processes on this machine, inside the ``with``."""
    config = {
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        # A paused worker would wait for ever: a task holds one shard, and frees nothing before its end.
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.comm.timeouts.connect": "60s",
        # It goes by the machine's clock: a worker would be ended because the clock was set, or after Ctrl-Z and fg. One
        # that dies is missed by its nanny.
        "distributed.scheduler.worker-ttl": None,
        # Nobody looks at it here, and it stops the workers a hundred times a second.
        "distributed.worker.profile.enabled": False,
        "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
    }
    with (
        tempfile.TemporaryDirectory(prefix="eegzarr-", ignore_cleanup_errors=True) as scratch,
        dask.config.set(config),
        _silent("distributed", *_TOLD_OF_INTERRUPTS),
        _ended_in_time(
            LocalCluster,
            host="127.0.0.1",  # nobody else's business
            n_workers=resources.workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=resources.worker_memory,
            dashboard_address=None,
            # Any free port: the usual one may belong to another cluster, and a warning would say so.
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            local_directory=scratch,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.forward_logging("eegzarr")
        yield client


@contextmanager
def _silent(*loggers: str) -> Iterator[None]:
    """Have packages log only what is critical, inside the ``with``.

    LocalCluster's own option ends before its connections do, which then log that they were closed.
    """
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def running_client(address: str | None, scheduler_file: str | None, worker_at_work: int) -> Iterator[Client]:
    """Use a cluster that runs already, inside the ``with``.

    Raises
    ------
    UsageError
        If no scheduler answers, it has no worker, or its workers can't do the work.
    """
    option = f"--scheduler {address}" if address else f"--scheduler-file {scheduler_file}"
    if scheduler_file and not Path(scheduler_file).is_file():
        raise UsageError(f"{option}: no such file; the scheduler writes it when it starts")
    try:
        client = Client(address, scheduler_file=scheduler_file, timeout="20s")
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(f"{option}: no Dask scheduler answers there: {error}") from error
    with _silent(*_TOLD_OF_INTERRUPTS), client:
        try:
            client.wait_for_workers(1, timeout=60)
        except TimeoutError as error:
            raise UsageError(f"{option}: the cluster has no worker; start one, or wait until its job runs") from error
        check_worker_memory(client, option, worker_at_work)
        _check_versions(client, option)
        yield client


def check_worker_memory(client: Client, option: str, worker_at_work: int) -> None:
    """Refuse a cluster with a worker that has less memory than its threads need."""
    for name, worker in client.scheduler_info(n_workers=-1)["workers"].items():
        memory = worker["memory_limit"]
        needed = WORKER_IDLE + worker["nthreads"] * (worker_at_work - WORKER_IDLE)
        if memory and memory < needed:
            raise UsageError(
                f"{option}: the worker {name} has {memory / _MIB:.0f}MiB for {worker['nthreads']} threads, and "
                f"needs {needed / _MIB:.0f}MiB: give it more memory or fewer threads, or a smaller --shard-size"
            )


def _check_versions(client: Client, option: str) -> None:
    try:
        versions = client.run(version)
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"{option}: its workers can't import eegzarr: install it where they run ({error})") from error
    others = sorted(set(versions.values()) - {version()})
    if others:
        raise UsageError(f"{option}: its workers have {', '.join(others)}, this is {version()}")


@contextmanager
def _ended_in_time(kind: type[LocalCluster], **options: Any) -> Iterator[LocalCluster]:
    """Run a cluster inside the ``with``; what it was for is done then, or has an error of its own to tell.

    Dask gives up closing workers on a busy machine after two seconds, with an error, and versions before mid-2026 wait
    for ever for one that was killed for its memory.
    """
    cluster = _started_without_interrupts(kind, **options)
    try:
        yield cluster
    finally:
        workers = [nanny.pid for nanny in cluster.workers.values() if nanny.pid]
        try:
            cluster.close(timeout=_CLOSING)
        except TimeoutError:
            for pid in workers:
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()


def _started_without_interrupts(cluster: type[LocalCluster], **options: Any) -> LocalCluster:
    """Start a cluster whose processes never see Ctrl-C, also those that are started again later.

    The main process alone decides what an interrupt means.

    Raises
    ------
    UsageError
        If the workers don't start, as in a script that they can't import, or for want of open files.
    """
    check_script()
    few = _few_files(options["n_workers"])
    if few and open_files_allowed(_LEAST_FILES) < _LEAST_FILES:  # the processes would print what they lack
        raise UsageError(few)
    if threading.current_thread() is not threading.main_thread():
        return cluster(**options)
    with interrupts_blocked():
        resource_tracker.ensure_running()  # which unblocks Ctrl-C when it starts
    try:
        with interrupts_blocked():
            return cluster(**options)
    except (RuntimeError, OSError) as error:
        if few:
            raise UsageError(few) from error
        if isinstance(error, OSError):
            raise
        raise UsageError(f"the workers couldn't start ({error}). In a script of your own: {GUARD}") from error


def _few_files(workers: int) -> str:
    """Raise the limit of open files where that is possible; return what to do where it stays too low, else ""."""
    wanted = _LEAST_FILES + _FILES_OF_WORKER * workers
    allowed = open_files_allowed(wanted)
    if allowed >= wanted:
        return ""
    return (
        f"the workers couldn't start: this process may have {allowed} files open, and should have {wanted}. Raise the "
        f"limit, as with ulimit -n {wanted}, or give fewer --workers"
    )


def inspect_on(
    client: Client,
    root: str,
    recipe: Recipe,
    recordings: Sequence[Recording],
    on_done: Callable[[int], None],
    watchers: tuple[Listener, ...] = (),
) -> list[Inspection]:
    """Inspect recordings on the workers; return inspections in the recordings' order."""
    batches = [recordings[first : first + _INSPECT_BATCH] for first in range(0, len(recordings), _INSPECT_BATCH)]
    found: dict[int, tuple[Inspection, ...]] = {}
    done = 0
    needs = Needs(version=version(), source=root)

    def call(index: int) -> tuple:
        return needs, inspect_batch, root, batches[index], recipe

    for index, batch in _unordered(Crew(client, watchers), call, range(len(batches)), 4):
        found[index] = batch.inspections
        done += len(batch.inspections)
        on_done(done)
    return [inspection for index in range(len(batches)) for inspection in found[index]]


def write_shards(
    client: Client,
    tasks: Callable[[int], ShardTask],
    shards: Sequence[int],
    shared: Mapping[int, Sequence[int]],
    gate: MemoryGate,
    watchers: tuple[Listener, ...] = (),
) -> Iterator[Receipt]:
    """Write shards on the workers; yield each receipt as it comes.

    Parameters
    ----------
    shared : mapping of int to sequence of int
        Shards of each recording that is to be prepared as a whole and lies in more than one:
        it is prepared once, in a task of its own, and dropped after the last of them.
    gate : MemoryGate
        Asked before a shard starts.
    watchers : tuple of callable
        Told what is waited for, where that takes long.
    """
    left = {row: set(own) & set(shards) for row, own in shared.items()}
    prepared: dict[int, Future] = {}
    given: dict[int, ShardTask] = {}
    crew = Crew(client, watchers)

    def call(shard: int) -> tuple:
        task = given[shard] = tasks(shard)
        needs, needed = Needs.of(task), {}
        for piece in task.pieces:
            if piece.recording in left and not piece.as_it_stands:
                if piece.recording not in prepared or crew.was_refused(prepared[piece.recording]):
                    future = crew.submit(needs, prepare, task, piece, retries=_RETRIES)
                    prepared[piece.recording] = future
                needed[piece.recording] = prepared[piece.recording]
        return needs, write_shard, task, needed

    for shard, receipt in _unordered(crew, call, shards, 2, gate):
        task = given.pop(shard)
        check_written(task, receipt, watchers)
        for row in [row for row, own in left.items() if shard in own]:
            left[row].discard(shard)
            if not left[row] and (future := prepared.pop(row, None)) is not None:
                if not future.result():
                    drop_prepared(task.lake, task.group, row)
                future.release()
        yield receipt


def asked_of_shards(
    client: Client,
    question: Callable[[ShardTask], Any],
    tasks: Callable[[int], ShardTask],
    shards: Sequence[int],
    gate: MemoryGate,
    watchers: tuple[Listener, ...] = (),
) -> Iterator[Any]:
    """Ask something of shards on the workers, without writing them; yield each answer as it comes."""

    def call(shard: int) -> tuple:
        task = replace(tasks(shard), is_kept=False)
        return Needs.of(task), question, task

    for _, answer in _unordered(Crew(client, watchers), call, shards, 2, gate):
        yield answer


def made_of_shards(
    client: Client,
    make: Callable[[Task], Receipt],
    tasks: Callable[[int], Task],
    shard_of: Callable[[Task], ShardTask],
    shards: Sequence[int],
) -> Iterator[tuple[int, Receipt]]:
    """Have the workers make shards out of other tasks than a build's; yield the number and the receipt of each.

    Parameters
    ----------
    shard_of : callable
        Gives the shard's own part of a task, which says what a worker needs for it.
    """
    given: dict[int, Task] = {}

    def call(shard: int) -> tuple:
        given[shard] = tasks(shard)
        return Needs.of(shard_of(given[shard])), make, given[shard]

    for shard, receipt in _unordered(Crew(client), call, shards, 2):
        check_written(shard_of(given.pop(shard)), receipt, ())
        yield shard, receipt


def _unordered(
    crew: Crew,
    call: Callable[[int], tuple],
    keys: Iterable[int],
    ahead: int,
    gate: MemoryGate | None = None,
) -> Iterator[tuple[int, Any]]:
    """Run calls on the cluster, at most `ahead` calls a worker's thread under way or queued.

    ``call(key)`` is what a worker needs for it, a function and its arguments. The scheduler never holds more than that,
    whatever the number of keys.
    """
    pending = iter(keys)
    following = next(pending, None)
    running: dict[Any, tuple[int, Future]] = {}
    results = Results()

    def start(key: int) -> None:
        future = crew.submit(*call(key), retries=_RETRIES)
        running[future.key] = key, future
        results.expect(future)

    while running or following is not None:
        room = ahead * max(1, crew.waiting.threads())
        while following is not None and len(running) < room and (gate is None or gate.is_open()):
            start(following)
            following = next(pending, None)
        if not running:
            assert gate is not None
            gate.check_patience()
            time.sleep(0.5)
            continue
        ended = results.next()
        if ended is None:
            crew.waiting.check()
            for key, future in [one for one in running.values() if crew.is_stranded(one[1])]:
                del running[future.key]
                future.cancel()
                start(key)
            continue
        if ended.key not in running:  # cancelled
            continue
        key, future = running.pop(ended.key)
        try:
            result = future.result()
        except ImportError as error:
            if isinstance(error, EegzarrError):  # of an extra
                raise
            raise BuildStopped(
                f"a worker of the Dask cluster can't load the build's tasks ({error}): install {version()} where it "
                f"runs, and run the same command again"
            ) from error
        future.release()
        if isinstance(result, Unfit):
            crew.leave_out(result)
            start(key)
            continue
        crew.waiting.progressed()
        yield key, result
