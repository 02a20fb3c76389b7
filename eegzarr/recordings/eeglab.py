"""Where an EEGLAB file has its signals, found without reading them."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from pathlib import Path

from eegzarr.errors import RecordingError
from eegzarr.recordings.boundary import boundary

_WIDTHS = {"single": 4, "int16": 2, "int32": 4}  # bytes of a number of MATLAB's
_STRUCT_BYTES = 32 * 2**20  # a header of EEGLAB's is smaller: a larger file has the signals inside


def eeglab_data(path: Path) -> str | None:
    """Return the name that an EEGLAB file has for the file with its signals, "" where they are inside.

    None where it isn't known.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    name = _data(path, stat.st_size, stat.st_mtime_ns)
    return "" if name == path.name else name


@lru_cache(maxsize=4096)
def _data(path: Path, nbytes: int, changed: int) -> str | None:
    import scipy.io

    try:
        with boundary(path):
            if _is_hdf5(path):
                return _named_in_hdf5(path)
            variables = {name: shape for name, shape, _ in scipy.io.whosmat(path)}
            if "data" in variables:
                if len(variables["data"]) == 2 and min(variables["data"]) > 1:
                    return ""
                found = scipy.io.loadmat(path, variable_names=["data"], squeeze_me=True)["data"]
            elif "EEG" in variables and nbytes > _STRUCT_BYTES:
                return ""
            elif "EEG" in variables:
                loaded = scipy.io.loadmat(path, variable_names=["EEG"], squeeze_me=True, struct_as_record=False)
                found = loaded["EEG"].data
            else:
                return None
    except RecordingError:
        return None  # what is wrong with it, says the one who opens it
    # MNE takes the name, whatever folder the writer had it in.
    is_text = isinstance(found, str) or getattr(getattr(found, "dtype", None), "kind", "") == "U"
    return str(found).replace("\\", "/").rpartition("/")[2] if is_text else ""


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(10) == b"MATLAB 7.3"


def _named_in_hdf5(path: Path) -> str | None:
    """Return what `eeglab_data` does, of a file of MATLAB 7.3, which MNE too reads with h5py alone."""
    import h5py

    with h5py.File(path) as file:
        data = file["EEG/data"] if "EEG" in file else file["data"]
        if data.dtype.kind != "u":
            return ""
        text = "".join(map(chr, data[()].ravel().tolist()))
    return text.replace("\\", "/").rpartition("/")[2]


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
