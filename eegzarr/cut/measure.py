"""What windows say of themselves once they are read: amplitude, whether they are whole, moments of their recordings."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eegzarr.build.plan import Piece, Plan
from eegzarr.build.task import fill_shard, shard_buffer
from eegzarr.build.workers.resources import Resources
from eegzarr.build.write import shard_tasks
from eegzarr.cut.plan import positions
from eegzarr.cut.source import WholeRecordings
from eegzarr.errors import RecordingError
from eegzarr.store.reading.gather import compile_gather, is_worth_compiling
from eegzarr.store.receipt import Receipt
from eegzarr.store.tiles.gather import TileGatherer
from eegzarr.store.tiles.signals import open_reader

_THREADS, _A_THREAD = 4, 40 * 2**20  # bytes besides windows
WindowsOf = Callable[[Piece], npt.NDArray[np.float32]]


def windows_from(recordings: WholeRecordings, plan: Plan) -> WindowsOf:
    """Return what reads the windows of a piece, in uV, into a buffer of the calling thread."""
    tiles = recordings.tiles
    gatherer = TileGatherer(open_reader(tiles.lake, tiles.group, tiles.digest))
    channels = tiles.numbers(list(plan.channels))

    def windows_of(piece: Piece) -> npt.NDArray[np.float32]:
        part = shard_buffer(plan.geometry)[: len(piece.starts)]
        gatherer.gather(positions(recordings, piece), channels, part)
        reason = recordings.reasons[piece.source.path]
        if reason and not np.isfinite(part[:, :, 0]).any():
            raise RecordingError(reason)
        return part

    return windows_of


def threads_for(plan: Plan, memory: int | None) -> int:
    """Return how many threads read windows: as many as cores, up to four, memory permitting.

    Parameters
    ----------
    memory : int, optional
        Bytes that the process may take; default half of the machine's.

    Raises
    ------
    UsageError
        If that is too little for one.
    """
    geometry = plan.geometry
    shard = geometry.windows_per_shard * geometry.n_channels * geometry.n_times * 4  # a thread holds one as float32
    return min(_THREADS, Resources.fit(shard + _A_THREAD, None, memory).workers)


def measured(recordings: WholeRecordings, plan: Plan, memory: int | None = None) -> dict[int, Receipt]:
    """Return the receipts that the plan's shards would have, from one pass over their windows."""
    windows_of = windows_from(recordings, plan)
    task_of = shard_tasks(recordings.tiles.lake, "", plan)
    if is_worth_compiling(plan.n_windows):
        compile_gather()

    def measure(shard: int) -> Receipt:
        return fill_shard(replace(task_of(shard), is_kept=False, is_encoded=False), windows_of)

    with ThreadPoolExecutor(threads_for(plan, memory), thread_name_prefix="eegzarr-cut") as pool:
        return dict(enumerate(pool.map(measure, range(plan.n_shards))))
