"""Single windows out of shards: found, checked once, decoded straight into place.

A frame's Blosc blocks are one window each (see `eegzarr.store.frame`), so a window is
decoded by handing Blosc a buffer of that one block. Measured on two threads: within 10 % of
frames of one window, at 32 windows a frame.
"""

from __future__ import annotations

import mmap
import struct
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from eegzarr.errors import LakeError
from eegzarr.store.frame import ONE_BLOCK_HEADER, STORED_UNCOMPRESSED, find_blocks, write_one_block_header
from eegzarr.store.lake import stored_geometry
from eegzarr.store.layout import EEG, Geometry
from eegzarr.store.remote import FrameCache, RangeFetcher
from eegzarr.store.shard import NO_FRAME

_CRC_BYTES = 4


@dataclass(frozen=True)
class Frame:
    """A frame whose checksum was right: its bytes, and where each window's block lies in them.

    `blocks` is None where Blosc chose blocks that are no windows.
    """

    content: npt.NDArray[np.uint8]
    header: bytes
    uncompressed: bool
    blocks: list[tuple[int, int]] | None


class WindowReader(ABC):
    """Reads windows of one group; one a process, any number of threads.

    Parameters
    ----------
    lake, group : str
        Where the group is.

    Raises
    ------
    LakeError
        Here or while reading, if the array or a shard is missing, or a frame or an index
        doesn't match its checksum.
    """

    def __init__(self, lake: str, group: str) -> None:
        geometry = stored_geometry(lake, group)
        if geometry is None:
            raise LakeError(f"{lake}/{group} has no array of signals")
        self.geometry = geometry
        self._scratch = threading.local()

    @abstractmethod
    def frame(self, number: int) -> Frame:
        """Return a frame of the group, checked."""

    def read_into(self, window: int, row: npt.NDArray) -> None:
        """Decode a window into `row`, a contiguous (channel, time) array of the stored dtype."""
        number, slot = divmod(window, self.geometry.windows_per_frame)
        frame = self.frame(number)
        size = self.geometry.window_bytes
        if frame.blocks is None:
            row[:] = self._whole_frame(frame)[slot]
            return
        start, stop = frame.blocks[slot]
        if frame.uncompressed:
            row.view(np.uint8).reshape(-1)[:] = frame.content[start:stop]
            return
        length = stop - start
        one = self._one_block_buffer(length)
        write_one_block_header(one, frame.header, size, length)
        one[ONE_BLOCK_HEADER : ONE_BLOCK_HEADER + length] = frame.content[start:stop].data
        blosc.decompress(one[: ONE_BLOCK_HEADER + length], row)

    def _one_block_buffer(self, length: int) -> memoryview:
        buffer: memoryview | None = getattr(self._scratch, "buffer", None)
        if buffer is None or len(buffer) < ONE_BLOCK_HEADER + length:
            # A reused buffer stays in the processor's cache; a fresh one costs page faults.
            buffer = memoryview(bytearray(max(length, self.geometry.window_bytes) + 1024))
            self._scratch.buffer = buffer
        return buffer

    def _whole_frame(self, frame: Frame) -> npt.NDArray:
        geometry = self.geometry
        windows = getattr(self._scratch, "frame", None)
        if windows is None:
            shape = (geometry.windows_per_frame, geometry.n_channels, geometry.n_times)
            windows = self._scratch.frame = np.empty(shape, dtype=geometry.dtype)
        blosc.decompress(frame.content.data, windows)
        return windows


class LocalReader(WindowReader):
    """Reads from a local path: shards are mapped, and what is decoded is the page cache's memory."""

    def __init__(self, lake: str, group: str) -> None:
        super().__init__(lake, group)
        self._folder = Path(lake) / group / EEG
        self._shards: dict[int, tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]] = {}
        self._frames: dict[int, Frame] = {}
        self._lock = threading.Lock()

    def frame(self, number: int) -> Frame:
        """Return a frame; its checksum is compared the first time."""
        # A frame once found stays found: a dict read needs no lock, and a rare double find no harm.
        found = self._frames.get(number)
        if found is None:
            shard, in_shard = divmod(number, self.geometry.frames_per_shard)
            content, index = self._shards.get(shard) or self._map_shard(shard)
            name = f"{self._folder / self.geometry.shard_key(shard)}, frame {in_shard}"
            offset, length = frame_range(index, in_shard, name)
            found = self._frames[number] = checked_frame(content[offset : offset + length], length, self.geometry, name)
        return found

    def _map_shard(self, shard: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
        path = self._folder / self.geometry.shard_key(shard)
        with self._lock:
            if shard in self._shards:
                return self._shards[shard]
            try:
                # mmap, not read(): page faults on fresh buffers cost five times as much.
                with path.open("rb") as file:
                    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except FileNotFoundError as error:
                raise LakeError(f"{path} is missing: python -m eegzarr.verify finds what else is") from error
            except (OSError, ValueError) as error:
                raise LakeError(f"{path} can't be read: {error}") from error
            content = np.frombuffer(mapped, np.uint8)
            tail = content[-index_bytes(self.geometry) :].tobytes()
            self._shards[shard] = content, read_index(tail, self.geometry, str(path))
            return self._shards[shard]


class RemoteReader(WindowReader):
    """Reads from a bucket: whole frames, fetched ahead where asked to, in a shared cache.

    Parameters
    ----------
    cache : FrameCache
        Of frames of all the groups that are read together.
    number : int
        Of this group among them.
    concurrency : int
        Requests under way at a time.
    """

    def __init__(self, lake: str, group: str, cache: FrameCache, number: int, concurrency: int) -> None:
        super().__init__(lake, group)
        self._prefix = f"{group}/{EEG}"
        self._url = f"{lake}/{group}/{EEG}"
        self._cache = cache
        self._number = number
        self._fetcher = RangeFetcher(lake, concurrency)
        self._indexes: dict[int, Future[npt.NDArray[np.uint64]]] = {}
        self._lock = threading.Lock()

    @property
    def frame_nbytes(self) -> int:
        """Bytes of a frame before compression, which it takes at most, more or less."""
        return self.geometry.windows_per_frame * self.geometry.window_bytes

    def prefetch(self, number: int) -> bool:
        """Begin to fetch a frame, if it isn't there and the cache has room; tell whether it is begun."""
        if self._cache.get((self._number, number)) is not None:
            return True
        if not self._cache.has_room(self.frame_nbytes):
            return False
        self._begin(number)
        return True

    def forget(self, number: int) -> None:
        """Let a frame go."""
        self._cache.drop((self._number, number))

    def frame(self, number: int) -> Frame:
        """Return a frame; wait for it if it is being fetched."""
        return (self._cache.get((self._number, number)) or self._begin(number)).result()

    def close(self) -> None:
        """End the requests."""
        self._fetcher.close()

    def _begin(self, number: int) -> Future[Frame]:
        return self._cache.hold(
            (self._number, number), self.frame_nbytes, lambda: self._fetcher.submit(self._fetch_frame, number)
        )

    def _fetch_frame(self, number: int) -> Frame:
        shard, in_shard = divmod(number, self.geometry.frames_per_shard)
        key = f"{self._prefix}/{self.geometry.shard_key(shard)}"
        name = f"{self._url}/{self.geometry.shard_key(shard)}, frame {in_shard}"
        offset, length = frame_range(self._index(shard, key), in_shard, name)
        return checked_frame(self._fetcher.fetch(key, offset, offset + length), length, self.geometry, name)

    def _index(self, shard: int, key: str) -> npt.NDArray[np.uint64]:
        """Return a shard's index; the first to ask fetches it, others wait."""
        with self._lock:
            mine = shard not in self._indexes
            future: Future[npt.NDArray[np.uint64]] = self._indexes.setdefault(shard, Future())
        if mine:
            try:
                tail = self._fetcher.fetch(key, -index_bytes(self.geometry), None).tobytes()
                future.set_result(read_index(tail, self.geometry, f"{self._url}/{self.geometry.shard_key(shard)}"))
            except LakeError as error:
                future.set_exception(error)
        return future.result()


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
    if google_crc32c.value(tail[:size]) != struct.unpack("<I", tail[size:])[0]:
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
    return offset, length


def checked_frame(stored: npt.NDArray[np.uint8], length: int, geometry: Geometry, name: str) -> Frame:
    """Hold a frame against its checksum, and find the windows in it.

    Raises
    ------
    LakeError
        If it isn't what was written.
    """
    body, crc = stored[:-_CRC_BYTES], stored[-_CRC_BYTES:].tobytes()
    if len(stored) != length or google_crc32c.value(body) != struct.unpack("<I", crc)[0]:
        raise LakeError(f"{name}, is damaged (its checksum differs): python -m eegzarr.verify finds what else is")
    return Frame(body, body[:4].tobytes(), bool(body[2] & STORED_UNCOMPRESSED), find_blocks(body, geometry))
