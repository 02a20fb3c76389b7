"""One task: the windows of a shard, read, encoded and written as one file.

A shard is Zarr's ``sharding_indexed`` chunk: frames one after another, then an index of
(offset, length) pairs of little-endian uint64 and its CRC-32C. A frame is a Blosc buffer
and its CRC-32C. See https://zarr-specs.readthedocs.io, "Sharding codec".

Encoded by hand since one window a Blosc block is worth having and one file, one checksum,
one fsync a task are easier to promise; zarr-python, zarrs and tensorstore read it.
"""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import blosc
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from eegzarr.store.frame import join_windows
from eegzarr.store.layout import Geometry, open_store

NO_FRAME = 2**64 - 1  # offset and length of a frame that was never written: all fill value

_scratch = threading.local()


def reused(name: str, shape: tuple[int, ...], dtype: type) -> npt.NDArray:
    """Return a thread's buffer of that name: fresh ones cost more in page faults than encoding does."""
    buffer: npt.NDArray | None = getattr(_scratch, name, None)
    if buffer is None or buffer.shape != shape:
        buffer = np.empty(shape, dtype)
        setattr(_scratch, name, buffer)
    return buffer


def encode_shard(windows: npt.NDArray, geometry: Geometry) -> memoryview:
    """Encode up to a shard of windows, (window, channel, time), as one shard file.

    The result is valid until the calling thread encodes its next shard.
    """
    index = np.full((geometry.frames_per_shard, 2), NO_FRAME, dtype="<u8")
    # Blosc adds at most 16 bytes to what doesn't compress; a window's own header and lengths are as short.
    largest = geometry.windows_per_shard * (geometry.window_bytes + 256) + index.nbytes + 1024
    encoded = reused("encoded", (largest,), np.uint8).data
    end = 0

    def append(content: bytes) -> None:
        nonlocal end
        encoded[end : end + len(content)] = content
        end += len(content)

    for frame, first in enumerate(range(0, len(windows), geometry.windows_per_frame)):
        body = encode_frame(windows[first : first + geometry.windows_per_frame], geometry)
        index[frame] = end, len(body) + 4
        append(body)
        append(_crc(body))
    tail = index.tobytes()
    append(tail)
    append(_crc(tail))
    return encoded[:end]


def encode_frame(windows: npt.NDArray, geometry: Geometry) -> bytes:
    """Compress one frame, padded with NaN to its full number of windows.

    Each window is compressed by itself, and the frame joined from them; see `eegzarr.store.frame`.
    """
    frame = np.ascontiguousarray(windows, dtype=f"<f{geometry.itemsize}")
    if len(frame) < geometry.windows_per_frame:
        shape = (geometry.windows_per_frame - len(frame), *frame.shape[1:])
        frame = np.concatenate([frame, np.full(shape, np.nan, frame.dtype)])
    with single_threaded_blosc():
        buffers = [_compress(window, geometry) for window in frame]
        joined = join_windows(buffers, frame, geometry)
        return joined if joined is not None else _compress(frame, geometry)


def _compress(samples: npt.NDArray, geometry: Geometry) -> bytes:
    asked = geometry.window_bytes
    return bytes(blosc.compress(samples, geometry.cname.encode(), geometry.clevel, geometry.shuffle_code, asked))


class single_threaded_blosc:
    """Blosc without its own threads, inside the ``with``.

    Its threads write blocks in the order in which they finish: the bytes of a frame would
    differ from run to run.
    """

    def __enter__(self) -> None:
        self._before = blosc.use_threads
        blosc.use_threads = False

    def __exit__(self, *_: object) -> None:
        blosc.use_threads = self._before


def put(lake: str, key: str, content: bytes | memoryview) -> None:
    """Write one object whole or not at all.

    On a local path it is on the disk before this returns: a receipt that is written next
    may not outlive its shard in a power cut.
    """
    if "://" in lake:
        buffer = default_buffer_prototype().buffer.from_bytes(bytes(content))
        sync(open_store(lake).set(key, buffer))
        return
    path = Path(lake) / key
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fdatasync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _crc(content: bytes) -> bytes:
    return struct.pack("<I", google_crc32c.value(content))
