"""The one boundary to MNE's readers, which read all that isn't a usual EDF or BDF file.

MNE is imported when the first of them comes: a worker without it starts in half the time and takes 60 MB less.
"""

from __future__ import annotations

import gc
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eegzarr.bids.sidecars import Sidecars
from eegzarr.errors import RecordingError
from eegzarr.recipes.montage import Naming
from eegzarr.recordings.boundary import boundary
from eegzarr.recordings.brainvision import (
    brainvision_names,
    brainvision_units,
    check_brainvision,
    segment_samples,
)
from eegzarr.recordings.companions import DATA, companions, named_files
from eegzarr.recordings.contents import check_content
from eegzarr.recordings.edf import unit_fields
from eegzarr.recordings.header import Annotation, Header
from eegzarr.recordings.memory import set_memory, whole_memory
from eegzarr.recordings.types import TAKEN_FOR_EEG, as_in_file, bad_channels, channel_types, types_told
from eegzarr.recordings.units import decoded, microvolts
from eegzarr.recordings.usable import settled_units

if TYPE_CHECKING:
    import mne

MICROVOLTS = 1e6  # MNE gives volts
# Formats in which MNE brings all channels to one rate, with errors at the edges of what is read at a time.
_READ_WHOLE = (".edf", ".bdf", ".gdf")
_BYTES_AT_ONCE = 2**24
# Units that MNE knows. It takes any other for volts.
_EDF_UNITS = ("V", "mV", "uV", "\u00b5V", "\u03bcV", "\x83\xcaV")
_BRAINVISION_UNITS = ("V", "mV", "nV", "uV", "\u00b5V", "")
# The one recording that a process holds in memory, by its path, size and time: all that a shard's reading loaded whole
# is there for the next shard of it.
_loaded: dict[tuple[str, int, int], mne.io.BaseRaw] = {}
_WHOLE = re.compile(r"^(-?\d+)\.0$")
_UNDEFINED = re.compile(r"(Scaling factor will not be|Physical range is not) defined", re.IGNORECASE)


@contextmanager
def opened(path: Path, *, header_only: bool = False) -> Iterator[tuple[mne.io.BaseRaw, list[str]]]:
    """Open a recording with MNE inside the ``with``, in which all that MNE raises is a RecordingError.

    Yields
    ------
    raw : mne.io.BaseRaw
        Loaded where segments of it would be wrong.
    notes : list of str
        What MNE warned of while it was opened.
    """
    import mne

    _let_go()
    whole = path.suffix.lower() in _READ_WHOLE and not header_only
    with boundary(path) as notes, _with_right_names(path) as named:
        raw = mne.io.read_raw(named, preload=whole, verbose="warning")
    with boundary(path):
        yield raw, notes


@contextmanager
def _kept_open(path: Path) -> Iterator[mne.io.BaseRaw]:
    """Open a recording as `opened` does, and keep it where MNE had to load all of it: it may be asked for again."""
    with boundary(path):
        stat = path.stat()
    key = (str(path), stat.st_size, stat.st_mtime_ns)
    if key in _loaded:
        with boundary(path):
            yield _loaded[key]
        return
    with opened(path) as (raw, _):
        if raw.preload or _holds_its_signals(path):
            _loaded[key] = raw
        yield raw


def _let_go() -> None:
    """Free the recording that is held, before another one takes as much."""
    if _loaded:
        _loaded.clear()
        gc.collect()


@contextmanager
def _with_right_names(path: Path) -> Iterator[Path]:
    """Give a BrainVision header whose files were renamed with it as one that names them, inside the ``with``.

    And one whose suffix is in capitals, which MNE doesn't take, as one in small letters.
    """
    if path.suffix.lower() != ".vhdr":
        yield path
        return
    told, as_written = brainvision_names(path), brainvision_names(path, stem="$b")
    there = {key: path.with_name(name).absolute() for key, name in named_files(path).found.items()}
    markers = _markers_as_utf8(there.get("MarkerFile"))
    is_small = path.suffix == ".vhdr"
    wrong = [key for key in told if key in there and path.absolute().parent / as_written[key] != there[key]]
    if is_small and not wrong and not markers and DATA in told:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="eegzarr-", ignore_cleanup_errors=True) as folder:
        if markers:
            there["MarkerFile"] = Path(folder) / "markers.vmrk"
            there["MarkerFile"].write_bytes(markers)
        content = path.read_bytes()
        for key in (key for key in told if key in there):
            before, _, after = re.split(rb"(?im)^(%s\s*=[^\r\n]*)" % key.encode(), content, maxsplit=1)
            content = before + f"{key}={there[key]}".encode() + after
        header = Path(folder) / path.with_suffix(".vhdr").name
        header.write_bytes(content)
        yield header


def _markers_as_utf8(path: Path | None) -> bytes:
    """Return a marker file's content as MNE can take it; b"" where the file itself will do.

    MNE knows markers by their suffix in small letters, and reads a part of them in the machine's own encoding.
    """
    if path is None:
        return b""
    content = path.read_bytes()
    try:
        content.decode("utf-8")
        return b"" if path.suffix in (".vmrk", ".amrk") else content
    except UnicodeDecodeError:
        text = content.decode("latin-1")
        return re.sub(r"(?im)^Codepage=[^\r\n]*", "Codepage=UTF-8", text).encode()


def read_header(path: Path, sidecars: Sidecars, naming: Naming) -> Header:
    """Return what MNE finds in a recording.

    Raises
    ------
    RecordingError
        If it can't be opened, or has no sample.
    """
    told = _check_companions(path)
    with opened(path, header_only=True) as (raw, notes):
        names = tuple(raw.ch_names)
        if not raw.n_times:
            raise RecordingError("no samples")
        units = _units(path, raw)
        sidecars, spelled = as_in_file(names, sidecars)
        typed = channel_types(names, _own_types(raw, units, types_told(notes)), sidecars, naming)
        undefined = [name for note in notes if _UNDEFINED.match(note) for name in note.partition(": ")[2].split(", ")]
        settled = settled_units(names, typed.types, units, MICROVOLTS, sidecars, undefined)
        notes = [note.replace(TAKEN_FOR_EEG, "channel types that MNE doesn't know:") for note in notes]
        sfreq = float(raw.info["sfreq"])
        _check_length(path, raw)
        channels = tuple(name for name, kind in zip(names, settled.types, strict=True) if kind == "eeg")
        header = Header(
            sfreq=sfreq,
            n_times=int(raw.n_times),
            channels=channels,
            positions=_positions(raw, channels),
            others=tuple((name, kind) for name, kind in zip(names, settled.types, strict=True) if kind != "eeg"),
            bads=bad_channels(names, tuple(raw.info["bads"]), sidecars),
            unusable=settled.unusable,
            factors=settled.factors,
            memory=_memory(path, raw),
            reader="mne",
            stretches=_segments(path, int(raw.n_times)),
            notes=(*notes, *told, *spelled, *typed.notes, *settled.notes),
        )
        return header.annotated(_annotations(path, raw))


def _segments(path: Path, n_times: int) -> tuple[tuple[int, int], ...]:
    """Return the segments that a BrainVision recording was cut into; nothing for a whole one."""
    length = segment_samples(path) if path.suffix.lower() in (".vhdr", ".ahdr") else 0
    if not 0 < length < n_times:
        return ()
    return tuple((first, min(first + length, n_times)) for first in range(0, n_times, length))


def _check_length(path: Path, raw: mne.io.BaseRaw) -> None:
    """Refuse an EEGLAB recording with fewer samples than its header says, which MNE finds out too late."""
    for file in companions(path)[1:] if path.suffix.lower() == ".set" else ():
        there = file.stat().st_size // (4 * len(raw.ch_names))
        if there < raw.n_times:
            raise RecordingError(
                f"its file {file.name} has {there} of {raw.n_times} samples: was it downloaded in full?"
            )


def _own_types(raw: mne.io.BaseRaw, units: tuple[str, ...], told: dict[str, str]) -> tuple[str, ...]:
    """MNE's types, but for what it misses; BrainVision channels that are "misc" for their unit's spelling are EEG."""
    return tuple(
        "eeg" if kind == "misc" and unit != "V" and microvolts(unit) is not None else told.get(name, kind)
        for name, kind, unit in zip(raw.ch_names, raw.get_channel_types(), units, strict=True)
    )


def _units(path: Path, raw: mne.io.BaseRaw) -> tuple[str, ...]:
    """Return each channel's unit where MNE didn't understand it and took it for volts, else "V".

    Formats without units (EEGLAB, FIF and others) have their own, which MNE knows.
    """
    suffix = path.suffix.lower()
    if suffix in (".edf", ".bdf"):
        told = unit_fields(path)
        # MNE takes all texts for Latin-1.
        units = ["V" if field.decode("latin-1").strip() in _EDF_UNITS else decoded(field) for field in told]
    elif suffix in (".vhdr", ".ahdr"):
        units = ["V" if unit in _BRAINVISION_UNITS else unit for unit in brainvision_units(path)]
    else:
        units = []
    return tuple(units) if len(units) == len(raw.ch_names) else ("V",) * len(raw.ch_names)


def _annotations(path: Path, raw: mne.io.BaseRaw) -> tuple[Annotation, ...]:
    # Onsets count from the first sample of the measurement, which may have been cut off.
    shift = raw.first_time
    # EEGLAB's numbers are doubles: it shows the type 7 as "7", MNE as "7.0", and as "7" beside types that are texts.
    numbers = path.suffix.lower() == ".set"
    return tuple(
        Annotation(
            onset=float(onset - shift),
            duration=float(np.nan_to_num(duration)),
            text=_WHOLE.sub(r"\1", str(text)) if numbers else str(text),
        )
        for onset, duration, text in zip(
            raw.annotations.onset, raw.annotations.duration, raw.annotations.description, strict=True
        )
    )


def read_windows(
    path: Path, starts: npt.NDArray[np.int64], channels: tuple[str, ...], factors: dict[str, float], out: npt.NDArray
) -> None:
    """Read windows, in uV, into `out` of shape (window, channel, time).

    Parameters
    ----------
    factors : dict of str to float
        uV a unit of the file for channels whose unit MNE doesn't know.
    """
    with _kept_open(path) as raw:
        rows, scale = _picked(raw, channels, factors)
        for window, start in zip(out, starts.tolist(), strict=True):
            np.multiply(raw[rows, start : start + out.shape[2]][0], scale, out=window, casting="same_kind")


def _picked(
    raw: mne.io.BaseRaw, channels: tuple[str, ...], factors: dict[str, float]
) -> tuple[slice | list[int], float | npt.NDArray[np.float64]]:
    picks = [raw.ch_names.index(name) for name in channels]
    # A sorted run of picks lets MNE read a slice instead of gathering rows.
    everything = picks == list(range(len(raw.ch_names)))
    if not factors:
        return slice(None) if everything else picks, MICROVOLTS
    scale = np.array([factors.get(name, MICROVOLTS) for name in channels])[:, None]
    return slice(None) if everything else picks, scale


def read_block(
    raw: mne.io.BaseRaw, start: int, stop: int, channels: tuple[str, ...], factors: dict[str, float]
) -> npt.NDArray[np.float64]:
    """Return a long part of channels in uV, (channel, time), a few megabytes of the file at a time."""
    rows, scale = _picked(raw, channels, factors)
    signal = np.empty((len(channels), stop - start))
    step = max(1, _BYTES_AT_ONCE // (8 * len(raw.ch_names)))
    for begin in range(start, stop, step):
        end = min(begin + step, stop)
        np.multiply(raw[rows, begin:end][0], scale, out=signal[:, begin - start : end - start])
    return signal


def _memory(path: Path, raw: mne.io.BaseRaw) -> int:
    """Return the bytes that reading windows takes beside them."""
    if _holds_its_signals(path):
        return set_memory(path, 4 * len(raw.ch_names) * int(raw.n_times))
    is_read_whole = raw.preload or path.suffix.lower() in _READ_WHOLE
    return whole_memory(len(raw.ch_names), int(raw.n_times)) if is_read_whole else 0


def _holds_its_signals(path: Path) -> bool:
    """Return whether an EEGLAB file has its signals inside: MNE reads all of it for any part, and then has all."""
    return path.suffix.lower() == ".set" and companions(path) == (path,)


def _check_companions(path: Path) -> tuple[str, ...]:
    """Refuse a recording whose files are missing or something else, before MNE says it in its way.

    Returns what is odd about them.
    """
    for companion in companions(path):
        if not companion.exists():
            away = "a link that leads nowhere" if companion.is_symlink() else "missing"
            raise RecordingError(f"its file {companion.name} is {away}: was it downloaded?")
        # Markers may be none at all.
        if companion.suffix.lower() != ".vmrk":
            check_content(companion, f"its file {companion.name}" if companion != path else "")
    if path.suffix.lower() in (".vhdr", ".ahdr") and (data := named_files(path).found.get(DATA)):
        with boundary(path):
            return check_brainvision(path, path.with_name(data))
    return ()


def _positions(raw: mne.io.BaseRaw, channels: tuple[str, ...]) -> npt.NDArray[np.float32] | None:
    """Return the electrodes' places that a file has, in m in the head frame, (channel, 3); None where it has none."""
    places = {channel["ch_name"]: np.array(channel["loc"][:3], np.float32) for channel in raw.info["chs"]}
    found = np.array([places[name] for name in channels], np.float32).reshape(-1, 3)
    found[~found.any(axis=1)] = np.nan  # what wasn't digitized
    return found if np.isfinite(found).any() else None
