"""Build one group of a lake: plan, shards, finish, each step safe to repeat."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from dask.distributed import Client
from distributed.scheduler import KilledWorker

from eegzarr.errors import BuildStopped, LakeError, RecipeError, RecordingError
from eegzarr.events import BuildBegan, Inspected, Listener, MemorySampled, Noticed, ShardFinished, tell
from eegzarr.recipe import Recipe, recipe_from_json
from eegzarr.recordings import channel_positions
from eegzarr.sources import Source, find_source
from eegzarr.store import lake as groups
from eegzarr.store.cluster import Resources, inspect_on, local_client, projected_worker_memory, write_shards
from eegzarr.store.guard import MemoryWatch
from eegzarr.store.layout import COMPLETE, DTYPES, FORMAT, SHARD_SIZE, Geometry, group_path, lake_url
from eegzarr.store.plan import Plan, fingerprint_of, make_plan, trial_labels
from eegzarr.store.shard import Receipt, ShardTask


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


def build_lake(
    source: str | Path,
    out: str | Path,
    *,
    recipe: Recipe,
    name: str | None = None,
    dtype: str = "float32",
    workers: int | None = None,
    memory_limit: int | None = None,
    shard_size: int | None = None,
    overwrite: bool = False,
    listeners: Sequence[Listener] = (),
) -> BuildSummary:
    """Build the group ``<recipe>/<release>`` of a lake from a BIDS dataset.

    A build that was stopped, however, goes on where it was; the result is the same to the
    byte, whatever the number of workers.

    Parameters
    ----------
    source : path
        Root of the BIDS dataset.
    out : path
        The lake; other groups in it are left alone.
    recipe : Recipe
        What a window is.
    name : str, optional
        Release to build; default the HBN release that the participants belong to, else the
        source's folder name.
    dtype : {"float32", "float16"}
        Of the stored samples.
    workers : int, optional
        Worker processes; default one a core, as far as the memory goes.
    memory_limit : int, optional
        Bytes for this process and its workers together; default half of the machine's.
    shard_size : int, optional
        Bytes of a shard before compression: what one task holds in memory. Default 64 MiB,
        or what the group was begun with.
    overwrite : bool
        Build anew where a group of another recipe or source stands.
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
        If a full disk stopped it: the same call goes on later.
    """
    began = time.monotonic()
    watchers = tuple(listeners)
    lake = lake_url(out)
    if dtype not in DTYPES:
        raise RecipeError(f"dtype must be {' or '.join(DTYPES)}, got {dtype!r}")
    found = named_source(source, recipe, name)
    _check_target(recipe, found)
    group = group_path(recipe.name, found.name)
    _check_writable(lake)
    attributes = None if overwrite else _check_same(lake, group, recipe, dtype)
    if attributes is not None:
        _check_source_unchanged(lake, group, found)
        if attributes["status"] == COMPLETE:
            groups.settle(lake, group)
            return replace(summarize(lake, group), already=True)
    geometry = None if attributes is None else groups.stored_geometry(lake, group)
    if geometry is not None:
        shard_size = geometry.windows_per_shard * geometry.window_bytes
    shard_size = shard_size or SHARD_SIZE
    resources = Resources.fit(projected_worker_memory(shard_size, np.dtype(dtype).itemsize), workers, memory_limit)

    def chosen(channels: int, times: int) -> Geometry:
        return geometry or Geometry.of(channels, times, dtype, shard_size)

    with watched_memory(resources, watchers) as watch, local_client(resources) as client:
        plan = plan_on(client, found, recipe, chosen, watchers)
        write_group(client, lake, group, plan, overwrite, resources, watchers)
    return replace(
        summarize(lake, group),
        seconds=time.monotonic() - began,
        peak_memory=watch.peak,
        memory_limit=resources.memory,
    )


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


def write_group(
    client: Client,
    lake: str,
    group: str,
    plan: Plan,
    overwrite: bool,
    resources: Resources,
    watchers: tuple[Listener, ...],
) -> None:
    """Begin or go on with a group, write the shards that it lacks, and finish it."""
    try:
        with groups.only_builder(lake, group):
            receipts = {} if overwrite else groups.read_receipts(lake, group, plan)
            if not receipts:
                groups.begin(lake, group, plan)
            tell(watchers, _began(group, plan, receipts, resources.workers))
            missing = [shard for shard in range(plan.n_shards) if shard not in receipts]
            for receipt in write_shards(client, lambda shard: shard_task(lake, group, plan, shard), missing):
                receipts[receipt.shard] = receipt
                for row, reason in receipt.reasons.items():
                    path = plan.inspections[row].recording.path
                    tell(watchers, Noticed(message=f"{path}: {reason}; its windows are marked invalid"))
                tell(
                    watchers,
                    ShardFinished(shard=receipt.shard, windows=len(receipt.valid), nbytes=receipt.nbytes),
                )
            # On a worker, which has MNE loaded already.
            positions = client.submit(channel_positions, plan.channels).result()
            groups.finish(lake, group, plan, receipts, positions)
    except KilledWorker as error:
        raise LakeError(
            f"workers died several times at the same shard ({error.task}), probably for want of memory: "
            f"give a larger --memory-limit or fewer --workers, and run the same command again"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BuildStopped(f"no space left for {lake}: make room and run the same command again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise LakeError(f"{lake} can't be written: {error.strerror}") from error
        raise


def _began(group: str, plan: Plan, receipts: dict[int, Receipt], workers: int) -> BuildBegan:
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
        source_root=str(plan.source.root),
        channels=plan.channels,
        geometry=plan.geometry,
        pieces=plan.pieces(shard),
        plan_digest=plan.digest,
    )


def named_source(root: str | Path, recipe: Recipe, name: str | None) -> Source:
    """Find a recipe's recordings, under the name that their group has."""
    found = find_source(root, recipe.tasks)
    return replace(found, root=found.root.absolute(), name=_checked_name(name) if name is not None else found.name)


def _checked_name(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise RecipeError(f"--name {name!r} can't name a group: use letters, digits, - and _")
    return name


def _check_target(recipe: Recipe, source: Source) -> None:
    known = [*trial_labels(), *source.participants.columns]
    if recipe.target not in known:
        raise RecipeError(f"recipe {recipe.name}: the target {recipe.target!r} is none of {', '.join(known)}")


def _check_writable(lake: str) -> None:
    """Refuse a place that can't be written, or that holds something else; touch nothing."""
    if "://" in lake:
        return
    path = Path(lake)
    if path.exists():
        if not path.is_dir():
            raise LakeError(f"--out {path} is a file: give a folder, such as lake.zarr")
        if any(path.iterdir()) and not (path / "zarr.json").exists():
            raise LakeError(f"--out {path} holds files that are no lake: give a new or an empty folder")
    nearest = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not os.access(nearest, os.W_OK | os.X_OK) or os.statvfs(nearest).f_flag & os.ST_RDONLY:
        raise LakeError(f"--out {path} can't be written: no permission to write in {nearest}")


def _check_same(lake: str, group: str, recipe: Recipe, dtype: str) -> dict | None:
    """Return the attributes of a group begun with the same recipe, or None where none is."""
    attributes = groups.read_attributes(lake, group)
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
    stored = groups.stored_geometry(lake, group)
    if stored is not None and stored.dtype != dtype:
        raise LakeError(
            f"{lake}/{group} holds {stored.dtype}: give --dtype {stored.dtype}, another --out, or --overwrite "
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
            now[recording.path] = fingerprint_of(source.root / recording.path)
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
    labels, recordings, shards = groups.read_tables(lake, group)
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
