"""Shards of cut windows: what makes one, and who makes them: threads of this process, or a cluster's workers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from dask.distributed import Client

from eegzarr.build.plan import Plan
from eegzarr.build.shards import fill_shard
from eegzarr.build.task import Piece, ShardTask, shard_buffer
from eegzarr.build.workers.cluster import check_worker_memory, made_of_shards, running_client
from eegzarr.build.workers.resources import WORKER_IDLE, Resources, projected_worker_memory
from eegzarr.build.workers.session import lost_workers_named
from eegzarr.build.write import shard_tasks
from eegzarr.cut.source import WholeRecordings
from eegzarr.errors import RecordingError, UsageError
from eegzarr.store.layout import SHARD_SIZE
from eegzarr.store.reading.compiled import compile_for
from eegzarr.store.receipt import Receipt, Rounding
from eegzarr.store.tiles.gather import TileGatherer
from eegzarr.store.tiles.signals import CACHE, Tiles, open_reader

_THREADS, _A_THREAD = 4, 40 * 2**20  # bytes, beside windows


@dataclass(frozen=True, kw_only=True)
class CutTask:
    """All that it takes to make one shard of cut windows, on any machine that sees the lake.

    Attributes
    ----------
    shard : ShardTask
        Its source is the lake.
    first : dict of int to int
        Number of each recording's first tile, counted over the tiles of all recordings; by the recording's row in the
        plan.
    reasons : dict of int to str
        Why a recording couldn't be read, or ""; by the same row.
    """

    shard: ShardTask
    tiles: Tiles
    first: dict[int, int]
    reasons: dict[int, str]


def cut_tasks(recordings: WholeRecordings, plan: Plan, *, group: str) -> Callable[[int], CutTask]:
    """Return a function that gives the task of each shard of a plan; `group` is "" where shards are only measured."""
    tiles = recordings.tiles
    tasks, lost = shard_tasks(tiles.lake, group, plan), _lost(recordings)

    def task_of(number: int) -> CutTask:
        is_kept = bool(group)
        shard = replace(tasks(number), source_root=tiles.lake, lost=lost, is_kept=is_kept, is_encoded=is_kept)
        paths = {piece.recording: piece.source.path for piece in shard.pieces}
        return CutTask(
            shard=shard,
            tiles=tiles,
            first={row: recordings.first_tile[path] * tiles.geometry.n_times for row, path in paths.items()},
            reasons={row: recordings.reasons[path] for row, path in paths.items()},
        )

    return task_of


def _lost(recordings: WholeRecordings) -> Rounding:
    """Return the largest errors of the tiles: they don't show in windows that are cut from them."""
    told, step = recordings.attributes, recordings.tiles.geometry.step
    absolute = float(told.get("largest_error_uV", 0.0))
    if not step:
        return Rounding(float(told.get("largest_relative_error", 0.0)), absolute)
    return Rounding() if told.get("lossless") else Rounding(absolute / step, absolute)


def make_shard(task: CutTask) -> Receipt:
    """Gather the windows of a shard from the tiles, and write it where that is asked for; return its receipt."""
    geometry, tiles = task.shard.geometry, task.tiles
    compile_for(sum(len(piece.starts) for piece in task.shard.pieces))
    gatherer = _gatherer(tiles)
    channels = tiles.numbers(list(task.shard.channels))

    def windows_of(piece: Piece) -> npt.NDArray[np.float32]:
        part = shard_buffer(geometry)[: len(piece.starts)]
        gatherer.gather(task.first[piece.recording] + piece.starts, channels, part)
        reason = task.reasons[piece.recording]
        if reason and not np.isfinite(part[:, :, 0]).any():
            raise RecordingError(reason)
        return part

    return fill_shard(task.shard, windows_of)


def measured(recordings: WholeRecordings, plan: Plan, by: Makers) -> dict[int, Receipt]:
    """Return the receipts that the plan's shards would have, from one pass over their windows."""
    return by.receipts(plan, cut_tasks(recordings, plan, group=""), range(plan.n_shards))


_lock = threading.Lock()
_opened: dict[tuple[str, str, str], TileGatherer] = {}


def _gatherer(tiles: Tiles) -> TileGatherer:
    """Return what gathers windows from tiles: of one group at a time, shared by all threads of this process."""
    key = (tiles.lake, tiles.group, tiles.state)
    with _lock:
        if key not in _opened:
            _opened.clear()
            _opened[key] = TileGatherer(open_reader(tiles.lake, tiles.group, tiles.digest))
        return _opened[key]


@dataclass(frozen=True, kw_only=True)
class Makers:
    """Who makes shards.

    Attributes
    ----------
    memory : int, optional
        Bytes that this process may take; default half of the machine's.
    client : Client, optional
        Of a Dask cluster whose workers do it in place of this process.
    """

    memory: int | None = None
    client: Client | None = None

    def receipts(self, plan: Plan, task_of: Callable[[int], CutTask], shards: Sequence[int]) -> dict[int, Receipt]:
        """Make some shards of a plan; return their receipts.

        Raises
        ------
        UsageError
            If there is too little memory for one.
        """
        try:
            if self.client is None:
                return self._made_here(plan, task_of, shards)
            check_worker_memory(self.client, "the Dask cluster", WORKER_IDLE + _making_takes(plan, task_of))
            with lost_workers_named():
                made = made_of_shards(self.client, make_shard, task_of, lambda task: task.shard, shards)
                return dict(made)
        finally:
            with _lock:
                _opened.clear()

    def _made_here(self, plan: Plan, task_of: Callable[[int], CutTask], shards: Sequence[int]) -> dict[int, Receipt]:
        compile_for(plan.n_windows)
        makers = Resources.fit(_making_takes(plan, task_of), None, self.memory).workers
        with ThreadPoolExecutor(min(_THREADS, makers), thread_name_prefix="eegzarr-cut") as pool:
            made = pool.map(lambda shard: make_shard(task_of(shard)), shards)
            return dict(zip(shards, made, strict=True))


def _making_takes(plan: Plan, task_of: Callable[[int], CutTask]) -> int:
    """Return the bytes that a thread needs to make shards: it holds the windows of one as float32."""
    geometry = plan.geometry
    windows = geometry.windows_per_shard * geometry.n_channels * geometry.n_times * 4
    if "://" not in task_of(0).tiles.lake:
        return windows + _A_THREAD
    return windows + _A_THREAD + CACHE + 2 * geometry.windows_per_shard * geometry.window_bytes


@contextmanager
def makers(scheduler: str | None, scheduler_file: str | None, memory: int | None) -> Iterator[Makers]:
    """Give those who make shards, inside the ``with``: a cluster's workers where one is named.

    Raises
    ------
    UsageError
        If both names are given, or the cluster can't be used.
    """
    if scheduler and scheduler_file:
        raise UsageError("give --scheduler or --scheduler-file, not both")
    if not (scheduler or scheduler_file):
        yield Makers(memory=memory)
        return
    if memory is not None:
        raise UsageError("--memory-limit is for this process: the cluster that runs has its own")
    at_work = projected_worker_memory(SHARD_SIZE, 4)
    with running_client(scheduler, scheduler_file, at_work) as client:
        yield Makers(client=client)
