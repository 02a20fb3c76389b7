"""The files that a recording is made of, by what its header says: BrainVision's three, EEGLAB's two."""

from __future__ import annotations

import re
import zlib
from pathlib import PurePosixPath

from eegzarr.bids.buckets import at_hand, beside, read_bytes
from eegzarr.bids.recordings import COMPANIONS, Recording, suffix_of
from eegzarr.errors import RecordingError

_NAMED = re.compile(r"^\s*(DataFile|MarkerFile)\s*=\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
_COMPRESSED = 15  # type of an element of a MATLAB file of version 5


def files_opened(root: str, recording: Recording) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return every file that is opened to read a recording, the first one first, and what was assumed.

    Raises
    ------
    RecordingError
        If its header can't be read.
    """
    suffix = suffix_of(recording.path)
    if suffix not in COMPANIONS:
        return recording.files, ()
    named = _named_in_vhdr(root, recording) if suffix in (".vhdr", ".ahdr") else _named_in_set(root, recording)
    if not named:
        return recording.files, ()
    folder = PurePosixPath(recording.path).parent
    there = set(beside(root, recording.path))
    by_name = {suffix_of(path): path for path in recording.files[1:]}
    files, notes = [], []
    for name in named:
        own = by_name.get(suffix_of(name))
        if name in there:
            files.append(str(folder / name))
            if own is not None and own != str(folder / name):
                notes.append(f"its header names {name}, not {PurePosixPath(own).name}")
        elif own is not None:
            files.append(own)
            notes.append(f"its header names {name}, which isn't there: {PurePosixPath(own).name} instead")
    return (recording.path, *dict.fromkeys(files)), tuple(notes)


def _named_in_vhdr(root: str, recording: Recording) -> list[str]:
    try:
        text = read_bytes(root, recording.path).decode("latin-1")
    except RecordingError as error:
        raise RecordingError(str(error).removeprefix("is ")) from error
    stem = PurePosixPath(recording.path).stem
    names = [match[2].replace("$b", stem) for match in _NAMED.finditer(text)]
    return [name.replace("\\", "/").rpartition("/")[2] for name in names]


def _named_in_set(root: str, recording: Recording) -> list[str]:
    """Return the .fdt file that a .set names, if one lies beside it.

    Looked for among the texts of the file, since reading it as MATLAB does would read its signals, too.
    """
    there = [name for name in beside(root, recording.path) if name.lower().endswith(".fdt")]
    if not there:
        return []
    with at_hand(root, (recording.path,)) as path:
        content = _expanded(path.read_bytes()) if path.exists() else b""
    spelled = {name: (name.encode("latin-1", "replace"), name.encode("utf-16-le")) for name in there}
    named = [name for name, spellings in spelled.items() if any(text in content for text in spellings)]
    own = f"{PurePosixPath(recording.path).stem}.fdt"
    return [own] if own in named else named[:1]


def _expanded(content: bytes) -> bytes:
    """Return a MATLAB file of version 5 with its compressed elements expanded; others as they are."""
    if not content.startswith(b"MATLAB 5.0"):
        return content
    order = "big" if content[126:128] == b"MI" else "little"
    parts, position = [content[:128]], 128
    while position + 8 <= len(content):
        kind = int.from_bytes(content[position : position + 4], order)  # type: ignore[arg-type]
        size = int.from_bytes(content[position + 4 : position + 8], order)  # type: ignore[arg-type]
        element = content[position + 8 : position + 8 + size]
        try:
            parts.append(zlib.decompress(element) if kind == _COMPRESSED else element)
        except zlib.error:
            parts.append(element)
        position += 8 + size if kind == _COMPRESSED else 8 + -(-size // 8) * 8
    return b"".join(parts)
