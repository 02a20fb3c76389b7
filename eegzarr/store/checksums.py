"""Checksums of a group's files: its metadata, labels and tables, each with its CRC-32C.

Shards have theirs in the group's table `shards`. What holds the checksums is checked by Zarr's own
crc32c codec, and its metadata stand in the table like all others: no byte of a group is unchecked.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from zarr.abc.store import Store
from zarr.storage import MemoryStore

from eegzarr.store.crc import crc32c
from eegzarr.store.dataset import write_dataset
from eegzarr.store.layout import CHECKSUMS, EEG, METADATA, open_dataset
from eegzarr.store.private import Buffer, get_bytes
from eegzarr.store.staging import get_all, paths_below, put_all


def write_checksums(store: Store, group: str, *, without: str) -> None:
    """Write the table of a group that is finished but for the folder `without`."""
    paths = [path for path in files_of(store, group) if not path.startswith(without)]
    contents = get_all(store, paths)
    table = f"{group}/{CHECKSUMS}"
    checksums = {path: _crc(content) for path, content in zip(paths, contents, strict=True)}
    # The table's own metadata depend on the number of its rows alone: they are known before what is in them.
    own = [f"{table}/{name}{METADATA}" for name in ("", "file/", "crc32c/")]
    draft = _staged(group, {**checksums, **dict.fromkeys(own, 0)})
    checksums |= {path: _crc(content) for path, content in zip(own, get_all(draft, own), strict=True)}
    put_all(store, _staged(group, checksums), table, last=f"{table}/{METADATA}")


def read_checksums(store: Store, group: str) -> dict[str, int]:
    """Return the CRC-32C of each file of a group, by its path in the lake.

    Raises
    ------
    FileNotFoundError
        If the group has no such table.
    ValueError, TypeError, KeyError, RuntimeError
        If it is damaged.
    """
    table = open_dataset(store, f"{group}/{CHECKSUMS}")
    paths, values = table["file"].to_numpy().tolist(), table["crc32c"].to_numpy().tolist()
    return {f"{group}/{path}": value for path, value in zip(paths, values, strict=True)}


def files_of(store: Store, group: str) -> list[str]:
    """Return the paths of a group's files but shards and the table of checksums."""
    skipped = (f"{group}/{EEG}/c/", f"{group}/{CHECKSUMS}/")
    return [path for path in paths_below(store, f"{group}/") if not path.startswith(skipped)]


def checksum(store: Store, path: str) -> int | None:
    """Return the CRC-32C of a file, None if it isn't there."""
    content = get_bytes(store, path)
    return None if content is None else crc32c(content)


def _crc(content: Buffer | None) -> int:
    return 0 if content is None else crc32c(content.to_bytes())


def _staged(group: str, checksums: dict[str, int]) -> MemoryStore:
    variables = {
        "file": np.array([path.removeprefix(f"{group}/") for path in checksums], dtype=object),
        "crc32c": np.array(list(checksums.values()), dtype=np.uint32),
    }
    dataset = xr.Dataset({name: ("row", values) for name, values in variables.items()})
    staged = MemoryStore()
    table = f"{group}/{CHECKSUMS}"
    write_dataset(staged, table, dataset)
    return staged
