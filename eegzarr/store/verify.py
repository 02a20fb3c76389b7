"""Compare a lake with its checksums: every shard, label, table and piece of metadata.

What a shard's file must be is in its group's table `shards`, what the others must be in
the group's table `checksums`; the lake's consolidated metadata must be what the groups' own say.
"""

from __future__ import annotations

import json
import mmap
import os
import warnings
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from zarr.abc.store import Store
from zarr.errors import ZarrUserWarning

from eegzarr.errors import LakeError, UnreadableLakeError
from eegzarr.store.checksums import checksum, is_sealed, read_checksums
from eegzarr.store.crc import crc32c
from eegzarr.store.group import open_shards, read_attributes, stored_geometry, stored_imprints
from eegzarr.store.layout import (
    BUILDING,
    CHECKSUMS,
    EEG,
    METADATA,
    SHARDS,
    SIGNALS,
    SPLITS,
    TILES_DIGEST,
    UNREADABLE,
    Geometry,
    lake_url,
    open_store,
)
from eegzarr.store.private import get_bytes, run
from eegzarr.store.reading.checked import checked_frame, index_bytes, read_index
from eegzarr.store.root import consolidated, empty_group, is_litter
from eegzarr.store.shard import NO_FRAME, content_number
from eegzarr.store.staging import have_all, list_names, paths_below
from eegzarr.store.tiles.signals import Tiles
from eegzarr.store.whole import check_whole_lake
from eegzarr.urls import is_silence, one_line_errors

_NO_PLAIN_GROUP = "it isn't the metadata of a plain group"
Kind = Literal["missing", "damaged", "stale", "unfinished", "stray"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A part of a lake that differs from what was written.

    Attributes
    ----------
    group : str
        "" for the lake's own metadata.
    path : str
        File in the lake.
    shard : int, optional
        Number of the shard that the file is.
    kind : {"missing", "damaged", "stale", "unfinished", "stray"}
        A stale shard is whole, but not the one that belongs to its group's labels. A stray file doesn't belong
        to the lake.
    """

    group: str
    path: str
    kind: Kind
    reason: str
    shard: int | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One file was read and compared."""

    path: str
    nbytes: int
    fault: Fault | None = None


def verify_lake(lake: str | os.PathLike[str], on_checked: Callable[[Checked], None] | None = None) -> list[Fault]:
    """Read everything in a lake and compare it with its checksums.

    Parameters
    ----------
    lake : path or URL
    on_checked : callable, optional
        Called after each file.

    Returns
    -------
    list of Fault
        Empty where all is as it was written.

    Raises
    ------
    LakeError
        If there is no lake, or its disk or server can't be reached.
    """
    url = lake_url(lake)
    if "://" not in url and not Path(url).is_dir():
        raise LakeError(f"there is no lake at {url}")
    check_whole_lake(url, "verify_lake({lake!r})")
    with one_line_errors(url, UnreadableLakeError):
        return _faults(url, on_checked)


def _faults(url: str, on_checked: Callable[[Checked], None] | None) -> list[Fault]:
    store = open_store(url, read_only=True)
    groups = groups_of(store)
    if not groups:
        raise LakeError(f"{url} has no group of windows: is it a lake of eegzarr?")
    faults = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # of what doesn't belong in a lake: we say it ourselves
        for group in groups:
            for checked in _check_group(url, store, group):
                if on_checked is not None:
                    on_checked(checked)
                if checked.fault is not None:
                    faults.append(checked.fault)
        faults += [
            Fault(group="", path=path, kind="stray", reason="it doesn't belong to the lake")
            for path in _litter_between(store, groups)
        ]
        faults += _check_splits(store)
        # Only where the groups' own metadata are right can it be said what the lake's must be.
        if all(fault.kind in ("unfinished", "stray") or is_stored_split(fault.path) for fault in faults):
            faults += _check_root(store, groups)
    return faults


def groups_of(store: Store) -> list[str]:
    """Return the paths of a lake's groups, by what is there rather than what metadata say."""
    found = [f"{recipe}/{release}" for recipe in _folders(store, "") for release in _folders(store, recipe)]
    own = have_all(store, [f"{group}/{METADATA}" for group in found])
    return [
        group for group, has in zip(found, own, strict=True) if has or store_has(store, f"{group}/{EEG}/{METADATA}")
    ]


def _litter_between(store: Store, groups: list[str]) -> list[str]:
    """Return the litter in a lake's folder and in those of its recipes."""
    folders = ["", *sorted({f"{group.partition('/')[0]}/" for group in groups})]
    return [
        f"{folder}{name}" for folder in folders for name in list_names(store, folder.rstrip("/")) if is_litter(name)
    ]


def store_has(store: Store, path: str) -> bool:
    """Return whether a file is there."""
    return run(store.exists(path))


def _folders(store: Store, prefix: str) -> list[str]:
    names = list_names(store, prefix)
    return [name for name in names if not name.startswith(".") and not name.endswith(".json") and not is_litter(name)]


def _check_group(lake: str, store: Store, group: str) -> Iterator[Checked]:
    try:
        attributes = read_attributes(lake, group)
        unfinished = attributes is not None and attributes.get("status") == BUILDING
    except LakeError:
        attributes, unfinished = None, False
    if unfinished:
        reason = "it is still being built: the command that began it resumes"
        yield _faulty(group, f"{group}/{METADATA}", "unfinished", reason)
        return
    try:
        written = read_checksums(store, group)
    except FileNotFoundError:
        written = {}
        yield _faulty(group, f"{group}/{CHECKSUMS}", "missing", "the group's table of checksums isn't there")
    except UNREADABLE as error:
        if is_silence(error):
            raise
        written = {}
        yield _faulty(group, f"{group}/{CHECKSUMS}", "damaged", f"the group's table of checksums: {_line(error)}")
    for path, expected in written.items():
        found = checksum(store, path)
        if found is None:
            yield _faulty(group, path, "missing", "no such file")
        elif not expected.fits(found):
            yield _faulty(group, path, "damaged", "its checksum differs")
        else:
            yield Checked(path=path, nbytes=0)
    known = set(written) | _own_paths(store, group, written)
    for path in paths_below(store, f"{group}/"):
        if path not in known and (written or is_litter(path)):
            yield _faulty(group, path, "stray", "it doesn't belong to the group")
    yield from _check_shards(lake, store, group)
    if attributes is not None and SIGNALS in attributes:
        yield from _check_tiles(lake, group, attributes)


def _check_tiles(lake: str, group: str, attributes: dict[str, Any]) -> Iterator[Checked]:
    """Compare what windows were cut from with what is there now."""
    signals, path = str(attributes[SIGNALS]), f"{group}/{METADATA}"
    try:
        state = Tiles.of(lake, signals).state
    except UNREADABLE as error:
        if is_silence(error):
            raise
        yield _faulty(group, path, "stale", f"it was cut from {signals}, which can't be read: {_line(error)}")
        return
    if state != attributes.get(TILES_DIGEST):
        yield _faulty(group, path, "stale", f"it was cut from {signals}, whose signals are others now: cut it again")


def _own_paths(store: Store, group: str, written: Collection[str]) -> set[str]:
    """Return the paths of a group's shards, and of the chunks of its table of checksums."""
    table = {path for path in paths_below(store, f"{group}/{CHECKSUMS}/") if not is_litter(path)}
    try:
        rows = open_shards(store, group).sizes["shard"]
    except UNREADABLE:
        return table | set(paths_below(store, f"{group}/{EEG}/c/"))
    return table | {f"{group}/{EEG}/c/{shard}/0/0" for shard in range(rows)}


def _check_shards(lake: str, store: Store, group: str) -> Iterator[Checked]:
    try:
        geometry = stored_geometry(lake, group)
        expected = stored_imprints(lake, group)
        crcs = open_shards(store, group)["crc32c"].to_numpy().tolist()
    except FileNotFoundError:
        yield _faulty(group, f"{group}/{SHARDS}", "missing", "without this table no shard can be checked")
        return
    except UNREADABLE as error:
        if is_silence(error):
            raise
        yield _faulty(group, f"{group}/{SHARDS}", "damaged", f"no shard can be checked: {_line(error)}")
        return
    if geometry is None:
        return

    def check(shard: int) -> Checked:
        path = f"{group}/{EEG}/{geometry.shard_key(shard)}"
        content = _content(lake, store, path)
        if content is None:
            return _faulty(group, path, "missing", "no such file", shard)
        wanted = expected[shard]
        if len(content) == wanted.nbytes and crc32c(content) == crcs[shard]:
            if wanted.content in (None, _content_number(content, geometry, path)):
                return Checked(path=path, nbytes=wanted.nbytes)
            return _faulty(group, path, "stale", "another shard's content", shard)
        broken = _broken_part(content, geometry, path)
        return _faulty(group, path, "damaged" if broken else "stale", broken or "another shard's content", shard)

    # A few at a time: what is read from a bucket lies in memory.
    with ThreadPoolExecutor(2, thread_name_prefix="eegzarr-verify") as pool:
        numbers = iter(range(len(expected)))
        running = [pool.submit(check, shard) for shard in islice(numbers, 3)]
        while running:
            yield running.pop(0).result()
            running += [pool.submit(check, shard) for shard in islice(numbers, 1)]


def _content(lake: str, store: Store, path: str) -> npt.NDArray[np.uint8] | None:
    """Return a file's bytes, mapped where it is local; None if it isn't there."""
    if "://" in lake:
        fetched = get_bytes(store, path)
        return None if fetched is None else np.frombuffer(fetched, np.uint8)
    try:
        with (Path(lake) / path).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return np.empty(0, np.uint8)
            try:
                return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
            except OSError:  # some file systems map nothing
                return np.frombuffer(file.read(), np.uint8)
    except FileNotFoundError:
        return None


def _content_number(content: npt.NDArray[np.uint8], geometry: Geometry, path: str) -> int:
    """Return the number that identifies the content of a whole shard."""
    tail = content[-index_bytes(geometry) :].tobytes()
    ends = [int(offset) + int(length) for offset, length in read_index(tail, geometry, path) if offset != NO_FRAME]
    return content_number(tail[:-4], b"".join(content[end - 4 : end].tobytes() for end in ends))


def _broken_part(content: npt.NDArray[np.uint8], geometry: Geometry, path: str) -> str:
    """Return what in a shard doesn't match its own checksums; "" if all does."""
    try:
        index = read_index(content[-index_bytes(geometry) :].tobytes(), geometry, path)
    except LakeError:
        return "its index, or its length"
    broken = []
    for frame in np.flatnonzero(index[:, 0] != NO_FRAME).tolist():
        offset, length = index[frame].tolist()
        try:
            checked_frame(content[offset : offset + length], length, geometry, path)
        except LakeError:
            broken.append(str(frame))
    return f"frame {', '.join(broken[:5])}{' …' if len(broken) > 5 else ''}" if broken else ""


def _check_root(store: Store, groups: list[str]) -> list[Fault]:
    """Compare the lake's own metadata, and those of the folders between, with what the groups say."""
    faults = []
    for recipe in sorted({group.partition("/")[0] for group in groups}):
        path = f"{recipe}/{METADATA}"
        if get_bytes(store, path) != empty_group():
            faults.append(Fault(group="", path=path, kind="damaged", reason=_NO_PLAIN_GROUP))
    if not faults and get_bytes(store, METADATA) != consolidated(store):
        reason = "the consolidated metadata aren't those of the groups"
        faults.append(Fault(group="", path=METADATA, kind="damaged", reason=reason))
    return faults


def is_stored_split(path: str) -> bool:
    """Return whether a file of a lake is a stored split, ``.splits/RECIPE/NAME``."""
    return path.startswith(f"{SPLITS}/") and path.endswith(f"/{METADATA}") and path.count("/") == 3


def _check_splits(store: Store) -> Iterator[Fault]:
    """Compare stored splits with their own digests, and the folders above them with plain groups."""
    for path in paths_below(store, f"{SPLITS}/"):
        if path.rpartition("/")[2] != METADATA or path.count("/") > 3:
            yield Fault(group="", path=path, kind="stray", reason="it isn't a stored split")
        elif not is_stored_split(path) and get_bytes(store, path) != empty_group():
            yield Fault(group="", path=path, kind="damaged", reason=_NO_PLAIN_GROUP)
        elif is_stored_split(path) and not is_sealed(stored_split(store, path)):
            reason = "its digest differs: store the split again, with overwrite"
            yield Fault(group="", path=path, kind="damaged", reason=reason)


def stored_split(store: Store, path: str) -> dict[str, Any]:
    """Return what a stored split's file holds, nothing where it can't be read or isn't there."""
    content = get_bytes(store, path)
    try:
        attributes = json.loads(content or b"")["attributes"]
    except UNREADABLE:
        return {}
    return attributes if isinstance(attributes, dict) else {}


def _faulty(group: str, path: str, kind: Kind, reason: str, shard: int | None = None) -> Checked:
    return Checked(path=path, nbytes=0, fault=Fault(group=group, path=path, kind=kind, reason=reason, shard=shard))


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
