"""One recording filtered and resampled, a few channels at a time, as its recipe says (MNE)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecordingError
from eegzarr.recipes.recipe import Preparation
from eegzarr.recordings import foreign
from eegzarr.recordings.boundary import boundary
from eegzarr.recordings.edf import open_edf
from eegzarr.recordings.edf_times import in_file
from eegzarr.recordings.header import Header
from eegzarr.recordings.memory import channel_blocks
from eegzarr.recordings.reader import edf_rows

ReadBlock = Callable[[int, int, tuple[str, ...]], npt.NDArray[np.float64]]


def check_preparation(header: Header, preparation: Preparation, sfreq: float) -> None:
    """Refuse a recording that can't be prepared as asked.

    Raises
    ------
    RecordingError
    """
    half = header.sfreq / 2
    if not header.has_rate(sfreq) and not preparation.resample:
        raise RecordingError(f"sampled at {header.sfreq:g} Hz, the recipe wants {sfreq:g} Hz")
    if preparation.h_freq is not None and preparation.h_freq >= half:
        raise RecordingError(f"sampled at {header.sfreq:g} Hz, too slow for h_freq {preparation.h_freq:g} Hz")
    if preparation.notch:
        for freq in notch_freqs(header, preparation):
            if freq + 1 >= half:
                raise RecordingError(f"sampled at {header.sfreq:g} Hz, too slow for a notch at {freq:g} Hz")


def notch_freqs(header: Header, preparation: Preparation) -> tuple[float, ...]:
    """Return the frequencies to remove, in Hz: the recipe's, or the line frequency of eeg.json.

    Raises
    ------
    RecordingError
        If eeg.json doesn't give it.
    """
    if not isinstance(preparation.notch, str):
        return preparation.notch
    if np.isnan(header.line_freq):
        raise RecordingError("its eeg.json has no PowerLineFrequency in Hz, which notch = 'sidecar' needs")
    return (header.line_freq,)


def prepare_recording(
    path: Path, channels: tuple[str, ...], preparation: Preparation, sfreq: float, header: Header
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield a recording in uV, (channel, time), filtered and resampled, one of `channel_blocks` after the other.

    Notch, then band-pass (zero-phase FIR, MNE's default designs), at the recording's own rate; then resampled.
    Each stretch between joins or gaps is done by itself; gaps are NaN.

    Parameters
    ----------
    path : Path
    channels : tuple of str
        Channels to keep, in this order.
    preparation : Preparation
    sfreq : float
        Hz of the result.
    header : Header

    Raises
    ------
    RecordingError
        If the recording can't be read, or has samples that are no numbers.
    """
    after = header.at(sfreq)
    with _reading(path, header) as read:
        for names in channel_blocks(channels, header.n_times):
            block = np.full((len(names), after.n_times), np.nan, np.float32)
            for (start, stop), (begin, end) in zip(header.spans, after.spans, strict=True):
                signal = _prepared(read(start, stop, names), header, preparation, after.sfreq)
                block[:, begin:end] = signal[:, : end - begin]
            yield block
            del block


def _prepared(
    signal: npt.NDArray[np.float64], header: Header, preparation: Preparation, sfreq: float
) -> npt.NDArray[np.float64]:
    """Filter and resample one stretch, (channel, time)."""
    import mne

    rate = header.sfreq
    if not np.isfinite(signal).all():
        raise RecordingError("has samples that are no numbers, which a filter would spread")
    if freqs := notch_freqs(header, preparation):
        signal = mne.filter.notch_filter(signal, rate, list(freqs), copy=False, verbose="error")
    if preparation.l_freq is not None or preparation.h_freq is not None:
        signal = mne.filter.filter_data(
            signal, rate, preparation.l_freq, preparation.h_freq, copy=False, verbose="error"
        )
    if rate != sfreq:
        signal = mne.filter.resample(signal, up=sfreq, down=rate, npad="auto", verbose="error")
    return signal


@contextmanager
def _reading(path: Path, header: Header) -> Iterator[ReadBlock]:
    """Give what reads long parts of channels, with the file open inside the ``with``."""
    factors = dict(header.factors)
    if header.reader != "edf":
        with foreign.opened(path) as (raw, _):
            yield lambda start, stop, names: foreign.read_block(raw, start, stop, header.in_file(names), factors)
        return
    with boundary(path):
        edf = open_edf(path)
        if edf is None:
            raise RecordingError("is no EDF or BDF file any more")

        def read(start: int, stop: int, names: tuple[str, ...]) -> npt.NDArray[np.float64]:
            first = int(in_file(np.array([start]), header.stored)[0]) if header.stored else start
            return edf.blocks(first, first + stop - start, *edf_rows(edf, header.in_file(names), factors))

        yield read


def cut(
    prepared: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    first: int,
    out: npt.NDArray[np.float32],
    *,
    pads: bool = False,
) -> None:
    """Copy windows of a block of channels into `out`, (window, channel, time), from its channel `first` on.

    Parameters
    ----------
    pads : bool
        Whether a window that leaves the recording is NaN there.

    Raises
    ------
    RecordingError
        If a window leaves the recording.
    """
    length = out.shape[2]
    if pads:
        for window, start in zip(out, starts.tolist(), strict=True):
            part = prepared[:, start : start + length]
            window[first : first + len(prepared), : part.shape[1]] = part
            window[first : first + len(prepared), part.shape[1] :] = np.nan
        return
    if len(starts) and starts.max() + length > prepared.shape[1]:
        raise RecordingError(f"has {prepared.shape[1]} samples once resampled, fewer than its header promised")
    for window, start in zip(out, starts.tolist(), strict=True):
        window[first : first + len(prepared)] = prepared[:, start : start + length]
