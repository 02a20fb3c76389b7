"""The life of a group in a lake: begun, given shards and receipts, finished, given labels again.

Every step can be done again, and what counts is written last: a shard before its receipt,
all arrays before ``status = complete``, that before the lake's consolidated metadata. Whatever changes a group
undoes these in the reverse order.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.codecs import Crc32cCodec
from zarr.storage import MemoryStore

from eegzarr import __version__
from eegzarr.build.digest import fingerprints_of, labels_digest, plan_digest, prepared_with, signals_digest
from eegzarr.build.plan import Plan
from eegzarr.build.state import Found
from eegzarr.build.tables import labels, recording_moments, recordings_table, rounding_attributes, shards_table
from eegzarr.build.whole.tables import events_table, kept_variables
from eegzarr.errors import EegzarrError, LakeError, UnreadableLakeError, UsageError, redacted
from eegzarr.events import Listener
from eegzarr.machine.system import flush_folder
from eegzarr.recipes.recipe import Recipe, recipe_from_json
from eegzarr.store.checksums import stage_checksums
from eegzarr.store.codec import codec_mark
from eegzarr.store.dataset import write_dataset
from eegzarr.store.group import put_attributes, read_attributes, stored_geometry
from eegzarr.store.layout import (
    BUILDING,
    COMPLETE,
    EEG,
    EVENTS,
    FORMAT_2,
    FORMATS,
    METADATA,
    RECEIPT,
    RECEIPTS,
    RECORDINGS,
    SCRATCH,
    SHARDS,
    SIGNALS,
    UNREADABLE,
    create_eeg,
    group_path,
    open_array,
    open_dataset,
    open_group,
    open_store,
)
from eegzarr.store.private import run
from eegzarr.store.reading.damage import damage_named
from eegzarr.store.receipt import Receipt
from eegzarr.store.root import drop, is_settled, leave_root, require_folder, settle
from eegzarr.store.staging import delete_all, list_names, paths_below, put_all, same_as_staged

_REQUESTS = 16  # at once, for receipts


def look_at(lake: str, group: str) -> Found:
    """Return what is at a group's place."""
    try:
        with damage_named(f"{lake}/{group}", but=()):
            return _found(lake, group)
    except (UnreadableLakeError, UsageError):
        raise  # or --overwrite would drop a lake because a network fails, or a package is missing
    except EegzarrError as error:
        return Found(status="damaged", damage=str(error))


def _found(lake: str, group: str) -> Found:
    attributes = read_attributes(lake, group)
    if attributes is None:
        lost = paths_below(open_store(lake, read_only=True), f"{group}/{EEG}/c/", most=1)
        return Found(status="damaged", damage=_lost(lake, group)) if lost else Found()
    if "recipe" not in attributes:
        return Found()
    status = _status(lake, group, attributes)
    if attributes.get("format_version") not in FORMATS:
        return Found(status=status, format=str(attributes.get("format_version")))
    return Found(
        status=status,
        recipe=recipe_from_json(attributes["recipe"]),
        cut_from=str(attributes.get(SIGNALS, "")),
        geometry=stored_geometry(lake, group),
        fingerprints=begun_fingerprints(lake, group),
        signals_digest=str(attributes.get("signals_digest", "")),
        labels_digest=str(attributes.get("labels_digest", "")),
        prepared_with=str(attributes.get("prepared_with", "")),
        is_settled=is_settled(lake, group, attributes),
    )


def clash(lake: str, group: str, recipe: Recipe, montage: str = "") -> str:
    """Return why a new group can't be beside those of its recipe's name, "" if it can.

    All releases of a recipe are opened together, which takes that their windows mean the same. Groups of a montage
    have its rate.
    """
    mine = flattened(json.loads(recipe.to_json()))
    name, _, release = group.partition("/")
    store = open_store(lake, read_only=True)
    for folder, own in (("", name), (name, release)):
        alike = [other for other in list_names(store, folder) if other != own and other.casefold() == own.casefold()]
        if alike:
            return (
                f"{lake} has a {'release' if folder else 'recipe'} {alike[0]}: some file systems take {own} for the "
                f"same name, and a copy there would mix the two. Give another name"
            )
    for other in list_names(store, name):
        path = group_path(name, other)
        try:
            attributes = (read_attributes(lake, path) if other != release else None) or {}
            theirs = flattened(json.loads(attributes.get("recipe", "{}")))
        except UNREADABLE:
            continue
        keys = set(mine) - ({"sfreq"} if montage or attributes.get("montage") else set())
        if theirs and (differing := sorted(key for key in keys if mine[key] != theirs.get(key))):
            told = ", ".join(f"{key} {theirs.get(key)!r} there and {mine[key]!r} here" for key in differing[:3])
            return (
                f"{lake}/{path} is of another recipe named {name} ({told}), and all releases of a recipe are opened "
                f"together: give this recipe another name in a file of its own, or another --out"
            )
    return ""


def flattened(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested fields by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _status(lake: str, group: str, attributes: dict[str, Any]) -> Literal["building", "labelling", "complete"]:
    if attributes.get("status") == COMPLETE:
        return "complete"
    store = open_store(lake, read_only=True)
    begun, whole = (run(store.exists(f"{group}/{part}/{METADATA}")) for part in (f"{SCRATCH}/{RECEIPTS}", SHARDS))
    return "labelling" if whole and not begun else "building"


def _lost(lake: str, group: str) -> str:
    return (
        f"{lake}/{group} has signals but no {METADATA}: python -m eegzarr.verify --repair restores it, "
        f"--overwrite rebuilds it"
    )


def begin(lake: str, group: str, plan: Plan, watchers: tuple[Listener, ...] = ()) -> None:
    """Write a group's metadata and its empty array of receipts; drop what was there before.

    A group that was complete says first that it is being built, then the lake's copy of its metadata
    goes, and only then what they describe.
    """
    store = open_store(lake)
    require_folder(lake, group, watchers)
    reopen(lake, group, watchers)
    # First what says that all signals are there.
    delete_all(store, [f"{group}/{SHARDS}/{METADATA}"])
    drop(lake, group)
    staged = MemoryStore()
    node = zarr.create_group(staged, path=group, zarr_format=3, attributes=_attributes(plan, BUILDING))
    create_eeg(node, plan.n_windows, plan.geometry)
    scratch = node.create_group(SCRATCH, attributes={"fingerprints": fingerprints_of(plan)})
    scratch.create_array(
        RECEIPTS, shape=(plan.n_shards,), chunks=(1,), dtype="string", compressors=[Crc32cCodec()], fill_value=""
    )
    # Last: without it a later run begins again.
    put_all(store, staged, group, last=f"{group}/{SCRATCH}/{RECEIPTS}/{METADATA}")


def reopen(lake: str, group: str, watchers: tuple[Listener, ...] = ()) -> None:
    """Have a group say that it is being built, in its own metadata and then in the lake's; touch nothing else."""
    try:
        attributes = read_attributes(lake, group)
    except LakeError:
        attributes = {}
    if attributes is not None and attributes.get("status") != BUILDING:
        put_attributes(open_store(lake), group, {**attributes, "status": BUILDING})
    leave_root(lake, group, watchers)


def begun_fingerprints(lake: str, group: str) -> dict[str, str] | None:
    """Return the fingerprints of the recordings when the group was begun, None before that."""
    store = open_store(lake, read_only=True)
    try:
        scratch = open_group(store, f"{group}/{SCRATCH}")
        return dict(scratch.attrs["fingerprints"])  # type: ignore[arg-type]
    except (FileNotFoundError, KeyError):
        pass
    try:
        table = open_dataset(store, f"{group}/{RECORDINGS}")
        return dict(zip(table["path"].to_numpy().tolist(), table["fingerprint"].to_numpy().tolist(), strict=True))
    except (FileNotFoundError, KeyError):
        return None


def note_fingerprints(lake: str, group: str, plan: Plan) -> None:
    """Note the present fingerprints of recordings whose content was found to be what it was."""
    put_attributes(open_store(lake), f"{group}/{SCRATCH}", {"fingerprints": fingerprints_of(plan)})


def read_receipts(lake: str, group: str, plan: Plan, *, whole_only: bool = True) -> dict[int, Receipt]:
    """Return the receipts of an earlier run for the same signals, by shard.

    Those of a group that is being built, or of one that is complete. A receipt that can't be read is left out, and
    with `whole_only` one whose shard isn't there in full, or was compressed by a Blosc that makes other bytes:
    its shard is made again.
    """
    texts = _receipt_texts(lake, group)
    digest = signals_digest(plan)

    codec = codec_mark(plan.geometry)

    def read(shard: int) -> Receipt | None:
        try:
            text = texts(shard)
            receipt = Receipt.from_json(text) if text else None
        except UNREADABLE:
            return None
        if receipt is None or receipt.signals_digest != digest or receipt.shard != shard:
            return None
        if not whole_only:
            return receipt
        if receipt.codec != codec:
            return None
        written = _size(lake, f"{group}/{EEG}/{plan.geometry.shard_key(shard)}")
        return receipt if written == receipt.nbytes else None

    with ThreadPoolExecutor(_REQUESTS) as pool:
        receipts = pool.map(read, range(plan.n_shards))
        return {shard: receipt for shard, receipt in enumerate(receipts) if receipt is not None}


def _receipt_texts(lake: str, group: str) -> Callable[[int], str]:
    """Return a function that reads the receipt of a shard as text, "" where there is none."""
    try:
        array = open_array(lake, f"{group}/{SCRATCH}/{RECEIPTS}")
        return lambda shard: str(array[shard]) if shard < array.shape[0] else ""
    except FileNotFoundError:
        pass
    try:
        kept = np.asarray(open_array(lake, f"{group}/{SHARDS}/{RECEIPT}")[:]).tolist()
    except UNREADABLE:
        kept = []
    return lambda shard: str(kept[shard]) if shard < len(kept) else ""


def staged_group(plan: Plan, group: str, receipts: dict[int, Receipt], positions: np.ndarray) -> MemoryStore:
    """Return all files of a complete group but its shards, in memory: labels, tables, statistics, checksums.

    Parameters
    ----------
    positions : array, shape (channel, 3)
        Of the electrodes, in m.
    """
    ordered = [receipts[shard] for shard in range(plan.n_shards)]
    moments = recording_moments(plan, ordered)
    staged = MemoryStore()
    write_dataset(staged, group, labels(plan, ordered, moments, positions))
    recordings = recordings_table(plan, ordered, moments)
    if plan.recipe.whole:
        recordings = recordings.assign(kept_variables(plan))
        write_dataset(staged, f"{group}/{EVENTS}", events_table(plan))
    write_dataset(staged, f"{group}/{RECORDINGS}", recordings)
    write_dataset(staged, f"{group}/{SHARDS}", shards_table(plan, ordered))
    node = open_group(staged, group, "r+")
    create_eeg(node, plan.n_windows, plan.geometry)
    measured = rounding_attributes(plan, ordered)
    node.attrs.put({**_attributes(plan, COMPLETE), **measured, "coordinates": node.attrs["coordinates"]})
    stage_checksums(staged, group)
    return staged


def finish(
    lake: str,
    group: str,
    plan: Plan,
    receipts: dict[int, Receipt],
    positions: np.ndarray,
    watchers: tuple[Listener, ...] = (),
) -> None:
    """Write labels, tables and statistics, declare the group complete, and tidy the lake.

    In a group that was complete only what differs is written, and what no longer belongs to it is removed.

    Parameters
    ----------
    positions : array, shape (channel, 3)
        Of the electrodes, in m.
    """
    store = open_store(lake)
    staged = staged_group(plan, group, receipts, positions)
    last = f"{group}/{METADATA}"
    old = _files_of_labels(store, group)
    if old:
        reopen(lake, group, watchers)
        delete_all(store, sorted(set(old) - set(paths_below(staged, f"{group}/"))))
        delete_all(staged, same_as_staged(store, staged, [path for path in old if path != last]))
    # A power cut may not leave a group that says that it is complete, and lacks labels.
    flush = None if "://" in lake else partial(flush_folder, Path(lake) / group)
    put_all(store, staged, group, last=last, before_last=flush)
    settle(lake, group, watchers)


def _files_of_labels(store: Store, group: str) -> list[str]:
    """Return the files of a group whose labels were written before: all but shards and a build's own."""
    if not run(store.exists(f"{group}/{SHARDS}/{METADATA}")):
        return []
    own = (f"{group}/{EEG}/c/", f"{group}/{SCRATCH}/")
    return [path for path in paths_below(store, f"{group}/") if not path.startswith(own)]


def _of_dataset(plan: Plan) -> dict[str, Any]:
    """Return what the source says of itself, and what of its tables was renamed, assumed or couldn't be read."""
    known = {"dataset": "Name", "license": "License", "dataset_doi": "DatasetDOI"}
    told = {name: plan.source.description[key] for name, key in known.items() if key in plan.source.description}
    notes = [*plan.notes]
    windows = {"windows": plan.source.windows} if plan.source.windows else {}
    return told | windows | ({"notes": notes} if notes else {})


def complete_attributes(plan: Plan) -> dict[str, Any]:
    """Return the attributes that a plan's group has once it is complete."""
    return _attributes(plan, COMPLETE)


def _attributes(plan: Plan, status: str) -> dict[str, Any]:
    recipe = plan.recipe
    fingerprints = fingerprints_of(plan)
    signals, own = signals_digest(plan), labels_digest(recipe, plan.source, fingerprints)
    versions = prepared_with(recipe.preparation)
    return {
        "title": f"EEG windows of {recipe.name} from {plan.source.name}",
        "status": status,
        "format_version": FORMAT_2 if recipe.whole else plan.geometry.format_version,
        "recipe": recipe.to_json(),
        "release": plan.source.name,
        **({"montage": plan.source.montage} if plan.source.montage else {}),
        "sampling_rate": recipe.sfreq,
        "source": redacted(plan.source.root),
        **_of_dataset(plan),
        "plan_digest": plan_digest(signals, own, fingerprints),
        "signals_digest": signals,
        "labels_digest": own,
        **({"prepared_with": versions} if versions else {}),
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
