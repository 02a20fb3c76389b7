"""Files of a dataset on this machine: what there is, and what one holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from eegzarr.bids.recordings import is_read
from eegzarr.errors import RecordingError, SourceError

# Not part of the dataset's own recordings, or without any: see BIDS, "Source vs. raw vs. derived data".
PASSED_OVER = frozenset(("sourcedata", "derivatives", "code", "stimuli", "phenotype"))
_WITHOUT_EEG = frozenset(("anat", "func", "dwi", "fmap", "perf", "pet", "micr", "mrs"))
_DEEPEST = 8  # folders below the root


def is_passed_over(folder: str) -> bool:
    """Return whether a folder of this name is left out, with all that it holds."""
    return folder in PASSED_OVER or folder in _WITHOUT_EEG or folder.startswith(".") or folder.endswith(".zarr")


def list_local(root: Path) -> list[str]:
    """Return the paths of a dataset's files below its root, and of folders that are recordings; links that lead
    nowhere too, since they are worth a row with its reason.

    Raises
    ------
    SourceError
        If a folder can't be read.
    """
    try:
        return sorted(below(root, "", 0))
    except OSError as error:
        raise SourceError(f"source {root} can't be read: {error.strerror}: {error.filename}") from error


def below(root: Path, folder: str, depth: int) -> Iterator[str]:
    """Yield the paths of the files in a folder of a dataset, which lies so deep below its root."""
    with os.scandir(root / folder) as entries:
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            # A folder with the name of a file isn't a file: its row says so.
            if not entry.is_dir() or is_read(entry.name):
                yield path
            elif depth < _DEEPEST and not is_passed_over(entry.name) and not _leads_back(entry):
                yield from below(root, path, depth + 1)


def _leads_back(entry: os.DirEntry[str]) -> bool:
    """Return whether a link leads to a folder that it lies in: there is nothing new behind it."""
    if not entry.is_symlink():
        return False
    target, folder = os.path.realpath(entry.path), os.path.realpath(os.path.dirname(entry.path))
    return f"{folder}/".startswith(f"{target.rstrip('/')}/")


def read_local(root: Path, path: str) -> bytes:
    """Return a small file.

    Raises
    ------
    RecordingError
        If it can't be read; the message follows its name.
    """
    local = root / path
    try:
        return local.read_bytes()
    except FileNotFoundError as error:
        # A symlink that leads nowhere is what git-annex leaves for a file not yet downloaded.
        missing = "is not downloaded (the link leads nowhere)" if local.is_symlink() else "isn't there any more"
        raise RecordingError(missing) from error
    except OSError as error:
        raise RecordingError(f"can't be read: {error.strerror or error}") from error
