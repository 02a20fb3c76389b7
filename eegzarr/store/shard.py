"""One task: the windows of a shard, read, encoded and written as one file.

A shard is Zarr's ``sharding_indexed`` chunk: frames one after another, then an index of
(offset, length) pairs of little-endian uint64 and its CRC-32C. A frame is a Blosc buffer
and its CRC-32C. See https://zarr-specs.readthedocs.io, "Sharding codec".

Encoded by hand since one window a Blosc block is worth having and one file, one checksum,
one fsync a task are easier to promise; zarr-python, zarrs and tensorstore read it.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import blosc
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from eegzarr.errors import LakeError, RecordingError
from eegzarr.recordings import read_windows
from eegzarr.store.frame import join_windows
from eegzarr.store.layout import EEG, RECEIPTS, SCRATCH, Geometry, open_store
from eegzarr.store.plan import Piece

NO_FRAME = 2**64 - 1  # offset and length of a frame that was never written: all fill value


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """All that a worker needs to write one shard.

    Attributes
    ----------
    crc32c : int, optional
        What the file must come out with, where a shard of a complete group is repaired.
    """

    lake: str
    group: str
    shard: int
    source_root: str
    channels: tuple[str, ...]
    geometry: Geometry
    pieces: tuple[Piece, ...]
    plan_digest: str
    crc32c: int | None = None


@dataclass(frozen=True)
class Moments:
    """Count, mean (uV) and sum of squared deviations (uV^2) of samples, per channel.

    They add up exactly: Chan, Golub & LeVeque (1983), doi:10.1080/00031305.1983.10483115.
    """

    count: int
    mean: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    @classmethod
    def of(cls, windows: npt.NDArray) -> Moments:
        """Moments of windows of shape (window, channel, time)."""
        total = cls(0, np.zeros(windows.shape[1]), np.zeros(windows.shape[1]))
        for first in range(0, len(windows), 32):  # bounds the float64 copy
            samples = windows[first : first + 32].astype(np.float64)
            mean = samples.mean(axis=(0, 2))
            samples -= mean[:, None]
            squares = np.einsum("wct,wct->c", samples, samples)
            total += cls(samples.shape[0] * samples.shape[2], mean, squares)
        return total

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        if not count:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        return Moments(count, mean, self.squares + other.squares + delta**2 * (self.count * other.count / count))


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a finished shard says of itself; written after the shard, and so its proof.

    Attributes
    ----------
    nbytes, crc32c : int
        Size and checksum of the shard's file.
    peak_to_peak : array of float32, shape (window,)
        In uV, NaN where the signal could not be read.
    valid : array of bool, shape (window,)
    moments : tuple of Moments
        Of the valid windows of each piece.
    reasons : dict of int to str
        Recordings that could not be read, by their row in the plan.
    """

    shard: int
    plan_digest: str
    nbytes: int
    crc32c: int
    peak_to_peak: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    moments: tuple[Moments, ...]
    reasons: dict[int, str]

    def to_json(self) -> str:
        """Return the receipt as text; arrays as base64 of their little-endian bytes."""
        return json.dumps(
            {
                "shard": self.shard,
                "plan_digest": self.plan_digest,
                "nbytes": self.nbytes,
                "crc32c": self.crc32c,
                "peak_to_peak": _packed(self.peak_to_peak, "<f4"),
                "valid": _packed(self.valid, "u1"),
                "counts": [m.count for m in self.moments],
                "means": [_packed(m.mean, "<f8") for m in self.moments],
                "squares": [_packed(m.squares, "<f8") for m in self.moments],
                "reasons": {str(row): reason for row, reason in self.reasons.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        """Return the receipt that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        moments = zip(fields["counts"], fields["means"], fields["squares"], strict=True)
        return cls(
            shard=fields["shard"],
            plan_digest=fields["plan_digest"],
            nbytes=fields["nbytes"],
            crc32c=fields["crc32c"],
            peak_to_peak=_unpacked(fields["peak_to_peak"], "<f4"),
            valid=_unpacked(fields["valid"], "u1").astype(bool),
            moments=tuple(Moments(n, _unpacked(m, "<f8"), _unpacked(s, "<f8")) for n, m, s in moments),
            reasons={int(row): reason for row, reason in fields["reasons"].items()},
        )


def write_shard(task: ShardTask) -> Receipt:
    """Read, encode and write one shard, then its receipt.

    A window that can't be read stays NaN and ``valid`` is False; none moves. Called in a
    worker process; doing it twice writes the same bytes twice.
    """
    geometry = task.geometry
    windows = _reused("windows", (geometry.windows_per_shard, geometry.n_channels, geometry.n_times), np.float32)
    row = 0
    moments, valid, reasons = [], [], {}
    for piece in task.pieces:
        part = windows[row : row + len(piece.starts)]
        row += len(piece.starts)
        try:
            read_windows(Path(task.source_root) / piece.path, piece.starts, task.channels, part)
            _check_range(part, geometry.dtype)
        except RecordingError as error:
            reasons[piece.recording] = str(error)
            part[:] = np.nan
        finite = np.isfinite(part).all(axis=(1, 2))
        valid.append(finite)
        moments.append(Moments.of(part[finite]))
    encoded = encode_shard(windows[:row], geometry)
    crc32c = google_crc32c.value(np.frombuffer(encoded, np.uint8))
    if task.crc32c not in (None, crc32c):
        raise LakeError(
            f"shard {task.shard} of {task.lake}/{task.group} comes out otherwise than it was: the signals in "
            f"{task.source_root} have changed. Build the group anew with python -m eegzarr.build --overwrite"
        )
    put(task.lake, f"{task.group}/{EEG}/{geometry.shard_key(task.shard)}", encoded)
    receipt = Receipt(
        shard=task.shard,
        plan_digest=task.plan_digest,
        nbytes=len(encoded),
        crc32c=crc32c,
        peak_to_peak=np.ptp(windows[:row], axis=2).max(axis=1),
        valid=np.concatenate(valid),
        moments=tuple(moments),
        reasons=reasons,
    )
    if task.crc32c is None:
        receipts = zarr.open_array(open_store(task.lake), path=f"{task.group}/{SCRATCH}/{RECEIPTS}", mode="r+")
        receipts[task.shard] = receipt.to_json()
    return receipt


_scratch = threading.local()


def _reused(name: str, shape: tuple[int, ...], dtype: type) -> npt.NDArray:
    """Return a thread's buffer of that name: fresh ones cost more in page faults than encoding does."""
    buffer: npt.NDArray | None = getattr(_scratch, name, None)
    if buffer is None or buffer.shape != shape:
        buffer = np.empty(shape, dtype)
        setattr(_scratch, name, buffer)
    return buffer


def _check_range(windows: npt.NDArray[np.float32], dtype: str) -> None:
    largest = np.abs(windows).max(initial=0, where=np.isfinite(windows))
    if largest > np.finfo(dtype).max:
        raise RecordingError(f"reaches {largest:.3g} uV, more than {dtype} holds")


def encode_shard(windows: npt.NDArray, geometry: Geometry) -> memoryview:
    """Encode up to a shard of windows, (window, channel, time), as one shard file.

    The result is valid until the calling thread encodes its next shard.
    """
    index = np.full((geometry.frames_per_shard, 2), NO_FRAME, dtype="<u8")
    # Blosc adds at most 16 bytes to what doesn't compress; a window's own header and lengths are as short.
    largest = geometry.windows_per_shard * (geometry.window_bytes + 256) + index.nbytes + 1024
    encoded = _reused("encoded", (largest,), np.uint8).data
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


def _packed(values: npt.NDArray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def _unpacked(text: str, dtype: str) -> npt.NDArray:
    return np.frombuffer(base64.b64decode(text), dtype=dtype)
