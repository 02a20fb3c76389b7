"""Blosc buffers with one window a block: put together when written, taken apart when read.

A Blosc 1 buffer is a header, the offset of each block, and the blocks; see
https://github.com/Blosc/c-blosc, README_CHUNK_FORMAT. A buffer of many windows is what
array readers are fast with; a block of one window is what random access is fast with.
Any Blosc decoder reads such a buffer as it reads its own.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from eegzarr.store.layout import Geometry

HEADER = struct.Struct("<BBBBIII")  # version, codec version, flags, type size, nbytes, blocksize, cbytes
STORED_UNCOMPRESSED = 0x02
_NEVER_SPLIT = 0x10
_LARGEST_SPLIT_TYPE = 16
_SMALLEST_SPLIT = 128
_SIZES = struct.Struct("<III")
_OFFSET = struct.Struct("<I")
ONE_BLOCK_HEADER = HEADER.size + _OFFSET.size


def join_blocks(buffers: list[bytes], windows: npt.NDArray, geometry: Geometry) -> bytes | None:
    """Join Blosc buffers of one window each into one buffer.

    Parameters
    ----------
    buffers : list of bytes
        Each window, compressed by itself.
    windows : array, shape (window, channel, time)
        What they were compressed from.

    Returns
    -------
    bytes or None
        None where they can't be joined: Blosc chose several blocks for a window, or stored
        one uncompressed in a way that only a buffer of its own can say.
    """
    headers = [HEADER.unpack_from(buffer) for buffer in buffers]
    compressed = [header for header in headers if not header[2] & STORED_UNCOMPRESSED]
    if not compressed or any(blocksize != nbytes for *_, nbytes, blocksize, _ in compressed):
        return None
    version, codec_version, flags, itemsize, nbytes, _, _ = compressed[0]
    blocks = []
    for buffer, header, window in zip(buffers, headers, windows, strict=True):
        if header[2] & STORED_UNCOMPRESSED:
            if geometry.shuffle_code == blosc.BITSHUFFLE:
                return None
            blocks.append(_stored_block(window, flags, geometry))
        elif header[2] != flags:
            return None
        else:
            blocks.append(buffer[ONE_BLOCK_HEADER:])
    sizes = [len(block) for block in blocks]
    first = HEADER.size + _OFFSET.size * len(blocks)
    offsets = np.cumsum([first, *sizes[:-1]]).astype("<u4")
    header_bytes = HEADER.pack(
        version, codec_version, flags, itemsize, nbytes * len(blocks), nbytes, first + sum(sizes)
    )
    return b"".join([header_bytes, offsets.tobytes(), *blocks])


def _stored_block(window: npt.NDArray, flags: int, geometry: Geometry) -> bytes:
    """Return the block of a window that doesn't compress: its parts as they are, each with its length."""
    samples = np.frombuffer(window.tobytes(), np.uint8)
    if geometry.shuffle_code == blosc.SHUFFLE:
        samples = samples.reshape(-1, geometry.itemsize).T.reshape(-1)
    splits = (
        not flags & _NEVER_SPLIT
        and geometry.itemsize <= _LARGEST_SPLIT_TYPE
        and samples.size // geometry.itemsize >= _SMALLEST_SPLIT
    )
    parts = np.split(samples, geometry.itemsize) if splits else [samples]
    return b"".join(struct.pack("<i", part.size) + part.tobytes() for part in parts)


def find_blocks(frame: npt.NDArray[np.uint8], geometry: Geometry) -> list[tuple[int, int]] | None:
    """Return begin and end of each window's block in a frame, or None if blocks aren't windows."""
    size, count = geometry.window_bytes, geometry.windows_per_frame
    _, _, flags, _, nbytes, blocksize, cbytes = HEADER.unpack(frame[: HEADER.size].tobytes())
    if flags & STORED_UNCOMPRESSED:
        begins = HEADER.size + size * np.arange(count)
        return list(zip(begins.tolist(), (begins + size).tolist(), strict=True))
    if blocksize != size or nbytes != size * count:
        return None
    begins = np.frombuffer(frame[HEADER.size : HEADER.size + _OFFSET.size * count].tobytes(), "<i4")
    # Blosc's threads may have written blocks out of order: a block ends where the next in the file begins.
    order = np.argsort(begins)
    ends = np.empty_like(begins)
    ends[order] = np.append(begins[order][1:], cbytes)
    return list(zip(begins.tolist(), ends.tolist(), strict=True))


def write_one_block_header(buffer: memoryview, frame_header: bytes, window_bytes: int, block_bytes: int) -> None:
    """Write, at the front of `buffer`, the header of a Blosc buffer of one block that follows it."""
    buffer[:4] = frame_header[:4]
    _SIZES.pack_into(buffer, 4, window_bytes, window_bytes, ONE_BLOCK_HEADER + block_bytes)
    _OFFSET.pack_into(buffer, HEADER.size, ONE_BLOCK_HEADER)
