"""Which files make one recording: the file that names it, and those that its header leads to."""

from __future__ import annotations

import re
from functools import lru_cache
from math import prod
from pathlib import Path

from eegzarr.errors import RecordingError
from eegzarr.recordings.boundary import boundary

_LINE = re.compile(r"^(DataFile|MarkerFile)\s*=\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_CHANNEL = re.compile(r"^Ch(\d+)=([^\r\n]*,[^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_BRAINVISION = {"DataFile": (".eeg", ".EEG", ".dat", ".avg"), "MarkerFile": (".vmrk", ".VMRK")}
_HEADER_BYTES = 2**16
_SPLIT = re.compile(r"^(.*_split-)(\d+)(_.*\.fif)$")
_WIDTHS = {"single": 4, "int16": 2, "int32": 4}  # bytes of a number of MATLAB's
_STRUCT_BYTES = 32 * 2**20  # a header of EEGLAB's is smaller: a larger file has the signals inside


def companions(path: Path) -> tuple[Path, ...]:
    """Return every file that MNE opens to read a recording, the recording itself first.

    Files that a header names and that aren't there are among them, at the place where they should be.
    """
    suffix = path.suffix.lower()
    if suffix in (".vhdr", ".ahdr"):
        return (path, *brainvision_files(path)[1].values())
    if suffix == ".set":
        return (path, *_eeglab_files(path))
    if suffix == ".fif":
        return (path, *_fif_parts(path))
    if path.is_dir():
        return (path, *sorted(file for file in path.rglob("*") if file.is_file()))
    return (path,)


def brainvision_files(path: Path) -> tuple[dict[str, str], dict[str, Path]]:
    """Return the names that a BrainVision header has for its data and its markers, and the files that they are.

    Where a name leads nowhere, since the three were renamed and the header's text wasn't, the file beside the
    header that has its name is meant.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_HEADER_BYTES).decode("latin-1")
    except OSError:
        return {}, {}
    keys = {key.lower(): key for key in _BRAINVISION}
    told = {keys[key.lower()]: name.replace("$b", path.stem) for key, name in _LINE.findall(text) if name}
    there = {}
    for key, name in told.items():
        named = path.parent / _as_utf8(name).replace("\\", "/").rpartition("/")[2]
        beside = (path.with_suffix(suffix) for suffix in (Path(name).suffix, *_BRAINVISION[key]) if suffix)
        found = next((file for file in (path.parent / _as_utf8(name), named, *beside) if file.exists()), None)
        if found or key == "DataFile":
            there[key] = found or named
    return {key: _as_utf8(name) for key, name in told.items()}, there


def brainvision_units(path: Path) -> tuple[str, ...]:
    """Return the units of a BrainVision header's channels, "" where it leaves them out, which means uV."""
    return tuple(unit for _, _, _, unit in brainvision_channels(path)[1])


def brainvision_channels(path: Path) -> tuple[str, tuple[tuple[str, str, str, str], ...]]:
    """Return a BrainVision header's text, and name, reference, resolution and unit of each channel as it has them."""
    text = _as_utf8(path.read_bytes()[:_HEADER_BYTES].decode("latin-1"))
    section = re.search(r"\[Channel Infos\](.*?)(?=^\[|\Z)", text, re.IGNORECASE | re.MULTILINE | re.DOTALL)
    lines = _CHANNEL.findall(section[1]) if section else []
    numbered = {int(number): fields.split(",") for number, fields in lines}
    rows = [numbered.get(number, []) for number in range(1, max(numbered, default=0) + 1)]
    padded = [[field.strip().replace("\\1", ",") for field in [*row, "", "", "", ""][:4]] for row in rows]
    return text, tuple((name, reference, resolution, unit) for name, reference, resolution, unit in padded)


def _as_utf8(name: str) -> str:
    try:
        return name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return name


def _eeglab_files(path: Path) -> tuple[Path, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    name = _eeglab_data(path, stat.st_size, stat.st_mtime_ns)
    beside = path.with_suffix(".fdt")
    if name is None:
        return (beside,) if beside.exists() else ()
    named = path.parent / name
    return () if name == path.name else (named if named.exists() or not beside.exists() else beside,)


@lru_cache(maxsize=4096)
def _eeglab_data(path: Path, nbytes: int, changed: int) -> str | None:
    """Return the name of the file with an EEGLAB recording's signals, None where they are inside, or it isn't known."""
    import scipy.io

    try:
        with boundary(path):
            variables = {name: shape for name, shape, _ in scipy.io.whosmat(path)}
            if "data" in variables:
                if len(variables["data"]) == 2 and min(variables["data"]) > 1:
                    return None
                found = scipy.io.loadmat(path, variable_names=["data"], squeeze_me=True)["data"]
            elif "EEG" in variables and nbytes <= _STRUCT_BYTES:
                loaded = scipy.io.loadmat(path, variable_names=["EEG"], squeeze_me=True, struct_as_record=False)
                found = loaded["EEG"].data
            else:
                return None
    except RecordingError:
        return None  # what is wrong with it, says the one who opens it
    # MNE takes the name, whatever folder the writer had it in.
    is_text = isinstance(found, str) or getattr(getattr(found, "dtype", None), "kind", "") == "U"
    return str(found).replace("\\", "/").rpartition("/")[2] if is_text else None


def eeglab_inside(path: Path) -> tuple[bool, int]:
    """Return how an EEGLAB file keeps the signals that it has inside.

    Whether in one variable with all else, which is read whole for any part of it; and, where not, their bytes.
    """
    import scipy.io

    try:
        with boundary(path):
            for name, shape, kind in scipy.io.whosmat(path):
                if name == "data":
                    return False, prod(shape) * _WIDTHS.get(kind, 8)
    except RecordingError:
        pass
    return True, 0


def _fif_parts(path: Path) -> tuple[Path, ...]:
    """Return the further parts of a recording that was split for its size, by either way of naming them."""
    parts = []
    if match := _SPLIT.match(path.name):
        width = len(match[2])
        number = int(match[2]) + 1
        while (part := path.with_name(f"{match[1]}{number:0{width}}{match[3]}")).exists():
            parts.append(part)
            number += 1
        return tuple(parts)
    number = 1
    while (part := path.with_name(f"{path.stem}-{number}.fif")).exists():
        parts.append(part)
        number += 1
    return tuple(parts)
