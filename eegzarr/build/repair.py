"""Make what `eegzarr.store.verify` found faulty again, from the source, to the same bytes.

File by file: nothing that is sound is removed or written, so that a repair may be killed at any moment.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from dask.distributed import Client
from zarr.storage import MemoryStore

from eegzarr.bids.given_windows import read_window_table, with_windows
from eegzarr.build import group as groups
from eegzarr.build.checks import named_source
from eegzarr.build.digest import signals_digest
from eegzarr.build.plan import Plan
from eegzarr.build.task import ShardTask
from eegzarr.build.workers.cluster import local_client, write_shards
from eegzarr.build.workers.resources import Resources
from eegzarr.build.workers.script import refuse_in_worker
from eegzarr.build.workers.session import plan_on, shard_memory, watched_memory
from eegzarr.build.workers.waiting import result_of
from eegzarr.build.write import disk_faults_named, shard_tasks
from eegzarr.errors import LakeError
from eegzarr.events import BuildBegan, Listener, ShardFinished, tell
from eegzarr.machine.memory import MemoryGate, as_bytes
from eegzarr.recipes.recipe import GIVEN, Recipe, recipe_from_json
from eegzarr.recordings.positions import electrode_positions
from eegzarr.store.bucket import slow_requests_told
from eegzarr.store.checksums import Checksum, checksum, read_checksums, stage_checksums
from eegzarr.store.codec import codec_version, compresses_alike
from eegzarr.store.group import geometry_of, put_attributes, read_tables, stored_imprints
from eegzarr.store.layout import (
    CHECKSUMS,
    EEG,
    METADATA,
    SHARDS,
    UNREADABLE,
    Geometry,
    lake_url,
    open_array,
    open_group,
    open_store,
)
from eegzarr.store.private import get_bytes, run, set_bytes
from eegzarr.store.receipt import Imprint, Receipt
from eegzarr.store.root import only_builder, remove_strays, renew_root
from eegzarr.store.staging import delete_all, paths_below, put_all, put_some, same_as_staged
from eegzarr.store.verify import Fault, empty_group, is_stored_split
from eegzarr.urls import one_line_errors


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a group was made from, by its metadata."""

    source: str
    release: str
    recipe: Recipe
    geometry: Geometry
    attributes: Mapping[str, Any]


def repair_lake(
    lake: str | os.PathLike[str],
    faults: Sequence[Fault],
    *,
    source: str | Path | None = None,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    listeners: Sequence[Listener] = (),
) -> None:
    """Repair what was found: each faulty shard, label and table by itself, and nothing else.

    What doesn't belong to a group is moved out of the lake, into ``LAKE.strays``; files that file managers and
    killed builds leave are deleted. Neither needs the source.

    Parameters
    ----------
    faults : sequence of Fault
        From `eegzarr.store.verify.verify_lake`.
    source : path or URL, optional
        Where the dataset is now; default where it was. Its content decides, not its time stamps.
    workers, memory_limit, listeners
        As for `eegzarr.build_lake`.

    Raises
    ------
    SourceError
        If a source is gone.
    LakeError
        If a source isn't what the group was built from, or the metadata that name it are damaged too.
    BuildStopped
        If the disk is full, or a bucket's server doesn't answer: call again later.
    """
    refuse_in_worker()
    url, limit, watchers = lake_url(lake), as_bytes(memory_limit, "--memory-limit"), tuple(listeners)
    with one_line_errors(url, LakeError), disk_faults_named(url), slow_requests_told(watchers):
        _repair(url, faults, source, (workers, limit), watchers)


def _repair(
    url: str,
    faults: Sequence[Fault],
    source: str | Path | None,
    limits: tuple[int | None, int | None],
    watchers: tuple[Listener, ...],
) -> None:
    remove_strays(url, [fault.path for fault in faults if fault.kind == "stray"])
    unfinished = []
    for group in sorted({fault.group for fault in faults if fault.group}):
        own = [fault for fault in faults if fault.group == group and fault.kind != "stray"]
        if any(fault.kind == "unfinished" for fault in own):
            unfinished.append(group)
        elif own:
            with only_builder(url, group):
                _repair_group(url, group, own, source, limits, watchers)
    _repair_root(url, faults, watchers)
    if unfinished:
        raise LakeError(f"{url}/{unfinished[0]} is still being built: finish it with the command that began it")


def _repair_group(
    lake: str,
    group: str,
    faults: list[Fault],
    moved_to: str | Path | None,
    limits: tuple[int | None, int | None],
    watchers: tuple[Listener, ...],
) -> None:
    origin = _origin(lake, group, faults)
    if origin.recipe.anchor == GIVEN:
        raise LakeError(
            f"{lake}/{group} can't be repaired: its windows were given, from {origin.source}, and there are no "
            f"recordings to make them from again. Write it again from there, with overwrite"
        )
    if any(fault.shard is not None for fault in faults):
        _check_codec(lake, group, origin.geometry, {fault.path for fault in faults})
    resources = Resources.fit(shard_memory(origin.recipe, lake, origin.geometry), *limits)
    source = named_source(moved_to or origin.source, origin.recipe, origin.release)
    if told := origin.attributes.get("windows"):
        source = with_windows(source, origin.recipe, *read_window_table(told))
    source = replace(source, montage=str(origin.attributes.get("montage", "")))
    with watched_memory(resources, watchers), local_client(resources) as client:
        plan = plan_on(client, source, origin.recipe, lambda channels, times: origin.geometry, watchers)
        _check_windows(lake, group, plan, origin)
        positions = client.submit(electrode_positions, plan.located_header, plan.channels)
        receipts = _repair_shards(client, lake, group, plan, faults, resources.workers, watchers)
        in_files = [fault for fault in faults if fault.shard is None]
        if in_files:
            staged = groups.staged_group(plan, group, receipts, result_of(client, positions, watchers))
            mend_files(lake, group, as_it_was(staged, group, origin), in_files, origin, plan)


def _check_windows(lake: str, group: str, plan: Plan, origin: Origin) -> None:
    windows = plan.n_windows
    with suppress(UNREADABLE):  # damaged, perhaps
        windows = open_array(lake, f"{group}/{EEG}").shape[0]
    if windows != plan.n_windows:
        raise _other_source(lake, group, plan)
    before = origin.attributes.get("signals_digest", "")
    if before and before != signals_digest(plan):
        raise _other_source(lake, group, plan)


def _other_source(lake: str, group: str, plan: Plan) -> LakeError:
    return LakeError(
        f"source {plan.source.root} isn't what {lake}/{group} was built from: restore it, name the one that is with "
        f"--source, or rebuild the group with python -m eegzarr.build --overwrite"
    )


def _repair_shards(
    client: Client, lake: str, group: str, plan: Plan, faults: list[Fault], workers: int, watchers: tuple[Listener, ...]
) -> dict[int, Receipt]:
    """Write faulty shards again, and return the receipts of all: where they are damaged, made from the source."""
    faulty = {fault.shard for fault in faults if fault.shard is not None}
    receipts = _receipts(lake, group, plan, faults)
    expected = _imprints(lake, group, faults) or {shard: receipt.imprint for shard, receipt in receipts.items()}
    needs_all = len(faulty) < len(faults)
    todo = sorted(faulty | (set(range(plan.n_shards)) - set(receipts) if needs_all else set()))
    began = BuildBegan(
        group=group,
        recordings=len(plan.inspections),
        skipped=0,
        windows=plan.n_windows,
        shards=len(todo),
        finished=0,
        windows_finished=0,
        workers=workers,
    )
    tell(watchers, began)
    task_of = shard_tasks(lake, group, plan)

    def task(shard: int) -> ShardTask:
        return replace(task_of(shard), wanted=expected.get(shard), is_kept=shard in faulty)

    lacking = sorted(faulty - set(expected))
    if lacking:
        raise LakeError(
            f"{lake}/{group} can't be repaired: of shard {lacking[0]} neither the checksum nor the receipt is left. "
            f"Rebuild the group with python -m eegzarr.build --overwrite"
        )
    for receipt in write_shards(client, task, todo, {}, MemoryGate(1.0), watchers):
        receipts[receipt.shard] = receipt
        tell(watchers, ShardFinished(shard=receipt.shard, windows=len(receipt.valid), nbytes=receipt.nbytes))
    return receipts


def _receipts(lake: str, group: str, plan: Plan, faults: list[Fault]) -> dict[int, Receipt]:
    """Return the receipts that a group keeps, unless they are faulty themselves."""
    if _touched(f"{group}/{SHARDS}/receipt/", faults):
        return {}
    return groups.read_receipts(lake, group, plan, whole_only=False)


def _imprints(lake: str, group: str, faults: list[Fault]) -> dict[int, Imprint]:
    if any(_touched(f"{group}/{SHARDS}/{name}/", faults) for name in ("nbytes", "content")):
        return {}
    try:
        return stored_imprints(lake, group)
    except UNREADABLE:
        return {}


def _touched(prefix: str, faults: list[Fault]) -> bool:
    return any(fault.path.startswith(prefix) for fault in faults)


def as_it_was(staged: MemoryStore, group: str, origin: Origin) -> MemoryStore:
    """Return the files with the attributes that the group had: its source may be elsewhere now, eegzarr a newer one."""
    kept = ("source", "eegzarr_version", "prepared_with", "title", "plan_digest", "signals_digest", "labels_digest")
    node = zarr.open_group(staged, path=group, mode="r+", zarr_format=3, use_consolidated=False)
    attributes = {**dict(node.attrs), **{name: origin.attributes[name] for name in kept if name in origin.attributes}}
    attributes = {name: value for name, value in attributes.items() if name in origin.attributes or name not in kept}
    put_attributes(staged, group, attributes)
    run(staged.delete_dir(f"{group}/{CHECKSUMS}"))
    stage_checksums(staged, group)
    return staged


def mend_files(lake: str, group: str, staged: MemoryStore, faults: list[Fault], origin: Origin, plan: Plan) -> None:
    """Write faulty files again, each only with the content that it had."""
    store = open_store(lake)
    try:
        expected = read_checksums(store, group)
    except UNREADABLE:
        expected = {}
    table = f"{group}/{CHECKSUMS}"
    if not expected or _touched(table, faults):
        # The right content isn't known file by file, but the same source gives all of them again.
        expected = {**read_checksums(staged, group), **_unfaulty(expected, faults)}
    paths = [fault.path for fault in faults if fault.path in expected]
    other = [path for path in paths if not path.startswith(table) and not _is_made(staged, path, expected[path])]
    if other:
        raise LakeError(
            f"{lake}/{other[0]} can't be repaired: the labels of {plan.source.root} have changed since the group was "
            f"built from {origin.source}. python -m eegzarr.build gives it the labels of today, and leaves the signals"
        )
    put_some(store, staged, [path for path in paths if not path.startswith(table)])
    if not paths or any(fault.path.startswith(table) for fault in faults):
        delete_all(staged, same_as_staged(store, staged, paths_below(staged, f"{table}/")))  # what is sound stays
        put_all(store, staged, table, last=f"{table}/{METADATA}")


def _is_made(staged: MemoryStore, path: str, expected: Checksum) -> bool:
    made = checksum(staged, path)
    return made is not None and expected.fits(made)


def _unfaulty(expected: Mapping[str, Checksum], faults: list[Fault]) -> dict[str, Checksum]:
    faulty = {fault.path for fault in faults}
    return {path: one for path, one in expected.items() if path not in faulty and f"/{CHECKSUMS}/" not in path}


def _check_codec(lake: str, group: str, geometry: Geometry, faulty: set[str]) -> None:
    """Refuse to repair with a Blosc that makes other bytes of the same samples: a sound shard is encoded to see."""
    store = open_store(lake, read_only=True)
    try:
        shards = read_tables(lake, group)[2].sizes["shard"]
    except UNREADABLE:
        return  # all is made again
    paths = (f"{group}/{EEG}/{geometry.shard_key(shard)}" for shard in range(shards))
    sound = next((path for path in paths if path not in faulty), None)
    if sound is None:
        return
    content = np.frombuffer(get_bytes(store, sound) or b"", np.uint8)
    if not compresses_alike(content, geometry, sound):
        raise LakeError(
            f"{lake}/{group} can't be repaired here: {codec_version()} of this numcodecs makes other bytes of the same "
            f"samples than what wrote the group. Use the numcodecs that wrote it, or rebuild the group with "
            f"python -m eegzarr.build --overwrite"
        )


def _origin(lake: str, group: str, faults: list[Fault]) -> Origin:
    """Read what a group was made from, out of the lake's copy where the group's own metadata are faulty."""
    own_is_faulty = {fault.path for fault in faults} & {f"{group}/{METADATA}", f"{group}/{EEG}/{METADATA}"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            store = open_store(lake, read_only=True)
            if own_is_faulty:
                root = zarr.open_group(store, mode="r", use_consolidated=True)
                node, array = root[group], root[f"{group}/{EEG}"]
            else:  # whatever has become of the lake's
                node, array = open_group(store, group), open_array(lake, f"{group}/{EEG}")
            attributes = dict(node.attrs)
        if not isinstance(array, zarr.Array):
            raise TypeError(f"{EEG} isn't an array")
        return Origin(
            source=str(attributes["source"]),
            release=str(attributes["release"]),
            recipe=recipe_from_json(str(attributes["recipe"])),
            geometry=geometry_of(array, f"{lake}/{group}/{EEG}"),
            attributes=attributes,
        )
    except UNREADABLE as error:
        raise LakeError(
            f"{lake}/{group} can't be repaired: its record of source and recipe is damaged, too. Rebuild it "
            f"with python -m eegzarr.build --overwrite"
        ) from error


def _repair_root(lake: str, faults: Sequence[Fault], watchers: tuple[Listener, ...]) -> None:
    between = {fault.path for fault in faults if not fault.group and fault.kind != "stray"} - {METADATA}
    between = {path for path in between if not is_stored_split(path)}  # only its author can store it again
    staged = MemoryStore()
    for path in sorted(between):
        set_bytes(staged, path, empty_group())
    put_some(open_store(lake), staged, sorted(between))
    renew_root(lake, watchers=watchers)
