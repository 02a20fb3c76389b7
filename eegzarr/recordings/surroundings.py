"""What there is of a recording: its files, what lies beside them, and what changes when one of them does."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from eegzarr.bids.beside import Surroundings
from eegzarr.bids.buckets import changed_at, check_there, content_of, read_many
from eegzarr.bids.entities import CHANNELS, EEG_JSON
from eegzarr.bids.recordings import Recording
from eegzarr.errors import RecordingError
from eegzarr.recordings.companions import files_opened


def look_around(root: str, recording: Recording) -> Surroundings:
    """Read what lies beside a recording, not the recording itself.

    Raises
    ------
    RecordingError
        If a file of the recording isn't there.
    """
    check_there(root, recording.path)
    files, notes = files_opened(root, recording)
    own = recording.events if recording.given is None else ""
    contents = read_many(root, [*recording.sidecars, *([own] if own else [])])
    events: bytes | RecordingError | None = contents.pop(own) if own else None
    if recording.given is not None:
        events = recording.given.encode()
    try:
        fingerprint = _fingerprint(root, files, contents, events)
    except OSError as error:
        raise RecordingError(f"unreadable: {error.strerror or error}") from error
    return Surroundings(
        files=files, events=events, contents=contents, fingerprint=fingerprint, notes=(*recording.notes, *notes)
    )


def fingerprint_of(root: str, recording: Recording) -> str:
    """Return what changes when a recording, or what applies to it, does; when the dataset is copied, its stamp alone.

    Raises
    ------
    RecordingError
        If a file of it isn't there, or it can't be read anyway.
    """
    if recording.reason:
        raise RecordingError(recording.reason)
    return look_around(root, recording).fingerprint


def _fingerprint(
    root: str,
    files: Sequence[str],
    contents: Mapping[str, bytes | RecordingError],
    events: bytes | RecordingError | None,
) -> str:
    """Return ``size:content@stamp:labels``: what signals are read from, and what labels alone are made from.

    The size is that of a recording in one file, "" for others. The stamp is when its files were changed last.
    """
    content, stamp, labels = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    contents_of = [content_of(root, path) for path in files]
    for path, own in zip(files, contents_of, strict=True):
        content.update(f"{path}\0{own}\n".encode())
        stamp.update(f"{changed_at(root, path)}\n".encode())
    for path, text in contents.items():
        of_signals = path.endswith((CHANNELS, EEG_JSON))
        (content if of_signals else labels).update(_digest(text))
    labels.update(_digest(events))
    size = contents_of[0].partition(":")[0] if len(files) == 1 else ""
    return f"{size}:{content.hexdigest()[:16]}@{stamp.hexdigest()[:8]}:{labels.hexdigest()[:16]}"


def _digest(text: bytes | RecordingError | None) -> bytes:
    return hashlib.sha256(text).digest() if isinstance(text, bytes) else b"-"
