"""The life of a group in a lake: begun, given shards and receipts, finished.

Every step can be done again, and what counts is written last: a shard before its receipt,
all arrays before ``status = complete``, that before the lake's consolidated metadata.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec
from zarr.storage import MemoryStore

from eegzarr import __version__
from eegzarr.build.plan import Plan
from eegzarr.build.state import Found
from eegzarr.build.tables import labels, recording_moments, recordings_table, rounding_attributes, shards_table
from eegzarr.errors import LakeError
from eegzarr.machine.system import flush_folder
from eegzarr.recipes.recipe import recipe_from_json
from eegzarr.store.codec import codec_mark
from eegzarr.store.dataset import write_dataset
from eegzarr.store.group import put_attributes, read_attributes, stored_geometry
from eegzarr.store.layout import (
    BUILDING,
    COMPLETE,
    EEG,
    FORMAT,
    METADATA,
    RECEIPTS,
    RECORDINGS,
    SCRATCH,
    SHARDS,
    create_eeg,
    open_array,
    open_dataset,
    open_group,
    open_store,
)
from eegzarr.store.private import run
from eegzarr.store.receipt import Receipt
from eegzarr.store.root import drop, is_settled, leave_root, settle
from eegzarr.store.staging import paths_below, put_all

_REQUESTS = 16  # at once, for receipts


def look_at(lake: str, group: str) -> Found:
    """Return what stands at a group's place."""
    try:
        attributes = read_attributes(lake, group)
        if attributes is None:
            lost = paths_below(open_store(lake, read_only=True), f"{group}/{EEG}/c/", most=1)
            return Found(status="damaged", damage=_lost(lake, group)) if lost else Found()
        if "recipe" not in attributes:
            return Found()
        if attributes.get("format_version") != FORMAT:
            return Found(status=_status(attributes), format=str(attributes.get("format_version")))
        return Found(
            status=_status(attributes),
            recipe=recipe_from_json(attributes["recipe"]),
            geometry=stored_geometry(lake, group),
            fingerprints=begun_fingerprints(lake, group),
            plan_digest=str(attributes.get("plan_digest", "")),
            is_settled=is_settled(lake, group, attributes),
        )
    except LakeError as error:
        return Found(status="damaged", damage=str(error))


def _status(attributes: dict[str, Any]) -> Literal["building", "complete"]:
    return "complete" if attributes.get("status") == COMPLETE else "building"


def _lost(lake: str, group: str) -> str:
    return (
        f"{lake}/{group} has signals but no {METADATA}: python -m eegzarr.verify --repair restores it, "
        f"--overwrite builds it anew"
    )


def begin(lake: str, group: str, plan: Plan) -> None:
    """Write a group's metadata and its empty array of receipts; drop what was there before.

    A group that was complete says first that it is being built, then the lake's copy of its metadata
    goes, and only then what they describe.
    """
    store = open_store(lake)
    root = open_group(store, mode="a")
    root.require_group(group.rpartition("/")[0])
    put_attributes(store, group, _attributes(plan, BUILDING))
    leave_root(lake, group)
    drop(lake, group)
    staged = MemoryStore()
    node = zarr.create_group(staged, path=group, zarr_format=3, attributes=_attributes(plan, BUILDING))
    create_eeg(node, plan.n_windows, plan.geometry)
    scratch = node.create_group(SCRATCH, attributes={"fingerprints": fingerprints(plan)})
    scratch.create_array(
        RECEIPTS, shape=(plan.n_shards,), chunks=(1,), dtype="string", compressors=[Crc32cCodec()], fill_value=""
    )
    # Last: without it a later run begins again.
    put_all(store, staged, group, last=f"{group}/{SCRATCH}/{RECEIPTS}/{METADATA}")


def fingerprints(plan: Plan) -> dict[str, str]:
    """Return the fingerprint of each recording that the plan knows, by its path."""
    return {inspection.recording.path: inspection.fingerprint for inspection in plan.inspections}


def begun_fingerprints(lake: str, group: str) -> dict[str, str] | None:
    """Return the fingerprints of the recordings when the group was begun, None before that."""
    store = open_store(lake, read_only=True)
    try:
        scratch = open_group(store, f"{group}/{SCRATCH}")
        return dict(scratch.attrs["fingerprints"])  # type: ignore[arg-type]
    except FileNotFoundError:
        pass
    try:
        table = open_dataset(store, f"{group}/{RECORDINGS}")
    except FileNotFoundError:
        return None
    return dict(zip(table["path"].to_numpy().tolist(), table["fingerprint"].to_numpy().tolist(), strict=True))


def read_receipts(lake: str, group: str, plan: Plan) -> dict[int, Receipt]:
    """Return the receipts of an earlier run of the same plan, by shard.

    A receipt that can't be read, whose shard isn't there in full, or was compressed by a Blosc that
    makes other bytes, is left out: its shard is made again.
    """
    try:
        array = open_array(lake, f"{group}/{SCRATCH}/{RECEIPTS}")
    except FileNotFoundError:
        return {}

    codec = codec_mark(plan.geometry)

    def read(shard: int) -> Receipt | None:
        try:
            text = str(array[shard])
            receipt = Receipt.from_json(text) if text else None
        except (ValueError, KeyError, TypeError, OSError):
            return None
        if receipt is None or (receipt.plan_digest, receipt.codec) != (plan.digest, codec):
            return None
        written = _size(lake, f"{group}/{EEG}/{plan.geometry.shard_key(shard)}")
        return receipt if written == receipt.nbytes else None

    with ThreadPoolExecutor(_REQUESTS) as pool:
        receipts = pool.map(read, range(array.shape[0]))
        return {shard: receipt for shard, receipt in enumerate(receipts) if receipt is not None}


def finish(lake: str, group: str, plan: Plan, receipts: dict[int, Receipt], positions: np.ndarray) -> None:
    """Write labels, tables and statistics, declare the group complete, and tidy the lake.

    Parameters
    ----------
    positions : array, shape (channel, 3)
        Of the electrodes, in m.
    """
    ordered = [receipts[shard] for shard in range(plan.n_shards)]
    moments = recording_moments(plan, ordered)
    staged = MemoryStore()
    write_dataset(staged, group, labels(plan, ordered, moments, positions))
    write_dataset(staged, f"{group}/{RECORDINGS}", recordings_table(plan, ordered, moments))
    write_dataset(staged, f"{group}/{SHARDS}", shards_table(plan, ordered))
    node = open_group(staged, group, "r+")
    measured = rounding_attributes(plan, ordered)
    node.attrs.put({**_attributes(plan, COMPLETE), **measured, "coordinates": node.attrs["coordinates"]})
    # A power cut may not leave a group that says that it is complete, and lacks labels.
    flush = None if "://" in lake else partial(flush_folder, Path(lake) / group)
    put_all(open_store(lake), staged, group, last=f"{group}/{METADATA}", before_last=flush)
    settle(lake, group)


def _of_dataset(plan: Plan) -> dict[str, Any]:
    """Return what the source says of itself, and what of its tables was renamed, assumed or couldn't be read."""
    known = {"dataset": "Name", "license": "License", "dataset_doi": "DatasetDOI"}
    told = {name: plan.source.description[key] for name, key in known.items() if key in plan.source.description}
    notes = [*plan.source.notes, *plan.subjects.notes]
    return told | ({"notes": notes} if notes else {})


def _attributes(plan: Plan, status: str) -> dict[str, Any]:
    recipe = plan.recipe
    return {
        "title": f"EEG windows of {recipe.name} from {plan.source.name}",
        "status": status,
        "format_version": FORMAT,
        "recipe": recipe.to_json(),
        "release": plan.source.name,
        "sampling_rate": recipe.sfreq,
        "source": plan.source.root,
        **_of_dataset(plan),
        "plan_digest": plan.digest,
        "eegzarr_version": __version__,
    }


def _size(lake: str, key: str) -> int:
    """Bytes of an object, or -1 if it isn't there."""
    if "://" not in lake:
        path = Path(lake) / key
        return path.stat().st_size if path.exists() else -1
    return _remote_size(lake, key)


def _remote_size(lake: str, key: str) -> int:
    try:
        return run(open_store(lake, read_only=True).getsize(key))
    except FileNotFoundError:
        return -1
