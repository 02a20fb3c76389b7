"""The life of a group in a lake: begun, given shards and receipts, finished.

Every step can be done again, and what counts is written last: a shard before its receipt,
all arrays before ``status = complete``, that before the lake's consolidated metadata.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.sync import sync
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from eegzarr import __version__
from eegzarr.errors import LakeError
from eegzarr.expression import evaluate
from eegzarr.recipe import GIVEN
from eegzarr.sources import availability, typed_participants
from eegzarr.store.checksums import write_checksums
from eegzarr.store.layout import (
    BUILDING,
    COMPLETE,
    EEG,
    FORMAT,
    LABELS,
    METADATA,
    NUMERIC_PARTICIPANTS,
    PARTS,
    RECEIPTS,
    RECORDINGS,
    SCRATCH,
    SHARDS,
    Geometry,
    create_eeg,
    label_encoding,
    open_array,
    open_dataset,
    open_group,
    open_store,
)
from eegzarr.store.plan import Plan
from eegzarr.store.receipt import Moments, Receipt, max_rounding
from eegzarr.store.staging import put_all

_REQUESTS = 16  # at once, for receipts


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


def begin(lake: str, group: str, plan: Plan) -> None:
    """Write a group's metadata and its empty array of receipts; drop what was there before."""
    store = open_store(lake)
    root = open_group(store, mode="a")
    root.require_group(group.rpartition("/")[0])
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
    return Geometry(
        n_channels=array.shape[1],
        n_times=array.shape[2],
        dtype=str(array.dtype),
        windows_per_frame=array.chunks[0],
        windows_per_shard=array.shards[0],
        cname=blosc.cname.value,
        clevel=blosc.clevel,
        shuffle=blosc.shuffle.value if blosc.shuffle else "noshuffle",
    )


def read_tables(lake: str, group: str) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Return a group's Dataset and its tables of recordings and of shards, not yet loaded."""
    store = open_store(lake, read_only=True)
    return (
        open_dataset(store, group),
        open_dataset(store, f"{group}/{RECORDINGS}"),
        open_dataset(store, f"{group}/{SHARDS}"),
    )


def read_receipts(lake: str, group: str, plan: Plan) -> dict[int, Receipt]:
    """Return the receipts of an earlier run of the same plan, by shard.

    A receipt that can't be read, or whose shard isn't there in full, is left out: its shard
    is made again.
    """
    try:
        array = open_array(lake, f"{group}/{SCRATCH}/{RECEIPTS}")
    except FileNotFoundError:
        return {}

    def read(shard: int) -> Receipt | None:
        try:
            text = str(array[shard])
            receipt = Receipt.from_json(text) if text else None
        except (ValueError, KeyError, TypeError, OSError):
            return None
        if receipt is None or receipt.plan_digest != plan.digest:
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
    _write(staged, group, labels(plan, ordered, moments, positions))
    _write(staged, f"{group}/{RECORDINGS}", recordings_table(plan, ordered, moments))
    _write(staged, f"{group}/{SHARDS}", _shards_table(plan, ordered))
    node = open_group(staged, group, "r+")
    measured = _rounding_attributes(plan, ordered)
    node.attrs.put({**_attributes(plan, COMPLETE), **measured, "coordinates": node.attrs["coordinates"]})
    # A power cut may not leave a group that says that it is complete, and lacks labels.
    flush = None if "://" in lake else os.sync
    put_all(open_store(lake), staged, group, last=f"{group}/{METADATA}", before_last=flush)
    settle(lake, group)


def settle(lake: str, group: str) -> None:
    """Drop what only a build needs and renew the lake's consolidated metadata."""
    store = open_store(lake)
    node = open_group(store, group, "r+")
    if "://" not in lake:
        _drop_parts((Path(lake) / group).rglob(PARTS))
    # Once only: what came later, damage too, must not become what is right.
    if SCRATCH in node:
        write_checksums(store, group, without=f"{group}/{SCRATCH}/")
    sync(store.delete_dir(f"{group}/{SCRATCH}"))
    renew_root(lake, group)


def renew_root(lake: str, group: str = "") -> None:
    """Renew the consolidated metadata of a lake, and drop what broken-off runs left on the way to a group.

    xarray looks for consolidated metadata in the lake's root alone, so that is where it is.
    """
    with _waiting_for_others(lake):
        if "://" not in lake:
            for folder in (Path(lake) / group).relative_to(lake).parents:
                _drop_parts((Path(lake) / folder).glob(PARTS))
        consolidate(open_store(lake))


def _drop_parts(parts: Iterable[Path]) -> None:
    for part in parts:
        part.unlink(missing_ok=True)


@contextmanager
def _waiting_for_others(lake: str) -> Iterator[None]:
    """Let one build at a time renew what all groups of a local lake share, inside the ``with``."""
    if "://" in lake:
        yield
        return
    descriptor = os.open(lake, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def consolidate(store: Store) -> None:
    """Write the metadata of all nodes into the root's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part", ZarrUserWarning)
        zarr.consolidate_metadata(store)


def drop(lake: str, group: str) -> None:
    """Remove what is in a group, but not a local group's folder: a build holds its lock."""
    if "://" in lake:
        sync(open_store(lake).delete_dir(group))
        return
    for entry in (Path(lake) / group).iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def recording_moments(plan: Plan, receipts: list[Receipt]) -> dict[int, Moments]:
    """Add up the moments of each recording over the shards that it lies in."""
    parts: dict[int, list[Moments]] = {}
    for receipt in receipts:
        for piece, moments in zip(plan.pieces(receipt.shard), receipt.moments, strict=True):
            parts.setdefault(piece.recording, []).append(moments)
    return {recording: reduce(add, moments) for recording, moments in parts.items()}


def labels(plan: Plan, receipts: list[Receipt], moments: dict[int, Moments], positions: np.ndarray) -> xr.Dataset:
    """Return every variable of the group but the signals, as coordinates."""
    windows = plan.windows
    recording = windows["recording"].to_numpy()
    entities = pd.DataFrame([vars(inspection.recording) for inspection in plan.inspections])
    people = typed_participants(plan.source.participants, NUMERIC_PARTICIPANTS)
    cut = ("recording", "start_sample")
    columns: dict[str, np.ndarray] = {
        "recording": recording,
        **{str(name): windows[name].to_numpy() for name in windows if name not in cut},
    }
    for name in ("subject", "task", "session", "run"):
        columns[name] = entities[name].to_numpy(object)[recording]
    columns["release"] = np.full(plan.n_windows, plan.source.name, dtype=object)
    columns.setdefault("start", windows["start_sample"].to_numpy() / plan.recipe.sfreq)
    flags = [availability(plan.source.participants, inspection.recording) for inspection in plan.inspections]
    columns.setdefault("availability", np.array(flags, dtype=object)[recording])
    columns["peak_to_peak"] = np.concatenate([receipt.peak_to_peak for receipt in receipts])
    columns["valid"] = np.concatenate([receipt.valid for receipt in receipts])
    for column, per_recording in _subject_columns(people, entities["subject"]).items():
        if column in columns and column not in people:
            continue  # given with the windows
        columns[f"participant_{column}" if column in columns else column] = per_recording[recording]
    columns["target"] = evaluate(plan.recipe.target, columns)

    ordered = [name for name in LABELS if name in columns] + [name for name in columns if name not in LABELS]
    coords = {
        name: _label(
            name, columns[name], "label of the window" if name in windows else f"{name}, from participants.tsv"
        )
        for name in ordered
    }
    coords |= _axes(plan, positions) | _statistics(plan, moments)
    return xr.Dataset(coords=coords)


def _subject_columns(people: pd.DataFrame, subjects: pd.Series) -> dict[str, np.ndarray]:
    """One value a recording for each column of participants.tsv; missing where no row is."""
    wanted = people.reindex(subjects.to_numpy())
    columns = {}
    for name in NUMERIC_PARTICIPANTS:
        if name not in wanted:
            wanted[name] = np.float32(np.nan)
    if "sex" not in wanted:
        wanted["sex"] = ""
    for column, values in wanted.items():
        is_number = values.dtype.kind == "f"
        columns[str(column)] = values.to_numpy(np.float32) if is_number else values.fillna("").to_numpy(object)
    return columns


def _label(name: str, values: np.ndarray, meaning: str) -> tuple[str, np.ndarray, dict[str, str]]:
    if name in LABELS:
        dtype, units, long_name = LABELS[name]
        values = values.astype(object if dtype == "str" else dtype)
    else:
        units, long_name = "", meaning
    return "window", values, {"long_name": long_name} | ({"units": units} if units else {})


def _axes(plan: Plan, positions: np.ndarray) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    recipe = plan.recipe
    time = (recipe.span.first_sample(recipe.sfreq) + np.arange(recipe.n_times)) / recipe.sfreq
    anchors = {"recording": "start of the window's span", GIVEN: "event that the window was cut around"}
    anchor = anchors.get(recipe.anchor, recipe.anchor.replace("_", " "))
    metres = {
        axis: ("channel", positions[:, i], {"long_name": f"{axis} of the electrode, in MNE's head frame", "units": "m"})
        for i, axis in enumerate("xyz")
    }
    return {
        "window": ("window", np.arange(plan.n_windows), {"long_name": "window; with release its name for good"}),
        "channel": ("channel", np.array(plan.channels, dtype=object), {"long_name": "EEG channel"}),
        "time": ("time", time, {"long_name": f"time from the {anchor}", "units": "s"}),
        **metres,
    }


def _statistics(plan: Plan, moments: dict[int, Moments]) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    nothing = Moments.of(np.empty((0, len(plan.channels), 1), np.float32))
    total = reduce(add, moments.values(), nothing)
    mean = total.mean if total.count else np.full(len(plan.channels), np.nan)
    std = np.sqrt(total.squares / total.count) if total.count else mean
    return {
        "mean": ("channel", mean, {"long_name": "mean over all valid windows", "units": "uV"}),
        "std": ("channel", std, {"long_name": "standard deviation over all valid windows", "units": "uV"}),
    }


def recordings_table(plan: Plan, receipts: list[Receipt], moments: dict[int, Moments]) -> xr.Dataset:
    """Return one row a recording of the source, with or without windows."""
    rows = []
    unread = {row: reason for receipt in receipts for row, reason in receipt.reasons.items()}
    for row, inspection in enumerate(plan.inspections):
        header = inspection.header
        note = unread.get(row, inspection.reason)
        known = inspection.recording.subject in plan.source.participants.index
        rows.append(
            {
                **vars(inspection.recording),
                "sampling_rate": header.sfreq if header else np.nan,
                "duration": header.duration if header else np.nan,
                "trials": inspection.trials,
                "windows": inspection.n_windows,
                "dropped": inspection.dropped,
                "status": "unreadable" if row in unread else "skipped" if inspection.reason else "built",
                "reason": note or ("" if known else "no row in participants.tsv"),
                "fingerprint": inspection.fingerprint,
            }
        )
    table = pd.DataFrame(rows)
    nothing = Moments(0, np.zeros(len(plan.channels)), np.zeros(len(plan.channels)))
    parts = [moments.get(row, nothing) for row in range(len(rows))]
    count = np.array([m.count for m in parts], dtype=np.int64)[:, None].repeat(len(plan.channels), axis=1)
    mean = np.stack([m.mean for m in parts])
    squares = np.stack([m.squares for m in parts]) + count * mean**2
    units = {"sampling_rate": "Hz", "duration": "s"}
    variables: dict[str, Any] = {
        str(name): (
            "recording",
            values.to_numpy() if values.dtype.kind in "if" else values.to_numpy(object),
            {"units": units[str(name)]} if name in units else {},
        )
        for name, values in table.items()
    }
    per_channel = ("recording", "channel")
    variables["count"] = (per_channel, count, {"long_name": "samples in the recording's valid windows"})
    variables["mean"] = (per_channel, mean, {"long_name": "their mean", "units": "uV"})
    variables["sum_of_squares"] = (per_channel, squares, {"long_name": "sum of their squares", "units": "uV2"})
    return xr.Dataset(
        variables,
        coords={
            "recording": np.arange(len(rows), dtype=np.int32),
            "channel": ("channel", np.array(plan.channels, dtype=object)),
        },
    )


def _shards_table(plan: Plan, receipts: list[Receipt]) -> xr.Dataset:
    slices = [plan.shard_slice(shard) for shard in range(plan.n_shards)]
    return xr.Dataset(
        {
            "first_window": ("shard", np.array([s.start for s in slices], dtype=np.int64)),
            "windows": ("shard", np.array([s.stop - s.start for s in slices], dtype=np.int64)),
            "nbytes": ("shard", np.array([r.nbytes for r in receipts], dtype=np.int64), {"units": "byte"}),
            "crc32c": ("shard", np.array([r.crc32c for r in receipts], dtype=np.uint32)),
        },
        coords={"shard": np.arange(plan.n_shards, dtype=np.int32)},
    )


def _write(store: Store, group: str, dataset: xr.Dataset) -> None:
    encoding = {str(name): label_encoding(v.dtype, v.shape) for name, v in dataset.variables.items()}
    dataset.to_zarr(store, group=group, mode="a", zarr_format=3, consolidated=False, encoding=encoding)


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
        "plan_digest": plan.digest,
        "eegzarr_version": __version__,
    }


def _rounding_attributes(plan: Plan, receipts: list[Receipt]) -> dict[str, float]:
    """Return the largest errors of a float16 group; float32 has none."""
    if plan.geometry.dtype == "float32":
        return {}
    largest = reduce(max_rounding, (receipt.rounding for receipt in receipts))
    return {"largest_relative_error": largest.relative, "largest_error_uV": largest.absolute}


def _size(lake: str, key: str) -> int:
    """Bytes of an object, or -1 if it isn't there."""
    if "://" not in lake:
        path = Path(lake) / key
        return path.stat().st_size if path.exists() else -1
    return _remote_size(lake, key)


def _remote_size(lake: str, key: str) -> int:
    try:
        return sync(open_store(lake, read_only=True).getsize(key))
    except FileNotFoundError:
        return -1


@contextmanager
def only_builder(lake: str, group: str) -> Iterator[None]:
    """Keep a second build off the same local group, inside the ``with``.

    The lock is on the folder itself, which leaves no lock file and goes with its process.

    Raises
    ------
    LakeError
        If another process builds the group.
    """
    if "://" in lake:
        yield
        return
    folder = Path(lake) / group
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise LakeError(f"{folder} is being built by another process; wait for it, or stop it first") from error
    finally:
        os.close(descriptor)
