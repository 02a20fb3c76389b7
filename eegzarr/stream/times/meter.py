"""Measures an iteration: the loop that takes batches, and what threads spent meanwhile."""

from __future__ import annotations

import threading
import time

from eegzarr.store.reading.spent import Spent
from eegzarr.stream.times.board import Row, write
from eegzarr.stream.times.times import Times


class Meter:
    """What one process measures of one iteration.

    Parameters
    ----------
    threads : int
        That decode.
    row : array, optional
        Where a DataLoader worker lets others see it.
    """

    def __init__(self, threads: int, row: Row | None = None) -> None:
        self._threads, self._row = threads, row
        self._began = self._mark = time.perf_counter()
        self._opening = self._wait = self._transform = self._consumer = 0.0
        self._windows = self._batches = 0
        self._spent: Spent | None = None
        self._before = (0.0, 0.0, 0.0)
        self._is_given = False
        self._lock = threading.Lock()

    def opened(self, spent: Spent) -> None:
        """Note that reading begins now, and who counts what threads spend."""
        self._spent, self._before = spent, (spent.read, spent.check, spent.decode)
        self._mark = time.perf_counter()
        self._opening = self._mark - self._began

    def waits(self) -> None:
        """Note that what follows is waiting for a batch."""
        self._mark = time.perf_counter()

    def has_batch(self) -> None:
        """Note that a batch has come, and that what follows is its transform."""
        now = time.perf_counter()
        self._wait += now - self._mark
        self._mark = now

    def gives(self, windows: int) -> None:
        """Note that a batch is given now."""
        now = time.perf_counter()
        self._transform += now - self._mark
        self._mark = now
        self._windows += windows
        self._batches += 1
        self._is_given = True
        self._show()

    def resumes(self) -> None:
        """Note that the next batch is asked for."""
        if self._is_given:
            self._is_given = False
            self._consumer += time.perf_counter() - self._mark
            self._show()

    def took(self, since: float, windows: int) -> None:
        """Note windows that were waited for since a time; what was done before is the loop's."""
        with self._lock:  # any thread may ask
            now = time.perf_counter()
            self._wait += now - since
            self._windows += windows
            self._batches += 1
            self._consumer = max(0.0, now - self._began - self._opening - self._wait)
            self._show()

    def measured(self) -> Times:
        """Return what was measured so far."""
        spent = self._spent
        now = self._before if spent is None else (spent.read, spent.check, spent.decode)
        read, check, decode = (after - before for after, before in zip(now, self._before, strict=True))
        return Times(
            began=self._began,
            windows=self._windows,
            batches=self._batches,
            opening=self._opening,
            wait=self._wait,
            transform=self._transform,
            consumer=self._consumer,
            read=read,
            check=check,
            decode=decode,
            threads=self._threads,
        )

    def _show(self) -> None:
        if self._row is not None:
            write(self._row, self.measured())
