"""Labels that are read when they are looked at.

Not Dask arrays: xarray groups by, masks with and converts what it can load by itself, and
asks for more words where a label is chunked. And not read on opening: a lake has dozens of
labels, and millions of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray

from eegzarr.store.private import indexing

TEXT = np.dtype(object)  # much of xarray and pandas doesn't know NumPy's variable-length texts


@dataclass(frozen=True)
class Label:
    """A label along ``window``: its dtype, its length, and how to read the whole of it."""

    dtype: np.dtype
    length: int
    read: Callable[[], npt.NDArray]
    attrs: Mapping[str, Any]

    @classmethod
    def stored(cls, variable: xr.Variable) -> Label:
        """Describe a variable that xarray has opened and not loaded; texts become objects."""
        is_text = variable.dtype.kind == "T"
        return cls(TEXT if is_text else variable.dtype, variable.size, _Stored(variable), variable.attrs)

    def variable(self) -> xr.Variable:
        """Return it as a variable that reads itself when looked at, and then stays."""
        lazy = indexing.LazilyIndexedArray(_LabelArray(self))
        return xr.Variable("window", indexing.MemoryCachedArray(lazy), dict(self.attrs), fastpath=True)


def joined(parts: Sequence[Label]) -> Label:
    """Return labels one after another as one label.

    Of numbers that holds all of them: a column may need float64 in one release alone.
    """
    dtypes = {part.dtype for part in parts}
    are_numbers = all(dtype.kind in "iuf" for dtype in dtypes)
    dtype = np.result_type(*dtypes) if len(dtypes) == 1 or are_numbers else TEXT
    return Label(dtype, sum(part.length for part in parts), _Joined(tuple(parts), dtype), parts[0].attrs)


@dataclass(frozen=True)
class _Stored:
    variable: xr.Variable

    def __call__(self) -> npt.NDArray:
        values = self.variable.to_numpy()
        return values.astype(object) if values.dtype.kind == "T" else values


@dataclass(frozen=True)
class _Joined:
    parts: tuple[Label, ...]
    dtype: np.dtype

    def __call__(self) -> npt.NDArray:
        return np.concatenate([part.read().astype(self.dtype) for part in self.parts])


class _LabelArray(BackendArray):
    def __init__(self, label: Label) -> None:
        self._label = label
        self.shape = (label.length,)
        self.dtype = label.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> npt.NDArray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.VECTORIZED, self._part)

    def _part(self, key: tuple[Any, ...]) -> npt.NDArray:
        return np.asarray(self._label.read()[key])
