"""Windows of a lake on a local path: mapped, checked once, decoded where the page cache has them.

Where the lake has checksums of single windows, only what is wanted is touched; else a window is checked with its frame.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eegzarr.errors import LakeError
from eegzarr.store.group import StoredWindows, stored_digest
from eegzarr.store.layout import EEG, METADATA
from eegzarr.store.reading.checked import Frame, checked_frame, frame_range, index_bytes, read_index
from eegzarr.store.reading.mapped import MappedFile
from eegzarr.store.reading.read import WindowReader
from eegzarr.store.reading.singles import SingleWindows, is_own


@dataclass(frozen=True)
class MappedShard:
    """A shard's file in memory, and the offset and length of each frame in it."""

    file: MappedFile
    index: npt.NDArray[np.uint64]


class LocalReader(WindowReader):
    """Reads from a local path: shards are mapped, and what is decoded is the page cache's memory.

    Parameters
    ----------
    beyond_memory : bool
        Whether the page cache can't hold all that is read. Then windows are wished for each time before they are
        decoded; else once, before they are checked.

    Attributes
    ----------
    nbytes_checked : int
        Bytes of windows and frames that were compared with their checksums.
    """

    def __init__(
        self,
        lake: str,
        group: str,
        digest: str | None = None,
        stored: StoredWindows | None = None,
        *,
        beyond_memory: bool = False,
    ) -> None:
        super().__init__(lake, group, digest, stored)
        self._folder = Path(lake) / group / EEG
        self._metadata = Path(lake) / group / METADATA
        self.beyond_memory = beyond_memory
        self.nbytes_checked = 0
        self._singles = SingleWindows.read(lake, group, self.geometry, self.n_windows)
        self._shards: dict[int, MappedShard] = {}
        self._frames: dict[int, Frame] = {}
        self._addresses = np.zeros(self.n_windows, np.int64)  # in memory, of what was checked
        self._offsets = np.zeros(self.n_windows, np.int64)  # in shards, of what is known so far
        self._lengths = self._singles.nbytes.copy()
        self._wished = np.zeros(self.n_windows, bool)
        self._lock = threading.Lock()

    def addresses(self, windows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], object]:
        """Return where each window's own Blosc buffer is mapped, 0 where it has none."""
        # From a table: looking up frame after frame took a tenth of the time of a stream of float16.
        addresses = self._addresses[windows]
        if not addresses.all():
            self._find(np.unique(windows[addresses == 0]))
            addresses = self._addresses[windows]
        return addresses, self._frames

    def buffer(self, window: int) -> memoryview | None:
        """Return a window's own Blosc buffer, checked the first time; None where it has none."""
        if not self._addresses[window]:
            self._find(np.array([window]))
        if not self._addresses[window]:
            return super().buffer(window)
        ((shard, first, length),) = self._places(np.array([window]))
        return shard.file.content[first : first + length].data

    def wish(self, windows: npt.NDArray[np.int64]) -> None:
        """Have the system begin to read windows; those that are found by a frame that wasn't checked come with it."""
        held = self._held(windows)
        windows = windows[self._lengths[windows] > 0]
        shard, first = windows // self.geometry.windows_per_shard, self._offsets[windows]
        end = first + self._lengths[windows]
        # Windows that follow each other in a file are asked for at one go.
        begins = np.append(True, (shard[1:] != shard[:-1]) | (first[1:] != end[:-1]))[: len(windows)]
        ends = np.append(begins[1:], True)[: len(windows)]
        for number, a, b in zip(shard[begins].tolist(), first[begins].tolist(), end[ends].tolist(), strict=True):
            held[number].file.wish(a, b - a)
        self._wished[windows] = True

    def expect(self, windows: npt.NDArray[np.int64]) -> int:
        """Wish for windows that will be read soon, where that wasn't done before; return how many these are."""
        if not self.beyond_memory:
            windows = windows[~self._wished[windows] & (self._addresses[windows] == 0)]
        self.wish(windows)
        return len(windows)

    def _held(self, windows: npt.NDArray[np.int64]) -> dict[int, MappedShard]:
        """Return the shards of windows, mapped, by their numbers."""
        numbers = np.unique(windows // self.geometry.windows_per_shard).tolist()
        return {number: self._shards.get(number) or self._map_shard(number) for number in numbers}

    def _places(self, windows: npt.NDArray[np.int64]) -> list[tuple[MappedShard, int, int]]:
        """Return the shard of each window, and offset and length of its own buffer there; length 0 where unknown."""
        held, shards = self._held(windows), (windows // self.geometry.windows_per_shard).tolist()
        places = zip(shards, self._offsets[windows].tolist(), self._lengths[windows].tolist(), strict=True)
        return [(held[shard], first, length) for shard, first, length in places]

    def _find(self, windows: npt.NDArray[np.int64]) -> None:
        """Check windows, each by itself where that can be, else with its frame, and note where they are."""
        single = windows[self._singles.nbytes[windows] > 0]
        if len(single) < len(windows):
            self._find_in_frames(np.setdiff1d(windows, single))
        places = self._places(single)
        for number in np.unique(single // self.geometry.windows_per_shard).tolist():
            _refuse_if_changed(self._shards[number])  # touching what a truncated file no longer has ends the process
        if not self.beyond_memory:
            self.wish(single[~self._wished[single]])  # all before the first is waited for
        otherwise = []
        with self.spent.checking_mapped():
            expected, decoded = self._singles.crc32c[single].tolist(), self.geometry.window_bytes
            for window, checksum, (shard, first, length) in zip(single.tolist(), expected, places, strict=True):
                content = shard.file.content[first : first + length]
                if is_own(content, length, checksum, decoded):
                    self._addresses[window] = shard.file.address + first
                else:
                    otherwise.append(window)
        with self._lock:
            self.nbytes_checked += int(self._singles.nbytes[single].sum())
        if otherwise:  # damaged, or written again by another program: the frame has a checksum of its own
            self._find_in_frames(np.array(otherwise))

    def _find_in_frames(self, windows: npt.NDArray[np.int64]) -> None:
        per_frame = self.geometry.windows_per_frame
        for number in np.unique(windows // per_frame).tolist():
            frame = self.frame(number)
            if frame.bounds is None:
                continue
            own, bounds = slice(number * per_frame, (number + 1) * per_frame), np.array(frame.bounds, np.int64)
            count = len(self._addresses[own])
            held = self._shards[number // self.geometry.frames_per_shard]
            self._offsets[own] = frame.address - held.file.address + bounds[:count]
            self._lengths[own] = np.diff(bounds)[:count]
            self._addresses[own] = frame.address + bounds[:count]

    def frame(self, number: int) -> Frame:
        """Return a frame; its checksum is compared the first time."""
        # A frame once found stays found: a dict read needs no lock, and a rare double find no harm.
        found = self._frames.get(number)
        if found is None:
            shard, in_shard = divmod(number, self.geometry.frames_per_shard)
            held = self._shards.get(shard) or self._map_shard(shard)
            name = self._frame_name(number)
            offset, length = frame_range(held.index, in_shard, name)
            stored = held.file.content[offset : offset + length]
            _refuse_if_changed(held)  # touching what a truncated file no longer has would end the process
            with self.spent.checking_mapped():
                held.file.wish(offset, length)
                found = self._frames[number] = checked_frame(stored, length, self.geometry, name)
            with self._lock:
                self.nbytes_checked += length
        return found

    def _frame_name(self, number: int) -> str:
        shard, in_shard = divmod(number, self.geometry.frames_per_shard)
        return f"{self._folder / self.geometry.shard_key(shard)}, frame {in_shard}"

    def _map_shard(self, shard: int) -> MappedShard:
        path = self._folder / self.geometry.shard_key(shard)
        with self._lock:
            if shard in self._shards:
                return self._shards[shard]
            try:
                # mmap, not read(): page faults on fresh buffers cost five times as much.
                file = MappedFile(path)
            except FileNotFoundError as error:
                self.check_group()  # it may have gone because the group is being rebuilt
                raise LakeError(f"{path} is missing: python -m eegzarr.verify finds what else is") from error
            except OSError as error:
                raise LakeError(f"{path} can't be read: {error}") from error
            # After it was opened: a shard of the next build appears after the next build's metadata.
            self.check_group()
            file.wish(max(0, len(file.content) - index_bytes(self.geometry)), index_bytes(self.geometry))
            tail = file.content[-index_bytes(self.geometry) :].tobytes()
            index = read_index(tail, self.geometry, str(path))
            own = slice(shard * self.geometry.windows_per_shard, (shard + 1) * self.geometry.windows_per_shard)
            frames = index[:, 0].astype(np.int64).repeat(self.geometry.windows_per_frame)
            self._offsets[own] = frames[: len(self._offsets[own])] + self._singles.starts[own]
            self._shards[shard] = MappedShard(file, index)
            return self._shards[shard]

    def check_files(self) -> None:
        """Refuse to go on if a shard was written to since it was mapped."""
        for held in list(self._shards.values()):
            _refuse_if_changed(held)

    def check_files_of(self, windows: npt.NDArray[np.int64]) -> None:
        """Refuse to go on if a shard of some windows was written to since it was mapped."""
        for number in np.unique(windows // self.geometry.windows_per_shard).tolist():
            if number in self._shards:
                _refuse_if_changed(self._shards[number])

    def _stored_digest(self) -> str | None:
        if not self._metadata.exists():
            raise LakeError(f"{self.name} isn't there any more: was the lake moved, or its disk taken away?")
        return stored_digest(self._metadata.read_bytes())


def _refuse_if_changed(shard: MappedShard) -> None:
    if shard.file.is_changed():
        raise LakeError(f"{shard.file.path} was written to while it was read: open the lake again")
