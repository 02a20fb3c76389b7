"""Hold a lake against its checksums: every shard, label, table and piece of metadata.

What a shard's file must be stands in its group's table `shards`, what the others must be in
the group's table `checksums`; the lake's consolidated metadata must be what the groups' own say.
"""

from __future__ import annotations

import mmap
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import Store
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from eegzarr.errors import LakeError
from eegzarr.store.checked import checked_frame, index_bytes, read_index
from eegzarr.store.checksums import checksum, files_of, read_checksums
from eegzarr.store.crc import crc32c
from eegzarr.store.group import read_attributes, stored_geometry
from eegzarr.store.layout import (
    BUILDING,
    CHECKSUMS,
    EEG,
    METADATA,
    SHARDS,
    Geometry,
    lake_url,
    open_dataset,
    open_store,
)
from eegzarr.store.private import get_bytes, run
from eegzarr.store.root import consolidated
from eegzarr.store.shard import NO_FRAME
from eegzarr.store.whole import check_whole_lake

# What Zarr and xarray raise for metadata and chunks that aren't what was written.
UNREADABLE = (ValueError, TypeError, KeyError, RuntimeError, OSError, AttributeError, IndexError, AssertionError)

Kind = Literal["missing", "damaged", "stale", "unfinished"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something in a lake that isn't as it was written.

    Attributes
    ----------
    group : str
        "" for the lake's own metadata.
    path : str
        File in the lake.
    shard : int, optional
        Number of the shard that the file is.
    kind : {"missing", "damaged", "stale", "unfinished"}
        A stale shard is whole, but not the one that belongs to its group's labels.
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


def verify_lake(lake: str | os.PathLike[str], on_checked: Callable[[Checked], None] = lambda _: None) -> list[Fault]:
    """Read everything in a lake and compare it with its checksums.

    Parameters
    ----------
    lake : path or URL
    on_checked : callable
        Called after each file.

    Returns
    -------
    list of Fault
        Empty where all is as it was written.

    Raises
    ------
    LakeError
        If there is no lake.
    """
    url = lake_url(lake)
    if "://" not in url and not Path(url).is_dir():
        raise LakeError(f"there is no lake at {url}")
    check_whole_lake(url, "verify_lake({lake!r})")
    store = open_store(url, read_only=True)
    groups = groups_of(store)
    if not groups:
        raise LakeError(f"{url} has no group of windows: is it a lake of eegzarr?")
    faults = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # of what doesn't belong in a lake: we say it ourselves
        for group in groups:
            for checked in _check_group(url, store, group):
                on_checked(checked)
                if checked.fault is not None:
                    faults.append(checked.fault)
        # Only where the groups' own metadata are right can it be said what the lake's must be.
        faults += _check_root(store, groups) if all(fault.kind == "unfinished" for fault in faults) else []
    return faults


def groups_of(store: Store) -> list[str]:
    """Return the paths of a lake's groups, by what is there rather than what metadata say."""
    return [
        f"{recipe}/{release}"
        for recipe in _folders(store, "")
        for release in _folders(store, recipe)
        if any(store_has(store, f"{recipe}/{release}/{part}") for part in (METADATA, f"{EEG}/{METADATA}"))
    ]


def store_has(store: Store, path: str) -> bool:
    """Tell whether a file is there."""
    return run(store.exists(path))


def _folders(store: Store, prefix: str) -> list[str]:
    async def names() -> list[str]:
        return [name async for name in store.list_dir(prefix)]

    return sorted(name for name in run(names()) if not name.startswith(".") and not name.endswith(".json"))


def _check_group(lake: str, store: Store, group: str) -> Iterator[Checked]:
    try:
        attributes = read_attributes(lake, group)
        unfinished = attributes is not None and attributes.get("status") == BUILDING
    except LakeError:
        unfinished = False
    if unfinished:
        reason = "it is still being built: the command that began it goes on"
        yield _faulty(group, f"{group}/{METADATA}", "unfinished", reason)
        return
    try:
        written = read_checksums(store, group)
    except FileNotFoundError:
        written = {}
        yield _faulty(group, f"{group}/{CHECKSUMS}", "missing", "the group's table of checksums isn't there")
    except UNREADABLE as error:
        written = {}
        yield _faulty(group, f"{group}/{CHECKSUMS}", "damaged", f"the group's table of checksums: {_line(error)}")
    for path, expected in written.items():
        found = checksum(store, path)
        if found is None:
            yield _faulty(group, path, "missing", "no such file")
        elif found != expected:
            yield _faulty(group, path, "damaged", "its checksum differs")
        else:
            yield Checked(path=path, nbytes=0)
    if written:
        for path in set(files_of(store, group)) - set(written):
            yield _faulty(group, path, "stale", "it doesn't belong to the group")
    yield from _check_shards(lake, store, group)


def _check_shards(lake: str, store: Store, group: str) -> Iterator[Checked]:
    try:
        geometry = stored_geometry(lake, group)
        table = open_dataset(store, f"{group}/{SHARDS}").load()
        expected = list(zip(table["nbytes"].to_numpy().tolist(), table["crc32c"].to_numpy().tolist(), strict=True))
    except FileNotFoundError:
        yield _faulty(group, f"{group}/{SHARDS}", "missing", "without this table no shard can be checked")
        return
    except (LakeError, *UNREADABLE) as error:
        yield _faulty(group, f"{group}/{SHARDS}", "damaged", f"no shard can be checked: {_line(error)}")
        return
    if geometry is None:
        return

    def check(shard: int) -> Checked:
        path = f"{group}/{EEG}/{geometry.shard_key(shard)}"
        content = _content(lake, store, path)
        if content is None:
            return _faulty(group, path, "missing", "no such file", shard)
        nbytes, crc = expected[shard]
        if len(content) == nbytes and crc32c(content) == crc:
            return Checked(path=path, nbytes=nbytes)
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
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except FileNotFoundError:
        return None


def _broken_part(content: npt.NDArray[np.uint8], geometry: Geometry, path: str) -> str:
    """Tell what in a shard doesn't match its own checksums; "" if all does."""
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
    """Hold the lake's own metadata, and those of the folders between, against what the groups say."""
    faults = []
    for recipe in sorted({group.partition("/")[0] for group in groups}):
        path = f"{recipe}/{METADATA}"
        if get_bytes(store, path) != empty_group():
            faults.append(Fault(group="", path=path, kind="damaged", reason="it isn't the metadata of a plain group"))
    if not faults and get_bytes(store, METADATA) != consolidated(store):
        reason = "the consolidated metadata aren't those of the groups"
        faults.append(Fault(group="", path=METADATA, kind="damaged", reason=reason))
    return faults


def empty_group() -> bytes:
    """Return the metadata of a group that only holds others, as Zarr writes them."""
    store = MemoryStore()
    zarr.open_group(store, mode="w", zarr_format=3)
    written = get_bytes(store, METADATA)
    assert written is not None
    return written


def _faulty(group: str, path: str, kind: Kind, reason: str, shard: int | None = None) -> Checked:
    return Checked(path=path, nbytes=0, fault=Fault(group=group, path=path, kind=kind, reason=reason, shard=shard))


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
