"""Checksums of a group's files: its metadata, labels and tables, each with its CRC-32C.

Shards have theirs in the group's table `shards`. What holds the checksums is checked by Zarr's own
crc32c codec, and its metadata are in the table like all others: every byte of a group is checked.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from zarr.abc.store import Store
from zarr.storage import MemoryStore

from eegzarr.errors import LakeError
from eegzarr.store.crc import crc32c
from eegzarr.store.dataset import plain_variables, write_dataset
from eegzarr.store.layout import CHECKSUMS, EEG, METADATA, open_dataset
from eegzarr.store.private import Buffer
from eegzarr.store.staging import get_all, paths_below, put_all


def write_checksums(store: Store, group: str, *, without: str) -> None:
    """Write the table of a group that is finished except for the folder `without`."""
    paths = [path for path in files_of(store, group) if not path.startswith(without)]
    staged = _table_of(group, paths, get_all(store, paths))
    put_all(store, staged, f"{group}/{CHECKSUMS}", last=f"{group}/{CHECKSUMS}/{METADATA}")


def stage_checksums(staged: MemoryStore, group: str) -> None:
    """Add the table of a group whose files, except for shards, are all in memory."""
    paths = files_of(staged, group)
    table = _table_of(group, paths, get_all(staged, paths))
    put_all(staged, table, f"{group}/{CHECKSUMS}", last=f"{group}/{CHECKSUMS}/{METADATA}")


def _table_of(group: str, paths: list[str], contents: list[Buffer | None]) -> MemoryStore:
    table = f"{group}/{CHECKSUMS}"
    checksums = {path: Checksum.of(content) for path, content in zip(paths, contents, strict=True)}
    # The table's own metadata depend on the number of its rows alone: they are known before what is in them.
    own = [f"{table}/{name}{METADATA}" for name in ("", "file/", "crc32c/", "content/")]
    draft = _staged(group, {**checksums, **dict.fromkeys(own, Checksum(0, 0))})
    checksums |= {path: Checksum.of(content) for path, content in zip(own, get_all(draft, own), strict=True)}
    return _staged(group, checksums)


@dataclass(frozen=True)
class Checksum:
    """What shows that a file is the one that was written.

    Attributes
    ----------
    crc32c : int
        Shows damage. But what ends with its own CRC-32C, as chunks with that codec do, has the same one whatever it
        holds.
    content : int, optional
        The first 8 bytes of its SHA-256; None in groups of an older version.
    """

    crc32c: int
    content: int | None

    @classmethod
    def of(cls, content: Buffer | None) -> Checksum:
        """Return the checksum of a file's content, that of nothing where it isn't there."""
        raw = b"" if content is None else content.to_bytes()
        return cls(_crc(content), int.from_bytes(hashlib.sha256(raw).digest()[:8], "little"))

    def fits(self, found: Checksum) -> bool:
        """Return whether this is of the file that was found."""
        return self.crc32c == found.crc32c and self.content in (None, found.content)


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold with its own SHA-256, as ``digest``."""
    return {**content, "digest": _digest(content)}


def is_sealed(content: dict[str, Any]) -> bool:
    """Return whether content is what `sealed` has returned."""
    return content.get("digest") == _digest({name: value for name, value in content.items() if name != "digest"})


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_checksums(store: Store, group: str) -> dict[str, Checksum]:
    """Return the checksum of each file of a group, by its path in the lake.

    Raises
    ------
    FileNotFoundError
        If the group has no such table.
    LakeError, ValueError, TypeError
        If it is damaged.
    """
    table = open_dataset(store, f"{group}/{CHECKSUMS}")
    paths, crcs = table["file"].to_numpy().tolist(), table["crc32c"].to_numpy().tolist()
    contents = table["content"].to_numpy().tolist() if "content" in table else [None] * len(paths)
    if outside := [path for path in paths if path.startswith("/") or ".." in path.split("/")]:
        raise LakeError(f"{group}/{CHECKSUMS} names {outside[0]!r}, which lies outside of the group")
    return {f"{group}/{path}": Checksum(*both) for path, *both in zip(paths, crcs, contents, strict=True)}


def files_of(store: Store, group: str) -> list[str]:
    """Return the paths of a group's files but shards and the table of checksums."""
    skipped = (f"{group}/{EEG}/c/", f"{group}/{CHECKSUMS}/")
    return [path for path in paths_below(store, f"{group}/") if not path.startswith(skipped)]


def checksum(store: Store, path: str) -> Checksum | None:
    """Return the checksum of a file, None if it isn't there."""
    (content,) = get_all(store, [path])
    return None if content is None else Checksum.of(content)


def _crc(content: Buffer | None) -> int:
    return 0 if content is None else crc32c(content.to_bytes())


def _staged(group: str, checksums: dict[str, Checksum]) -> MemoryStore:
    columns = {
        "file": np.array([path.removeprefix(f"{group}/") for path in checksums], dtype=object),
        "crc32c": np.array([one.crc32c for one in checksums.values()], dtype=np.uint32),
        "content": np.array([one.content for one in checksums.values()], dtype=np.uint64),
    }
    dataset = xr.Dataset(plain_variables({name: ("row", values) for name, values in columns.items()}))
    staged = MemoryStore()
    table = f"{group}/{CHECKSUMS}"
    write_dataset(staged, table, dataset)
    return staged
