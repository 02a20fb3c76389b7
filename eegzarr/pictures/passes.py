"""Read the signals of a selection once, a block at a time, for any number of pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.fft
import scipy.signal
import scipy.stats
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.store.receipt import Moments
from eegzarr.store.table import no_label, sampling_rate
from eegzarr.suggest import did_you_mean

BLOCK = 64 * 2**20  # bytes of signal in memory; another block is being read meanwhile
_MOST_CONDITIONS = 8
_PIECE = 64  # windows that are transformed at a time


class Pass(ABC):
    """Something that is added up over blocks of windows."""

    @abstractmethod
    def add(self, rows: npt.NDArray[np.intp], signal: npt.NDArray) -> None:
        """Add windows.

        Parameters
        ----------
        rows : array of int, shape (window,)
            Where they are in the selection.
        signal : array, shape (window, channel, time)
            In uV.
        """


def read(windows: xr.Dataset, *passes: Pass) -> None:
    """Add the valid windows of a selection to all of `passes`, reading each once.

    Raises
    ------
    UsageError
        If there is no valid window.
    """
    seen = 0
    for rows, signal in blocks(windows):
        seen += len(rows)
        for one in passes:
            one.add(rows, signal)
    if not seen:
        raise UsageError("the selection has no window with a signal")


def blocks(windows: xr.Dataset, nbytes: int = BLOCK) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray]]:
    """Yield the valid windows of a selection, block by block: their rows in it, and their signals.

    A block is never part of a shard where a whole one fits, as a shard is read as a whole.
    The next block is read while the last one is looked at.
    """
    eeg = windows["eeg"].transpose("window", "channel", "time")
    valid = windows["valid"].to_numpy().astype(bool) if "valid" in windows.coords else np.ones(len(eeg), bool)
    slices = [one for one in _block_slices(eeg, nbytes) if one.stop > one.start]
    if not slices:
        return
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(_load, eeg, slices[0])
        for here, following in zip(slices, [*slices[1:], None], strict=True):
            signal = coming.result()
            if following is not None:
                coming = reader.submit(_load, eeg, following)
            kept = valid[here]
            rows = np.arange(here.start, here.stop)[kept]
            if len(rows):
                yield rows, signal if kept.all() else signal[kept]


def _load(eeg: xr.DataArray, rows: slice) -> npt.NDArray:
    return eeg[rows].to_numpy()


def _block_slices(eeg: xr.DataArray, nbytes: int) -> list[slice]:
    longest = max(1, nbytes // max(1, eeg.dtype.itemsize * int(np.prod(eeg.shape[1:]))))
    chunks = eeg.chunks[0] if eeg.chunks is not None else (len(eeg),)
    slices: list[slice] = []
    first = 0
    for chunk in chunks:
        stop = first + chunk
        if slices and slices[-1].stop == first and stop - slices[-1].start <= longest:
            slices[-1] = slice(slices[-1].start, stop)
        else:
            slices += [slice(start, min(start + longest, stop)) for start in range(first, stop, longest)]
        first = stop
    return slices


@dataclass(frozen=True)
class Conditions:
    """Windows by condition: the names of the conditions, and each window's (-1 for none)."""

    names: tuple[str, ...]
    codes: npt.NDArray[np.intp]

    @classmethod
    def of(cls, windows: xr.Dataset, by: str | None) -> Conditions:
        """Condition windows by a label: its values where they are few, else below and above its median.

        Raises
        ------
        UsageError
            If there is no such label, or it is a text with too many values.
        """
        n_windows = windows.sizes["window"]
        if by is None:
            return cls(("all windows",), np.zeros(n_windows, np.intp))
        if by not in windows.coords or windows[by].dims != ("window",):
            raise no_label(windows, by, "distinguish conditions by")
        values = windows[by].to_numpy()
        if values.dtype.kind in "fiu" and len(np.unique(values)) > _MOST_CONDITIONS:
            return cls._halves(by, values.astype(float), windows[by].attrs.get("units", ""))
        texts = pd.Series([_named(by, value) or None for value in values.tolist()], dtype=object)
        codes, names = pd.factorize(texts, sort=True)
        if len(names) > _MOST_CONDITIONS:
            raise UsageError(f"the label {by!r} has {len(names)} values; at most {_MOST_CONDITIONS} can be drawn")
        return cls(tuple(map(str, names)), codes.astype(np.intp))

    @classmethod
    def _halves(cls, by: str, values: npt.NDArray[np.float64], units: str) -> Conditions:
        known = np.isfinite(values)
        median = float(np.median(values[known])) if known.any() else 0.0
        codes = np.where(known, (values > median).astype(np.intp), -1)
        bound = f"{median:.3g} {units}".strip()
        return cls((f"{by} ≤ {bound}", f"{by} > {bound}"), codes)


def _named(by: str, value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{by} {value:g}"
    return str(value) if isinstance(value, str) else f"{by} {value}"


class Averages(Pass):
    """The average of each condition.

    Attributes
    ----------
    count : array, shape (condition,)
    """

    def __init__(self, windows: xr.Dataset, by: str | None = None) -> None:
        self.conditions = Conditions.of(windows, by)
        shape = (len(self.conditions.names), windows.sizes["channel"], windows.sizes["time"])
        self.count = np.zeros(shape[0], np.int64)
        self._sum = np.zeros(shape)

    def add(self, rows: npt.NDArray[np.intp], signal: npt.NDArray) -> None:
        """Add windows to their conditions."""
        for condition in range(len(self.count)):
            mine = self.conditions.codes[rows] == condition
            self.count[condition] += mine.sum()
            self._sum[condition] += signal[mine].sum(axis=0, dtype=np.float64)

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """In uV, (condition, channel, time); NaN for a condition without windows."""
        with np.errstate(invalid="ignore"):
            return self._sum / self.count[:, None, None]


class ChannelMoments(Pass):
    """Mean and standard deviation of each channel."""

    def __init__(self, windows: xr.Dataset) -> None:
        self._moments = Moments.of(np.empty((0, windows.sizes["channel"], 1), np.float32))

    def add(self, rows: npt.NDArray[np.intp], signal: npt.NDArray) -> None:
        """Add windows to the moments."""
        self._moments += Moments.of(signal)

    def statistics(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return ``mean`` and ``std`` in uV, (channel,)."""
        return {"mean": self._moments.mean, "std": np.sqrt(self._moments.squares / self._moments.count)}


class SubjectAverages(Pass):
    """The average of each subject in each condition at one channel."""

    def __init__(self, windows: xr.Dataset, channel: str, by: str | None = None) -> None:
        self.channel = channel
        self.conditions = Conditions.of(windows, by)
        self._index = channel_index(windows, channel)
        self._subject, subjects = pd.factorize(windows["subject"].to_numpy().astype(object))
        shape = (len(self.conditions.names), len(subjects))
        self._count = np.zeros(shape, np.int64)
        self._sum = np.zeros((*shape, windows.sizes["time"]))

    def add(self, rows: npt.NDArray[np.intp], signal: npt.NDArray) -> None:
        """Add windows to the averages of their subjects."""
        codes, subject = self.conditions.codes[rows], self._subject[rows]
        kept = codes >= 0
        where = codes[kept], subject[kept]
        np.add.at(self._count, where, 1)
        np.add.at(self._sum, where, signal[kept, self._index].astype(np.float64))

    def curve(self, condition: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], int, int]:
        """Return a condition's grand average, the half width of its 95 % confidence band, subjects and windows.

        Over subjects, each with the same weight; Student's t. The band is NaN for fewer than two.
        """
        there = self._count[condition] > 0
        averages = self._sum[condition, there] / self._count[condition, there, None]
        n_subjects = int(there.sum())
        if not n_subjects:
            nothing = np.full(self._sum.shape[-1], np.nan)
            return nothing, nothing, 0, 0
        half = np.full(averages.shape[1], np.nan)
        if n_subjects > 1:
            error = averages.std(axis=0, ddof=1) / np.sqrt(n_subjects)
            half = error * scipy.stats.t.ppf(0.975, n_subjects - 1)
        return averages.mean(axis=0), half, n_subjects, int(self._count[condition].sum())


class SortedImage(Pass):
    """Windows at one channel sorted by a label, neighbours averaged into rows."""

    def __init__(self, windows: xr.Dataset, channel: str, sort_by: str, height: int = 120) -> None:
        values = _number(windows, sort_by)
        known = np.flatnonzero(np.isfinite(values) & windows["valid"].to_numpy().astype(bool))
        self.channel, self.sort_by = channel, sort_by
        self._index = channel_index(windows, channel)
        order = known[np.argsort(values[known], kind="stable")]
        height = max(1, min(height, len(order)))
        self._row = np.full(len(values), -1, np.intp)
        self._row[order] = np.arange(len(order)) * height // max(1, len(order))
        self.count = np.bincount(self._row[order], minlength=height)
        with np.errstate(invalid="ignore"):
            self.sorted_values = np.bincount(self._row[order], values[order], height) / self.count
        self._sum = np.zeros((height, windows.sizes["time"]))

    def add(self, rows: npt.NDArray[np.intp], signal: npt.NDArray) -> None:
        """Add windows to their rows."""
        row = self._row[rows]
        np.add.at(self._sum, row[row >= 0], signal[row >= 0, self._index].astype(np.float64))

    @property
    def image(self) -> npt.NDArray[np.float64]:
        """In uV, (row, time)."""
        with np.errstate(invalid="ignore"):
            return self._sum / self.count[:, None]


class Spectrum(Pass):
    """Power spectral density, averaged over windows; Hann-tapered, one segment a window.

    Attributes
    ----------
    frequencies : array, shape (frequency,)
        In Hz.
    """

    def __init__(self, windows: xr.Dataset) -> None:
        self._sfreq = sampling_rate(windows)
        n_times = windows.sizes["time"]
        self.frequencies = np.fft.rfftfreq(n_times, 1 / self._sfreq)
        self._taper = scipy.signal.get_window("hann", n_times).astype(np.float32)
        self._sum = np.zeros((windows.sizes["channel"], len(self.frequencies)))
        self._count = 0

    def add(self, rows: npt.NDArray[np.intp], signal: npt.NDArray) -> None:
        """Add windows to the average of their power."""
        self._count += len(rows)
        for first in range(0, len(rows), _PIECE):
            piece = signal[first : first + _PIECE].astype(np.float32)
            piece -= piece.mean(axis=2, keepdims=True)
            piece *= self._taper
            transformed = scipy.fft.rfft(piece, axis=2)
            power = transformed.real**2 + transformed.imag**2
            self._sum += power.sum(axis=0, dtype=np.float64)

    @property
    def density(self) -> npt.NDArray[np.float64]:
        """In uV^2/Hz, (channel, frequency), one-sided."""
        scale = 1 / (self._sfreq * float((self._taper.astype(np.float64) ** 2).sum()))
        density = self._sum * scale / max(1, self._count)
        last = -1 if len(self._taper) % 2 == 0 else None
        density[:, 1:last] *= 2  # all but the mean and the Nyquist frequency count twice
        return density


def channel_index(windows: xr.Dataset, channel: str) -> int:
    """Return where a channel is.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    names = [str(name) for name in windows["channel"].to_numpy().tolist()]
    if channel not in names:
        raise UsageError(
            f"there is no channel {channel!r}; there are {', '.join(names[:6])} … {names[-1]}."
            f"{did_you_mean(channel, names)}"
        )
    return names.index(channel)


def _number(windows: xr.Dataset, name: str) -> npt.NDArray[np.float64]:
    if name not in windows.coords or windows[name].dims != ("window",):
        raise no_label(windows, name, "sort them by")
    values = windows[name].to_numpy()
    if values.dtype.kind not in "fiub":
        raise UsageError(f"the label {name!r} holds text, no number to sort by")
    return values.astype(np.float64)
