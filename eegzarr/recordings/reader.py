"""One recording: its header, and the samples of its windows.

EDF and BDF files are read by `eegzarr.recordings.edf`, those that it leaves alone and all others with MNE.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eegzarr.bids.sidecars import Sidecars
from eegzarr.errors import RecordingError
from eegzarr.recipes.montage import AS_THEY_ARE, Naming
from eegzarr.recordings import foreign
from eegzarr.recordings.boundary import boundary
from eegzarr.recordings.edf import EdfFile, open_any_edf, open_edf
from eegzarr.recordings.edf_times import check_uninterrupted, in_file, read_timing, stretches_of
from eegzarr.recordings.header import Header
from eegzarr.recordings.positions import told_positions
from eegzarr.recordings.types import as_in_file, bad_channels, channel_types, listed
from eegzarr.recordings.usable import settled_units

_NOTHING = Sidecars()
_STIMULUS = ("STATUS", "TRIGGER")  # what MNE takes for one in EDF and BDF files


def read_header(
    path: Path, sidecars: Sidecars = _NOTHING, *, annotations: bool = False, naming: Naming = AS_THEY_ARE
) -> Header:
    """Return what a recording holds.

    Parameters
    ----------
    path : Path
    sidecars : Sidecars
        What its dataset says of it.
    annotations : bool
        Whether the file's annotations are wanted. In EDF+ files they lie all over the file, and are left out
        unless they are asked for; other formats have them with the header.
    naming : Naming
        What a recipe calls the channels, and what it says they are.

    Raises
    ------
    RecordingError
        If it can't be opened, has no EEG channel or no sample, or two channels would have one name.
    """
    header = _plain_header(path, sidecars, annotations, naming)
    if header is None:
        header = foreign.read_header(path, sidecars, naming)
    if not (np.isfinite(header.sfreq) and header.sfreq > 0):
        raise RecordingError(f"unreadable: its header says that it is sampled at {header.sfreq:g} Hz")
    if not header.channels:
        others = f"; it has {listed([f'{name} ({kind})' for name, kind in header.others])}" if header.others else ""
        why = f"; {header.unusable[0][1]}" if header.unusable else ""
        raise RecordingError(f"no EEG channel{others}{why}")
    told, elsewhere, why = told_positions(as_in_file(header.channels, sidecars)[0], header.channels)
    if told is not None:
        header = replace(header, positions=told, elsewhere=elsewhere)
    if why:
        header = replace(header, notes=(*header.notes, why))
    return header.described(sidecars.eeg).renamed(naming)


def _plain_header(path: Path, sidecars: Sidecars, annotations: bool, naming: Naming) -> Header | None:
    """Return the header of an EDF or BDF file that isn't MNE's to read, None for others."""
    with boundary(path):
        edf = open_any_edf(path)
        if edf is None:
            return None
        header = None if edf.why_not_plain else _edf_header(edf, sidecars, annotations, naming)
        if header is None:
            check_uninterrupted(edf, edf.why_not_plain or "its EEG channels have different rates")
        return header


def _edf_header(edf: EdfFile, sidecars: Sidecars, annotations: bool, naming: Naming) -> Header | None:
    """Return an EDF or BDF file's header, None where its EEG channels have different rates: MNE resamples them."""
    if edf.n_records < 1:
        raise RecordingError("no samples")
    sidecars, spelled = as_in_file(edf.names, sidecars)
    own = tuple("stim" if name.upper() in _STIMULUS else "eeg" for name in edf.names)
    typed = channel_types(edf.names, own, sidecars, naming)
    undefined = [name for name, gain in zip(edf.names, edf.gain.tolist(), strict=True) if not np.isfinite(gain)]
    settled = settled_units(edf.names, typed.types, edf.units, 1.0, sidecars, undefined)
    is_eeg = np.array([kind == "eeg" for kind in settled.types])
    widths = edf.width[is_eeg] if is_eeg.any() else edf.width
    if (widths != widths[0]).any():
        return None
    sfreq = float(widths[0] / edf.seconds)
    other_rate = tuple(
        (name, f"{name} is sampled at {width / edf.seconds:g} Hz, the EEG channels at {sfreq:g} Hz")
        for name, width in zip(edf.names, edf.width.tolist(), strict=True)
        if width != widths[0]
    )
    notes = [*spelled, *typed.notes, *settled.notes]
    if edf.told_records not in (-1, edf.n_records):
        notes.append(f"its header says {edf.told_records} records, the file has {edf.n_records}")
    if other_rate:
        notes.append(f"at another rate than the EEG: {listed([name for name, _ in other_rate])}")
    header = Header(
        sfreq=sfreq,
        n_times=edf.n_records * int(widths[0]),
        channels=tuple(name for name, eeg in zip(edf.names, is_eeg.tolist(), strict=True) if eeg),
        others=tuple((n, kind) for n, kind in zip(edf.names, settled.types, strict=True) if kind != "eeg"),
        bads=bad_channels(edf.names, (), sidecars),
        unusable=(*other_rate, *settled.unusable),
        factors=settled.factors,
        notes=tuple(notes),
    )
    return _timed(edf, header, annotations)


def _timed(edf: EdfFile, header: Header, annotations: bool) -> Header:
    """Return a header with the times of an interrupted file's records, and with the annotations that are wanted."""
    if not edf.annotations:
        if edf.interrupted:
            raise RecordingError("is interrupted (EDF+D) without annotations that tell when its records were")
        return header.annotated(())
    if not (edf.interrupted or annotations):
        return header
    with boundary(edf.path):
        timing = read_timing(edf)
    if edf.interrupted:
        header = header.in_stretches(stretches_of(edf, timing, header.sfreq))
    return header.annotated(timing.annotations)


def read_windows(
    path: Path,
    starts: npt.NDArray[np.int64],
    channels: tuple[str, ...],
    out: npt.NDArray,
    header: Header | None = None,
) -> None:
    """Read windows of a recording, segment by segment.

    Parameters
    ----------
    path : Path
        The recording.
    starts : array of int, shape (window,)
        First sample of each window, in one of the recording's stretches.
    channels : tuple of str
        Channels to read, in this order.
    out : array of float, shape (window, channel, time)
        Filled with the signal in uV.
    header : Header, optional
        The recording's, where its dataset says more than the file does; else it is read.

    Raises
    ------
    RecordingError
        If the recording can't be read.
    """
    header = header or read_header(path)
    factors, channels = dict(header.factors), header.in_file(channels)
    if header.reader != "edf":
        foreign.read_windows(path, starts, channels, factors, out)
        return
    with boundary(path):
        edf = open_edf(path)
        if edf is None:
            raise RecordingError("is no EDF or BDF file any more")
        rows, microvolts = edf_rows(edf, channels, factors)
        stored = in_file(starts, header.stored) if header.stored else starts
        edf.read(stored, rows, microvolts, out)


def edf_rows(
    edf: EdfFile, channels: tuple[str, ...], factors: dict[str, float]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the rows of channels among a file's signals, and the uV per unit of each."""
    place = {name: row for row, name in enumerate(edf.names)}
    rows = np.array([place[name] for name in channels])
    return rows, np.array([factors.get(name, 1.0) for name in channels])
