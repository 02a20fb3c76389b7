"""The workers of a build, for as long as it needs them, and the plan that they help to make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from dask.distributed import Client
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from eegzarr.bids.buckets import is_url
from eegzarr.bids.dataset import Source
from eegzarr.bids.recordings import Recording
from eegzarr.build.inspect import Inspection
from eegzarr.build.plan import Plan, make_plan
from eegzarr.build.request import BuildRequest
from eegzarr.build.workers.cluster import check_worker_memory, inspect_on, local_client, running_client
from eegzarr.build.workers.resources import Resources, affordable_shard_size, least_shard_size, projected_worker_memory
from eegzarr.errors import BuildStopped, LakeError, UsageError
from eegzarr.events import Inspected, Listener, MemorySampled, tell
from eegzarr.machine.memory import MemoryWatch
from eegzarr.recipes.recipe import Recipe
from eegzarr.recordings.memory import largest_set_memory
from eegzarr.store.layout import SHARD_SIZE, Geometry


@contextmanager
def session(
    request: BuildRequest,
    lake: str,
    source: Source,
    stored: Geometry | None,
    watchers: tuple[Listener, ...],
    held: ExitStack,
) -> Iterator[tuple[Client, Plan, Resources, MemoryWatch]]:
    """Run workers and plan the group, inside the ``with``; watch memory until `held` ends.

    `stored` is the geometry of a group that was begun: it stays.
    """
    itemsize = np.dtype(request.dtype).itemsize
    foreseen = _reading_foreseen(source)

    def geometry(channels: int, times: int) -> Geometry:
        size = request.shard_size or SHARD_SIZE
        return stored or Geometry.of(channels, times, request.dtype, size, request.compression, request.step)

    with ExitStack() as stack:
        stack.enter_context(lost_workers_named())
        if request.on_running_cluster:
            kind = _kind_of_work(request.recipe, lake)
            at_work = projected_worker_memory(request.shard_size or SHARD_SIZE, itemsize, **kind)
            client = stack.enter_context(running_client(request.scheduler, request.scheduler_file, at_work))
            resources = Resources.of_cluster(client)
            watch = held.enter_context(watched_memory(resources, watchers))
            plan = plan_on(client, source, request.recipe, geometry, watchers)
            check_worker_memory(client, "the Dask cluster", worker_memory(plan, lake))
        else:
            # Headers first, which take little; what the signals take is known with the plan.
            least = projected_worker_memory(least_shard_size(SHARD_SIZE), itemsize, reading=foreseen[1])
            resources = _room_for(least, request, *foreseen)
            client = stack.enter_context(local_client(resources))
            watch = held.enter_context(watched_memory(resources, watchers))
            plan = plan_on(client, source, request.recipe, geometry, watchers)
            if stored is None and request.shard_size is None:
                plan = _with_affordable_shards(plan, lake, request)
            roomy = _room_for(worker_memory(plan, lake), request, *plan.largest_reading)
            if roomy != resources:
                stack.close()
                stack.enter_context(lost_workers_named())
                resources = roomy
                client = stack.enter_context(local_client(resources))
        yield client, plan, resources, watch


def inspections_of(request: BuildRequest, source: Source, watchers: tuple[Listener, ...]) -> list[Inspection]:
    """Inspect a source's recordings on workers that are there for nothing else."""
    foreseen = _reading_foreseen(source)
    least = projected_worker_memory(least_shard_size(SHARD_SIZE), np.dtype(request.dtype).itemsize, reading=foreseen[1])
    with ExitStack() as stack:
        stack.enter_context(lost_workers_named())
        if request.on_running_cluster:
            client = stack.enter_context(running_client(request.scheduler, request.scheduler_file, least))
        else:
            client = stack.enter_context(local_client(_room_for(least, request, *foreseen)))
        return _inspected(client, source, request.recipe, source.recordings, watchers)


def _inspected(
    client: Client,
    source: Source,
    recipe: Recipe,
    recordings: Iterable[Recording],
    watchers: tuple[Listener, ...],
) -> list[Inspection]:
    def inspected(done: int) -> None:
        tell(watchers, Inspected(done=done, total=len(source.recordings)))

    return inspect_on(client, source.root, recipe, list(recordings), inspected, watchers)


def _with_affordable_shards(plan: Plan, lake: str, request: BuildRequest) -> Plan:
    """Return a plan with the largest shards that fit in memory, one per worker."""
    geometry = plan.geometry
    kind = _kind_of_work(plan.recipe, lake) | {"reading": plan.largest_reading[1]}
    size = affordable_shard_size(SHARD_SIZE, geometry.itemsize, request.workers, request.memory_limit, **kind)
    fitted = Geometry.of(geometry.n_channels, geometry.n_times, request.dtype, size, request.compression, request.step)
    return plan if fitted == geometry else replace(plan, geometry=fitted)


def _reading_foreseen(source: Source) -> tuple[str, int]:
    """Return the recording that takes the most memory to open, and the bytes, as far as files' sizes show it."""
    if is_url(source.root):
        return "", 0
    paths = {Path(source.root) / recording.path: recording.path for recording in source.recordings}
    path, nbytes = largest_set_memory(paths)
    return paths.get(path, ""), nbytes


def _room_for(needed: int, request: BuildRequest, path: str, taken: int) -> Resources:
    """Return as many workers as have the memory that each needs, `taken` of it for one recording.

    Raises
    ------
    UsageError
        If there isn't as much, with the least limit that is enough.
    """
    try:
        return Resources.fit(needed, request.workers, request.memory_limit)
    except UsageError as error:
        if not taken:
            raise
        raise UsageError(f"{error}. {path} alone takes {taken / 2**20:.0f}MiB to read or prepare") from error


@contextmanager
def lost_workers_named() -> Iterator[None]:
    """Say what to do when workers or their scheduler are gone."""
    try:
        yield
    except KilledWorker as error:
        raise LakeError(
            f"workers died several times at the same task ({error.task}), probably for want of memory: "
            f"give a larger --memory-limit or fewer --workers, and run the same command again"
        ) from error
    except (FutureCancelledError, CommClosedError) as error:
        raise BuildStopped(
            f"the Dask cluster went away ({error}): see that it runs, and run the same command again"
        ) from error


def worker_memory(plan: Plan, lake: str) -> int:
    """Return the bytes that a worker needs to write the shards of a plan."""
    _, reading = plan.largest_reading
    return shard_memory(plan.recipe, lake, plan.geometry, reading)


def shard_memory(recipe: Recipe, lake: str, geometry: Geometry, reading: int | None = None) -> int:
    """Return the bytes that a worker needs to write shards of a geometry; `reading` as there."""
    shard_size = geometry.windows_per_shard * geometry.window_bytes
    return projected_worker_memory(shard_size, geometry.itemsize, reading=reading, **_kind_of_work(recipe, lake))


def _kind_of_work(recipe: Recipe, lake: str) -> dict[str, Any]:
    return {"prepares": recipe.preparation.touches_recordings, "remote": "://" in lake}


def watched_memory(resources: Resources, watchers: tuple[Listener, ...]) -> MemoryWatch:
    """Return the watch that samples the memory of a build."""

    def sampled(tree: int, share: float) -> None:
        tell(watchers, MemorySampled(tree=tree, limit=resources.memory, machine_used_share=share))

    return MemoryWatch(sampled)


def plan_on(
    client: Client,
    source: Source,
    recipe: Recipe,
    geometry: Callable[[int, int], Geometry],
    watchers: tuple[Listener, ...],
) -> Plan:
    """Inspect a source's recordings on the workers and plan its group."""
    return make_plan(
        source, recipe, geometry, lambda recordings: _inspected(client, source, recipe, recordings, watchers)
    )
