"""One recording: its header, and the samples of its windows.

Plain EDF and BDF files are read by `eegzarr.recordings.edf`, all others with MNE, which is imported when
the first of them comes: a worker without it starts in half the time and takes 60 MB less.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecordingError
from eegzarr.recordings.edf import open_plain

if TYPE_CHECKING:
    import mne

# What MNE's readers raise for a file that isn't what its name says.
READ_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    RuntimeError,
    AssertionError,
    EOFError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
)
MICROVOLTS = 1e6  # MNE gives volts
_MONTAGES = ("GSN-HydroCel-129", "GSN-HydroCel-128", "colin27_1005", "biosemi128", "biosemi64")


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a recording says of itself: rate in Hz, length in samples, EEG channels in order."""

    sfreq: float
    n_times: int
    channels: tuple[str, ...]

    def at(self, sfreq: float) -> Header:
        """Return the header that the recording has once it is resampled."""
        return replace(self, sfreq=sfreq, n_times=int(self.n_times * sfreq / self.sfreq))

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.n_times / self.sfreq


def open_recording(path: Path) -> mne.io.BaseRaw:
    """Open a recording with MNE, without reading its signal.

    Raises
    ------
    RecordingError
        If MNE can't open it, or it is shorter than its header says.
    """
    import mne

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            raw = mne.io.read_raw(path, preload=False, verbose="warning")
    except READ_ERRORS as error:
        raise RecordingError(f"unreadable: {first_line(error)}") from error
    for warning in caught:
        if "does not match the file size" in str(warning.message):
            raise RecordingError("truncated: the file is shorter than its header says")
    return raw


def read_header(path: Path) -> Header:
    """Return a recording's header.

    Raises
    ------
    RecordingError
        If it can't be opened, or has no EEG channel or no sample.
    """
    if plain := open_plain(path):
        return Header(sfreq=plain.sfreq, n_times=plain.n_times, channels=plain.channels)
    import mne

    raw = open_recording(path)
    channels = tuple(raw.ch_names[i] for i in mne.pick_types(raw.info, eeg=True, exclude=()))
    if not channels:
        raise RecordingError("no EEG channel")
    if not raw.n_times:
        raise RecordingError("no samples")
    return Header(sfreq=float(raw.info["sfreq"]), n_times=int(raw.n_times), channels=channels)


def read_windows(path: Path, starts: npt.NDArray[np.int64], channels: tuple[str, ...], out: npt.NDArray) -> None:
    """Read windows of a recording, segment by segment.

    Parameters
    ----------
    path : Path
        The recording.
    starts : array of int, shape (window,)
        First sample of each window.
    channels : tuple of str
        Channels to read, in this order.
    out : array of float, shape (window, channel, time)
        Filled with the signal in uV.

    Raises
    ------
    RecordingError
        If the recording can't be read.
    """
    try:
        if plain := open_plain(path):
            plain.read(starts, channels, out)
        else:
            _read_with_mne(path, starts, channels, out)
    except READ_ERRORS as error:
        raise RecordingError(f"unreadable: {first_line(error)}") from error


def _read_with_mne(path: Path, starts: npt.NDArray[np.int64], channels: tuple[str, ...], out: npt.NDArray) -> None:
    raw = open_recording(path)
    picks = [raw.ch_names.index(name) for name in channels]
    # A sorted run of picks lets MNE read a slice instead of gathering rows.
    everything = picks == list(range(len(raw.ch_names)))
    rows = slice(None) if everything else picks
    for window, start in zip(out, starts.tolist(), strict=True):
        volts = raw[rows, start : start + out.shape[2]][0]
        np.multiply(volts, MICROVOLTS, out=window, casting="same_kind")


def channel_positions(channels: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """Return electrode positions in m, (channel, 3), NaN where no standard montage knows the names.

    In MNE's head frame: x to the right ear, y to the nose, z up, from between the ears.
    """
    import mne

    for name in _MONTAGES:
        if name not in mne.channels.get_builtin_montages():
            continue
        montage = mne.channels.make_standard_montage(name)
        if set(channels) <= set(montage.ch_names):
            info = mne.create_info(list(channels), 1.0, "eeg").set_montage(montage)
            return np.array([channel["loc"][:3] for channel in info["chs"]], dtype=np.float32)
    return np.full((len(channels), 3), np.nan, dtype=np.float32)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
