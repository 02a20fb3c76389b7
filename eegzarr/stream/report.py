"""Where the time of streaming goes, and what to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from eegzarr.errors import UsageError
from eegzarr.machine.system import usable_cores
from eegzarr.stream.rows import WindowRows
from eegzarr.stream.times.times import Times

_KEEPS_UP = 0.1  # share of waiting below which a faster stream would change little
_BUSY = 0.5  # share of the threads' time from which they are what limits
_AHEAD = 4
_HALF = np.dtype(np.float16).itemsize


@dataclass(frozen=True, kw_only=True)
class Report(Times):
    """Where the time of an iteration went, in s.

    Attributes
    ----------
    began : float
        When, in s, on the clock that all processes of a machine share.
    windows, batches : int
        That were given.
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
    workers : int
        DataLoader workers that read, 0 where this process did. With workers, the first four times are those of a
        worker's loop on average: `consumer` is waiting until a further batch is wanted.
    """

    advice: str = ""

    @property
    def elapsed(self) -> float:
        """From the beginning to the last batch, or to what came after it: all that the loop did."""
        return self.opening + self.wait + self.transform + self.consumer

    def __str__(self) -> str:
        rate = self.windows / self.elapsed if self.elapsed else 0.0
        loop = ", ".join(
            f"{name} {seconds:.2f} s ({seconds / max(self.elapsed, 1e-9):.0%})"
            for name, seconds in {
                "opening": self.opening,
                "waiting for batches": self.wait,
                "transform": self.transform,
                "waiting until one is wanted" if self.workers else "its own work": self.consumer,
            }.items()
        )
        told = f"{self.workers} worker{'s' if self.workers > 1 else ''}, on average" if self.workers else "the loop"
        threads = f"read {self.read:.2f} s, check {self.check:.2f} s, decode {self.decode:.2f} s"
        return (
            f"{self.windows} windows in {self.batches} batches, {self.elapsed:.2f} s, {rate:,.0f} windows/s\n"
            f"{told}: {loop}\n"
            f"{self.threads} thread{'s' if self.threads > 1 else ''}: {threads}\n"
            f"{self.advice}"
        )


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What advice depends on, beside where time went.

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
        if report.workers:
            return (
                f"The workers keep up: {report.consumer / report.elapsed:.0%} of their time they wait until a batch is "
                "wanted. If the loop waits, too, copies between processes limit: num_workers=0 needs none."
            )
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


def report_of(times: Times | None, at: Circumstances) -> Report:
    """Return what was measured, with advice.

    Raises
    ------
    UsageError
        If nothing was.
    """
    if times is None:
        raise _nothing_measured()
    found = _reported(times)
    return replace(found, advice=advice(found, at))


def report_of_mixture(own: Times | None, parts: Mapping[str, tuple[Times, Circumstances]]) -> Report:
    """Return what was measured of a mixture, with what its streams' threads spent, and advice.

    Parameters
    ----------
    parts : mapping of str to (Times, Circumstances)
        Of each stream that has given a batch.

    Raises
    ------
    UsageError
        If nothing was given yet.
    """
    if own is None or not parts:
        raise _nothing_measured()
    streams = [times for times, _ in parts.values()]
    transform, opening = sum(one.transform for one in streams), sum(one.opening for one in streams)
    found = _reported(
        replace(
            own,
            windows=sum(one.windows for one in streams),
            opening=own.opening + opening,
            transform=transform,
            wait=max(0.0, own.wait + own.transform - transform - opening),  # a mixture waits for all that a stream does
            read=sum(one.read for one in streams),
            check=sum(one.check for one in streams),
            decode=sum(one.decode for one in streams),
            threads=max(one.threads for one in streams),
        )
    )
    slowest = max(parts, key=lambda name: parts[name][0].wait + parts[name][0].transform)
    return replace(found, advice=f"{advice(found, parts[slowest][1])} Waited for most: {slowest!r}.")


def _reported(times: Times) -> Report:
    of_loops = {name: getattr(times, name) / times.loops for name in ("opening", "wait", "transform", "consumer")}
    return Report(**{**asdict(times), **of_loops})


def _nothing_measured() -> UsageError:
    return UsageError("nothing to report: nothing was read yet. Read some batches, then ask for the report")
