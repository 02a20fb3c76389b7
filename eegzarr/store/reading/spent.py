"""Where the time of reading goes: seconds of threads, by what they did."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from eegzarr.machine.system import thread_usage

# s of decoding after which a thread asks whether a disk was read meanwhile: the question takes 1 us, as long as
# all else of this, and a job of 8 windows 50 to 170.
_LOOKED_AFTER = 0.002


class _Own(threading.local):
    """What a thread knows of its own.

    Attributes
    ----------
    disk, computed : int, float
        `thread_usage` when it was asked last.
    decoded : float
        s of decoding since then.
    otherwise, computed_otherwise : float
        s of the job under way that are counted otherwise, and processor time of these.
    looks : bool
        Whether it asks before and after each job: as long as these read a disk.
    """

    disk: int | None = None
    computed = decoded = otherwise = computed_otherwise = 0.0
    looks = True


class Spent:
    """Seconds that threads spent on each part of reading, added up; for any number of threads.

    Threads add once a frame and once a job of many windows, so that it costs nothing that could be measured.

    Attributes
    ----------
    read : float
        Waiting for a disk, or for answers of a bucket. For mapped files it is separated from `check` where the system
        says whether a thread has caused reads.
    check : float
        Comparing checksums.
    decode : float
        Decompressing, cropping, converting, normalising.
    """

    def __init__(self) -> None:
        self.read = self.check = self.decode = 0.0
        self._lock = threading.Lock()
        self._own = _Own()

    def add(self, *, read: float = 0.0, check: float = 0.0, decode: float = 0.0) -> None:
        """Add seconds."""
        with self._lock:
            self.read += read
            self.check += check
            self.decode += decode

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count what is done inside the ``with`` as reading."""
        begun = time.perf_counter()
        yield
        self.add(read=time.perf_counter() - begun)

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Count what is done inside the ``with`` as checking."""
        begun = time.perf_counter()
        yield
        self.add(check=time.perf_counter() - begun)

    @contextmanager
    def checking_mapped(self) -> Iterator[None]:
        """Count as checking, and as reading where bytes of a mapped file had to come from the disk for it."""
        begun, (disk, computed) = time.perf_counter(), thread_usage()
        # Since the job began: what was wished for then is waited for here.
        disk = disk if self._own.disk is None else self._own.disk
        yield
        took, (disk_now, computed_now) = time.perf_counter() - begun, thread_usage()
        waited = max(0.0, took - (computed_now - computed)) if disk_now > disk else 0.0
        self.add(read=waited, check=took - waited)
        self._not_decoding(took, computed_now - computed)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count as nothing: another thread is counted for it."""
        begun, (_, computed) = time.perf_counter(), thread_usage()
        yield
        self._not_decoding(time.perf_counter() - begun, thread_usage()[1] - computed)

    def decoding_begins(self) -> float:
        """Return what `decoding_ends` needs to know. A ``with`` would take as long as all else of this."""
        own = self._own
        own.otherwise = own.computed_otherwise = 0.0
        if own.looks:
            own.disk, own.computed = thread_usage()
            own.decoded = 0.0
        return time.perf_counter()

    def decoding_ends(self, begun: float) -> None:
        """Count as decoding what wasn't counted otherwise since then, but waits for a disk as reading."""
        own = self._own
        took = time.perf_counter() - begun - own.otherwise
        own.decoded += took
        if own.decoded < _LOOKED_AFTER and not own.looks and not own.otherwise:
            self.add(decode=took)
            return
        disk, computed = thread_usage()
        own.looks = own.disk is None or disk > own.disk
        # Of several jobs, where it didn't ask between them: what was counted as decoding before is counted again.
        waited = max(0.0, own.decoded - (computed - own.computed - own.computed_otherwise)) if own.looks else 0.0
        self.add(read=waited, decode=took - waited)
        own.disk, own.computed, own.decoded = disk, computed, 0.0

    def _not_decoding(self, seconds: float, computed: float) -> None:
        self._own.otherwise += seconds
        self._own.computed_otherwise += computed
