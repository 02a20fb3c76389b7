"""What may be wrong with a window, from what is stored: no signal is read.

Per window: its amplitude, the availability flag of its recording, whether it could be read.
Per recording: channels that are flat or noisy over its windows, from the moments in the
table of recordings, and those that its dataset says are bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from eegzarr.challenge.rules import START_KIT_EXCLUSIONS
from eegzarr.errors import UsageError
from eegzarr.store.group import read_tables
from eegzarr.store.layout import DERIVED
from eegzarr.store.opening.lazy import Label

FLAT_BELOW = 0.1  # uV, standard deviation over a recording's windows: less than an amplifier's own noise
NOISY_ABOVE = 4.0  # times the median standard deviation of the recording's channels

FLAT, NOISY, BAD, EXCLUDED = DERIVED
_MEANINGS = {
    FLAT: f"channels of the recording with a standard deviation below {FLAT_BELOW} uV, but for those flat in all",
    NOISY: f"channels of the recording with {NOISY_ABOVE:g} times the standard deviation of its median channel",
    BAD: "channels of the recording that its dataset says are bad",
    EXCLUDED: "whether the challenge's start kit leaves the subject out",
}


@dataclass(frozen=True, kw_only=True)
class GoodWindows:
    """What a window must be to be good; None leaves a criterion out.

    The defaults are meant for band-passed scalp EEG such as HBN's 100 Hz derivative: they
    leave out what is certainly broken, and keep what is merely large.

    Parameters
    ----------
    peak_to_peak : float, optional
        uV; the largest amplitude over channels that a window may have.
    flat_channels, noisy_channels : int, optional
        How many such channels its recording may have: of 129, about one in twenty and one
        in ten.
    bad_channels : int, optional
        How many channels of its recording the dataset itself may say are bad.
    availability : sequence of str, optional
        Flags that its recording may have; "" is a recording without one.
    start_kit : bool
        Leave out the nine subjects that the challenge's start kit leaves out.
    """

    peak_to_peak: float | None = 500.0
    flat_channels: int | None = 6
    noisy_channels: int | None = 13
    bad_channels: int | None = 13
    availability: Sequence[str] | None = ("available", "")
    start_kit: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.availability, str):
            raise UsageError(f"availability must be a list of flags, such as [{self.availability!r}]")
        for name in ("peak_to_peak", FLAT, NOISY, BAD):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"{name} must be at least 0, got {value}")


def quality_labels(lake: str, group: str, recording: Label, subject: Label) -> dict[str, Label]:
    """Return what is derived of each window's recording and subject, read only when looked at."""
    counts = {
        name: Label(np.dtype(np.int16), recording.length, _BadChannels(lake, group, name, recording), _meaning(name))
        for name in (FLAT, NOISY, BAD)
    }
    excluded = Label(np.dtype(bool), subject.length, _Excluded(subject), _meaning(EXCLUDED))
    return {**counts, EXCLUDED: excluded}


def recording_quality(
    recordings: xr.Dataset, recording: npt.NDArray, subject: npt.NDArray
) -> dict[str, tuple[str, npt.NDArray, dict[str, str]]]:
    """Return what `quality_labels` does, of windows whose table of recordings is in memory."""
    found = {name: counts[recording] for name, counts in bad_channels(recordings).items()}
    return {
        name: ("window", values, _meaning(name)) for name, values in {**found, EXCLUDED: _is_excluded(subject)}.items()
    }


def _meaning(name: str) -> dict[str, str]:
    return {"long_name": _MEANINGS[name]}


@dataclass(frozen=True)
class _BadChannels:
    lake: str
    group: str
    name: str
    recording: Label

    def __call__(self) -> npt.NDArray[np.int16]:
        _, recordings, _ = read_tables(self.lake, self.group)
        return bad_channels(recordings)[self.name][self.recording.read()]


@dataclass(frozen=True)
class _Excluded:
    subject: Label

    def __call__(self) -> npt.NDArray[np.bool_]:
        return _is_excluded(self.subject.read())


def _is_excluded(subject: npt.NDArray) -> npt.NDArray[np.bool_]:
    return np.isin(np.asarray(subject, dtype=object).astype(str), START_KIT_EXCLUSIONS)


def bad_channels(recordings: xr.Dataset) -> dict[str, npt.NDArray[np.int16]]:
    """Count the flat, the noisy and the bad channels of each recording, (recording,).

    Parameters
    ----------
    recordings : Dataset
        A group's table of recordings.

    Returns
    -------
    dict of array
        ``flat_channels`` and ``noisy_channels``, 0 for a recording without windows, and ``bad_channels``. A
        channel that is flat in every recording is the reference (HBN's Cz), and counts as neither flat nor noisy.
    """
    std = channel_deviations(recordings)
    has_windows = np.any(np.isfinite(std), axis=1)  # in all channels but those that the recording lacks
    with np.errstate(invalid="ignore"):
        flat: npt.NDArray[np.bool_] = np.asarray(std < FLAT_BELOW)
        median = np.ma.median(np.ma.masked_invalid(std), axis=1, keepdims=True).filled(np.nan)
        noisy: npt.NDArray[np.bool_] = np.asarray(std > NOISY_ABOVE * median)
    reference = np.all(flat[has_windows] | np.isnan(std[has_windows]), axis=0)
    # Lakes of eegzarr 0.1 don't say which channels are bad.
    told = recordings["bad"].to_numpy().astype(bool) if "bad" in recordings else np.zeros(std.shape, bool)
    counted = {FLAT: flat & ~reference & has_windows[:, None], NOISY: noisy & has_windows[:, None], BAD: told}
    return {name: bad.sum(axis=1).astype(np.int16) for name, bad in counted.items()}


def channel_deviations(recordings: xr.Dataset) -> npt.NDArray[np.float64]:
    """Return the standard deviation of each recording's windows in uV, (recording, channel), NaN without windows."""
    count = recordings["count"].to_numpy().astype(float)
    mean = recordings["mean"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = recordings["sum_of_squares"].to_numpy() / count - mean**2
    return np.sqrt(np.maximum(variance, 0, where=np.isfinite(variance), out=variance))


def faults(windows: xr.Dataset, wanted: GoodWindows) -> dict[str, npt.NDArray[np.bool_]]:
    """Return what is wrong with which windows, (window,), by criterion; a window can have several faults.

    Raises
    ------
    UsageError
        If the windows lack a coordinate that a criterion needs.
    """
    found = {"signal could not be read": ~_label(windows, "valid").astype(bool)}
    if wanted.peak_to_peak is not None:
        amplitude = _label(windows, "peak_to_peak")
        found[f"peak to peak over {wanted.peak_to_peak:g} uV"] = amplitude > wanted.peak_to_peak
    if wanted.flat_channels is not None:
        found[f"more than {wanted.flat_channels} flat channels"] = _label(windows, FLAT) > wanted.flat_channels
    if wanted.noisy_channels is not None:
        found[f"more than {wanted.noisy_channels} noisy channels"] = _label(windows, NOISY) > wanted.noisy_channels
    # A selection of windows that an older eegzarr opened has no such label.
    if wanted.bad_channels is not None and BAD in windows.variables:
        found[f"more than {wanted.bad_channels} bad channels"] = _label(windows, BAD) > wanted.bad_channels
    if wanted.availability is not None:
        flags = _label(windows, "availability").astype(object).astype(str)
        for flag in sorted(set(flags.tolist()) - set(wanted.availability)):
            found[f"availability: {flag or 'no flag'}"] = flags == flag
    if wanted.start_kit:
        found["left out by the start kit"] = _is_excluded(_label(windows, "subject"))
    return found


def good_windows(windows: xr.Dataset, wanted: GoodWindows) -> xr.Dataset:
    """Return the windows without any of the faults; lazily, in their order."""
    bad = np.logical_or.reduce(list(faults(windows, wanted).values()))
    return windows.isel(window=np.flatnonzero(~bad))


def _label(windows: xr.Dataset, name: str) -> npt.NDArray:
    if name not in windows.variables:
        raise UsageError(
            f"windows have no label {name!r} to judge them by: open them with eegzarr.open_windows, "
            "or leave the criterion out with None"
        )
    return windows[name].to_numpy()
