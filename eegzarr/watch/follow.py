"""A build's log, read as it grows: each line once, however often somebody looks."""

from __future__ import annotations

import os
import re
from datetime import datetime
from functools import lru_cache
from pathlib import Path

_FIELD = re.compile(r"(\w+)=(\S+)")
_AT_ONCE = 2**20  # bytes
_LONGEST = 60.0  # s between two lines: a build says every 10 s what memory it takes


@lru_cache(maxsize=4)
def follow(path: Path) -> FollowedLog:
    """Return the log of a path, the same one each time."""
    return FollowedLog(path)


class FollowedLog:
    """What a build's log says so far.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    n_read : int
        Bytes that were read of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self.n_read = 0
        self._half = b""
        self._has_begun = False
        self._now = self._elapsed = 0.0
        self._total = self._windows = 0
        self._tree: int | None = None

    def figures(self) -> tuple[float | None, float | None, int | None]:
        """Read what was appended; return windows/s, seconds left and the bytes of the process tree."""
        with self.path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self.n_read:  # another file of that name
                self._forget()
            file.seek(self.n_read)
            while content := file.read(_AT_ONCE):
                self.n_read += len(content)
                *lines, self._half = (self._half + content).split(b"\n")
                for line in lines:
                    self._take(line.decode(errors="replace"))
        if not self._has_begun or not self._windows:
            return None, None, self._tree
        rate = self._windows / max(1e-9, self._elapsed)
        return rate, max(0, self._total - self._windows) / rate, self._tree

    def _take(self, line: str) -> None:
        try:
            now = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()
        except (ValueError, OverflowError, OSError):  # the last two: a year that this system's clock can't have
            return
        # A clock that is set, a machine that sleeps: neither is time that the build took.
        self._elapsed += min(max(0.0, now - self._now), _LONGEST)
        self._now = now
        fields = dict(_FIELD.findall(line))
        if " BuildBegan " in line:
            left = int(fields["windows"]) - int(fields["windows_finished"])
            self._has_begun, self._elapsed, self._total, self._windows = True, 0.0, left, 0
        elif " ShardFinished " in line:
            self._windows += int(fields["windows"])
        elif " MemorySampled " in line:
            self._tree = int(fields["tree"])
