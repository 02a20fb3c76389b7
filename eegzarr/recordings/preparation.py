"""One recording filtered, resampled and referenced, as its recipe says (MNE)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecordingError
from eegzarr.recipes.recipe import Preparation
from eegzarr.recordings.reader import MICROVOLTS, READ_ERRORS, first_line, open_recording

_BLOCK = 32 * 2**20  # bytes of samples that are filtered at a time, which takes three times that


def prepare_recording(
    path: Path, channels: tuple[str, ...], preparation: Preparation, sfreq: float
) -> npt.NDArray[np.float32]:
    """Return a whole recording in uV, (channel, time), prepared for windows.

    Band-pass first (zero-phase FIR, MNE's default design), at the recording's own rate; then resampled;
    then referenced. Channels are done in blocks, so that memory stays bounded.

    Parameters
    ----------
    path : Path
    channels : tuple of str
        Channels to keep, in this order.
    preparation : Preparation
    sfreq : float
        Hz of the result.

    Raises
    ------
    RecordingError
        If the recording can't be read, or has samples that are no numbers.
    """
    import mne

    raw = open_recording(path)
    rate = float(raw.info["sfreq"])
    per_block = max(1, _BLOCK // max(1, 8 * raw.n_times))
    blocks = []
    try:
        for first in range(0, len(channels), per_block):
            picks = [raw.ch_names.index(name) for name in channels[first : first + per_block]]
            signal = raw[picks, :][0] * MICROVOLTS
            if not np.isfinite(signal).all():
                raise RecordingError("has samples that are no numbers, which a filter would spread")
            if preparation.l_freq is not None or preparation.h_freq is not None:
                signal = mne.filter.filter_data(
                    signal, rate, preparation.l_freq, preparation.h_freq, copy=False, verbose="error"
                )
            if rate != sfreq:
                signal = mne.filter.resample(signal, up=sfreq, down=rate, npad="auto", verbose="error")
            blocks.append(signal.astype(np.float32))
    except READ_ERRORS as error:
        raise RecordingError(f"unreadable: {first_line(error)}") from error
    prepared = np.concatenate(blocks)
    if preparation.reference == "average":
        prepared -= prepared.mean(axis=0)
    elif preparation.reference:
        prepared -= prepared[channels.index(preparation.reference)].copy()
    return prepared


def cut(prepared: npt.NDArray[np.float32], starts: npt.NDArray[np.int64], out: npt.NDArray[np.float32]) -> None:
    """Copy windows that begin at `starts` into `out`, (window, channel, time).

    Raises
    ------
    RecordingError
        If a window leaves the recording.
    """
    length = out.shape[2]
    if len(starts) and starts.max() + length > prepared.shape[1]:
        raise RecordingError(f"has {prepared.shape[1]} samples once resampled, fewer than its header promised")
    for window, start in zip(out, starts.tolist(), strict=True):
        window[:] = prepared[:, start : start + length]
