"""A cut group in its lake: labels, addresses and statistics, written at one go; or its windows, stored like any."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from zarr.storage import MemoryStore

from eegzarr.build import group as groups
from eegzarr.build.digest import fingerprints_of, labels_digest, signals_digest
from eegzarr.build.plan import Plan
from eegzarr.build.state import Asked, Step, decide
from eegzarr.build.tables import labels, recording_moments, recordings_table, shards_table
from eegzarr.build.write import Written, disk_faults_named, finish_group
from eegzarr.cut.shards import Makers, cut_tasks, measured
from eegzarr.cut.source import WholeRecordings
from eegzarr.errors import LakeError
from eegzarr.machine.system import flush_folder
from eegzarr.recordings.positions import electrode_positions
from eegzarr.store.checksums import stage_checksums
from eegzarr.store.dataset import write_dataset
from eegzarr.store.group import put_attributes, read_attributes
from eegzarr.store.layout import (
    BUILDING,
    COMPLETE,
    FIRST_TILE,
    FORMAT_2,
    METADATA,
    RECORDINGS,
    SHARDS,
    SIGNALS,
    TILE,
    TILE_LABELS,
    TILE_OFFSET,
    TILES_DIGEST,
    group_path,
    open_group,
    open_store,
)
from eegzarr.store.receipt import Moments, Receipt
from eegzarr.store.root import drop, is_settled, leave_root, only_builder, require_folder, settle
from eegzarr.store.staging import put_all

# Attributes of the recordings' group.
_KEPT = ("source", "prepared_with", "largest_error_uV", "largest_relative_error", "lossless", "smallest_step_uV")


def cut_dataset(recordings: WholeRecordings, plan: Plan, receipts: dict[int, Receipt]) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the labels and the table of recordings of cut windows: those of a build, and where samples are."""
    ordered = [receipts[shard] for shard in range(plan.n_shards)]
    moments: dict[int, Moments] = recording_moments(plan, ordered)
    positions = electrode_positions(plan.located_header, plan.channels)
    paths = [inspection.recording.path for inspection in plan.inspections]
    first = np.array([recordings.first_tile.get(path, -1) for path in paths], np.int64)
    length = recordings.tiles.geometry.n_times
    tile, offset = np.divmod(plan.windows["start_sample"].to_numpy(np.int64), length)
    tile += first[plan.windows["recording"].to_numpy()]
    windows = labels(plan, ordered, moments, positions).assign_coords(
        {
            TILE: ("window", tile, {"long_name": TILE_LABELS[TILE][2]}),
            TILE_OFFSET: ("window", offset.astype(np.int32), {"long_name": TILE_LABELS[TILE_OFFSET][2]}),
        }
    )
    has_windows = np.array([inspection.n_windows > 0 for inspection in plan.inspections])
    meaning = {"long_name": "first of its tiles, -1 without windows"}
    table = recordings_table(plan, ordered, moments)
    return windows, table.assign({FIRST_TILE: ("recording", np.where(has_windows, first, -1), meaning)})


def cut_attributes(recordings: WholeRecordings, plan: Plan) -> dict[str, Any]:
    """Return the attributes of a cut group: those of a build, and which group has its signals."""
    own = groups.complete_attributes(plan)
    kept = {str(name): recordings.attributes[name] for name in _KEPT if name in recordings.attributes}
    digest = hashlib.sha256(f"{own['plan_digest']}\n{recordings.tiles.group}\n{recordings.tiles.state}".encode())
    return {
        **{name: value for name, value in own.items() if name != "prepared_with"},
        **kept,
        "format_version": FORMAT_2,
        "plan_digest": digest.hexdigest(),
        SIGNALS: recordings.tiles.group,
        TILES_DIGEST: recordings.tiles.state,
    }


def staged_cut(recordings: WholeRecordings, plan: Plan, group: str, by: Makers) -> MemoryStore:
    """Return all files of a cut group, in memory."""
    windows, table = cut_dataset(recordings, plan, measured(recordings, plan, by))
    staged = MemoryStore()
    write_dataset(staged, group, windows)
    write_dataset(staged, f"{group}/{RECORDINGS}", table)
    empty = replace(plan, windows=plan.windows.iloc[:0])
    write_dataset(staged, f"{group}/{SHARDS}", shards_table(empty, []))
    node = open_group(staged, group, "r+")
    node.attrs.put({**cut_attributes(recordings, plan), "coordinates": node.attrs["coordinates"]})
    stage_checksums(staged, group)
    return staged


def write_cut(recordings: WholeRecordings, plan: Plan, by: Makers, *, overwrite: bool) -> bool:
    """Write a cut group; return whether there was anything to write.

    Raises
    ------
    LakeError
        If other windows are at its place.
    """
    lake = recordings.tiles.lake
    group = group_path(plan.recipe.name, plan.source.name)
    attributes = cut_attributes(recordings, plan)
    with disk_faults_named(lake), only_builder(lake, group):
        there = _checked_place(lake, group, plan, attributes, overwrite=overwrite)
        if there is not None and there.get("status") == COMPLETE and there["plan_digest"] == attributes["plan_digest"]:
            if not is_settled(lake, group, there):
                settle(lake, group)
            return False
        staged = staged_cut(recordings, plan, group, by)
        store = open_store(lake)
        require_folder(lake, group)
        put_attributes(store, group, {**attributes, "status": BUILDING})
        leave_root(lake, group)
        drop(lake, group)
        flush = None if "://" in lake else partial(flush_folder, Path(lake) / group)
        put_all(store, staged, group, last=f"{group}/{METADATA}", before_last=flush)
        settle(lake, group)
        return True


def _checked_place(
    lake: str, group: str, plan: Plan, attributes: dict[str, Any], *, overwrite: bool
) -> dict[str, Any] | None:
    """Return the attributes of what is at a group's place, None if nothing is."""
    try:
        there = read_attributes(lake, group)
    except LakeError:
        if not overwrite:
            raise
        return {}
    if there is None or "recipe" not in there:
        if not overwrite and (clash := groups.clash(lake, group, plan.recipe, plan.source.montage)):
            raise LakeError(clash)
        return there
    if overwrite:
        return there
    if SIGNALS not in there:
        raise LakeError(
            f"{lake}/{group} has its windows stored already: nothing needs to be cut. Give the recipe another name, or "
            f"--overwrite to replace them"
        )
    if there["recipe"] != attributes["recipe"]:
        raise LakeError(
            f"{lake}/{group} was cut with another recipe named {plan.recipe.name}: give the recipe another name, or "
            f"--overwrite to replace it"
        )
    return there


def store_windows(recordings: WholeRecordings, plan: Plan, by: Makers, *, overwrite: bool) -> bool:
    """Write the windows of a plan out, as a build would; return whether there was anything to write.

    A run that was stopped continues where it was.

    Raises
    ------
    LakeError
        If other windows are at their place.
    """
    lake = recordings.tiles.lake
    plan = replace(plan, source=replace(plan.source, root=str(recordings.attributes["source"])))
    group = group_path(plan.recipe.name, plan.source.name)
    with disk_faults_named(lake), only_builder(lake, group):
        found = groups.look_at(lake, group)
        fingerprints = fingerprints_of(plan)
        asked = Asked(
            place=f"{lake}/{group}",
            source=recordings.place,
            recipe=plan.recipe,
            dtype=plan.geometry.dtype,
            step=plan.geometry.step,
            compression=plan.geometry.compression,
            overwrite=overwrite,
            fingerprints=fingerprints,
            labels_digest=labels_digest(plan.recipe, plan.source, fingerprints),
            prepared_with=str(recordings.attributes.get("prepared_with", "")),
            signals_digest=signals_digest(plan),
            clash=groups.clash(lake, group, plan.recipe, plan.source.montage) if found.status == "nothing" else "",
        )
        decision = decide(found, asked)
        if decision.step is Step.REFUSE:
            raise LakeError(decision.message)
        if decision.step in (Step.ALREADY, Step.SETTLE):
            if decision.step is Step.SETTLE:
                settle(lake, group)
            return False
        goes_on = decision.step in (Step.RESUME, Step.RELABEL)
        receipts = groups.read_receipts(lake, group, plan) if goes_on else {}
        if not receipts:
            groups.begin(lake, group, plan)
        missing = [shard for shard in range(plan.n_shards) if shard not in receipts]
        receipts |= by.receipts(plan, cut_tasks(recordings, plan, group=group), missing)
        finish_group(lake, group, plan, Written(receipts, electrode_positions(plan.located_header, plan.channels)))
        return True
