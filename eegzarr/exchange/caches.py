"""Caches of windows that trainings keep: which kind one is, and braindecode's own."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegzarr.errors import RecordingError, SourceError, UsageError
from eegzarr.extras import needs
from eegzarr.machine.system import open_files_allowed
from eegzarr.recordings.boundary import boundary

if TYPE_CHECKING:
    from braindecode.datasets import BaseConcatDataset

_FILES_BESIDES = 128  # that Python, its packages and a lake have open
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def kind_of(path: Path) -> str:
    """Return ``hdf5``, ``lmdb`` or ``braindecode``.

    Raises
    ------
    SourceError
        If it is none of them.
    """
    if not path.exists():
        raise SourceError(f"{path} doesn't exist: give an HDF5 file, an LMDB folder or a braindecode cache")
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE:
                return "hdf5"
        raise SourceError(f"{path} is no HDF5 file, or its beginning is damaged")
    if (path / "data.mdb").exists():
        return "lmdb"
    if any(path.glob("*/description.json")):
        return "braindecode"
    raise SourceError(f"{path} holds neither LMDB's data.mdb nor the numbered folders that braindecode saves")


def load_braindecode(path: Path) -> BaseConcatDataset[Any]:
    """Open a folder that braindecode's ``BaseConcatDataset.save`` wrote; its signals stay there.

    MNE keeps a file of each recording open.
    """
    wanted = sum(1 for _ in path.glob("*/description.json")) + _FILES_BESIDES
    allowed = open_files_allowed(wanted)
    with needs("train", "a braindecode cache"):
        from braindecode.datautil import load_concat_dataset
    try:
        with boundary(path):
            return load_concat_dataset(path, preload=False)
    except RecordingError as error:
        if allowed < wanted and os.strerror(errno.EMFILE) in str(error):
            raise UsageError(
                f"{path} can't be opened: this process may have {allowed} files open, and should have {wanted}, one "
                f"for every recording. Raise the limit, as with ulimit -n {wanted}"
            ) from error
        why = str(error).removeprefix("unreadable: ")
        raise SourceError(f"{path} can't be opened as a braindecode cache: {why}") from error
