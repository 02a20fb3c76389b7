"""Windows as rows: what `WindowStream` and `WindowDataset` have in common, from options to samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from eegzarr.errors import LakeError, UsageError
from eegzarr.machine.memory import machine_memory
from eegzarr.store.group import StoredWindows, stored_windows
from eegzarr.store.layout import Geometry
from eegzarr.store.provenance import Part
from eegzarr.store.reading.mapped import requested_from
from eegzarr.store.tiles.gather import Needed
from eegzarr.stream.anywhere import Anywhere, anywhere_in
from eegzarr.stream.selection import Selection, select, without_long_doubles
from eegzarr.stream.shape import Layout, Normalize, RowShape, one_step, parse_seconds, picks
from eegzarr.stream.statistics import dataset_statistics, recording_statistics, robust_statistics
from eegzarr.stream.targets import Target

DTYPES = ("float32", "float16", "int16")
_NORMALIZE = ("channel", "window", "recording", "robust")
_SHARE_OF_MEMORY = 0.7  # that the page cache may have
_SHARED = 1.5  # windows per tile from which on decoded tiles are worth keeping
_SPARSE = 1.5  # times a window's own bytes, from which on few windows of a frame are wanted
_BLOCK_IN_MEMORY = 64  # windows; any number, where nothing is read in blocks


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """What is given of each window; see `eegzarr.stream.WindowStream`."""

    target: Target = "target"
    classes: Sequence[str] | None = None
    with_labels: Sequence[str] = ()
    balance: str | None = None
    crop: str | float | None = None
    normalize: Normalize | None = None
    statistics: xr.Dataset | Sequence[xr.Dataset] | None = None
    clamp: float | None = None
    dtype: str = "float32"
    with_positions: bool = False
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None

    @classmethod
    def among(cls, arguments: Mapping[str, Any]) -> RowOptions:
        """Return those that are among a constructor's arguments; the others are its own."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in arguments.items() if name in names})

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype must be {' or '.join(DTYPES)}, got {self.dtype!r}")
        if self.normalize not in (None, *_NORMALIZE):
            raise UsageError(f"normalize must be {', '.join(map(repr, _NORMALIZE))} or None, got {self.normalize!r}")
        if isinstance(self.with_labels, str) or not isinstance(self.with_labels, Iterable):
            raise UsageError(f"with_labels must be a list of names, such as ['age'], got {self.with_labels!r:.60}")
        if self.clamp is not None and self.normalize is None:
            raise UsageError("clamp counts standard deviations: give normalize, too")
        if self.clamp is not None and not (isinstance(self.clamp, Real) and self.clamp > 0):
            raise UsageError(f"clamp must be a number above 0, got {self.clamp!r}")
        if self.transform is not None and not callable(self.transform):
            raise UsageError(f"transform must be a function of x, got {self.transform!r:.60}")
        if self.dtype == "int16" and self.normalize is not None:
            raise UsageError("dtype='int16' gives samples as they are stored: normalize needs float32 or float16")
        if self.statistics is not None and self.normalize != "channel":
            raise UsageError("statistics are for normalize='channel'")


@dataclass(frozen=True, eq=False)
class WindowRows:
    """Windows that are given as rows.

    Attributes
    ----------
    selection : Selection
    shape : RowShape
        Of a row.
    layouts : tuple of Layout
        Of each source of the selection.
    stored : tuple of StoredWindows or None
        Of each source what its group has; None of windows in memory.
    scale : float
        uV per unit of a sample.
    anywhere : Anywhere, optional
        Where rows can begin that are taken anywhere in the windows' recordings.
    """

    selection: Selection
    shape: RowShape
    layouts: tuple[Layout, ...]
    stored: tuple[StoredWindows | None, ...]
    with_positions: bool
    transform: Callable[[torch.Tensor], torch.Tensor] | None
    scale: float = 1.0
    anywhere: Anywhere | None = None

    @classmethod
    def of(
        cls, windows: xr.Dataset | Sequence[xr.Dataset], options: RowOptions, *, anywhere: bool = False
    ) -> WindowRows:
        """Find the windows of Datasets.

        Parameters
        ----------
        anywhere : bool
            Whether rows begin anywhere in the windows' recordings.

        Raises
        ------
        UsageError, LakeError
            As for `eegzarr.stream.WindowStream`.
        """
        parts = _datasets(windows)
        selection = select(
            parts,
            options.target,
            classes=options.classes,
            with_labels=options.with_labels,
            balance=options.balance,
            are_read=not anywhere,
        )
        n_times = _crop_times(selection, options.crop, is_free=anywhere) if len(selection) else 0
        where = None
        if anywhere and len(selection):
            by_recording = options.normalize in ("recording", "robust")
            selection, where = anywhere_in(selection, n_times, by_recording=by_recording)
        if not len(selection):
            told = ", ".join(f"{count} with {reason}" for reason, count in selection.left_out.items() if count)
            raise UsageError(f"no window to give: {f'{told} were left out' if told else 'the selection is empty'}")
        stored = tuple(_stored(source) if isinstance(source, Part) else None for source in selection.sources)
        scale = one_step(_geometries(stored)) if options.dtype == "int16" else 1.0
        scales: Sequence[tuple[Any, Any]] = [(None, None)] * len(stored)
        if options.normalize == "channel":
            over = parts if options.statistics is None else _datasets(options.statistics)
            scales = dataset_statistics(selection, select(over), is_given=options.statistics is not None)
        elif options.normalize == "recording":
            scales = recording_statistics(selection)
        elif options.normalize == "robust":
            scales = robust_statistics(selection)
        layouts = []
        for source, geometry, (mean, std) in zip(selection.sources, _geometries(stored), scales, strict=True):
            if isinstance(source, Part) and geometry is not None:
                shape, times = (geometry.n_channels, geometry.n_times), picks(source.times)
                channels, is_cut = picks(source.channels), source.cut is not None
                layouts.append(Layout(None, shape, geometry.dtype, channels, times, mean, std, geometry.step, is_cut))
            elif not isinstance(source, Part):
                values, every = source.values, slice(0, source.values.shape[2], 1)
                shape = (values.shape[1], values.shape[2])
                layouts.append(Layout(values, shape, str(values.dtype), picks(source.channels), every, mean, std))
        row = RowShape(
            n_channels=len(selection.channels),
            n_times=n_times,
            dtype=options.dtype,
            window_times=selection.n_times,
            normalize=options.normalize,
            clamp=None if options.clamp is None else float(options.clamp),
        )
        positions, transform = options.with_positions, options.transform
        return cls(selection, row, tuple(layouts), stored, positions, transform, scale, where)

    @property
    def geometries(self) -> list[Geometry | None]:
        """How windows lie in shards, for each source; None of windows in memory."""
        return _geometries(self.stored)

    @property
    def is_remote(self) -> bool:
        """Whether windows come from a URL, or from a disk that is read like one."""
        parts = (source for source in self.selection.sources if isinstance(source, Part) and source.lake)
        return any(requested_from(source.lake, source.group) for source in parts)

    @property
    def stored_bytes(self) -> int:
        """Bytes of a window as it is stored, of the largest where they differ."""
        return max(layout.window_bytes for layout in self.layouts)

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame before compression, of the largest where they differ; 0 where all are in memory."""
        stored = (one for one in self.geometries if one is not None)
        return max((one.windows_per_frame * one.window_bytes for one in stored), default=0)

    @property
    def mixed_bytes(self) -> int:
        """Bytes that are held for a window while a block shuffle mixes it: of frames from a bucket its share."""
        share = 0
        if self.is_remote:
            share = len(np.unique(self.blocks())) * self.frame_bytes // max(1, len(self.selection))
        return share if share > _SPARSE * self.stored_bytes else self.stored_bytes

    def fit_memory(self) -> bool:
        """Whether the page cache can hold all that is read."""
        return self._windows_read() * self.stored_bytes < _SHARE_OF_MEMORY * machine_memory()

    def _windows_read(self) -> int:
        """Return how many stored windows, or tiles, the selection takes."""
        selection, count = self.selection, 0
        for number, layout in enumerate(self.layouts):
            own = selection.window[selection.source == number]
            count += len(np.unique(own // layout.shape[1])) if layout.is_cut else len(own)
        return count

    def _is_cut(self) -> npt.NDArray[np.bool_]:
        """Return which windows are gathered from tiles."""
        return np.array([layout.is_cut for layout in self.layouts])[self.selection.source]

    def stored_in(
        self, chosen: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the first and the last stored window, or tile, that each of the chosen, cropped, lies in."""
        selection = self.selection
        first = selection.window[chosen].copy()
        last = first.copy()
        for number, (source, layout) in enumerate(zip(selection.sources, self.layouts, strict=True)):
            own = selection.source[chosen] == number
            if layout.is_cut and isinstance(source, Part) and own.any():
                begins, length = first[own] + min(source.times), int(np.ptp(source.times)) + 1
                if source.times == tuple(range(source.times[0], source.times[-1] + 1)):
                    begins, length = begins + offsets[own], self.shape.n_times
                first[own], last[own] = begins // layout.shape[1], (begins + length - 1) // layout.shape[1]
        return first, last

    def blocks(self, offsets: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """Return which frame each window lies in, or begins in, numbered over all groups, (window,).

        Parameters
        ----------
        offsets : array of int64, shape (window,), optional
            Samples that crops begin after their window.
        """
        selection = self.selection
        sizes = [_BLOCK_IN_MEMORY if geometry is None else geometry.windows_per_frame for geometry in self.geometries]
        # Where windows are cut, they are named by the sample that they begin at.
        sizes = [
            size * layout.shape[1] if layout.is_cut else size for size, layout in zip(sizes, self.layouts, strict=True)
        ]
        begins = (
            selection.window
            if offsets is None
            else np.where(self._is_cut(), selection.window + offsets, selection.window)
        )
        frame = begins // np.array(sizes)[selection.source]
        groups = [
            (source.lake, source.group) if isinstance(source, Part) else number
            for number, source in enumerate(selection.sources)
        ]
        codes = {group: code for code, group in enumerate(dict.fromkeys(groups))}
        group = np.array([codes[one] for one in groups])[selection.source]
        return group * (int(frame.max(initial=0)) + 1) + frame

    def windows_share_tiles(self) -> bool:
        """Whether most tiles that windows are gathered from are needed by more than one of them."""
        needs = tiles = 0
        for number, layout in enumerate(self.layouts):
            if layout.is_cut:
                length = layout.shape[1]
                begins = self.selection.window[self.selection.source == number] + length // 2  # as good as any
                needed = Needed.of(begins, self.shape.n_times, length)
                needs += int(((needed.offsets + self.shape.n_times - 1) // length + 1).sum())
                tiles += len(needed.tiles)
        return needs >= _SHARED * max(1, tiles)

    def batch(self, x: torch.Tensor, chosen: npt.NDArray[np.int64]) -> Any:
        """Return x with what else is given of the chosen windows."""
        x = x if self.transform is None else self.transform(x)
        given: list[Any] = [x]
        selection = self.selection
        if selection.targets.values is not None:
            given.append(torch.from_numpy(selection.targets.values[chosen]))
        if selection.labels:
            given.append({name: _given(values[chosen]) for name, values in selection.labels.items()})
        if self.with_positions:
            given.append(torch.from_numpy(selection.positions))
        return given[0] if len(given) == 1 else tuple(given)


def _datasets(windows: xr.Dataset | Sequence[xr.Dataset]) -> list[xr.Dataset]:
    if isinstance(windows, xr.Dataset | xr.DataArray | str) or not isinstance(windows, Iterable):
        return [windows]  # what it is, is judged with each of several
    parts = list(windows)
    if not parts:
        raise UsageError("no windows to stream: the sequence of Datasets is empty")
    return parts


def _stored(source: Part) -> StoredWindows | None:
    if not source.lake:  # of no window
        return None
    stored = stored_windows(source.lake, source.group)
    if stored is None:
        raise LakeError(f"{source.lake}/{source.group} has no array of signals")
    return stored


def _geometries(stored: Iterable[StoredWindows | None]) -> list[Geometry | None]:
    return [None if one is None else one.geometry for one in stored]


def _crop_times(selection: Selection, crop: str | float | None, *, is_free: bool) -> int:
    """Return the samples of a row."""
    if crop is None:
        return selection.n_times
    if np.isnan(selection.sampling_rate):
        raise UsageError("windows whose times aren't evenly spaced can't be cropped: select times in place of crop=")
    n_times = round(parse_seconds(crop) * selection.sampling_rate)
    if n_times < 1 or (n_times > selection.n_times and not is_free):
        raise UsageError(f"a crop of {crop} is {n_times} samples, windows have {selection.n_times}")
    return n_times


def _given(values: npt.NDArray) -> Any:
    values = without_long_doubles(values)
    return torch.from_numpy(values) if values.dtype.kind in "fiub" else values.tolist()
