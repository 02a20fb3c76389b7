"""What a BrainVision header says and MNE doesn't report: its files, channels, units, and what MNE misreads."""

from __future__ import annotations

import re
from pathlib import Path

from eegzarr.errors import RecordingError

_LINE = re.compile(r"^(DataFile|MarkerFile)\s*=\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_COMMENT = re.compile(r"^\[Comment\]", re.IGNORECASE | re.MULTILINE)
_CHANNEL = re.compile(r"^Ch(\d+)=([^\r\n]*,[^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_KEYS = {"datafile": "DataFile", "markerfile": "MarkerFile"}
_HEADER_BYTES = 2**16
_WIDTHS = {"INT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}  # bytes of a sample


def brainvision_names(path: Path, stem: str = "") -> dict[str, str]:
    """Return the names that a BrainVision header has for its data and its markers; none where it can't be read.

    ``$b`` in them stands for `stem`, by default the header's own.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_HEADER_BYTES).decode("latin-1")
    except OSError:
        return {}
    # What follows the comment is anybody's text.
    lines = _LINE.findall(_COMMENT.split(text)[0])
    return {_KEYS[key.lower()]: _as_utf8(name.replace("$b", stem or path.stem)) for key, name in lines if name}


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
    # A micro sign that was encoded twice; MNE mends it, too.
    rows = [[field.replace("\xc2", "") for field in row] for row in rows]
    padded = [[field.strip().replace("\\1", ",") for field in [*row, "", "", "", ""][:4]] for row in rows]
    return text, tuple((name, reference, resolution, unit) for name, reference, resolution, unit in padded)


def check_brainvision(path: Path, data: Path) -> tuple[str, ...]:
    """Refuse a BrainVision recording whose samples MNE would take for others; return what is odd about it.

    Parameters
    ----------
    path, data : Path
        The header, and the file with the samples.

    Raises
    ------
    RecordingError
    """
    text = _COMMENT.split(brainvision_channels(path)[0])[0]
    if _value(text, "DataType").upper() not in ("", "TIMEDOMAIN"):
        raise RecordingError(f"holds no signal over time: its DataType is {_value(text, 'DataType')}")
    if _value(text, "UseBigEndianOrder").upper() == "YES":
        raise RecordingError("its samples have their bytes in big-endian order, which MNE doesn't read: save it again")
    width, channels = _WIDTHS.get(_value(text, "BinaryFormat").upper(), 0), _value(text, "NumberOfChannels")
    if not width or not channels.isdigit() or not int(channels):
        return ()
    frame, nbytes, told = width * int(channels), data.stat().st_size, _value(text, "DataPoints")
    there = nbytes // frame
    is_whole = int(told) == there if told.isdigit() and int(told) else not nbytes % frame
    if _value(text, "DataOrientation").upper() == "VECTORIZED" and not is_whole:
        # One channel lies behind the other: where each begins depends on their length.
        raise RecordingError(
            f"its file {data.name} has {nbytes} bytes, "
            f"not {told or 'a whole number of'} samples of {channels} channels: was it downloaded in full?"
        )
    if told.isdigit() and int(told) > there:
        return (f"its header says {told} samples, its file {data.name} has {there}",)
    return ()


def segment_samples(path: Path) -> int:
    """Return the samples of each of the segments that a header says its recording is cut into, 0 for none."""
    text = _COMMENT.split(brainvision_channels(path)[0])[0]
    points = _value(text, "SegmentDataPoints")
    is_cut = _value(text, "SegmentationType").upper() not in ("", "NOTSEGMENTED")
    return int(points) if is_cut and points.isdigit() else 0


def _value(text: str, key: str) -> str:
    found = re.search(rf"^{key}[ \t]*=[ \t]*(.*?)[ \t]*\r?$", text, re.IGNORECASE | re.MULTILINE)
    return found[1] if found else ""


def _as_utf8(name: str) -> str:
    try:
        return name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return name
