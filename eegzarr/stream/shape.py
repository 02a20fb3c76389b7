"""From a stored window to a row of a batch: decode, pick, crop, convert, normalise."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from eegzarr.errors import UsageError
from eegzarr.store.integers import LARGEST
from eegzarr.store.layout import Geometry
from eegzarr.store.reading.integers import IntegerDecoder, Picked
from eegzarr.store.reading.read import WindowDecoder, WindowReader
from eegzarr.store.tiles.gather import TileGatherer
from eegzarr.stream.alone import normalized_alone

Normalize = Literal["channel", "window", "recording", "robust"]
# Bytes of windows that are decoded before they are cropped and converted. What Python does between two
# calls keeps other threads waiting: with 4 windows at a time float32 from float16 streamed a third as fast.
_TOGETHER = 4 * 2**20
_LARGEST_HALF = float(np.finfo(np.float16).max)


def parse_seconds(duration: str | float) -> float:
    """Return seconds of a number, or of a text such as ``"2s"``.

    Raises
    ------
    UsageError
        If it isn't a positive duration.
    """
    try:
        seconds = float(duration.removesuffix("s")) if isinstance(duration, str) else float(duration)
    except (ValueError, TypeError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{duration!r} isn't a duration: write seconds, such as '2s' or 2.0")
    return seconds


@dataclass(frozen=True)
class RowShape:
    """What a row of a batch is.

    Attributes
    ----------
    n_channels, n_times : int
        Of a row.
    dtype : str
        Of a row.
    window_times : int
        Selected samples of a window; more than `n_times` where rows are crops.
    normalize : {"channel", "window", "recording", "robust"} or None
        ``"window"`` uses each window's own mean and standard deviation, per channel; the others those of its `Layout`.
    clamp : float or None
        Largest absolute value after normalising.
    """

    n_channels: int
    n_times: int
    dtype: str
    window_times: int
    normalize: Normalize | None = None
    clamp: float | None = None


@dataclass(frozen=True, eq=False)
class Layout:
    """How the windows of a source are stored, and what is picked from them.

    Attributes
    ----------
    values : array or None, shape (window, channel, time)
        Windows in memory; None where they are decoded.
    shape : tuple of int
        Of a stored window, (channel, time).
    dtype : str
    channels, times : slice or array of int
        What is picked.
    mean, std : array of float32 or None, shape (channel, 1) or (recording, channel, 1)
        In uV, of the picked channels.
    step : float
        uV per unit of integers that are decoded; 0 of other samples.
    is_cut : bool
        Whether windows are gathered from tiles, of which `shape` is one.
    """

    values: npt.NDArray | None
    shape: tuple[int, int]
    dtype: str
    channels: slice | npt.NDArray[np.int64]
    times: slice | npt.NDArray[np.int64]
    mean: npt.NDArray[np.float32] | None = None
    std: npt.NDArray[np.float32] | None = None
    step: float = 0.0
    is_cut: bool = False

    @property
    def window_bytes(self) -> int:
        """Bytes of a decoded window."""
        return self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize

    def gives_rows(self, shape: RowShape) -> bool:
        """Whether a stored window is a row as it is."""
        axes = zip((self.channels, self.times), self.shape, strict=True)
        whole = all(isinstance(numbers, slice) and numbers == slice(0, size, 1) for numbers, size in axes)
        plain = shape.normalize is None and shape.dtype == self.dtype and shape.n_times == shape.window_times
        return self.values is None and not self.is_cut and plain and whole

    def holds_halves(self) -> bool:
        """Whether float16 holds all that can be stored, in uV."""
        return self.dtype == "float16" or 0 < self.step * LARGEST <= _LARGEST_HALF


def picks(numbers: Sequence[int]) -> slice | npt.NDArray[np.int64]:
    """Return numbers as a slice where they ascend evenly, which costs no copy, else as an array."""
    steps = set(np.diff(numbers).tolist()) or {1}
    if len(numbers) and len(steps) == 1 and (step := steps.pop()) > 0:
        return slice(numbers[0], numbers[-1] + 1, step)
    return np.array(numbers, np.int64)


def one_step(geometries: Sequence[Geometry | None]) -> float:
    """Return the step in uV that the integers of all sources share.

    Raises
    ------
    UsageError
        If they have several, or there are other samples among them.
    """
    steps = sorted({0.0 if geometry is None else geometry.step for geometry in geometries})
    if len(steps) == 1 and steps[0]:
        return steps[0]
    if steps[0]:
        told = " and ".join(f"{step:g} uV" for step in steps)
        raise UsageError(f"dtype='int16' needs one step, these lakes have {told}: stream float32, or each by itself")
    raise UsageError("dtype='int16' gives integers as an int16 lake stores them; these samples are floats: use float32")


class RowFiller:
    """Fills rows of a shape; one a process, any number of threads.

    Parameters
    ----------
    shape : RowShape
    layouts : sequence of Layout
        Of each source.
    readers : sequence of WindowReader
    reader : array of int32, shape (source,)
        Which of the readers reads each source; any for those in memory.
    held : int
        Bytes of decoded tiles that are held, of each reader whose windows are cut.
    """

    def __init__(
        self,
        shape: RowShape,
        layouts: Sequence[Layout],
        readers: Sequence[WindowReader],
        reader: npt.NDArray[np.int32],
        held: int = 0,
    ) -> None:
        self._shape, self._layouts = shape, layouts
        self._decoder = WindowDecoder(readers)
        self._integers = IntegerDecoder(self._decoder)
        self._gatherers = [TileGatherer(one, held) for one in readers] if any(one.is_cut for one in layouts) else []
        self._readers, self._reader = readers, reader
        self._scratch = threading.local()
        self._picks = [Picked.of(layout.channels, layout.times) for layout in layouts]
        plain = [layout.gives_rows(shape) for layout in layouts]
        # Sources whose windows come out of one call as they are share a number, others have their own.
        kinds = [-1 if is_plain else self._first_like(number) for number, is_plain in enumerate(plain)]
        self._kind = np.array(kinds, np.int32)
        self._all_plain = all(plain)

    def fill(
        self,
        rows: npt.NDArray,
        sources: npt.NDArray[np.int32],
        windows: npt.NDArray[np.int64],
        recordings: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
    ) -> None:
        """Fill `rows`, (window, channel, time), each with a window of a source, cropped from a sample on."""
        if self._all_plain:
            self._decoder.decode(self._reader[sources], windows, rows)
            return
        kinds = self._kind[sources]
        for kind in np.unique(kinds).tolist():
            own = np.flatnonzero(kinds == kind)
            is_all = len(own) == len(rows)
            filled = rows if is_all else np.empty((len(own), *rows.shape[1:]), rows.dtype)
            if kind < 0:
                self._decoder.decode(self._reader[sources[own]], windows[own], filled)
            else:
                self._fill_from(kind, filled, sources[own], windows[own], recordings[own], offsets[own])
            if not is_all:
                rows[own] = filled

    def _first_like(self, number: int) -> int:
        """Return the first source that is filled in one call with a source: itself, except for integers."""
        if not self._gives_microvolts(number):
            return number
        shape, picked = self._layouts[number].shape, self._picks[number]
        alike = (
            other
            for other in range(number)
            if self._gives_microvolts(other) and self._layouts[other].shape == shape and self._picks[other].same(picked)
        )
        return next(alike, number)

    def _gives_microvolts(self, source: int) -> bool:
        """Whether rows are a source's integers in uV, and nothing else is done to them."""
        layout = self._layouts[source]
        plain = self._shape.dtype == "float32" and self._shape.normalize is None
        return layout.step > 0 and plain and not layout.is_cut

    def _fill_from(
        self,
        source: int,
        rows: npt.NDArray,
        sources: npt.NDArray[np.int32],
        windows: npt.NDArray[np.int64],
        recordings: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
    ) -> None:
        shape, layout = self._shape, self._layouts[source]
        together = max(1, _TOGETHER // layout.window_bytes)
        # Of one stored type a float16 that overflows can't come: the lake holds none.
        may_overflow = shape.dtype == "float16" and not (layout.holds_halves() and shape.normalize is None)
        is_scaled = layout.step > 0 and shape.dtype != "int16"
        if self._gives_microvolts(source):
            self._scaled(sources, windows, offsets, rows)
            return
        is_direct = shape.normalize is None and not may_overflow and not (is_scaled and shape.dtype != "float32")
        if is_direct and layout.is_cut:
            self._gather(source, windows, offsets, rows)
            return
        for first in range(0, len(rows), together):
            several = slice(first, first + together)
            filled = rows[several]
            values = filled
            if not is_direct:
                values = self._buffer("values", (together, *rows.shape[1:]), "float32")[: len(filled)]
            if layout.is_cut:
                self._gather(source, windows[several], offsets[several], values)
            elif is_scaled:
                self._scaled(sources[several], windows[several], offsets[several], values)
            else:
                stored = self._stored(source, windows[several], together)
                _crop(self._picked(layout, stored, together), offsets[several], values)
            if is_direct:
                continue
            self._normalize(layout, values, recordings[several])
            if may_overflow:
                self._check_halves(values, source, windows[several])
            _convert(values, filled)

    def _scaled(
        self,
        sources: npt.NDArray[np.int32],
        windows: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
        rows: npt.NDArray,
    ) -> None:
        """Decode integers into rows of uV, picked alike from all sources, and cropped."""
        self._integers.decode(self._reader[sources], windows, self._picks[int(sources[0])], offsets, rows)

    def _gather(
        self, source: int, positions: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], rows: npt.NDArray
    ) -> None:
        """Fill rows with windows that begin anywhere in tiles: channels and times picked, cropped, as `rows`' type."""
        gatherer, picked = self._gatherers[self._reader[source]], self._picks[source]
        if not len(picked.times):
            gatherer.gather(positions + offsets + picked.first, picked.channels, rows)
            return
        first = int(picked.times.min())
        whole = np.empty((*rows.shape[:2], int(picked.times.max()) - first + 1), rows.dtype)
        gatherer.gather(positions + first, picked.channels, whole)
        for row, window, offset in zip(rows, whole, offsets.tolist(), strict=True):
            row[:] = window[:, picked.times[offset : offset + rows.shape[2]] - first]

    def _stored(self, source: int, windows: npt.NDArray[np.int64], together: int) -> npt.NDArray:
        """Return windows as they are stored, in a buffer of this thread."""
        layout = self._layouts[source]
        stored = self._buffer("stored", (together, *layout.shape), layout.dtype)[: len(windows)]
        if layout.values is not None:
            np.take(layout.values, windows, axis=0, out=stored, mode="clip")
        else:
            self._decoder.decode(np.full(len(windows), self._reader[source], np.int32), windows, stored)
        return stored

    def _picked(self, layout: Layout, stored: npt.NDArray, together: int) -> npt.NDArray:
        if isinstance(layout.channels, slice):
            picked = stored[:, layout.channels]
        else:
            shape = (together, len(layout.channels), stored.shape[2])
            picked = self._buffer("picked", shape, layout.dtype)[: len(stored)]
            np.take(stored, layout.channels, axis=1, out=picked, mode="clip")
        return picked[..., layout.times]

    def _normalize(self, layout: Layout, values: npt.NDArray[np.float32], recordings: npt.NDArray[np.int64]) -> None:
        shape = self._shape
        if shape.normalize is None:
            return
        if shape.normalize == "window":
            values[:] = normalized_alone(values)
        else:
            assert layout.mean is not None
            assert layout.std is not None
            mean, std = layout.mean, layout.std
            if shape.normalize in ("recording", "robust"):
                mean, std = mean[recordings], std[recordings]
            values -= mean
            values /= std
        if shape.clamp is not None:
            np.clip(values, -shape.clamp, shape.clamp, out=values)

    def _check_halves(self, values: npt.NDArray[np.float32], source: int, windows: npt.NDArray[np.int64]) -> None:
        if float(torch.from_numpy(values).abs().max()) <= _LARGEST_HALF:
            return
        window = int(windows[int(np.abs(values).max(axis=(1, 2)).argmax())])
        where = self._readers[self._reader[source]].name if self._layouts[source].values is None else "the selection"
        raise UsageError(
            f"window {window} of {where} has values beyond {_LARGEST_HALF:g} uV, which float16 can't hold: stream "
            "float32, normalise, or leave such windows out (the label peak_to_peak finds most of them)"
        )

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: str) -> npt.NDArray:
        """Return a thread's own buffer."""
        buffers: dict[str, npt.NDArray] = self._scratch.__dict__
        key = f"{name} {shape} {dtype}"
        if key not in buffers:
            buffers[key] = np.empty(shape, dtype)
        return buffers[key]


def _crop(windows: npt.NDArray, offsets: npt.NDArray[np.int64], rows: npt.NDArray) -> None:
    """Copy the part of each window from its offset on, as the type of the rows."""
    length = rows.shape[-1]
    first = int(offsets[0])
    if (offsets == first).all():  # one call for all of them costs a third
        _convert(windows[:, :, first : first + length], rows)
        return
    for window, offset, row in zip(windows, offsets.tolist(), rows, strict=True):
        _convert(window[:, offset : offset + length], row)


def _convert(values: npt.NDArray, rows: npt.NDArray) -> None:
    # By torch, not NumPy: from float16 to float32 it is twelve times as fast.
    torch.from_numpy(rows).copy_(torch.from_numpy(values))
