"""Which stored samples an array of signals is made of, if it is made of nothing else.

xarray selects, reorders, repeats and joins signals without reading them, and what comes of it is a graph of
Dask's. Here that graph is run on places instead of samples: whatever only picks and joins gives the places that
were picked, and whatever computes fails. So a selection is known from a changed signal, whatever coordinates
say. This module alone knows what Dask's graphs and xarray's lazy arrays are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.local import get_sync
from dask.utils import ensure_dict

from eegzarr.errors import UsageError, redacted
from eegzarr.store.private import indexing
from eegzarr.store.reading.stored import StoredSignals
from eegzarr.store.tiles.signals import CutRecordings, CutSignals

_WRAPPERS = (
    indexing.ImplicitToExplicitIndexingAdapter,
    indexing.LazilyIndexedArray,
    indexing.CopyOnWriteArray,
    indexing.MemoryCachedArray,
)
LAKE = "lake"  # the attribute of windows that names where they are stored
DIMENSIONS = ("window", "channel", "time")
WINDOW, CHANNEL, TIME = range(3)


@dataclass(frozen=True)
class Part:
    """Channels and times that windows of one group have, as numbers in the group.

    Attributes
    ----------
    lake, group, digest : str
        Where the samples are.
    cut : CutRecordings, optional
        Of windows that are gathered from the group's tiles: what they were cut from. Their number is the position
        that they begin at, and `times` count from there.
    """

    lake: str
    group: str
    digest: str
    channels: tuple[int, ...]
    times: tuple[int, ...]
    cut: CutRecordings | None = None


class _Computed(Exception):
    """Something other than picking and joining was done."""


class Places:
    """Places of samples, shaped as an array of them.

    Attributes
    ----------
    parts : tuple of Part
    part : array of int32, shape (window,)
        Which of them each window is of.
    window : array of int64, shape (window,)
        Its number in the part's group, the position that it begins at where it is cut.
    """

    __array_priority__ = 1000.0

    def __init__(
        self,
        parts: Sequence[Part],
        part: npt.NDArray[np.int32],
        window: npt.NDArray[np.int64],
        dtype: np.dtype,
        order: tuple[int, ...] = (WINDOW, CHANNEL, TIME),
    ) -> None:
        self.parts, self.part, self.window, self.dtype, self._order = tuple(parts), part, window, dtype, order
        sizes = (len(window), len(parts[0].channels), len(parts[0].times))
        self.shape = tuple(sizes[axis] for axis in order)
        self.ndim = 3

    @classmethod
    def whole(cls, stored: StoredSignals) -> Places:
        """Return the places of a group, all in order."""
        windows, channels, times = stored.shape
        if isinstance(stored, CutSignals):
            numbers = tuple(stored.channels.tolist())
            cut = Part(stored.lake, stored.group, stored.digest, numbers, tuple(range(times)), stored.recordings)
            return cls([cut], np.zeros(windows, np.int32), stored.positions, np.dtype(stored.dtype))
        part = Part(stored.lake, stored.group, stored.digest, tuple(range(channels)), tuple(range(times)))
        return cls([part], np.zeros(windows, np.int32), np.arange(windows), np.dtype(stored.dtype))

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray:
        raise _Computed

    def __array_ufunc__(self, *arguments: Any, **options: Any) -> Any:
        raise _Computed

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Places:
        known: dict[Any, Callable[..., Places]] = {
            np.concatenate: _concatenate,
            np.take: _take,
            np.transpose: _transpose,
        }
        if function not in known:
            raise _Computed
        return known[function](*arguments, **options)

    def __getitem__(self, key: Any) -> Places:
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in [part for part in keys if not isinstance(part, np.ndarray)]:
            at = [part is Ellipsis for part in keys].index(True)
            keys[at : at + 1] = [slice(None)] * (4 - len(keys))
        keys += [slice(None)] * (3 - len(keys))
        arrays = sum(not isinstance(part, slice) for part in keys)
        if len(keys) > 3 or arrays > 1:  # NumPy would pick point by point
            raise _Computed
        picked = self
        for axis, part in enumerate(keys):
            picked = picked.picked(axis, part)
        return picked

    def picked(self, axis: int, part: Any) -> Places:
        """Return what a slice or an array of numbers picks along an axis."""
        if isinstance(part, slice) and part == slice(None):
            return self
        numbers = np.arange(self.shape[axis])[part]
        if numbers.ndim != 1:
            raise _Computed
        if self._order[axis] == WINDOW:
            return Places(self.parts, self.part[numbers], self.window[numbers], self.dtype, self._order)
        name = "channels" if self._order[axis] == CHANNEL else "times"
        chosen = numbers.tolist()
        parts = [
            Part(**{**part.__dict__, name: tuple(getattr(part, name)[number] for number in chosen)})
            for part in self.parts
        ]
        return Places(parts, self.part, self.window, self.dtype, self._order)

    def transposed(self, axes: Sequence[int]) -> Places:
        """Return it with its axes in another order."""
        order = tuple(self._order[axis] for axis in axes)
        return Places(self.parts, self.part, self.window, self.dtype, order)

    def in_order(self) -> Places:
        """Return it as (window, channel, time)."""
        return self.transposed([self._order.index(axis) for axis in (WINDOW, CHANNEL, TIME)])

    def joined(self, others: Sequence[Places], axis: int) -> Places:
        """Return it with others after it along an axis."""
        several = [self, *others]
        if any(not isinstance(one, Places) or one._order != self._order or one.dtype != self.dtype for one in several):
            raise _Computed
        if self._order[axis] != WINDOW:
            return self._widened(others, "channels" if self._order[axis] == CHANNEL else "times")
        numbers: dict[Part, int] = {}
        shape = self.shape[:axis] + self.shape[axis + 1 :]
        for one in several:
            if one.shape[:axis] + one.shape[axis + 1 :] != shape:
                raise _Computed
            for part in one.parts:
                numbers.setdefault(part, len(numbers))
        renumbered = [np.array([numbers[part] for part in one.parts], np.int32)[one.part] for one in several]
        windows = np.concatenate([one.window for one in several])
        return Places(tuple(numbers), np.concatenate(renumbered), windows, self.dtype, self._order)

    def _widened(self, others: Sequence[Places], name: str) -> Places:
        """Return it with more channels or times, all of the same windows."""
        pairs: dict[tuple[Part, ...], int] = {}
        part = np.empty(len(self.window), np.int32)
        several = [self, *others]
        for one in others:
            if not np.array_equal(one.window, self.window):
                raise _Computed
        kinds = np.stack([one.part for one in several], axis=1)
        for row in np.unique(kinds, axis=0):
            own = tuple(one.parts[number] for one, number in zip(several, row.tolist(), strict=True))
            rest = {tuple(value for key, value in p.__dict__.items() if key != name) for p in own}
            if len(rest) > 1:
                raise _Computed
            part[(kinds == row).all(axis=1)] = pairs.setdefault(own, len(pairs))
        parts = [
            Part(**{**own[0].__dict__, name: tuple(number for p in own for number in getattr(p, name))})
            for own in pairs
        ]
        return Places(parts, part, self.window, self.dtype, self._order)


def lake_of(windows: xr.Dataset) -> str:
    """Return the lake of windows as it was opened: their attribute ``lake`` has no credentials of a URL.

    The attribute where the signals aren't of that lake, or there are none.
    """
    told = str(windows.attrs[LAKE])
    if "://" not in told or "eeg" not in windows:
        return told
    graph = ensure_dict(windows["eeg"].variable.chunk({}).data.__dask_graph__())
    opened = (stored.lake for node in graph.values() if (stored := _stored(node)[0]) is not None)
    return next((lake for lake in opened if redacted(lake) == told), told)


def tables_at_hand(windows: xr.Dataset) -> dict[str, xr.Dataset]:
    """Return the tables of recordings of windows that were cut without writing them, by release; none of others."""
    places = None if is_loaded(windows["eeg"]) else places_of(windows["eeg"])
    release = windows["release"].to_numpy().astype(object)
    tables: dict[str, xr.Dataset] = {}
    if places is None:
        return tables
    for number, part in enumerate(places.parts):
        if part.cut is not None and part.cut.table is not None:
            tables |= dict.fromkeys(map(str, set(release[places.part == number])), part.cut.table)
    return tables


def check_dimensions(signals: xr.DataArray) -> None:
    """Refuse signals that aren't windows of channels.

    Raises
    ------
    UsageError
    """
    if set(signals.dims) != set(DIMENSIONS):
        is_renamed = len(signals.dims) == len(DIMENSIONS)
        way_out = "rename them back" if is_renamed else "select with lists, such as .isel(window=[3]), to keep one"
        raise UsageError(
            f"signals need the dimensions {', '.join(DIMENSIONS)}; these have "
            f"{', '.join(map(str, signals.dims)) or 'none'}: {way_out}"
        )


def is_loaded(signals: xr.DataArray) -> bool:
    """Whether signals are in memory."""
    return bool(signals.variable._in_memory)


def are_of_lake(signals: xr.DataArray) -> bool:
    """Whether lazy signals are made of a lake's that eegzarr opened, whatever was done to them since."""
    graph = ensure_dict(signals.variable.chunk({}).data.__dask_graph__())
    return any(_stored(node)[0] is not None for node in graph.values())


def places_of(signals: xr.DataArray) -> Places | None:
    """Return where lazy signals are stored, (window, channel, time), or None where they were changed.

    Raises
    ------
    UsageError
        If they have other dimensions.
    """
    check_dimensions(signals)
    if 0 in signals.shape:
        return Places([Part("", "", "", (), ())], np.zeros(0, np.int32), np.zeros(0, np.int64), signals.dtype)
    array = signals.variable.chunk({}).data
    graph = ensure_dict(array.__dask_graph__())
    sources = {key: found for key, node in graph.items() if (found := _source(node)) is not None}
    if not sources or any(_makes(node) for key, node in graph.items() if key not in sources):
        return None
    try:
        blocks = get_sync({**graph, **sources}, array.__dask_keys__())
        whole = _assembled(blocks, 0)
    except Exception:  # functions that aren't ours were given places in place of samples
        return None
    if not isinstance(whole, Places) or whole.shape != signals.shape or whole.dtype != signals.dtype:
        return None
    return whole.transposed([signals.dims.index(name) for name in DIMENSIONS])


def _source(node: Any) -> Places | None:
    """Return the places of a graph's node that is stored signals."""
    value, keys = _stored(node)
    if value is None or any(isinstance(key, indexing.VectorizedIndexer) for key in keys):
        return None
    places = Places.whole(value)
    for key in reversed(keys):
        for axis, part in enumerate(key.tuple):
            if not isinstance(part, slice | np.ndarray):
                return None  # one number: a dimension is gone
            places = places.picked(axis, part)
    return places


def _stored(node: Any) -> tuple[StoredSignals | None, list[indexing.ExplicitIndexer]]:
    """Return the stored signals in a graph's node, and what xarray's wrappers pick of them, the outermost first."""
    keys: list[indexing.ExplicitIndexer] = []
    value = getattr(node, "value", node)
    while isinstance(value, _WRAPPERS):
        if isinstance(value, indexing.LazilyIndexedArray):
            keys.append(value.key)
        value = value.array
    return (value if isinstance(value, StoredSignals) else None), keys


def _makes(node: Any) -> bool:
    """Whether a node makes an array of nothing: it would be computed, only to find that signals were changed."""
    return callable(getattr(node, "func", None)) and not getattr(node, "dependencies", True)


def _assembled(blocks: Any, axis: int) -> Places:
    if isinstance(blocks, Places):
        return blocks
    several = [_assembled(block, axis + 1) for block in blocks]
    return several[0] if len(several) == 1 else several[0].joined(several[1:], axis)


def _concatenate(arrays: Sequence[Any], axis: int = 0, **options: Any) -> Places:
    several = list(arrays)
    if options or not all(isinstance(one, Places) for one in several):
        raise _Computed
    return cast("Places", several[0]).joined(several[1:], axis)


def _take(array: Places, indices: Any, axis: int | None = None, **options: Any) -> Places:
    if axis is None or not isinstance(array, Places):
        raise _Computed
    return array.picked(axis, np.asarray(indices))


def _transpose(array: Places, axes: Sequence[int] | None = None) -> Places:
    return array.transposed(axes if axes is not None else [2, 1, 0])
