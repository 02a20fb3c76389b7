"""Labels that are read when they are looked at.

Not Dask arrays: xarray groups by, masks with and converts what it can load by itself, and
asks for more words where a label is chunked. And not read on opening: a lake has dozens of
labels, and millions of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray

from eegzarr.errors import LakeError
from eegzarr.recipes.classes import MISSING, classes_of, coded, flags, names_of
from eegzarr.store.private import indexing

_FLAGS = ("flag_values", "flag_meanings", "classes")
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

    Of numbers that holds all of them: a column may need float64 in one release alone. Numbers beside texts are texts.
    Codes of classes mean the same in all of it: each release counts the classes that it has, F alone or F and M.

    Raises
    ------
    LakeError
        If some are classes and others numbers.
    """
    dtypes = {part.dtype for part in parts}
    are_numbers = all(dtype.kind in "iuf" for dtype in dtypes)
    dtype = np.result_type(*dtypes) if len(dtypes) == 1 or are_numbers else TEXT
    label = Label(dtype, sum(part.length for part in parts), _Joined(tuple(parts), dtype), parts[0].attrs)
    classes = [classes_of(part.attrs) for part in parts]
    if all(one == classes[0] for one in classes):
        return label
    if any(one is None for one in classes):
        raise LakeError("classes in one release and numbers in another: open them one by one")
    names = sorted({name for one in classes if one is not None for name in one.values()})
    coded_alike = tuple(replace(part, read=_Recoded(part, tuple(names))) for part in parts)
    meanings = {name: value for name, value in flags(np.zeros(0, np.int16), names).items() if name in _FLAGS}
    return replace(label, read=_Joined(coded_alike, dtype), attrs={**parts[0].attrs, **meanings})


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
        parts = [part.read() for part in self.parts]
        if self.dtype == TEXT:
            parts = [part if part.dtype.kind not in "iuf" else _as_texts(part) for part in parts]
        return np.concatenate([part.astype(self.dtype) for part in parts])


@dataclass(frozen=True)
class _Recoded:
    part: Label
    names: tuple[str, ...]

    def __call__(self) -> npt.NDArray:
        codes, classes = self.part.read(), classes_of(self.part.attrs)
        assert classes is not None
        new = coded(names_of(codes, classes), self.names)
        return new if codes.dtype.kind != "f" else np.where(new == MISSING, np.nan, new)


def _as_texts(numbers: npt.NDArray) -> npt.NDArray[np.object_]:
    """Return numbers as the file had them: 1, not 1.0; "" where missing."""
    texts = [np.format_float_positional(number, trim="-") if number == number else "" for number in numbers]
    return np.array(texts, object)


class _LabelArray(BackendArray):
    def __init__(self, label: Label) -> None:
        self._label = label
        self.shape = (label.length,)
        self.dtype = label.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> npt.NDArray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.VECTORIZED, self._part)

    def _part(self, key: tuple[Any, ...]) -> npt.NDArray:
        return np.asarray(self._label.read()[key])
