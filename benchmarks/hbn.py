"""What the measured figures come to for all of HBN-EEG, by arithmetic alone."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.measure import column, table

WINDOWS = 3_800_000  # of 2 s, in R1 to R11
COSTS = {
    "open_s": "open_windows, s",
    "first_batch_s": "first batch, s",
    "anonymous_mb": "anonymous memory, MB",
}
NODES = (1, 10, 100, 1000)
# A file server of a usual cluster, 100 Gbit/s, and what one prefix of a bucket answers, by S3's documentation.
SERVER_BYTES_PER_S = 12.5e9
REQUESTS_PER_S = 5500
WINDOWS_PER_REQUEST = 32  # a frame


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """An epoch over all of HBN-EEG on so many nodes.

    Attributes
    ----------
    seconds : dict
        By what it could wait for: what each would take if there were nothing else, in s.
    """

    nodes: int
    seconds: dict[str, float]

    @property
    def breaks_first(self) -> str:
        """What the epoch waits for."""
        return max(self.seconds, key=lambda name: self.seconds[name])


def epoch(nodes: int, windows_per_s: float, bytes_per_window: float, disk_bytes_per_s: float = 0.0) -> Epoch:
    """Divide the work among nodes, and add up what they ask of what they share.

    Parameters
    ----------
    nodes : int
    windows_per_s : float
        Of one node.
    bytes_per_window : float
        Stored.
    disk_bytes_per_s : float
        Of one node that has the lake on a disk of its own; 0 where that isn't known.
    """
    stored = WINDOWS * bytes_per_window
    own = {"its own disk": stored / (nodes * disk_bytes_per_s)} if disk_bytes_per_s else {}
    return Epoch(
        nodes=nodes,
        seconds={
            "decoding": WINDOWS / (nodes * windows_per_s),
            **own,
            "one file server": stored / SERVER_BYTES_PER_S,
            "one prefix of a bucket": WINDOWS / WINDOWS_PER_REQUEST / REQUESTS_PER_S,
        },
    )


def extrapolated(counts: list[int], costs: list[float], windows: int) -> float:
    """Extend the line through the two largest counts."""
    slope = (costs[-1] - costs[-2]) / (counts[-1] - counts[-2])
    return costs[-1] + slope * (windows - counts[-1])


def extended(scale: dict[str, Any]) -> str:
    """Return the tables: opening and planning on one machine, and an epoch on many."""
    by_windows = scale["windows"]
    parts = [f"All of HBN-EEG, {WINDOWS:,} windows, {WINDOWS * scale['bytes_per_window'] / 1e9:,.0f} GB stored.\n\n"]
    if len(by_windows) > 1:
        rows = [[told, f"{_line(by_windows, key):,.1f}"] for key, told in COSTS.items()]
        parts += [table(["one machine, by the line through the two largest lakes", ""], rows), "\n"]
    rate = max(median(column(runs, "windows_per_s")) for runs in by_windows.values())
    from_disk = scale["larger"].get("shuffles", {}).get("block")
    disk = 1e6 * median(column(from_disk, "disk_mb_per_s")) if from_disk else 0.0
    shared = []
    for nodes in NODES:
        planned = epoch(nodes, rate, scale["bytes_per_window"], disk)
        shared.append([str(nodes), *(f"{seconds:,.1f}" for seconds in planned.seconds.values()), planned.breaks_first])
    header = ["nodes like this one", *(f"{name}, s" for name in planned.seconds), "the longest"]
    told = "An epoch, by what it could wait for: a node's own disk, or the one or other that all share.\n\n"
    return "".join(parts) + told + table(header, shared)


def _line(by_windows: dict[str, Any], key: str) -> float:
    costs = [median(column(runs, key)) for runs in by_windows.values()]
    return extrapolated([int(count) for count in by_windows], costs, WINDOWS)
