"""Stream: shuffled batches of 128 from eegzarr beside its peers, and the limits of the machine beside both.

Every reader runs in a process of its own and gives the same windows, in random order, as float32
tensors (one eegzarr reader float16, as stored). Readers that go through PyTorch's DataLoader do so
with 0, 1 and 2 workers, and the best counts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from functools import partial
from typing import Any

from benchmarks.bucket import bucket_figures
from benchmarks.environments import environment
from benchmarks.limits import LIMITS
from benchmarks.measure import column, forget_pages, in_turns, middle, progress, table, times
from benchmarks.readers import WAYS
from benchmarks.settings import Settings

WORKERS = (0, 1, 2)
EEGZARR = "eegzarr"
NOT_TRIED_COLD = ("HDF5, gzip, the HDF5 way's",)  # minutes, and its processor is what it waits for
# What each way is compared with: the slowest step that it can't do without.
LIMIT_OF = {
    "eegzarr": "Blosc, float32",
    "eegzarr, block shuffle": "Blosc, float32",
    "eegzarr, float16": "Blosc, float16",
    "eegzarr, float16 to float32": "Blosc, float16",
    "zarr-python on the same lake": "Blosc, float32",
    "zarrs on the same lake": "Blosc, float32",
    "tensorstore on the same lake": "Blosc, float32",
    "HDF5, Blosc, a window a chunk": "Blosc, float32",
    "np.memmap, a batch an index": "copy of mapped pages",
    "np.memmap": "copy of mapped pages",
    "LMDB, pickles": "copy of mapped pages",
    "litdata": "copy of mapped pages",
    "mosaicml-streaming": "read from the page cache",
    "webdataset": "read from the page cache",
}
Figures = dict[str, Any]


class ReaderFailed(Exception):
    """A reader's process failed; the last line of what it said."""


def run(settings: Settings, only: tuple[str, ...] = ()) -> Figures:
    """Measure every reader warm, cold and for its order, and every limit.

    Parameters
    ----------
    settings : Settings
    only : tuple of str
        Only readers whose name contains one of these, and eegzarr; empty for all.
    """
    chosen = [name for name in WAYS if not only or name == EEGZARR or any(part in name for part in only)]
    left_out = {}
    for name in list(chosen):
        reason = _why_not(name, settings)
        if reason:
            progress(f"{name} is left out: {reason}")
            left_out[name] = reason
            chosen.remove(name)
    at_once = (os.cpu_count() or 1) if settings.smoke else 1
    workers = {name: _best_workers(name, settings) for name in chosen}
    jobs = {name: partial(_warm, name, workers[name], settings) for name in chosen}
    limits = {name: partial(_limit, name, settings) for name in LIMITS}
    measured = in_turns({**limits, **jobs}, settings.repeat, at_once=at_once, title="stream")
    cold = {name: partial(_cold, name, workers[name], settings) for name in chosen if name not in NOT_TRIED_COLD}
    ordered = {
        name: partial(_read, settings, name, "--order", "--workers", workers[name])
        for name in chosen
        if not WAYS[name].permutes
    }
    return {
        "workers": workers,
        "limits": {name: measured[name] for name in limits},
        "warm": {name: measured[name] for name in jobs},
        "cold": in_turns(cold, settings.repeat, title="stream, page cache dropped"),
        "order": {name: runs[0] for name, runs in in_turns(ordered, 1, at_once=at_once, title="order").items()},
        "bucket": bucket_figures(settings),
        "left_out": left_out,
    }


def _why_not(name: str, settings: Settings) -> str:
    way = WAYS[name]
    if way.environment and environment(way.environment).reason:
        return environment(way.environment).reason
    if not (settings.formats / way.stored).exists():
        return f"{way.stored} couldn't be written"
    try:
        _read(settings, name, "--seconds", 0.0, "--warm-up", 0.0)
    except ReaderFailed as failed:
        if not way.environment:
            raise
        return str(failed)
    return ""


def _read(settings: Settings, name: str, *options: object) -> Figures:
    """Measure one way in a process of its own."""
    way = WAYS[name]
    python = environment(way.environment).python if way.environment else sys.executable
    command = [python, "-m", "benchmarks.reading", settings.formats, name, *options]
    return _last_line(list(map(str, command)))


def _last_line(command: list[str]) -> Figures:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        said = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise ReaderFailed(said[-1])
    figures: Figures = json.loads(result.stdout.splitlines()[-1])
    return figures


def _warm(name: str, workers: int, settings: Settings) -> Figures:
    warm_up = 0.0 if settings.smoke else settings.warm_up
    return _read(settings, name, "--workers", workers, "--seconds", settings.seconds, "--warm-up", warm_up)


def _cold(name: str, workers: int, settings: Settings) -> Figures:
    forget_pages([settings.formats])
    return _read(settings, name, "--cold", "--workers", workers)


def _limit(name: str, settings: Settings) -> Figures:
    command = [sys.executable, "-m", "benchmarks.limits", str(settings.formats), name]
    return _last_line([*command, "--seconds", str(settings.seconds)])


def _best_workers(name: str, settings: Settings) -> int:
    """Return the number of DataLoader workers that gives most windows a second."""
    if not WAYS[name].uses_workers or settings.smoke:
        return 0
    progress(f"choosing workers for {name}")
    return max(WORKERS, key=lambda workers: float(_warm(name, workers, settings)["windows_per_s"]))


def report(figures: Figures) -> str:
    """Return the tables of a run."""
    warm, limits = figures["warm"], figures["limits"]
    rows = []
    for name, runs in warm.items():
        rates = column(runs, "windows_per_s")
        limit = LIMIT_OF.get(name)
        cpu, memory, first = (
            statistics.median(column(runs, key)) for key in ("cpu_us_per_window", "anonymous_mb", "first_batch_s")
        )
        rows.append(
            [
                name,
                figures["workers"][name] or "",
                middle(rates),
                f"{times(column(warm[EEGZARR], 'windows_per_s'), rates):.2f} ×",
                f"{times(rates, column(limits[limit], 'windows_per_s')):.2f} of {limit}" if limit else "",
                middle(column(runs, "touched_per_s")),
                f"{cpu:.0f}",
                f"{memory:.0f}",
                f"{first:.2f}",
            ]
        )
    header = ["reader, warm", "workers", "windows/s", "eegzarr is", "share of its limit"]
    header += ["windows/s, every sample used", "CPU µs a window", "anonymous MB", "first batch, s"]
    parts = [table(header, rows), "\n"]
    rows = [[name, middle(column(runs, "windows_per_s"))] for name, runs in limits.items()]
    parts += [table(["limit, all cores", "windows/s"], rows), "\n"]
    if figures["cold"]:
        rows = [
            [name, middle(column(runs, "windows_per_s")), middle(column(runs, "disk_mb_per_s"))]
            for name, runs in figures["cold"].items()
        ]
        parts += [table(["reader, page cache dropped", "windows/s", "MB/s read from disk"], rows), "\n"]
    rows = [
        [
            name,
            f"{order['recordings_in_batch']:.1f} ({order['recordings_in_batch_permuted']:.1f})",
            f"{order['neighbours_correlation']:.3f} ({order['neighbours_correlation_permuted']:.3f})",
            f"{100 * order['distinct_windows']:.1f} %",
        ]
        for name, order in figures["order"].items()
    ]
    header = ["order (a permutation of the same)", "recordings in a batch", "correlation of neighbours", "windows seen"]
    parts += [table(header, rows), "\n"]
    rows = [
        [f"{delay} ms", name, middle(column(runs, "windows_per_s")), f"{column(runs, 'first_batch_s')[0]:.2f}"]
        for delay, ways in figures["bucket"].items()
        for name, runs in ways.items()
    ]
    parts += [table(["bucket on loopback, delay", "reader", "windows/s", "first batch, s"], rows), "\n"]
    parts += [f"Left out: {name}: {reason}\n\n" for name, reason in figures["left_out"].items()]
    return "".join(parts)
