"""A group of a lake as it is stored: its attributes, geometry and tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from eegzarr.errors import LakeError
from eegzarr.store.layout import (
    COMPLETE,
    EEG,
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
from eegzarr.store.receipt import Imprint
from eegzarr.store.staging import list_names, put_all

if TYPE_CHECKING:
    import xarray as xr


def read_attributes(lake: str, group: str) -> dict[str, Any] | None:
    """Return a group's own attributes, or None if it isn't there.

    Raises
    ------
    LakeError
        If its metadata can't be read.
    """
    try:
        node = open_group(open_store(lake, read_only=True), group)
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, ValueError, TypeError) as error:
        raise LakeError(f"{lake}/{group}/zarr.json is damaged: {error}") from error
    return dict(node.attrs)


def put_attributes(store: Store, group: str, attributes: dict[str, Any]) -> None:
    """Write a group's own metadata, and nothing below it, at one go."""
    staged = MemoryStore()
    zarr.create_group(staged, path=group, zarr_format=3, attributes=attributes)
    put_all(store, staged, group, last=f"{group}/{METADATA}")


def stored_digest(metadata: bytes) -> str | None:
    """Return the digest of the plan that a group's ``zarr.json`` tells, None where the group isn't complete.

    Raises
    ------
    LakeError
        If it isn't JSON.
    """
    try:
        attributes = json.loads(metadata)["attributes"]
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(f"a group's zarr.json is damaged: {error}") from error
    return str(attributes.get("plan_digest", "")) if attributes.get("status") == COMPLETE else None


def stored_geometry(lake: str, group: str) -> Geometry | None:
    """Return how a group's windows lie in its shards, None before there is an array for them.

    Raises
    ------
    LakeError
        If the array is not laid out as eegzarr writes it.
    """
    try:
        array = open_array(lake, f"{group}/{EEG}")
    except FileNotFoundError:
        return None
    return geometry_of(array, f"{lake}/{group}/{EEG}")


def geometry_of(array: zarr.Array, name: str) -> Geometry:
    """Return how the windows of an array of signals lie in its shards.

    Raises
    ------
    LakeError
        If they don't as eegzarr writes them.
    """
    blosc = array.compressors[0] if array.compressors else None
    if array.shards is None or not isinstance(blosc, BloscCodec):
        raise LakeError(f"{name} is no array of eegzarr: shards of Blosc frames with CRC-32C expected")
    # As it is stored: the codec's attributes are enumerations or texts, depending on the version of zarr-python.
    configuration: Any = blosc.to_dict()["configuration"]
    step = array.attrs.get("scale_factor", 0.0)
    if np.dtype(array.dtype).kind != "f" and not (isinstance(step, int | float) and step > 0):
        raise LakeError(f"{name} holds integers without the attribute scale_factor, which says how many uV one is")
    return Geometry(
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


def finished_shards(lake: str, group: str) -> tuple[int, int]:
    """Return how many shards of a group that is being built are finished, of how many; (0, 0) before any is begun.

    By what a folder lists: each receipt is a file of its own, and all of HBN's are half a gigabyte.
    """
    receipts = f"{group}/{SCRATCH}/{RECEIPTS}"
    try:
        total = open_array(lake, receipts).shape[0]
    except FileNotFoundError:
        return 0, 0
    store = open_store(lake, read_only=True)
    try:
        return sum(name.isdigit() for name in list_names(store, f"{receipts}/c")), total
    except FileNotFoundError:
        return 0, total


def stored_imprints(lake: str, group: str) -> dict[int, Imprint]:
    """Return what each shard's file must be, as the group's table of shards says.

    Raises
    ------
    FileNotFoundError
        If there is no such table; and what Zarr raises where it is damaged.
    """
    table = open_dataset(open_store(lake, read_only=True), f"{group}/{SHARDS}", drop_variables=RECEIPT).load()
    nbytes = table["nbytes"].to_numpy().tolist()
    content = table["content"].to_numpy().tolist() if "content" in table else [None] * len(nbytes)
    return {shard: Imprint(*both) for shard, both in enumerate(zip(nbytes, content, strict=True))}


def read_tables(lake: str, group: str) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Return a group's Dataset and its tables of recordings and of shards, not yet loaded."""
    store = open_store(lake, read_only=True)
    return (
        open_dataset(store, group),
        open_dataset(store, f"{group}/{RECORDINGS}"),
        open_dataset(store, f"{group}/{SHARDS}"),
    )


def unreadable_windows(windows: xr.Dataset) -> int:
    """Count the windows whose signal couldn't be read; tiles that aren't full are no such ones."""
    invalid = ~windows["valid"].to_numpy()
    if TILE_SAMPLES in windows.variables:
        invalid &= windows[TILE_SAMPLES].to_numpy() == windows.sizes["time"]
    return int(invalid.sum())
