"""Files in memory: mapped, without a file descriptor that stays open.

Python's own `mmap` keeps a descriptor for each file (until 3.13 there is no way around it), and a process may
have 1,024 of them: fewer than the shards of a large lake.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from eegzarr.machine.system import can_be_mapped, mapped, wish_for
from eegzarr.store.layout import EEG, METADATA

# The kernel takes as much of a wish as the disk takes of a request, and lets the rest go.
_WISHED_AT_ONCE = 512 * 2**10


def requested_from(lake: str, group: str) -> str:
    """Return the URL that a group's shards are requested from, "" where they are mapped.

    A disk that can't map files is read as a bucket is: by ranges, in bounded memory.
    """
    if "://" in lake:
        return lake
    return "" if can_be_mapped(Path(lake) / group / EEG / METADATA) else f"file://{lake}"


class MappedFile:
    """A file's bytes, read where the page cache has them.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    content : array of uint8, shape (byte,)
        Read only; the mapping lasts as long as any view of it.
    address : int
        Where it is in memory.

    Raises
    ------
    OSError
        If it can't be opened or mapped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            stat = os.fstat(descriptor)
            if not stat.st_size:
                raise OSError("it is empty")
            self.content = mapped(descriptor, stat.st_size)
        finally:
            os.close(descriptor)
        self.address = self.content.ctypes.data
        self._opened_as = _identity(stat)

    def is_changed(self) -> bool:
        """Whether the file was written to in place. One that was replaced or removed stays mapped as it was."""
        try:
            stat = os.stat(self.path)
        except OSError:
            return False
        now = _identity(stat)
        return now[:2] == self._opened_as[:2] and now != self._opened_as

    def wish(self, offset: int, length: int) -> None:
        """Have the system begin to read a range, and nothing around it.

        A page that is touched before it was wished for brings what lies around it, up to the disk's
        ``read_ahead_kb`` in either direction: megabytes for a window of 90 kB.
        """
        end = min(offset + length, len(self.content))
        for start in range(offset - offset % mmap.PAGESIZE, end, _WISHED_AT_ONCE):
            wish_for(self.address + start, min(_WISHED_AT_ONCE, end - start))


def _identity(stat: os.stat_result) -> tuple[int, int, int, int]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
