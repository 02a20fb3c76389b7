"""Checksums of a group's files: its metadata, labels and tables, each with its CRC-32C.

Shards have theirs in the group's table `shards`. What holds the checksums is checked by Zarr's own
crc32c codec, and its metadata stand in the table like all others: no byte of a group is unchecked.
"""

from __future__ import annotations

import google_crc32c
import numpy as np
import xarray as xr
from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from eegzarr.store.layout import CHECKSUMS, EEG, label_encoding


def write_checksums(store: Store, group: str, *, without: str) -> None:
    """Write the table of a group that is finished but for the folder `without`."""
    table = f"{group}/{CHECKSUMS}"
    sync(store.delete_dir(table))
    own = [path for path in files_of(store, group) if not path.startswith(without)]
    # The table's own metadata depend on the number of its rows alone: written twice, they are the same.
    first = _write(store, table, dict.fromkeys(_with_own(own, table), 0))
    _write(store, table, {path: checksum(store, path) or 0 for path in first})


def read_checksums(store: Store, group: str) -> dict[str, int]:
    """Return the CRC-32C of each file of a group, by its path in the lake.

    Raises
    ------
    FileNotFoundError
        If the group has no such table.
    ValueError, TypeError, KeyError, RuntimeError
        If it is damaged.
    """
    table = xr.open_zarr(store, group=f"{group}/{CHECKSUMS}", consolidated=False, chunks=None)
    paths, values = table["file"].to_numpy().tolist(), table["crc32c"].to_numpy().tolist()
    return {f"{group}/{path}": value for path, value in zip(paths, values, strict=True)}


def files_of(store: Store, group: str) -> list[str]:
    """Return the paths of a group's files but shards and the table of checksums."""
    skipped = (f"{group}/{EEG}/c/", f"{group}/{CHECKSUMS}/")
    return sorted(path for path in _listed(store, f"{group}/") if not path.startswith(skipped))


def checksum(store: Store, path: str) -> int | None:
    """Return the CRC-32C of a file, None if it isn't there."""
    content = sync(store.get(path, default_buffer_prototype()))
    return None if content is None else google_crc32c.value(content.to_bytes())


def _with_own(paths: list[str], table: str) -> list[str]:
    return [*paths, *(f"{table}/{name}zarr.json" for name in ("", "file/", "crc32c/"))]


def _write(store: Store, table: str, checksums: dict[str, int]) -> list[str]:
    group = table.rpartition("/")[0]
    variables = {
        "file": np.array([path.removeprefix(f"{group}/") for path in checksums], dtype=object),
        "crc32c": np.array(list(checksums.values()), dtype=np.uint32),
    }
    encoding = {name: label_encoding(values.dtype, values.shape) for name, values in variables.items()}
    dataset = xr.Dataset({name: ("row", values) for name, values in variables.items()})
    dataset.to_zarr(store, group=table, mode="w", zarr_format=3, consolidated=False, encoding=encoding)
    return list(checksums)


def _listed(store: Store, prefix: str) -> list[str]:
    async def paths() -> list[str]:
        return [path async for path in store.list_prefix(prefix)]

    return sync(paths())
