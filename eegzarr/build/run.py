"""Build one group of a lake: plan, shards, finish, each step safe to repeat."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.distributed import Client
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from eegzarr.bids.buckets import fingerprint_of
from eegzarr.bids.dataset import Source, find_source
from eegzarr.build import group as groups
from eegzarr.build.cluster import (
    Resources,
    affordable_shard_size,
    inspect_on,
    local_client,
    projected_worker_memory,
    running_client,
    write_shards,
)
from eegzarr.build.plan import Plan, make_plan, trial_labels
from eegzarr.build.task import ShardTask
from eegzarr.errors import BuildStopped, LakeError, RecipeError, RecordingError, UsageError
from eegzarr.events import BuildBegan, Inspected, Listener, MemorySampled, Noticed, ShardFinished, tell
from eegzarr.machine.memory import MemoryGate, MemoryWatch
from eegzarr.recipes.expression import labels_of
from eegzarr.recipes.recipe import GIVEN, Recipe, recipe_from_json
from eegzarr.recordings.reader import channel_positions
from eegzarr.store.group import read_attributes, read_tables, stored_geometry
from eegzarr.store.layout import (
    COMPLETE,
    FORMAT,
    METADATA,
    PARTS,
    SHARD_SIZE,
    Geometry,
    check_storage,
    group_path,
    lake_url,
)
from eegzarr.store.receipt import Receipt
from eegzarr.store.root import only_builder, settle


@dataclass(frozen=True, kw_only=True)
class BuildSummary:
    """What a build made.

    Attributes
    ----------
    reasons : Counter
        Recordings by the reason why they gave no windows, or not all that they should.
    dropped : int
        Trials left out because their window would leave the recording.
    nbytes, decoded_nbytes : int
        Size of the shards, and of the signals in them before compression.
    peak_memory, memory_limit : int
        Bytes of the whole process tree, as proportional set size.
    already : bool
        The group was complete before.
    """

    group: str
    windows: int
    invalid: int
    subjects: int
    recordings: int
    built: int
    dropped: int
    reasons: Counter[str]
    nbytes: int
    decoded_nbytes: int
    seconds: float = 0.0
    peak_memory: int = 0
    memory_limit: int = 0
    already: bool = False


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a build would make and take.

    Attributes
    ----------
    reasons : Counter
        Recordings by the reason why they would give no windows.
    skipped : tuple of (str, str)
        Path and reason of each of them.
    decoded_nbytes : int
        Of the signals before compression: EEG takes about 1.1 times less as float32 on the disk.
    projected_memory, memory_limit : int
        Bytes of the whole process tree.
    finished : int
        Shards that an earlier run has written.
    """

    group: str
    windows: int
    subjects: int
    recordings: int
    built: int
    dropped: int
    reasons: Counter[str]
    skipped: tuple[tuple[str, str], ...]
    decoded_nbytes: int
    shards: int
    finished: int
    workers: int
    projected_memory: int
    memory_limit: int


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What to build, and with what.

    Parameters
    ----------
    source : path or URL
        Root of the BIDS dataset.
    out : path or URL
        The lake; other groups in it are left alone.
    recipe : Recipe
        What a window is.
    name : str, optional
        Release to build; default the HBN release that the participants belong to, else the
        source's folder name.
    dtype : {"float32", "float16"}
        Of the stored samples.
    compression : {"lz4", "zstd", "none"}
        Of the stored samples; none of them loses anything.
    workers : int, optional
        Worker processes; default one a core, as far as the memory goes.
    memory_limit : int, optional
        Bytes for this process and its workers together; default half of the machine's.
    max_memory : float
        Share of the machine's memory above which no new shard starts; a build that finds it
        exceeded for half a minute stops.
    shard_size : int, optional
        Bytes of a shard before compression: what one task holds in memory. Default 64 MiB,
        less where the memory limit asks for it, or what the group was begun with.
    scheduler, scheduler_file : str, optional
        A Dask cluster that already runs, by its address or the file that its scheduler wrote.
        Its workers must see source and lake under the same paths, and have eegzarr.
    overwrite : bool
        Build anew where a group of another recipe or source stands.
    """

    source: str | Path
    out: str | Path
    recipe: Recipe
    name: str | None = None
    dtype: str = "float32"
    compression: str = "lz4"
    workers: int | None = None
    memory_limit: int | None = None
    max_memory: float = 0.85
    shard_size: int | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_storage(self.dtype, self.compression)
        if self.recipe.anchor == GIVEN:
            raise RecipeError(f"recipe {self.recipe.name}: the anchor {GIVEN!r} is of windows that were cut elsewhere")
        if self.scheduler and self.scheduler_file:
            raise UsageError("give --scheduler or --scheduler-file, not both")
        if self.on_running_cluster and (self.workers or self.memory_limit):
            raise UsageError("--workers and --memory-limit are for local workers: the cluster that runs has its own")

    @property
    def on_running_cluster(self) -> bool:
        """Whether the workers are there already."""
        return bool(self.scheduler or self.scheduler_file)


def build_lake(
    source: str | Path, out: str | Path, *, recipe: Recipe, listeners: Sequence[Listener] = (), **options: Any
) -> BuildSummary:
    """Build the group ``<recipe>/<release>`` of a lake from a BIDS dataset.

    A build that was stopped, however, goes on where it was; the result is the same to the
    byte, whatever the number of workers.

    Parameters
    ----------
    source, out, recipe, **options
        The fields of `BuildRequest`.
    listeners : sequence of callable
        Called with each event of `eegzarr.events`.

    Returns
    -------
    BuildSummary

    Raises
    ------
    SourceError, RecipeError
        If the source or the recipe can't be used; nothing is touched then.
    LakeError
        If the lake can't be written, or holds something else at this place.
    BuildStopped
        If a full disk, a full memory or a recording that went away stopped it: the same call
        goes on later.
    """
    began = time.monotonic()
    watchers = tuple(listeners)
    request = BuildRequest(source=source, out=out, recipe=recipe, **options)
    setup = _check(request)
    if setup.is_complete:
        settle(setup.lake, setup.group)
        return replace(summarize(setup.lake, setup.group), already=True)
    with ExitStack() as held:
        with _session(request, setup, watchers, held) as (client, plan, resources, watch):
            held.enter_context(only_builder(setup.lake, setup.group))
            gate = MemoryGate(request.max_memory)
            done = write_group(client, setup.lake, setup.group, plan, request.overwrite, resources, gate, watchers)
        # Without the workers, whose memory the labels of many windows may need.
        finish_group(setup.lake, setup.group, plan, done)
    return replace(
        summarize(setup.lake, setup.group),
        seconds=time.monotonic() - began,
        peak_memory=watch.peak,
        memory_limit=resources.memory,
    )


def forecast(
    source: str | Path, out: str | Path, *, recipe: Recipe, listeners: Sequence[Listener] = (), **options: Any
) -> Forecast:
    """Tell what `build_lake` would do, from headers and events alone; touch nothing.

    Parameters and errors are those of `build_lake`.
    """
    request = BuildRequest(source=source, out=out, recipe=recipe, **options)
    setup = _check(request)
    with ExitStack() as held, _session(request, setup, tuple(listeners), held) as (_, plan, resources, _):
        finished = 0 if request.overwrite else len(groups.read_receipts(setup.lake, setup.group, plan))
    geometry = plan.geometry
    skipped = [(i.recording.path, i.reason) for i in plan.inspections if i.reason]
    with_windows = [inspection for inspection in plan.inspections if inspection.n_windows]
    return Forecast(
        group=setup.group,
        windows=plan.n_windows,
        subjects=len({inspection.recording.subject for inspection in with_windows}),
        recordings=len(plan.inspections),
        built=len(with_windows),
        dropped=sum(inspection.dropped for inspection in plan.inspections),
        reasons=Counter(reason for _, reason in skipped),
        skipped=tuple(skipped),
        decoded_nbytes=plan.n_windows * geometry.window_bytes,
        shards=plan.n_shards,
        finished=plan.n_shards if setup.is_complete else finished,
        workers=resources.workers,
        projected_memory=resources.projected(worker_memory(request.recipe, setup.lake, geometry)),
        memory_limit=resources.memory,
    )


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """A request that was found possible: where it goes, and what is there of it."""

    lake: str
    group: str
    source: Source
    geometry: Geometry | None
    is_complete: bool


def _check(request: BuildRequest) -> _Setup:
    """Find mistakes in a request before anything is touched or started."""
    lake = lake_url(request.out)
    source = named_source(request.source, request.recipe, request.name)
    _check_target(request.recipe, source)
    group = group_path(request.recipe.name, source.name)
    check_writable(lake)
    attributes = (
        None if request.overwrite else check_same(lake, group, request.recipe, request.dtype, request.compression)
    )
    if attributes is not None:
        _check_source_unchanged(lake, group, source)
    return _Setup(
        lake=lake,
        group=group,
        source=source,
        geometry=None if attributes is None else stored_geometry(lake, group),
        is_complete=attributes is not None and attributes["status"] == COMPLETE,
    )


@contextmanager
def _session(
    request: BuildRequest, setup: _Setup, watchers: tuple[Listener, ...], held: ExitStack
) -> Iterator[tuple[Client, Plan, Resources, MemoryWatch]]:
    """Run workers and plan the group, inside the ``with``; watch memory until `held` ends."""
    itemsize = np.dtype(request.dtype).itemsize
    kind = _kind_of_work(request.recipe, setup.lake)
    if setup.geometry is not None:
        shard_size = setup.geometry.windows_per_shard * setup.geometry.window_bytes
    elif request.on_running_cluster:
        shard_size = request.shard_size or SHARD_SIZE
    else:
        shard_size = request.shard_size or affordable_shard_size(
            SHARD_SIZE, itemsize, request.workers, request.memory_limit, **kind
        )
    at_work = projected_worker_memory(shard_size, itemsize, **kind)

    def geometry(channels: int, times: int) -> Geometry:
        return setup.geometry or Geometry.of(channels, times, request.dtype, shard_size, request.compression)

    with ExitStack() as stack:
        if request.on_running_cluster:
            client = stack.enter_context(running_client(request.scheduler, request.scheduler_file, at_work))
            resources = Resources.of_cluster(client)
        else:
            resources = Resources.fit(at_work, request.workers, request.memory_limit)
            client = stack.enter_context(local_client(resources))
        watch = held.enter_context(watched_memory(resources, watchers))
        stack.enter_context(_lost_workers_named())
        yield client, plan_on(client, setup.source, request.recipe, geometry, watchers), resources, watch


@contextmanager
def _lost_workers_named() -> Iterator[None]:
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


def worker_memory(recipe: Recipe, lake: str, geometry: Geometry) -> int:
    """Return the bytes that a worker needs to write shards of a geometry."""
    shard_size = geometry.windows_per_shard * geometry.window_bytes
    return projected_worker_memory(shard_size, geometry.itemsize, **_kind_of_work(recipe, lake))


def _kind_of_work(recipe: Recipe, lake: str) -> dict[str, bool]:
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

    def inspected(done: int) -> None:
        tell(watchers, Inspected(done=done, total=len(source.recordings)))

    return make_plan(
        source,
        recipe,
        geometry,
        lambda recordings: inspect_on(client, source.root, recipe, list(recordings), inspected),
    )


@dataclass(frozen=True)
class Written:
    """What a group's finish needs of its shards: their receipts, and where the electrodes are, in m."""

    receipts: dict[int, Receipt]
    positions: npt.NDArray[np.float32]


def write_group(
    client: Client,
    lake: str,
    group: str,
    plan: Plan,
    overwrite: bool,
    resources: Resources,
    gate: MemoryGate,
    watchers: tuple[Listener, ...],
) -> Written:
    """Begin or go on with a group, and write the shards that it lacks."""
    with disk_faults_named(lake):
        receipts = {} if overwrite else groups.read_receipts(lake, group, plan)
        if not receipts:
            groups.begin(lake, group, plan)
        tell(watchers, began(group, plan, receipts, resources.workers))
        # On a worker, beside its shards: MNE takes a second to load.
        positions = client.submit(channel_positions, plan.channels)
        missing = [shard for shard in range(plan.n_shards) if shard not in receipts]
        shared = plan.shards_of_recordings()
        for receipt in write_shards(client, lambda shard: shard_task(lake, group, plan, shard), missing, shared, gate):
            receipts[receipt.shard] = receipt
            for row, reason in receipt.reasons.items():
                path = plan.inspections[row].recording.path
                tell(watchers, Noticed(message=f"{path}: {reason}; its windows are marked invalid"))
            tell(watchers, ShardFinished(shard=receipt.shard, windows=len(receipt.valid), nbytes=receipt.nbytes))
        return Written(receipts, positions.result())


def finish_group(lake: str, group: str, plan: Plan, written: Written) -> None:
    """Give a group whose shards are written its labels, and declare it complete."""
    with disk_faults_named(lake):
        groups.finish(lake, group, plan, written.receipts, written.positions)


@contextmanager
def disk_faults_named(lake: str) -> Iterator[None]:
    """Say what to do when a disk is full or refuses."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BuildStopped(f"no space left for {lake}: make room and run the same command again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise LakeError(f"{lake} can't be written: {error.strerror}") from error
        raise


def began(group: str, plan: Plan, receipts: dict[int, Receipt], workers: int) -> BuildBegan:
    return BuildBegan(
        group=group,
        recordings=len(plan.inspections),
        skipped=sum(bool(inspection.reason) for inspection in plan.inspections),
        windows=plan.n_windows,
        shards=plan.n_shards,
        finished=len(receipts),
        windows_finished=sum(len(receipt.valid) for receipt in receipts.values()),
        workers=workers,
    )


def shard_task(lake: str, group: str, plan: Plan, shard: int) -> ShardTask:
    return ShardTask(
        lake=lake,
        group=group,
        shard=shard,
        source_root=plan.source.root,
        channels=plan.channels,
        geometry=plan.geometry,
        pieces=plan.pieces(shard),
        plan_digest=plan.digest,
        sfreq=plan.recipe.sfreq,
        preparation=plan.recipe.preparation,
    )


def named_source(root: str | Path, recipe: Recipe, name: str | None) -> Source:
    """Find a recipe's recordings, under the name that their group has."""
    found = find_source(root, recipe.tasks)
    return found if name is None else replace(found, name=checked_name(name))


def checked_name(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise RecipeError(f"--name {name!r} can't name a group: use letters, digits, - and _")
    return name


def _check_target(recipe: Recipe, source: Source) -> None:
    known = [*trial_labels(), *source.participants.columns]
    if recipe.target in known:
        return
    for name in labels_of(recipe.target):
        if name not in known:
            raise RecipeError(f"recipe {recipe.name}: the target {name!r} is none of {', '.join(known)}")


def check_writable(lake: str) -> None:
    """Refuse a place that can't be written, or that holds something else; touch nothing."""
    if "://" in lake:
        return
    path = Path(lake)
    if path.exists():
        if not path.is_dir():
            raise LakeError(f"--out {path} is a file: give a folder, such as lake.zarr")
        if not (path / METADATA).exists() and _holds_files(path):
            raise LakeError(f"--out {path} holds files that are no lake: give a new or an empty folder")
    nearest = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not os.access(nearest, os.W_OK | os.X_OK) or os.statvfs(nearest).f_flag & os.ST_RDONLY:
        raise LakeError(f"--out {path} can't be written: no permission to write in {nearest}")


def _holds_files(folder: Path) -> bool:
    """Tell whether a folder holds more than a build that is killed right after its start leaves there."""
    return any(entry.is_symlink() or not (entry.is_dir() or entry.match(PARTS)) for entry in folder.rglob("*"))


def check_same(lake: str, group: str, recipe: Recipe, dtype: str, compression: str) -> dict | None:
    """Return the attributes of a group begun with the same recipe, or None where none is."""
    attributes = read_attributes(lake, group)
    if attributes is None or "recipe" not in attributes:
        return None
    if attributes.get("format_version") != FORMAT:
        raise LakeError(
            f"{lake}/{group} has the format {attributes.get('format_version')}, this eegzarr writes {FORMAT}: "
            f"give another --out, or --overwrite to build it anew"
        )
    if recipe_from_json(attributes["recipe"]) != recipe:
        raise LakeError(
            f"{lake}/{group} was built with another recipe named {recipe.name}: give the recipe another name, "
            f"give another --out, or --overwrite to build it anew"
        )
    stored = stored_geometry(lake, group)
    if stored is not None:
        for option, there, asked in (("dtype", stored.dtype, dtype), ("compression", stored.compression, compression)):
            if there != asked:
                raise LakeError(
                    f"{lake}/{group} has the {option} {there}: give --{option} {there}, another --out, or --overwrite "
                    f"to build it anew"
                )
    return attributes


def _check_source_unchanged(lake: str, group: str, source: Source) -> None:
    """Refuse to go on with a source whose recordings or events aren't those of the beginning."""
    then = groups.begun_fingerprints(lake, group)
    if then is None:
        return
    now = {}
    for recording in source.recordings:
        try:
            now[recording.path] = fingerprint_of(source.root, recording.path)
        except RecordingError:
            now[recording.path] = ""
    changes = {
        "added": [path for path in now if path not in then],
        "removed": [path for path in then if path not in now],
        "altered": [path for path in now if path in then and now[path] != then[path]],
    }
    if any(changes.values()):
        told = "; ".join(f"{len(paths)} {kind} ({_some(paths)})" for kind, paths in changes.items() if paths)
        raise LakeError(
            f"source {source.root} isn't what {lake}/{group} was begun with: {told}. Restore it, give another --out "
            f"or --name, or --overwrite to build it anew"
        )


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")


def summarize(lake: str, group: str) -> BuildSummary:
    """Summarize a complete group from what is stored of it."""
    labels, recordings, shards = read_tables(lake, group)
    reasons = Counter(str(reason) for reason in recordings["reason"].to_numpy() if reason)
    eeg = labels["eeg"]
    return BuildSummary(
        group=group,
        windows=labels.sizes["window"],
        invalid=int((~labels["valid"].to_numpy()).sum()),
        subjects=len(set(labels["subject"].to_numpy().tolist())),
        recordings=recordings.sizes["recording"],
        built=int((recordings["windows"].to_numpy() > 0).sum()),
        dropped=int(recordings["dropped"].to_numpy().sum()),
        reasons=reasons,
        nbytes=int(shards["nbytes"].to_numpy().sum()),
        decoded_nbytes=int(np.prod(eeg.shape)) * eeg.dtype.itemsize,
    )
