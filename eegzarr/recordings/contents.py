"""What a file turns out to be, where its first bytes say that it isn't what its name says."""

from __future__ import annotations

from pathlib import Path

from eegzarr.bids.recordings import FOLDERS
from eegzarr.errors import RecordingError

_HEAD_BYTES = 128
# What downloads leave in place of a file: each beginning in small letters, and what to do.
_STAND_INS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file: fetch it with git lfs pull"),
    (b"/annex/objects/", "is a git-annex pointer, not the file: fetch it with git annex get"),
    (b"<!doctype html", "is a web page, not the file: download it again"),
    (b"<html", "is a web page, not the file: download it again"),
    (b"<?xml", "is an XML document, probably a server's error message: download it again"),
)


def check_content(path: Path, called: str = "") -> None:
    """Refuse a file that is empty, or a placeholder for one that wasn't downloaded.

    Parameters
    ----------
    path : Path
    called : str
        How the message calls it; "" where the file is the recording itself.

    Raises
    ------
    RecordingError
    """
    if path.is_dir() and path.suffix.lower() not in FOLDERS:
        raise RecordingError(f"unreadable: {called} is a folder, not a file".replace("  ", " "))
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES).lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    except OSError as error:
        raise RecordingError(f"unreadable: {error.strerror or error}") from error
    subject = f"{called} " if called else ""
    if not head:
        raise RecordingError(f"unreadable: {subject}has 0 bytes: was it downloaded in full?")
    for beginning, what in _STAND_INS:
        if head.startswith(beginning):
            raise RecordingError(f"unreadable: {subject}{what}")
