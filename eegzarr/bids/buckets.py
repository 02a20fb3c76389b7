"""Files of a dataset wherever it is: a local folder, or a bucket read one recording at a time.

From a bucket only what is being read is on the local disk: a recording for as long as its windows
are cut, or just its header where the format keeps that at the beginning.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from eegzarr.bids.files import is_passed_over, list_local, read_local
from eegzarr.bids.recordings import FOLDERS
from eegzarr.errors import BuildStopped, RecordingError, SourceError
from eegzarr.urls import one_line_errors

# The challenge's releases and OpenNeuro's datasets, which anybody may read without an account.
PUBLIC_BUCKETS = ("nmdatasets", "openneuro.org")
_HEADER_FIRST = {".bdf", ".edf"}
_WHOLE = 2**20  # bytes: smaller files are read whole to see whether they changed
_BLOCKS, _BLOCK = 16, 2**12  # of a larger file, so many blocks of so many bytes are read, evenly spread
_CHANNEL_HEADER = 256  # bytes in an EDF or BDF header, for the file and again for each channel


def is_url(root: str) -> bool:
    """Return whether a dataset is in a bucket."""
    return "://" in root


def list_files(root: str) -> list[str]:
    """Return the paths of a dataset's files, and of folders that are recordings, relative to its root, sorted.

    Raises
    ------
    SourceError
        If it can't be listed.
    """
    if not is_url(root):
        return list_local(Path(root))
    files, folder = _opened(root)
    try:
        found = files.find(folder)
    except (OSError, ValueError) as error:
        raise SourceError(f"source {root} can't be listed: {error}") from error
    relative = {_recording_of(path.removeprefix(f"{folder}/")) for path in found}
    return sorted(path for path in relative if not any(is_passed_over(part) for part in path.split("/")[:-1]))


def _recording_of(path: str) -> str:
    """Return the path of the folder that is a recording, for a file in it."""
    parts = path.split("/")
    for depth, part in enumerate(parts, 1):
        if part.lower().endswith(FOLDERS):
            return "/".join(parts[:depth])
    return path


def read_bytes(root: str, path: str) -> bytes:
    """Return a small file.

    Raises
    ------
    RecordingError
        If it can't be read; the message follows its name.
    BuildStopped
        If it can't be fetched.
    """
    content = read_many(root, [path])[path]
    if isinstance(content, RecordingError):
        raise content
    return content


def read_many(root: str, paths: Sequence[str]) -> dict[str, bytes | RecordingError]:
    """Return small files by their paths, with an error in place of what can't be read; buckets are read in parallel.

    Raises
    ------
    BuildStopped
        If one can't be fetched.
    """
    if not is_url(root):
        return {path: _content(root, path) for path in paths}
    if not paths:
        return {}
    files, folder = _opened(root)
    fetched = files.cat([f"{folder}/{path}" for path in paths], on_error="return")
    if isinstance(fetched, bytes):
        fetched = {f"{folder}/{paths[0]}": fetched}
    contents: dict[str, bytes | RecordingError] = {}
    for path in paths:
        content = fetched[f"{folder}/{path}"]
        if isinstance(content, FileNotFoundError):
            content = RecordingError("isn't there any more")
        elif isinstance(content, OSError):
            raise _unfetched(root, path, content) from content
        elif isinstance(content, Exception):
            raise content
        contents[path] = content
    return contents


def _content(root: str, path: str) -> bytes | RecordingError:
    try:
        return read_local(Path(root), path)
    except RecordingError as error:
        return error


def beside(root: str, path: str) -> list[str]:
    """Return the names of the files in a recording's folder."""
    if not is_url(root):
        return sorted(os.listdir((Path(root) / path).parent))
    files, folder = _opened(root)
    return sorted(PurePosixPath(one).name for one in files.ls(f"{folder}/{PurePosixPath(path).parent}", detail=False))


def check_there(root: str, path: str) -> None:
    """Refuse a recording that isn't there.

    Raises
    ------
    RecordingError
    """
    local = Path(root) / path
    if not is_url(root) and not local.exists():
        # A symlink that leads nowhere is what git-annex leaves for a file not yet downloaded.
        raise RecordingError("not downloaded (the link leads nowhere)" if local.is_symlink() else "no such file")


def content_of(root: str, path: str) -> str:
    """Return what changes with a file's content, and not when it is copied: its size, and a digest of parts of it.

    In a bucket the tag of the object identifies its content.

    Raises
    ------
    RecordingError
        If it isn't there.
    """
    if is_url(root):
        return _tag_of(root, path)
    check_there(root, path)
    local = Path(root) / path
    if local.is_dir():
        return ",".join(content_of(root, f"{path}/{name}") for name in sorted(os.listdir(local)))
    digest = hashlib.sha256()
    with local.open("rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        starts = [0] if size <= _WHOLE else [(size - _BLOCK) * i // (_BLOCKS - 1) for i in range(_BLOCKS)]
        for start in starts:
            file.seek(start)
            digest.update(file.read(_WHOLE if size <= _WHOLE else _BLOCK))
    return f"{size}:{digest.hexdigest()[:16]}"


def changed_at(root: str, path: str) -> str:
    """Return when a file was changed last; "" in a bucket, where a tag identifies the content."""
    if is_url(root):
        return ""
    local = Path(root) / path
    files = sorted(file for file in local.rglob("*") if file.is_file()) if local.is_dir() else [local]
    return ",".join(str(file.stat().st_mtime_ns) for file in files)


def _tag_of(root: str, path: str) -> str:
    files, folder = _opened(root)
    try:
        files.invalidate_cache()
        if path.lower().endswith(FOLDERS):
            found = files.find(f"{folder}/{path}", detail=True)
        else:
            found = {f"{folder}/{path}": files.info(f"{folder}/{path}")}
    except FileNotFoundError as error:
        raise RecordingError("no such file") from error
    tags = {name: one.get("ETag") or one.get("etag") or files.ukey(name) for name, one in found.items()}
    return ",".join(f"{found[name]['size']}:{tag}" for name, tag in sorted(tags.items()))


@contextmanager
def at_hand(root: str, files: str | Sequence[str], *, header_only: bool = False) -> Iterator[Path]:
    """Give a recording as a local file, with its other files beside it, inside the ``with``.

    Parameters
    ----------
    files : str or sequence of str
        Of the recording, the one that is opened first.
    header_only : bool
        Only the header will be read: what follows it may be zeros.

    Raises
    ------
    BuildStopped
        If it can't be fetched.
    """
    files = (files,) if isinstance(files, str) else files
    if not is_url(root):
        yield Path(root) / files[0]
        return
    with tempfile.TemporaryDirectory(prefix="eegzarr-", ignore_cleanup_errors=True) as folder:
        for path in files:
            try:
                _fetch(root, path, Path(folder) / PurePosixPath(path).name, header_only)
            except OSError as error:
                raise _unfetched(root, path, error) from error
        yield Path(folder) / PurePosixPath(files[0]).name


def _fetch(root: str, path: str, local: Path, header_only: bool) -> None:
    files, folder = _opened(root)
    remote = f"{folder}/{path}"
    if header_only and local.suffix.lower() in _HEADER_FIRST:
        _fetch_header(files, remote, local)
    elif local.name.lower().endswith(FOLDERS):
        files.get(remote, str(local), recursive=True)
    else:
        files.get_file(remote, str(local))


def _fetch_header(files: Any, remote: str, local: Path) -> None:
    """Fetch the header alone, into a file as long as the whole but without blocks on the disk."""
    start = files.cat_file(remote, start=0, end=_CHANNEL_HEADER)
    if start[192:197] in (b"EDF+D", b"BDF+D"):  # interrupted: each record has its own time
        files.get_file(remote, str(local))
        return
    text = start[184:192].decode("ascii", "replace").strip()  # bytes in the whole header
    size = files.size(remote)
    length = min(int(text), size) if text.isdigit() else size
    with local.open("wb") as file:
        file.write(start + (files.cat_file(remote, start=_CHANNEL_HEADER, end=length) if length > len(start) else b""))
        file.truncate(size)


def _opened(root: str) -> tuple[Any, str]:
    return _opened_by(root, os.getpid())


@lru_cache(maxsize=8)
def _opened_by(root: str, pid: int) -> tuple[Any, str]:
    """One connection per process: those of a parent hang after a fork."""
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
