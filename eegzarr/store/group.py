"""A group of a lake as it is stored: its attributes, geometry and tables."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from eegzarr.errors import LakeError
from eegzarr.store.layout import (
    COMPLETE,
    DTYPES,
    EEG,
    LARGEST_SHARD,
    METADATA,
    RECEIPT,
    RECEIPTS,
    RECORDINGS,
    SCRATCH,
    SHARDS,
    TILE_SAMPLES,
    Geometry,
    open_array,
    open_dataset,
    open_group,
    open_store,
)
from eegzarr.store.reading.damage import damage_named
from eegzarr.store.receipt import Imprint
from eegzarr.store.staging import list_names, put_all

if TYPE_CHECKING:
    import xarray as xr

# How many windows a group may claim before its shards are counted.
_UNQUESTIONED, _UNQUESTIONED_SHARDS = 2**23, 2**16
_LARGEST_FRAME = 2**31 - 1  # bytes: Blosc's limit


def read_attributes(lake: str, group: str) -> dict[str, Any] | None:
    """Return a group's own attributes, or None if it isn't there.

    Raises
    ------
    LakeError
        If its metadata can't be read.
    """
    store = open_store(lake, read_only=True)
    try:
        with damage_named(f"{lake}/{group}/{METADATA}"):
            return dict(open_group(store, group).attrs)
    except FileNotFoundError:
        return None


def put_attributes(store: Store, group: str, attributes: dict[str, Any]) -> None:
    """Write a group's own metadata, and nothing below it, at one go."""
    staged = MemoryStore()
    zarr.create_group(staged, path=group, zarr_format=3, attributes=attributes)
    put_all(store, staged, group, last=f"{group}/{METADATA}")


def stored_digest(metadata: bytes) -> str | None:
    """Return the digest of the plan in a group's ``zarr.json``, None where the group isn't complete.

    Raises
    ------
    LakeError
        If it isn't JSON.
    """
    with damage_named("a group's zarr.json"):
        attributes = json.loads(metadata)["attributes"]
        return str(attributes.get("plan_digest", "")) if attributes.get("status") == COMPLETE else None


@dataclass(frozen=True)
class StoredWindows:
    """How many windows a group has, and how they lie in its shards."""

    count: int
    geometry: Geometry


def stored_windows(lake: str, group: str) -> StoredWindows | None:
    """Return what a group's array of signals says of its windows, None before there is an array for them.

    Raises
    ------
    LakeError
        If the array is not laid out as eegzarr writes it.
    """
    try:
        array = open_signals(lake, group)
    except FileNotFoundError:
        return None
    return StoredWindows(array.shape[0], geometry_of(array, f"{lake}/{group}/{EEG}"))


def stored_geometry(lake: str, group: str) -> Geometry | None:
    """Return how a group's windows lie in its shards; see `stored_windows`."""
    stored = stored_windows(lake, group)
    return None if stored is None else stored.geometry


def open_signals(lake: str, group: str) -> zarr.Array:
    """Open a group's array of signals.

    Raises
    ------
    FileNotFoundError
        If it isn't there.
    LakeError
        If its metadata are damaged.
    """
    with damage_named(f"{lake}/{group}/{EEG}/{METADATA}"):
        return open_array(lake, f"{group}/{EEG}")


def check_windows(lake: str, group: str, n_windows: int, geometry: Geometry) -> None:
    """Refuse a group that claims many more windows than it has shards for: each takes memory for its labels.

    Raises
    ------
    LakeError
    """
    shards = -(-n_windows // geometry.windows_per_shard)
    if n_windows <= _UNQUESTIONED and shards <= _UNQUESTIONED_SHARDS:
        return
    there = len(list_names(open_store(lake, read_only=True), f"{group}/{EEG}/c"))
    if there < shards // 2:
        raise LakeError(
            f"{lake}/{group} claims {n_windows:,} windows in {shards:,} shards, and has {there:,}: "
            f"python -m eegzarr.verify finds what is missing"
        )


def geometry_of(array: zarr.Array, name: str) -> Geometry:
    """Return how the windows of an array of signals lie in its shards.

    Raises
    ------
    LakeError
        If they don't as eegzarr writes them.
    """
    with damage_named(f"{name}/{METADATA}"):
        blosc = array.compressors[0] if array.compressors else None
        if array.shards is None or not isinstance(blosc, BloscCodec):
            raise LakeError(f"{name} isn't an array of eegzarr: shards of Blosc frames with CRC-32C expected")
        # As it is stored: the codec's attributes are enumerations or texts, depending on the version of zarr-python.
        configuration: Any = blosc.to_dict()["configuration"]
        step = array.attrs.get("scale_factor", 0.0)
        if np.dtype(array.dtype).kind != "f" and not (isinstance(step, int | float) and 0 < step < np.inf):
            raise LakeError(f"{name} holds integers without the attribute scale_factor, which says how many uV one is")
        geometry = Geometry(
            n_channels=array.shape[1],
            n_times=array.shape[2],
            dtype=str(array.dtype),
            windows_per_frame=array.chunks[0],
            windows_per_shard=array.shards[0],
            cname=configuration["cname"],
            clevel=configuration["clevel"],
            shuffle=configuration["shuffle"],
            step=0.0 if np.dtype(array.dtype).kind == "f" else float(step),  # type: ignore[arg-type]
        )
        whole = (geometry.n_channels, geometry.n_times)
        is_ours = (
            array.ndim == 3
            and geometry.dtype in DTYPES
            and array.chunks[1:] == array.shards[1:] == whole
            and 0 < geometry.windows_per_frame * geometry.window_bytes <= _LARGEST_FRAME
            and 0 < geometry.windows_per_shard <= LARGEST_SHARD
            and geometry.windows_per_shard % geometry.windows_per_frame == 0
        )
        if not is_ours:
            raise LakeError(
                f"{name} isn't an array of eegzarr: {array.dtype} {array.shape} in shards of {array.shards} and frames "
                f"of {array.chunks}"
            )
    return geometry


def finished_shards(lake: str, group: str) -> tuple[int, int]:
    """Return how many shards of a group that is being built are finished, of how many; (0, 0) before any is begun."""
    finished, total = _receipts(lake, group)
    return len(finished), total


def finished_windows(lake: str, group: str) -> tuple[int, int]:
    """Return how many windows are in finished shards of a group that is being built, of how many."""
    finished, _ = _receipts(lake, group)
    try:
        signals = open_signals(lake, group)
    except FileNotFoundError:
        return 0, 0
    per_shard = geometry_of(signals, f"{lake}/{group}/{EEG}").windows_per_shard
    total = signals.shape[0]
    return sum(min(per_shard, total - shard * per_shard) for shard in finished), total


def _receipts(lake: str, group: str) -> tuple[list[int], int]:
    """Return the numbers of the shards that have a receipt, and how many shards the group will have.

    By what a folder lists: each receipt is a file of its own, and all of HBN's are half a gigabyte.
    """
    receipts = f"{group}/{SCRATCH}/{RECEIPTS}"
    try:
        with damage_named(f"{lake}/{receipts}"):
            total = open_array(lake, receipts).shape[0]
    except FileNotFoundError:
        return [], 0
    store = open_store(lake, read_only=True)
    try:
        return [int(name) for name in list_names(store, f"{receipts}/c") if name.isdigit()], total
    except FileNotFoundError:
        return [], total


def open_shards(store: Store, group: str) -> xr.Dataset:
    """Return a group's table of shards, not yet loaded, without the receipts.

    They are megabytes, and older versions of xarray would load them here, and fail where they are damaged.
    """
    return open_dataset(store, f"{group}/{SHARDS}", drop_variables=RECEIPT)


def stored_imprints(lake: str, group: str) -> dict[int, Imprint]:
    """Return what each shard's file must be, as the group's table of shards says.

    Raises
    ------
    FileNotFoundError
        If there is no such table; and what Zarr raises where it is damaged.
    """
    table = open_shards(open_store(lake, read_only=True), group)
    with damage_named(f"{lake}/{group}/{SHARDS}"):
        nbytes = table["nbytes"].to_numpy().tolist()
        content = table["content"].to_numpy().tolist() if "content" in table else [None] * len(nbytes)
        return {shard: Imprint(*both) for shard, both in enumerate(zip(nbytes, content, strict=True))}


def read_tables(lake: str, group: str) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Return a group's Dataset and its tables of recordings and of shards, not yet loaded."""
    store = open_store(lake, read_only=True)
    return (
        open_dataset(store, group),
        open_dataset(store, f"{group}/{RECORDINGS}"),
        open_shards(store, group),
    )


def left_out_counts(recordings: xr.Dataset) -> Counter[str]:
    """Add up the trials that a table of recordings says were left out, by the reason."""
    counts: Counter[str] = Counter()
    if "left_out_reasons" not in recordings:  # a lake of eegzarr 0.1
        return counts
    for told in recordings["left_out_reasons"].to_numpy().tolist():
        for part in str(told).split("; ") if told else ():
            count, _, why = part.partition(" ")
            counts[why] += int(count)
    return counts


def unreadable_windows(windows: xr.Dataset) -> int:
    """Count the windows whose signal couldn't be read; tiles that aren't full don't count."""
    invalid = ~windows["valid"].to_numpy()
    if TILE_SAMPLES in windows.variables:
        invalid &= windows[TILE_SAMPLES].to_numpy() == windows.sizes["time"]
    return int(invalid.sum())
