"""Which windows a stream reads: from xarray selections to samples in shards."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from eegzarr.errors import LakeError, UsageError
from eegzarr.recipes.montage import without_montage
from eegzarr.store.crc import crc32c
from eegzarr.store.layout import EEG
from eegzarr.store.opening.at_once import for_all
from eegzarr.store.provenance import LAKE, Part, are_of_lake, check_dimensions, is_loaded, places_of
from eegzarr.store.table import sampling_rate
from eegzarr.stream.meanings import check_meanings, named_recordings, stored_recordings, stored_texts
from eegzarr.stream.targets import Target, Targets, given_labels, given_windows, targets_of, weighed

_GIB = 2**30
_SAME_RATE = 1e-4  # relative
_OF_WINDOWS = {"recording", "start", "valid", "subject", "release"}


@dataclass(frozen=True, eq=False)
class Loaded:
    """Signals in memory: windows, numbered in their order in memory.

    Attributes
    ----------
    values : array, shape (window, channel, time)
    channels : tuple of int
        Numbers of the channels, in the order in which they are given.
    names_recordings : bool
        Whether it is known which recording each window is of.
    """

    values: npt.NDArray
    channels: tuple[int, ...]
    names_recordings: bool = True


Source = Part | Loaded


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Windows to give, with their targets.

    Attributes
    ----------
    sources : tuple of Part or Loaded
        Where samples are: channels and times of a group, or an array.
    dataset : tuple of int
        Which of the given Datasets each source belongs to.
    source : array of int32, shape (window,)
        Which of `sources`.
    window : array of int64, shape (window,)
        Number of the window in its source's group or array; of one that is cut the position that it begins at.
    recording : array of int64, shape (window,)
        Row of the window's recording in its group, for an array as its label says.
    people : frozenset of (str, str)
        Release and subject of all whose windows these are: two sites may both have a subject 00.
    targets : Targets
    labels : dict of str to array, shape (window,)
        Labels to give beside x and y.
    weighed : array or None, shape (window,)
        The label whose values are to be drawn equally often.
    channels : tuple of str
        Names of the channels of each window.
    positions : array of float32, shape (channel, 3)
        Of electrodes, in m; NaN where unknown.
    n_times : int
        Samples of each window.
    sampling_rate : float
        Hz, NaN where times aren't evenly spaced.
    left_out : dict of str to int
        Windows of the Datasets that are not among these, by reason.
    """

    sources: tuple[Source, ...]
    dataset: tuple[int, ...]
    source: npt.NDArray[np.int32]
    window: npt.NDArray[np.int64]
    recording: npt.NDArray[np.int64]
    people: frozenset[tuple[str, str]]
    targets: Targets
    labels: dict[str, npt.NDArray]
    weighed: npt.NDArray | None
    channels: tuple[str, ...]
    positions: npt.NDArray[np.float32]
    n_times: int
    sampling_rate: float
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.window)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over which samples these are, in which order; not over where the lake lies."""
        found = hashlib.sha256()
        for source in self.sources:
            if isinstance(source, Part):
                found.update(repr((source.group, source.digest, source.channels, source.times)).encode())
            else:
                content = np.ascontiguousarray(source.values).view(np.uint8).reshape(-1)
                found.update(repr((source.values.shape, source.channels, crc32c(content))).encode())
        found.update(self.source.tobytes())
        found.update(self.window.tobytes())
        return found.hexdigest()

    def without(self, left_out: npt.NDArray[np.bool_], reason: str) -> Selection:
        """Return the selection without some of its windows, counted by a reason."""
        if not left_out.any():
            return self
        kept, targets = ~left_out, self.targets
        before = self.left_out.get(reason, 0)
        return replace(
            self,
            source=self.source[kept],
            window=self.window[kept],
            recording=self.recording[kept],
            targets=targets if targets.values is None else replace(targets, values=targets.values[kept]),
            labels={name: values[kept] for name, values in self.labels.items()},
            weighed=None if self.weighed is None else self.weighed[kept],
            left_out={**self.left_out, reason: before + int(left_out.sum())},
        )

    @cached_property
    def subjects(self) -> frozenset[str]:
        """Names of the subjects."""
        return frozenset(subject for _, subject in self.people)

    @cached_property
    def recordings(self) -> npt.NDArray[np.int64]:
        """Which recording each window is of, counted over all sources, (window,)."""
        groups = [_name(source) if isinstance(source, Part) else str(n) for n, source in enumerate(self.sources)]
        number = pd.factorize(np.array(groups, object))[0][self.source]
        return number * (int(np.max(self.recording, initial=0)) + 1) + self.recording


@dataclass(frozen=True)
class _Found:
    """What one Dataset gives: its signals' sources, and what is known of each of its windows."""

    windows: xr.Dataset
    sources: tuple[Source, ...]
    source: npt.NDArray[np.int32]
    window: npt.NDArray[np.int64]
    recording: npt.NDArray[np.int64]
    channels: tuple[str, ...]


def select(
    parts: Sequence[xr.Dataset],
    target: Target = None,
    *,
    classes: Sequence[str] | None = None,
    with_labels: Sequence[str] = (),
    balance: str | None = None,
    are_read: bool = True,
) -> Selection:
    """Find the samples that selections of windows hold.

    Windows of several Datasets come one after another, with the channels of the first, by their names.

    Parameters
    ----------
    are_read : bool
        Whether the windows' own samples are given: then those that could not be read are left out.

    Raises
    ------
    UsageError
        If signals were changed and aren't in memory, labels aren't those of the signals, there is no such target or
        label, or the Datasets' windows are not alike.
    """
    _read_together(parts, [name for name in (*with_labels, balance, target) if isinstance(name, str)])
    found = [_find(part) for part in parts]
    first = found[0]
    rate = _rate(first.windows)
    for other in found[1:]:
        _check_alike(first, other, rate)
    sources = tuple(_in_order(source, one.channels, first.channels) for one in found for source in one.sources)
    offsets = np.cumsum([0, *(len(one.sources) for one in found)])
    stored = [source for source in sources if isinstance(source, Part)]
    targets = targets_of(parts, target, classes, lambda name: stored_texts(stored, parts, name))
    kept, left_out = given_windows(parts, targets, balance, are_read=are_read)
    everything = np.concatenate(kept)

    def joined(values: Sequence[npt.NDArray]) -> npt.NDArray:
        return np.concatenate(values)[everything]

    values = [one.values for one in targets if one.values is not None]
    return Selection(
        sources=sources,
        dataset=tuple(number for number, one in enumerate(found) for _ in one.sources),
        source=joined([one.source + np.int32(offset) for one, offset in zip(found, offsets[:-1], strict=True)]),
        window=joined([one.window for one in found]),
        recording=joined([one.recording for one in found]),
        people=frozenset().union(*(_people(part, own) for part, own in zip(parts, kept, strict=True))),
        targets=Targets(np.ascontiguousarray(joined(values)) if values else None, targets[0].classes),
        labels={name: joined(given_labels(parts, name)) for name in with_labels},
        weighed=None if balance is None else joined([weighed(part, balance) for part in parts]),
        channels=first.channels,
        positions=_positions(first.windows),
        n_times=first.windows.sizes["time"],
        sampling_rate=rate,
        left_out=left_out,
    )


def _read_together(parts: Sequence[xr.Dataset], names: Iterable[str]) -> None:
    """Read the labels that will be looked at beside each other, where a bucket holds them; they stay."""
    for part in parts:
        if isinstance(part, xr.Dataset):
            wanted = part.coords.variables.keys() & {*_OF_WINDOWS, *names}
            lazy = [variable for name in wanted if (variable := part.variables[name]).chunks is None]
            for_all(str(part.attrs.get(LAKE, "")), xr.Variable.to_numpy, lazy)


def _find(windows: xr.Dataset) -> _Found:
    if not isinstance(windows, xr.Dataset):
        told = repr(windows) if isinstance(windows, str) else type(windows).__name__
        hint = "; eegzarr.open_windows(lake, recipe) opens a lake" if isinstance(windows, str) else ""
        raise UsageError(f"windows must be a Dataset of windows, or several, got {told:.80}{hint}")
    if EEG not in windows:
        raise UsageError(f"this Dataset has no signals {EEG!r}: open windows with eegzarr.open_windows")
    signals = windows[EEG]
    check_dimensions(signals)
    count = windows.sizes["window"]
    channels = tuple(map(str, windows["channel"].to_numpy().tolist()))
    for name in _OF_WINDOWS & set(windows.variables):
        if windows[name].dims not in (("window",), ()):
            raise UsageError(
                f"the label {name!r} must have one value for each window, it has the dimensions "
                f"{', '.join(map(str, windows[name].dims))}: join Datasets with coords='minimal', compat='override'"
            )
    if signals.dtype.kind not in "fiu":
        raise UsageError(f"signals must be floats or integers, these are {signals.dtype}")
    for axis in ("channel", "time"):
        if count and not windows.sizes[axis]:
            raise UsageError(f"no {axis} is selected: there is nothing to stream")
    if is_loaded(signals):
        values = _native(signals.transpose("window", "channel", "time").to_numpy())
        loaded = Loaded(values, tuple(range(values.shape[1])), "recording" in windows.variables)
        own = named_recordings(windows)
        return _Found(windows, (loaded,), np.zeros(count, np.int32), np.arange(count), own, channels)
    places = places_of(signals)
    if places is None and not are_of_lake(signals):
        raise UsageError(
            "these signals were not opened by eegzarr, or Dask computed them (.persist()): open them with "
            "eegzarr.open_windows(lake, recipe) or xr.open_dataset(lake, engine='eegzarr'), or load them with .load() "
            f"({signals.nbytes / _GIB:.2f} GiB)"
        )
    if places is None:
        raise UsageError(
            f"these signals were changed or given other dimensions after they were opened: load them with .load() "
            f"({signals.nbytes / _GIB:.2f} GiB), or stream the stored ones with transform=, or write the changed ones "
            "into a lake (eegzarr.exchange.write.write_windows, or a recipe's preparation). To pick windows by a "
            "label isn't to change them: use .sel(window=condition), not .where()"
        )
    try:
        recording = stored_recordings(windows, places) if count else np.zeros(0, np.int64)
        check_meanings(windows, places)
    except FileNotFoundError as error:
        raise LakeError(f"the lake is gone from where it was opened ({error}): open it again") from error
    return _Found(windows, places.parts, places.part, places.window, recording, channels)


def _native(values: npt.NDArray) -> npt.NDArray:
    """Return signals as a type that PyTorch knows."""
    values = without_long_doubles(values)
    if values.dtype.kind == "u":
        return values.astype(np.float32)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def without_long_doubles(values: npt.NDArray) -> npt.NDArray:
    """Return values, of floats that are longer than PyTorch's as float64."""
    is_longer = values.dtype.kind == "f" and values.dtype.itemsize > np.dtype(np.float64).itemsize
    return values.astype(np.float64) if is_longer else values


def _check_alike(first: _Found, other: _Found, rate: float) -> None:
    """Refuse windows that can't be in one batch."""
    lengths = first.windows.sizes["time"], other.windows.sizes["time"]
    if lengths[0] != lengths[1]:
        raise UsageError(
            f"windows of {lengths[0]} and of {lengths[1]} samples have different shapes: select equal times, or give "
            "a stream to each and mix them with MixedStream"
        )
    other_rate = _rate(other.windows)
    if not (abs(rate - other_rate) <= _SAME_RATE * rate or np.isnan([rate, other_rate]).all()):
        raise UsageError(f"windows at {rate:g} Hz and at {other_rate:g} Hz can't be streamed together: use MixedStream")
    missing = sorted((Counter(first.channels) - Counter(other.channels)).keys())
    more = sorted((Counter(other.channels) - Counter(first.channels)).keys())
    if missing or more:
        raise UsageError(
            f"the Datasets have different channels ({', '.join([*missing, *more][:4])} …, {len(missing)} only in the "
            f"first, {len(more)} only in another): select those that all have, or use MixedStream"
        )


def _in_order(source: Source, own: tuple[str, ...], wanted: tuple[str, ...]) -> Source:
    """Return a source with its channels in the wanted order."""
    if own == wanted:
        return source
    if len(set(own)) < len(own):
        raise UsageError("channels of the same name can't be brought into the order of another Dataset")
    channels = tuple(source.channels[own.index(name)] for name in wanted)
    return replace(source, channels=channels)


def _rate(windows: xr.Dataset) -> float:
    try:
        return sampling_rate(windows)
    except UsageError:
        return float("nan")


def _name(part: Part) -> str:
    """Return what the rows of a part's recordings count in: a group, or what was cut from it."""
    return part.group if part.cut is None else part.cut.group or part.cut.digest


def _people(windows: xr.Dataset, kept: npt.NDArray[np.bool_]) -> frozenset[tuple[str, str]]:
    """Return release and subject of all whose windows are kept; groups of other montages are of the same people."""
    columns = {
        name: np.broadcast_to(windows[name].to_numpy(), len(kept))[kept].astype(object)
        if name in windows.coords
        else ""
        for name in ("release", "subject")
    }
    table = pd.DataFrame(columns, index=range(int(kept.sum()))).drop_duplicates()
    releases = map(without_montage, map(str, table["release"].tolist()))
    return frozenset(zip(releases, table["subject"].tolist(), strict=True))


def _positions(windows: xr.Dataset) -> npt.NDArray[np.float32]:
    """Return where electrodes are, (channel, 3), in m."""
    count = windows.sizes["channel"]
    there = [axis for axis in "xyz" if axis in windows.coords]
    read = for_all(str(windows.attrs.get(LAKE, "")), lambda axis: windows[axis].to_numpy(), there)
    axes = {axis: np.broadcast_to(values, count) for axis, values in zip(there, read, strict=True)}
    return np.stack([axes.get(axis, np.full(count, np.nan)) for axis in "xyz"], axis=1).astype(np.float32)
