"""A group's labels and tables as xarray's variables, none of them read: claims checked first, damage named when read.

Metadata of 1 kB may claim more than any memory holds. So what is claimed is compared with the files that are there
before anything is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any

import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray, ZarrStore
from zarr.abc.store import Store

from eegzarr.errors import LakeError
from eegzarr.store.private import indexing
from eegzarr.store.reading.bounded import CHUNKS, BoundedStore, check_codecs
from eegzarr.store.reading.damage import damage_named
from eegzarr.store.staging import paths_below

# What may be claimed without a look at what is there.
_UNQUESTIONED = 2**23  # entries: 64 MiB of numbers
_UNQUESTIONED_NBYTES = 2**28  # of an array
_UNUSED_NBYTES = 2**26  # of a chunk, beyond what the array has entries for
_MOST_CHUNKS = 4096  # of an array of few entries: each is looked for


def open_variables(
    store: Store,
    group: str,
    signals: str,
    drop_variables: str | Iterable[str] | None,
    only: Collection[str] | None = None,
) -> xr.Dataset:
    """Open a group's arrays, none of them read; what is wrong with one is said when it is.

    Parameters
    ----------
    signals : str
        Name of the array whose size is checked elsewhere.
    only : collection of str, optional
        Arrays to open, as far as they are there; default all.

    Raises
    ------
    FileNotFoundError
        If the group isn't there.
    LakeError
        If its metadata are damaged, or claim more than there is.
    """
    with damage_named(f"{store}/{group}"):
        opened = ZarrStore.open_group(BoundedStore(store, only), group=group, consolidated=False, zarr_format=3)
        # Before xarray makes indexes, which reads them.
        _check_claims(store, group, {str(n): v for n, v in opened.get_variables().items() if n != signals})
        dataset = xr.open_dataset(opened, drop_variables=drop_variables)
        lazy = {
            name: _named(f"{store}/{group}/{name}", variable)
            for name, variable in dataset.variables.items()
            if name not in dataset.xindexes and name != signals
        }
        coordinates = {name: variable for name, variable in lazy.items() if name in dataset.coords}
        return dataset.assign_coords(coordinates).assign({n: v for n, v in lazy.items() if n not in coordinates})


def _check_claims(store: Store, group: str, variables: dict[str, xr.Variable]) -> None:
    """Refuse arrays that claim so much that looking at them would fill the memory, or take for ever.

    A chunk that isn't stored counts as its fill value, so that a file of 1 kB may claim any number of entries. A
    length that is large is believed where an array of it has all of its chunks, and so is an array that is large.
    """
    lengths: dict[Any, int] = {}
    proven: set[Any] = set()
    for name, variable in variables.items():
        check_codecs(f"{store}/{group}/{name}", variable.encoding)
        chunks = variable.encoding.get("chunks") or variable.shape
        if any(chunk < 1 for chunk in chunks) and variable.size:
            raise LakeError(f"{store}/{group}/{name} is damaged: it has chunks of {chunks}")
        counts = [-(-size // max(1, chunk)) for size, chunk in zip(variable.shape, chunks, strict=True)]
        count, nbytes = math.prod(counts), variable.size * variable.dtype.itemsize
        if math.prod(chunks) * variable.dtype.itemsize > nbytes + _UNUSED_NBYTES:
            raise LakeError(f"{store}/{group}/{name} claims chunks of {chunks}, more than it has entries for")
        lengths |= dict(zip(variable.dims, variable.shape, strict=True))
        is_large = max(variable.shape, default=0) > _UNQUESTIONED or count > _MOST_CHUNKS
        is_large = is_large or nbytes > _UNQUESTIONED_NBYTES
        are_known = set(variable.dims) <= proven
        if is_large and not (are_known and variable.ndim < 2) and _has_all(store, group, name, counts):
            are_known = True
            proven |= set(variable.dims)
        if (count > _MOST_CHUNKS or (nbytes > _UNQUESTIONED_NBYTES and variable.ndim != 1)) and not are_known:
            _refuse(store, group, name, variable.size)
    for dimension, length in lengths.items():
        if length > _UNQUESTIONED and dimension not in proven:
            _refuse(store, group, str(dimension), length)


def _has_all(store: Store, group: str, name: str, counts: list[int]) -> bool:
    """Return whether all chunks of an array are stored."""
    prefix = f"{group}/{name}/{CHUNKS}/"
    found = 0
    for path in paths_below(store, prefix):
        numbers = path.removeprefix(prefix).split("/")
        is_chunk = len(numbers) == len(counts) and all(number.isdecimal() for number in numbers)
        found += is_chunk and all(int(number) < n for number, n in zip(numbers, counts, strict=True))
    return found == math.prod(counts)


def _refuse(store: Store, group: str, name: str, count: int) -> None:
    raise LakeError(f"{store}/{group} is damaged: {name} claims {count:,} entries, and has the files of fewer")


def _named(what: str, variable: xr.Variable) -> xr.Variable:
    lazy = indexing.LazilyIndexedArray(_StoredArray(what, variable))
    return xr.Variable(variable.dims, lazy, variable.attrs, variable.encoding, fastpath=True)


class _StoredArray(BackendArray):
    """An array of a lake whose damage is named when it is read."""

    def __init__(self, what: str, stored: xr.Variable) -> None:
        self._what, self._stored = what, stored
        self.shape, self.dtype = stored.shape, stored.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> npt.NDArray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray:
        with damage_named(self._what, but=()):
            return self._stored[key].to_numpy()
