"""What was measured of an iteration, or of several workers' shares of one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of an iteration, added up over the loops of its workers.

    Attributes
    ----------
    began : float
        When the first of them began, on the clock that all processes of a machine share.
    windows, batches : int
        That were given.
    opening, wait, transform, consumer, read, check, decode : float
        See `eegzarr.stream.report.Report`.
    threads : int
        That decode.
    workers : int
        DataLoader workers; 0 where this process reads.
    """

    began: float
    windows: int
    batches: int
    opening: float
    wait: float
    transform: float
    consumer: float
    read: float
    check: float
    decode: float
    threads: int
    workers: int = 0

    @property
    def loops(self) -> int:
        """How many loops' times these are."""
        return max(1, self.workers)


def latest(*several: Times | None, since: float = 0.0) -> Times | None:
    """Return those that began last, of those that have given something since a time."""
    given = [times for times in several if times is not None and times.batches and times.began >= since]
    return max(given, key=lambda times: times.began, default=None)
