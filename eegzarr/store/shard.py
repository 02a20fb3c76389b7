"""One task: the windows of a shard, read, encoded and written as one file.

A shard is Zarr's ``sharding_indexed`` chunk: frames one after another, then an index of
(offset, length) pairs of little-endian uint64 and its CRC-32C. A frame is a Blosc buffer
and its CRC-32C. See https://zarr-specs.readthedocs.io, "Sharding codec".

Encoded by hand, because one window per Blosc block is worth having, and one file, one checksum
and one fsync per task are easier to promise; zarr-python, zarrs and tensorstore read it.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from eegzarr.machine.system import begin_flush, flush_file
from eegzarr.store.crc import crc32c
from eegzarr.store.frame import join_windows
from eegzarr.store.integers import to_integers
from eegzarr.store.layout import Geometry, open_store
from eegzarr.store.private import set_bytes
from eegzarr.store.reading.singles import window_checks
from eegzarr.store.receipt import WindowChecks

NO_FRAME = 2**64 - 1  # offset and length of a frame that was never written: all fill value

_scratch = threading.local()


def reused(name: str, shape: tuple[int, ...], dtype: type) -> npt.NDArray:
    """Return a thread's buffer of that name: fresh ones cost more in page faults than encoding does."""
    buffer: npt.NDArray | None = getattr(_scratch, name, None)
    if buffer is None or buffer.shape != shape:
        buffer = np.empty(shape, dtype)
        setattr(_scratch, name, buffer)
    return buffer


class ShardEncoder:
    """Makes a shard of windows as they come, and passes it on frame by frame.

    What it holds is one frame; a shard of any size is written in the memory of one recording.

    Parameters
    ----------
    geometry : Geometry
    write : callable
        Given the shard's bytes, part after part.

    Attributes
    ----------
    nbytes, crc32c : int
        Of what was passed on so far.
    content : int
        Of a shard that is closed: a number that no other shard has; see `content_number`.
    checks : list of WindowChecks
        Of the windows of each frame.
    """

    def __init__(self, geometry: Geometry, write: Callable[[bytes], object]) -> None:
        self.nbytes = self.crc32c = self.content = 0
        self.checks: list[WindowChecks] = []
        self._checksums = b""
        self._geometry, self._write = geometry, write
        shape = (geometry.windows_per_frame, geometry.n_channels, geometry.n_times)
        self._frame = np.empty(shape, geometry.sample_type)
        self._waiting = 0  # windows of the frame that isn't full yet
        self._index = np.full((geometry.frames_per_shard, 2), NO_FRAME, dtype="<u8")
        self._frames = 0

    def add(self, windows: npt.NDArray) -> None:
        """Encode windows, (window, channel, time), in uV or as they are stored, behind those before."""
        windows = stored_samples(windows, self._geometry)
        while len(windows):
            part = windows[: len(self._frame) - self._waiting]
            self._frame[self._waiting : self._waiting + len(part)] = part
            self._waiting += len(part)
            windows = windows[len(part) :]
            if self._waiting == len(self._frame):
                self._end_frame()

    def close(self) -> None:
        """Encode what waits, and the index behind it."""
        if self._waiting:
            self._end_frame()
        index = self._index.tobytes()
        self._append(index + _crc(index))
        self.content = content_number(index, self._checksums)

    def _end_frame(self) -> None:
        body = encode_frame(self._frame[: self._waiting], self._geometry)
        self._index[self._frames] = self.nbytes, len(body) + 4
        checksum = _crc(body)
        self._checksums += checksum
        self.checks.append(window_checks(body, self._geometry, self._waiting))
        self._append(body)
        self._append(checksum)
        self._frames, self._waiting = self._frames + 1, 0

    def _append(self, content: bytes) -> None:
        self._write(content)
        self.nbytes += len(content)
        self.crc32c = crc32c(content, self.crc32c)


def content_number(index: bytes, checksums: bytes) -> int:
    """Return a number that identifies a shard's content, from its index and its frames' checksums.

    The checksum of the whole file does not: what ends with its own CRC has the same CRC whatever it holds, so that
    all whole shards of a group have one CRC-32C. It shows damage, not which shard it is.
    """
    return int.from_bytes(hashlib.sha256(index + checksums).digest()[:8], "little")


def encode_shard(windows: npt.NDArray, geometry: Geometry) -> bytes:
    """Encode up to a shard of windows, (window, channel, time), as one shard file."""
    encoded = io.BytesIO()
    encoder = ShardEncoder(geometry, encoded.write)
    encoder.add(windows)
    encoder.close()
    return encoded.getvalue()


def encode_frame(windows: npt.NDArray, geometry: Geometry) -> bytes:
    """Compress one frame of windows in uV or as they are stored, padded with NaN to its full number of windows.

    Each window is compressed by itself, and the frame joined from them; see `eegzarr.store.frame`.
    """
    frame = np.ascontiguousarray(stored_samples(windows, geometry), dtype=geometry.sample_type)
    if len(frame) < geometry.windows_per_frame:
        shape = (geometry.windows_per_frame - len(frame), *frame.shape[1:])
        frame = np.concatenate([frame, np.full(shape, geometry.fill_value, frame.dtype)])
    with single_threaded_blosc():
        buffers = [_compress(window, geometry) for window in frame]
        joined = join_windows(buffers, frame, geometry)
        return joined if joined is not None else _compress(frame, geometry)


def stored_samples(windows: npt.NDArray, geometry: Geometry) -> npt.NDArray:
    """Return samples in uV as integers where these are stored; what are integers already stay as they are."""
    return to_integers(windows, geometry.step) if geometry.step and windows.dtype.kind == "f" else windows


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


@contextmanager
def writing(lake: str, key: str) -> Iterator[Callable[[bytes | memoryview], object]]:
    """Write one object part by part, whole or, where the ``with`` ends with an error, not at all.

    On a local path it is on the disk when this ends: a receipt that is written next may not
    outlive its shard in a power cut.
    """
    if "://" in lake:
        content = io.BytesIO()
        yield content.write
        set_bytes(open_store(lake), key, content.getvalue())
        return
    path = Path(lake) / key
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with part.open("wb") as file:

            def write(content: bytes | memoryview) -> None:
                file.write(content)
                file.flush()
                begin_flush(file.fileno())

            yield write
            flush_file(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def put(lake: str, key: str, content: bytes | memoryview) -> None:
    """Write one object whole or not at all; see `writing`."""
    with writing(lake, key) as write:
        write(content)


def _crc(content: bytes) -> bytes:
    return struct.pack("<I", crc32c(content))
