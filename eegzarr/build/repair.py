"""Make what `eegzarr.store.verify` found faulty again, from the source, to the same bytes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import zarr

from eegzarr.build.checks import named_source
from eegzarr.build.cluster import Resources, local_client, write_shards
from eegzarr.build.session import plan_on, shard_memory, watched_memory
from eegzarr.build.task import ShardTask
from eegzarr.build.write import finish_group, shard_task, write_group
from eegzarr.errors import LakeError
from eegzarr.events import BuildBegan, Listener, ShardFinished, tell
from eegzarr.machine.memory import MemoryGate, as_bytes
from eegzarr.recipes.recipe import GIVEN, Recipe, recipe_from_json
from eegzarr.store.codec import codec_version, compresses_alike
from eegzarr.store.group import geometry_of, read_tables
from eegzarr.store.layout import EEG, Geometry, lake_url, open_store
from eegzarr.store.private import get_bytes, set_bytes
from eegzarr.store.root import only_builder, renew_root
from eegzarr.store.verify import METADATA, UNREADABLE, Fault, empty_group


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a group was made from, as its metadata tell."""

    source: str
    release: str
    recipe: Recipe
    plan_digest: str
    geometry: Geometry


def repair_lake(
    lake: str | os.PathLike[str],
    faults: Sequence[Fault],
    *,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    listeners: Sequence[Listener] = (),
) -> None:
    """Repair what was found: shards alone where only shards are faulty, else the group.

    Labels and tables come from the same reading of the recordings as the shards, so that a group
    with faulty ones is read again as a whole; its sound shards are written with the bytes they had.

    Parameters
    ----------
    faults : sequence of Fault
        From `eegzarr.store.verify.verify_lake`.
    workers, memory_limit, listeners
        As for `eegzarr.build_lake`.

    Raises
    ------
    SourceError
        If a source isn't there any more.
    LakeError
        If a source isn't what the group was built from, or the metadata that name it are damaged too.
    """
    url, limit = lake_url(lake), as_bytes(memory_limit, "--memory-limit")
    for group in sorted({fault.group for fault in faults if fault.group}):
        own = [fault for fault in faults if fault.group == group]
        if any(fault.kind == "unfinished" for fault in own):
            raise LakeError(f"{url}/{group} is still being built: finish it with the command that began it")
        _repair_group(url, group, own, workers, limit, tuple(listeners))
    _repair_root(url, faults)


def _repair_group(
    lake: str,
    group: str,
    faults: list[Fault],
    workers: int | None,
    memory_limit: int | None,
    watchers: tuple[Listener, ...],
) -> None:
    origin = _origin(lake, group, faults)
    if origin.recipe.anchor == GIVEN:
        raise LakeError(
            f"{lake}/{group} can't be repaired: its windows were given, from {origin.source}, and there are no "
            f"recordings to make them from again. Write it anew from there, with overwrite"
        )
    geometry = origin.geometry
    _check_codec(lake, group, geometry, {fault.path for fault in faults})
    resources = Resources.fit(shard_memory(origin.recipe, lake, geometry), workers, memory_limit)
    source = named_source(origin.source, origin.recipe, origin.release)
    gate = MemoryGate(1.0)
    with watched_memory(resources, watchers), local_client(resources) as client:
        plan = plan_on(client, source, origin.recipe, lambda channels, times: geometry, watchers)
        if plan.digest != origin.plan_digest:
            raise LakeError(
                f"source {origin.source} isn't what {lake}/{group} was built from: restore it, or build the group "
                f"anew with python -m eegzarr.build --overwrite"
            )
        shards = [fault.shard for fault in faults if fault.shard is not None]
        if len(shards) < len(faults):
            with only_builder(lake, group):
                written = write_group(client, lake, group, plan, {}, resources, gate, watchers)
                finish_group(lake, group, plan, written)
            return
        tell(
            watchers,
            BuildBegan(
                group=group,
                recordings=len(plan.inspections),
                skipped=0,
                windows=plan.n_windows,
                shards=len(shards),
                finished=0,
                windows_finished=0,
                workers=resources.workers,
            ),
        )
        written = read_tables(lake, group)[2]["crc32c"].to_numpy().tolist()

        def task(shard: int) -> ShardTask:
            return replace(shard_task(lake, group, plan, shard), crc32c=written[shard])

        with only_builder(lake, group):
            for receipt in write_shards(client, task, shards, {}, gate):
                tell(watchers, ShardFinished(shard=receipt.shard, windows=len(receipt.valid), nbytes=receipt.nbytes))


def _check_codec(lake: str, group: str, geometry: Geometry, faulty: set[str]) -> None:
    """Refuse to repair with a Blosc that makes other bytes of the same samples, as a sound shard tells."""
    store = open_store(lake, read_only=True)
    try:
        shards = read_tables(lake, group)[2].sizes["shard"]
    except (FileNotFoundError, *UNREADABLE):
        return  # all is made again
    paths = (f"{group}/{EEG}/{geometry.shard_key(shard)}" for shard in range(shards))
    sound = next((path for path in paths if path not in faulty), None)
    if sound is None:
        return
    content = np.frombuffer(get_bytes(store, sound) or b"", np.uint8)
    if not compresses_alike(content, geometry, sound):
        raise LakeError(
            f"{lake}/{group} can't be repaired here: {codec_version()} of this numcodecs makes other bytes of the same "
            f"samples than what wrote the group. Use the numcodecs that wrote it, or build the group anew with "
            f"python -m eegzarr.build --overwrite"
        )


def _origin(lake: str, group: str, faults: list[Fault]) -> Origin:
    """Read what a group was made from, out of the lake's copy where the group's own metadata are faulty."""
    own_is_faulty = {fault.path for fault in faults} & {f"{group}/{METADATA}", f"{group}/{EEG}/{METADATA}"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            root = zarr.open_group(open_store(lake, read_only=True), mode="r", use_consolidated=bool(own_is_faulty))
            node = root[group]
            attributes, array = dict(node.attrs), root[f"{group}/{EEG}"]
        if not isinstance(array, zarr.Array):
            raise TypeError(f"{EEG} is no array")
        return Origin(
            source=str(attributes["source"]),
            release=str(attributes["release"]),
            recipe=recipe_from_json(str(attributes["recipe"])),
            plan_digest=str(attributes["plan_digest"]),
            geometry=geometry_of(array, f"{lake}/{group}/{EEG}"),
        )
    except UNREADABLE as error:
        raise LakeError(
            f"{lake}/{group} can't be repaired: what tells its source and recipe is damaged too. Build it anew "
            f"with python -m eegzarr.build --overwrite"
        ) from error


def _repair_root(lake: str, faults: Sequence[Fault]) -> None:
    store = open_store(lake)
    for fault in faults:
        if not fault.group and fault.path != METADATA:
            set_bytes(store, fault.path, empty_group())
    renew_root(lake)
