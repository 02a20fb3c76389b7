"""What is read from a shard, compared with its checksum: the index, frames, windows in frames."""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from eegzarr.errors import LakeError
from eegzarr.store.crc import crc32c
from eegzarr.store.frame import find_windows, is_sound
from eegzarr.store.layout import Geometry
from eegzarr.store.shard import NO_FRAME

_CRC_BYTES = 4
_LARGEST_FILE = 2**63 - 1


@dataclass(frozen=True)
class Frame:
    """A frame whose checksum was right: its bytes, and where in them each window's own Blosc buffer is.

    `bounds` is None in a frame that another program wrote. `address` is where the bytes are in
    memory, for as long as `content` is held.
    """

    content: memoryview
    address: int
    n_windows: int
    bounds: array[int] | None

    def window(self, slot: int) -> memoryview | None:
        """Return a window's own Blosc buffer, None where it has none."""
        return None if self.bounds is None else self.content[self.bounds[slot] : self.bounds[slot + 1]]

    def address_of(self, slot: int) -> int:
        """Return where in memory a window's own Blosc buffer is, 0 where it has none."""
        return 0 if self.bounds is None else self.address + self.bounds[slot]


@dataclass(frozen=True)
class FrameParts:
    """Some windows of a frame without the rest of it, each with a checksum that was right: their own Blosc buffers."""

    windows: dict[int, npt.NDArray[np.uint8]]

    def window(self, slot: int) -> memoryview | None:
        """Return the buffer of a window."""
        return self.windows[slot].data

    def address_of(self, slot: int) -> int:
        """Return where in memory the buffer of a window is."""
        return self.windows[slot].ctypes.data


def index_bytes(geometry: Geometry) -> int:
    """Return the length of a shard's index with its checksum."""
    return geometry.frames_per_shard * 16 + _CRC_BYTES


def read_index(tail: bytes, geometry: Geometry, name: str) -> npt.NDArray[np.uint64]:
    """Return a shard's index, (frame, 2): offset and length of each frame in bytes.

    Raises
    ------
    LakeError
        If the shard is too short for its index, or the index doesn't match its checksum.
    """
    size = index_bytes(geometry) - _CRC_BYTES
    if len(tail) < size + _CRC_BYTES:
        raise LakeError(f"{name} is damaged: it is too short for its index")
    if crc32c(np.frombuffer(tail, np.uint8, size)) != struct.unpack("<I", tail[size:])[0]:
        raise LakeError(f"{name} is damaged: the checksum of its index differs")
    return np.frombuffer(tail[:size], "<u8").reshape(-1, 2)


def frame_range(index: npt.NDArray[np.uint64], in_shard: int, name: str) -> tuple[int, int]:
    """Return offset and length of a frame in its shard.

    Raises
    ------
    LakeError
        If the frame was never written.
    """
    offset, length = (int(value) for value in index[in_shard])
    if offset == NO_FRAME:
        raise LakeError(f"{name}, isn't in its shard: python -m eegzarr.verify finds what else is missing")
    if offset + length > _LARGEST_FILE:  # before a server is asked for it
        raise LakeError(f"{name}, is damaged: the index says that it ends at byte {offset + length}")
    return offset, length


def checked_frame(stored: npt.NDArray[np.uint8], length: int, geometry: Geometry, name: str) -> Frame:
    """Compare a frame with its checksum, and find the windows in it.

    Raises
    ------
    LakeError
        If it isn't what was written.
    """
    body, crc = stored[:-_CRC_BYTES], stored[-_CRC_BYTES:].tobytes()
    if len(stored) != length or len(crc) < _CRC_BYTES or crc32c(body) != struct.unpack("<I", crc)[0]:
        raise LakeError(f"{name}, is damaged (its checksum differs): python -m eegzarr.verify finds what else is")
    content = body.data
    # A checksum shows damage, not intent: the decoder believes what the header says of the buffer's length.
    if not is_sound(content, geometry.windows_per_frame * geometry.window_bytes):
        raise LakeError(f"{name}, is no Blosc buffer of its windows: python -m eegzarr.verify finds what else is wrong")
    return Frame(content, body.ctypes.data, geometry.windows_per_frame, find_windows(content, geometry))


def decode_frame(frame: Frame, rows: npt.NDArray, name: str, number: int) -> None:
    """Decode all windows of a frame into `rows`, (window, channel, time).

    Raises
    ------
    LakeError
        If it can't be decoded.
    """
    try:
        blosc.decompress(frame.content, rows)
    except (RuntimeError, ValueError) as error:
        raise undecodable(name, number) from error


def undecodable(name: str, window: int) -> LakeError:
    """Return the error that names a window."""
    return LakeError(
        f"window {window} of {name} can't be decoded: python -m eegzarr.verify finds what is damaged; "
        "a lake that is written while it is read can't be read"
    )
