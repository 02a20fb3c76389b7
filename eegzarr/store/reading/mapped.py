"""Files in memory: mapped, without a file descriptor that stays open.

Python's own `mmap` keeps a descriptor for each file (until 3.13 there is no way around it), and a process may
have 1,024 of them: fewer than the shards of a large lake.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

# The kernel takes as much of a wish as the disk takes of a request, and lets the rest go.
_WISHED_AT_ONCE = 512 * 2**10

_FAILED = ctypes.c_void_p(-1).value


def _posix_library() -> ctypes.CDLL | None:
    """Return the C library with the functions that map files, None on Windows."""
    if sys.platform == "win32":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    library.mmap.restype = pointer
    library.mmap.argtypes = (pointer, size, number, number, number, ctypes.c_int64)
    library.munmap.argtypes = (pointer, size)
    library.madvise.argtypes = (pointer, size, number)
    return library


_library = _posix_library()


def _mapped(descriptor: int, size: int) -> npt.NDArray[np.uint8]:
    """Return a file's bytes, mapped for as long as any view of them lives."""
    if _library is None:
        return np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), np.uint8)
    address = _library.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address is None or address == _FAILED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    memory = (ctypes.c_uint8 * size).from_address(address)
    # Not at the process's end: a thread may still be reading.
    weakref.finalize(memory, _library.munmap, address, size).atexit = False
    content: npt.NDArray[np.uint8] = np.frombuffer(memoryview(memory).cast("B"), np.uint8)
    content.flags.writeable = False
    return content


class MappedFile:
    """A file's bytes, read where the page cache has them.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    content : array of uint8, shape (byte,)
        Read only; the mapping lasts as long as any view of it.

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
            self.content = _mapped(descriptor, stat.st_size)
        finally:
            os.close(descriptor)
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
        if _library is None:
            return
        end, address = min(offset + length, len(self.content)), self.content.ctypes.data
        for start in range(offset - offset % mmap.PAGESIZE, end, _WISHED_AT_ONCE):
            # Where a file system or a limit declines, pages come when they are touched.
            _library.madvise(address + start, min(_WISHED_AT_ONCE, end - start), mmap.MADV_WILLNEED)


def _identity(stat: os.stat_result) -> tuple[int, int, int, int]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
