"""Where the time of streaming goes, and what to change."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from eegzarr.errors import UsageError
from eegzarr.machine.system import usable_cores
from eegzarr.store.reading.spent import Spent
from eegzarr.stream.rows import WindowRows

_KEEPS_UP = 0.1  # share of waiting below which a faster stream would change little
_BUSY = 0.5  # share of the threads' time from which they are what limits
_AHEAD = 4
_HALF = np.dtype(np.float16).itemsize


@dataclass(frozen=True, kw_only=True)
class Report:
    """Where the time of an iteration went, in s.

    Attributes
    ----------
    windows, batches : int
        That were given.
    elapsed : float
        From the beginning to the last batch, or to what came after it: `opening` + `wait` + `transform` + `consumer`.
    opening : float
        Drawing the order, opening shards.
    wait : float
        The loop that takes batches waited for them.
    transform : float
        The function ``transform=``, which runs in that loop's thread, and putting y and labels beside x.
    consumer : float
        The loop did something else: the model.
    read, check, decode : float
        Of threads, added up: waiting for the disk or the bucket, comparing checksums, decompressing and normalising.
        Where a disk was waited for is known on Linux only; elsewhere it counts as `check`.
    threads : int
        That decode.
    advice : str
        What to change.
    """

    windows: int
    batches: int
    elapsed: float
    opening: float
    wait: float
    transform: float
    consumer: float
    read: float
    check: float
    decode: float
    threads: int
    advice: str = ""

    def __str__(self) -> str:
        rate = self.windows / self.elapsed if self.elapsed else 0.0
        loop = ", ".join(
            f"{name} {seconds:.2f} s ({seconds / max(self.elapsed, 1e-9):.0%})"
            for name, seconds in {
                "opening": self.opening,
                "waiting for batches": self.wait,
                "transform": self.transform,
                "its own work": self.consumer,
            }.items()
        )
        threads = f"read {self.read:.2f} s, check {self.check:.2f} s, decode {self.decode:.2f} s"
        return (
            f"{self.windows} windows in {self.batches} batches, {self.elapsed:.2f} s, {rate:,.0f} windows/s\n"
            f"the loop: {loop}\n"
            f"{self.threads} thread{'s' if self.threads > 1 else ''}: {threads}\n"
            f"{self.advice}"
        )


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What an advice depends on, besides where time went.

    Attributes
    ----------
    stored_bytes, given_bytes : int
        Of a sample: in the lake, the most where it differs, and in x.
    is_remote : bool
    ahead : int
        Batches that are decoded ahead; 0 where windows are asked for by number.
    concurrency : int
        Requests to a bucket at a time.
    """

    stored_bytes: int
    given_bytes: int
    is_remote: bool
    ahead: int
    concurrency: int

    @classmethod
    def of(cls, rows: WindowRows, *, ahead: int, concurrency: int) -> Circumstances:
        """Return those of reading some rows."""
        return cls(
            stored_bytes=max(_HALF if layout.step else np.dtype(layout.dtype).itemsize for layout in rows.layouts),
            given_bytes=np.dtype(rows.shape.dtype).itemsize,
            is_remote=rows.is_remote,
            ahead=ahead,
            concurrency=concurrency,
        )


def advice(report: Report, at: Circumstances) -> str:
    """Return in a sentence what limits an iteration, and what to change."""
    waited = report.wait + report.transform
    if report.opening > max(waited, report.consumer):
        return "Most of this short iteration was opening the lake: measure a longer one."
    if waited < _KEEPS_UP * report.elapsed:
        return f"The stream keeps up: {report.consumer / report.elapsed:.0%} of the time is the loop's own work."
    if report.transform > report.wait:
        return "The function transform= limits: make it cheaper, or call it on the GPU after the batch is moved there."
    busy = report.read + report.check + report.decode
    if report.read > _BUSY * busy and at.is_remote:
        return f"The bucket limits: give more concurrency (now {at.concurrency}) and memory, or stream nearer to it."
    if report.read > _BUSY * busy:
        return "The disk limits: shuffle='block' reads larger pieces, and float16 lakes have half as much to read."
    if not at.ahead:
        return "Windows are read when they are asked for: WindowStream decodes ahead, by threads."
    if busy < _BUSY * report.threads * report.elapsed:
        if at.ahead < _AHEAD:
            return f"Threads are idle although the loop waits: give ahead={_AHEAD} (now {at.ahead}), or larger batches."
        return "Threads wait for a core: set OMP_WAIT_POLICY=passive, or leave cores to them (torch.set_num_threads)."
    if report.check > report.decode:
        return "Checksums limit: each is compared once, so the next epoch of this stream is faster."
    if report.threads < usable_cores():
        return f"Decoding limits: give threads={usable_cores()} (now {report.threads})."
    if at.stored_bytes > _HALF:
        return "Decoding limits, on all cores: a lake that was built with --dtype float16 takes half the time."
    if at.given_bytes > _HALF:
        return "Decoding and converting limit, on all cores: give dtype='float16', and convert on the GPU."
    return "Decoding limits, on all cores: a lake that was built with --compression none takes less."


class Meter:
    """Measures an iteration: the loop that takes batches, and what threads spent meanwhile.

    Parameters
    ----------
    threads : int
        That decode.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._began = time.perf_counter()
        self._opening = self._wait = self._transform = self._consumer = 0.0
        self._windows = self._batches = 0
        self._spent: Spent | None = None
        self._before = (0.0, 0.0, 0.0)
        self._given: float | None = None
        self._lock = threading.Lock()

    def opened(self, spent: Spent) -> None:
        """Note that reading begins now, and who counts what threads spend."""
        self._spent, self._before = spent, (spent.read, spent.check, spent.decode)
        self._opening = time.perf_counter() - self._began

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count what is done inside the ``with`` as waiting for a batch."""
        begun = time.perf_counter()
        yield
        self._wait += time.perf_counter() - begun

    @contextmanager
    def transforming(self) -> Iterator[None]:
        """Count what is done inside the ``with`` as the transform."""
        begun = time.perf_counter()
        yield
        self._transform += time.perf_counter() - begun

    def gives(self, windows: int) -> None:
        """Note that a batch is given now."""
        self._windows += windows
        self._batches += 1
        self._given = time.perf_counter()

    def resumes(self) -> None:
        """Note that the next batch is asked for."""
        if self._given is not None:
            self._consumer += time.perf_counter() - self._given
            self._given = None

    @contextmanager
    def call(self, windows: int) -> Iterator[None]:
        """Count what is done inside the ``with`` as waiting for windows, and what was done before as the loop's."""
        begun = time.perf_counter()
        yield
        with self._lock:  # any thread may ask
            self._wait += time.perf_counter() - begun
            self._windows += windows
            self._batches += 1
            passed = time.perf_counter() - self._began - self._opening
            self._consumer = max(0.0, passed - self._wait)

    def measured(self) -> Report:
        """Return what was measured, without an advice.

        Raises
        ------
        UsageError
            If nothing was given yet.
        """
        if not self._batches:
            raise _nothing_measured()
        spent = self._spent
        now = self._before if spent is None else (spent.read, spent.check, spent.decode)
        read, check, decode = (after - before for after, before in zip(now, self._before, strict=True))
        return Report(
            windows=self._windows,
            batches=self._batches,
            elapsed=self._opening + self._wait + self._transform + self._consumer,
            opening=self._opening,
            wait=self._wait,
            transform=self._transform,
            consumer=self._consumer,
            read=read,
            check=check,
            decode=decode,
            threads=self._threads,
        )


def report_of(meter: Meter | None, at: Circumstances) -> Report:
    """Return what a meter has measured, with an advice.

    Raises
    ------
    UsageError
        If there is none, or it has measured nothing.
    """
    if meter is None:
        raise _nothing_measured()
    found = meter.measured()
    return replace(found, advice=advice(found, at))


def report_of_mixture(meter: Meter | None, parts: Mapping[str, tuple[Report, Circumstances]]) -> Report:
    """Return what the meter of a mixture has measured, with what its streams' threads spent and an advice.

    Parameters
    ----------
    parts : mapping of str to (Report, Circumstances)
        Of each stream that has given a batch.

    Raises
    ------
    UsageError
        If nothing was given yet.
    """
    if meter is None or not parts:
        raise _nothing_measured()
    own = meter.measured()
    reports = [report for report, _ in parts.values()]
    transform, opening = sum(one.transform for one in reports), sum(one.opening for one in reports)
    found = replace(
        own,
        windows=sum(one.windows for one in reports),
        opening=own.opening + opening,
        transform=transform,
        wait=max(0.0, own.wait - transform - opening),  # the mixture waits for all that a stream does
        read=sum(one.read for one in reports),
        check=sum(one.check for one in reports),
        decode=sum(one.decode for one in reports),
        threads=max(one.threads for one in reports),
    )
    slowest = max(parts, key=lambda name: parts[name][0].wait + parts[name][0].transform)
    return replace(found, advice=f"{advice(found, parts[slowest][1])} Waited for most: {slowest!r}.")


def _nothing_measured() -> UsageError:
    return UsageError(
        "nothing to report: this process has read nothing yet, or DataLoader workers have read since, whose time it "
        "can't see. Read some batches with num_workers=0, then ask for the report"
    )
