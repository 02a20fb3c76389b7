"""Files of a dataset wherever it is: a local folder, or a bucket read one recording at a time.

From a bucket only what is being read is on the local disk: a recording for as long as its windows
are cut, or just its header where the format keeps that at the beginning.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from eegzarr.errors import BuildStopped, RecordingError, SourceError
from eegzarr.urls import one_line_errors

# The challenge's releases and OpenNeuro's datasets, which anybody may read without an account.
PUBLIC_BUCKETS = ("nmdatasets", "openneuro.org")
_EEG_FOLDERS = ("sub-*/eeg", "sub-*/ses-*/eeg")
_HEADER_FIRST = {".bdf", ".edf"}
_CHANNEL_HEADER = 256  # bytes in an EDF or BDF header, for the file and again for each channel
_COMPANIONS = {".set": (".fdt",), ".vhdr": (".vmrk", ".eeg", ".dat")}


def is_url(root: str) -> bool:
    """Tell whether a dataset is in a bucket."""
    return "://" in root


def list_eeg(root: str) -> list[str]:
    """Return the paths of what lies in a dataset's ``sub-*/[ses-*/]eeg`` folders, relative to it, sorted.

    Raises
    ------
    SourceError
        If it can't be listed.
    """
    if not is_url(root):
        # Not fsspec's find, which leaves out links that lead nowhere: they are worth a row with its reason.
        entries = (entry for pattern in _EEG_FOLDERS for entry in Path(root).glob(f"{pattern}/*"))
        return sorted(entry.relative_to(root).as_posix() for entry in entries)
    files, folder = _opened(root)
    try:
        found = files.find(folder)
    except (OSError, ValueError) as error:
        raise SourceError(f"source {root} can't be listed: {error}") from error
    relative = (path.removeprefix(f"{folder}/") for path in found)
    return sorted(path for path in relative if any(fnmatch(path, f"{pattern}/*") for pattern in _EEG_FOLDERS))


def read_bytes(root: str, path: str) -> bytes | None:
    """Return a small file, None if it isn't there.

    Raises
    ------
    BuildStopped
        If it can't be fetched.
    """
    if not is_url(root):
        local = Path(root) / path
        return local.read_bytes() if local.exists() else None
    files, folder = _opened(root)
    try:
        content: bytes = files.cat_file(f"{folder}/{path}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unfetched(root, path, error) from error
    return content


def fingerprint_of(root: str, path: str) -> str:
    """Size and time (in a bucket: tag) of a recording, and the content of its events: cheap, and telling.

    Raises
    ------
    RecordingError
        If one of them can't be read.
    """
    try:
        content = read_bytes(root, _events_of(path))
        events = hashlib.sha256(content).hexdigest()[:16] if content is not None else "-"
        return f"{_version_of(root, path)}:{events}"
    except OSError as error:
        raise RecordingError(f"unreadable: {error.strerror or error}") from error


def _version_of(root: str, path: str) -> str:
    if is_url(root):
        files, folder = _opened(root)
        try:
            files.invalidate_cache()
            return f"{files.size(f'{folder}/{path}')}:{files.ukey(f'{folder}/{path}')}"
        except FileNotFoundError as error:
            raise RecordingError("no such file") from error
    local = Path(root) / path
    if not local.exists():
        # A symlink that leads nowhere is what git-annex leaves for a file not yet downloaded.
        raise RecordingError("not downloaded (the link leads nowhere)" if local.is_symlink() else "no such file")
    stat = local.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}"


@contextmanager
def at_hand(root: str, path: str, *, header_only: bool = False) -> Iterator[Path]:
    """Give a recording as a local file, with its events and companions beside it, inside the ``with``.

    Parameters
    ----------
    header_only : bool
        Only the header will be read: what follows it may be zeros.

    Raises
    ------
    BuildStopped
        If it can't be fetched.
    """
    if not is_url(root):
        yield Path(root) / path
        return
    with tempfile.TemporaryDirectory(prefix="eegzarr-", ignore_cleanup_errors=True) as folder:
        local = Path(folder) / PurePosixPath(path).name
        try:
            _fetch(root, path, local, header_only)
        except OSError as error:
            raise _unfetched(root, path, error) from error
        yield local


def _fetch(root: str, path: str, local: Path, header_only: bool) -> None:
    files, folder = _opened(root)
    remote = PurePosixPath(folder) / path
    if header_only and local.suffix in _HEADER_FIRST:
        _fetch_header(files, str(remote), local)
    else:
        files.get_file(str(remote), str(local))
    for suffix in _COMPANIONS.get(local.suffix, ()):
        companion = str(remote.with_suffix(suffix))
        if files.exists(companion):
            files.get_file(companion, str(local.with_suffix(suffix)))
    events = read_bytes(root, _events_of(path))
    if events is not None:
        (local.parent / PurePosixPath(_events_of(path)).name).write_bytes(events)


def _fetch_header(files: Any, remote: str, local: Path) -> None:
    """Fetch the header alone, into a file as long as the whole but without blocks on the disk."""
    start = files.cat_file(remote, start=0, end=_CHANNEL_HEADER)
    text = start[184:192].decode("ascii", "replace").strip()  # bytes in the whole header
    size = files.size(remote)
    length = min(int(text), size) if text.isdigit() else size
    with local.open("wb") as file:
        file.write(start + (files.cat_file(remote, start=_CHANNEL_HEADER, end=length) if length > len(start) else b""))
        file.truncate(size)


def _events_of(path: str) -> str:
    name = PurePosixPath(path)
    return str(name.with_name(f"{name.stem.removesuffix('_eeg')}_events.tsv"))


def _opened(root: str) -> tuple[Any, str]:
    return _opened_by(root, os.getpid())


@lru_cache(maxsize=8)
def _opened_by(root: str, pid: int) -> tuple[Any, str]:
    """One connection a process: those of a parent hang after a fork."""
    import fsspec

    bucket = root.partition("://")[2].partition("/")[0]
    options = {"anon": True} if root.startswith("s3://") and bucket in PUBLIC_BUCKETS else {}
    with one_line_errors(root, SourceError):
        files, folder = fsspec.core.url_to_fs(root, **options)
    return files, folder.rstrip("/")


def _unfetched(root: str, path: str, error: OSError) -> BuildStopped:
    if isinstance(error, FileNotFoundError):
        return BuildStopped(f"{root}/{path} went away while the build ran: restore it and run the same command again")
    return BuildStopped(f"{root}/{path} can't be fetched ({error}): run the same command again")
