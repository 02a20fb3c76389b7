"""Frames: Blosc buffers of many windows, in which each window is also a Blosc buffer of its own.

A Blosc 1 buffer is a header, the offset of each block, and the blocks; see
https://github.com/Blosc/c-blosc, README_CHUNK_FORMAT. Here a block is one window, and the 20
bytes before it, which no offset points to, are header and offset of a buffer of that block
alone. Any Blosc decoder reads a whole frame as one chunk of an array, which is what array
readers are fast with; and a single window is decoded where it lies, without a copy, which is
what random access is fast with.
"""

from __future__ import annotations

import struct
from array import array

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from eegzarr.store.layout import Geometry

_HEADER = struct.Struct("<BBBBIII")  # version, codec version, flags, type size, nbytes, blocksize, cbytes
_OFFSET = struct.Struct("<I")
_ONE_BLOCK = _HEADER.size + _OFFSET.size  # what comes before the block in a buffer of one
_STORED_UNCOMPRESSED = 0x02
_NEVER_SPLIT = 0x10
_LARGEST_SPLIT_TYPE = 16
_SMALLEST_SPLIT = 128


def join_windows(buffers: list[bytes], windows: npt.NDArray, geometry: Geometry) -> bytes | None:
    """Join Blosc buffers of one window each into a frame.

    Parameters
    ----------
    buffers : list of bytes
        Each window, compressed by itself.
    windows : array, shape (window, channel, time)
        What they were compressed from.

    Returns
    -------
    bytes or None
        None where they can't be joined: Blosc chose several blocks for a window.
    """
    headers = [_HEADER.unpack_from(buffer) for buffer in buffers]
    if any(blocksize != nbytes for *_, nbytes, blocksize, _ in headers):
        return None
    version, codec_version, flags, itemsize, nbytes, _, _ = headers[0]
    flags &= ~_STORED_UNCOMPRESSED
    parts = []
    for buffer, header, window in zip(buffers, headers, windows, strict=True):
        if header[2] == flags:
            parts.append(buffer)
        elif header[2] == flags | _STORED_UNCOMPRESSED:
            block = _stored_block(window, flags, geometry)
            size = _ONE_BLOCK + len(block)
            own = _HEADER.pack(version, codec_version, flags, itemsize, nbytes, nbytes, size)
            parts.append(own + _OFFSET.pack(_ONE_BLOCK) + block)
        else:
            return None
    first = _HEADER.size + _OFFSET.size * len(parts)
    ends = np.cumsum([first, *map(len, parts)])
    whole = _HEADER.pack(version, codec_version, flags, itemsize, nbytes * len(parts), nbytes, int(ends[-1]))
    return b"".join([whole, (ends[:-1] + _ONE_BLOCK).astype("<u4").tobytes(), *parts])


def _stored_block(window: npt.NDArray, flags: int, geometry: Geometry) -> bytes:
    """Return the block of a window that doesn't compress: its parts as they are, each with its length."""
    samples = np.ascontiguousarray(window).reshape(-1).view(np.uint8)
    if geometry.shuffle_code == blosc.SHUFFLE:
        samples = samples.reshape(-1, geometry.itemsize).T.reshape(-1)
    elif geometry.shuffle_code == blosc.BITSHUFFLE:
        samples = _bit_shuffled(samples, geometry.itemsize)
    splits = (
        not flags & _NEVER_SPLIT
        and geometry.itemsize <= _LARGEST_SPLIT_TYPE
        and samples.size // geometry.itemsize >= _SMALLEST_SPLIT
    )
    parts = np.split(samples, geometry.itemsize) if splits else [samples]
    return b"".join(struct.pack("<i", part.size) + part.tobytes() for part in parts)


def _bit_shuffled(samples: npt.NDArray[np.uint8], itemsize: int) -> npt.NDArray[np.uint8]:
    """Return bytes in the order of Blosc's bit shuffle: by bit of the sample; as they are where 8 don't divide them."""
    if samples.size % (8 * itemsize):
        return samples
    bits = np.unpackbits(samples.reshape(-1, itemsize), axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little").reshape(-1)


def is_sound(buffer: memoryview, nbytes: int) -> bool:
    """Return whether the header of a Blosc buffer says its own length, and that `nbytes` come out of it.

    Blosc reads as far as the header says, beyond the end of what it is given.
    """
    if len(buffer) < _HEADER.size:
        return False
    *_, decoded, _, encoded = _HEADER.unpack_from(buffer)
    return bool(decoded == nbytes and encoded == len(buffer))


def first_window(geometry: Geometry) -> int:
    """Return where in a frame the Blosc buffer of its first window begins."""
    return _HEADER.size + _OFFSET.size * geometry.windows_per_frame


def find_windows(frame: memoryview, geometry: Geometry) -> array[int] | None:
    """Return where each window's own Blosc buffer begins in a frame, and where the last one ends.

    None for a frame that wasn't joined from windows. Numbers, not slices: a lake of a million
    windows has all of its frames in memory after an epoch.
    """
    size, count = geometry.window_bytes, geometry.windows_per_frame
    first = first_window(geometry)
    *common, nbytes, blocksize, _ = _HEADER.unpack_from(frame)
    if common[2] & _STORED_UNCOMPRESSED or blocksize != size or nbytes != size * count or len(frame) < first:
        return None
    bounds = array("I", [first])
    for (offset,) in _OFFSET.iter_unpack(frame[_HEADER.size : first]):
        begin = offset - _ONE_BLOCK
        if begin != bounds[-1] or begin + _ONE_BLOCK > len(frame):
            return None
        *own, own_size = _HEADER.unpack_from(frame, begin)
        if own != [*common, size, size] or own_size < _ONE_BLOCK or begin + own_size > len(frame):
            return None
        bounds.append(begin + own_size)
    return bounds
