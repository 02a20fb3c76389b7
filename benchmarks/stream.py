"""Stream: shuffled batches of 128 from eegzarr beside its peers, and the limits of the machine beside both.

Every reader runs in a process of its own and gives the same windows, in random order, as float32
tensors (two of eegzarr's float16, as stored). Readers that go through PyTorch's DataLoader do so
with 0, 1 and 2 workers, and the best counts.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.environments import environment
from benchmarks.limits import LIMITS
from benchmarks.measure import column, forget_pages, in_turns, lines, middle, recall_pages, table, times
from benchmarks.order import order_figures
from benchmarks.readers import WAYS
from benchmarks.settings import Settings

WORKERS = (0, 1, 2)
EEGZARR, UNCOMPRESSED = "eegzarr", "eegzarr, uncompressed"
NOT_TRIED_COLD = ("HDF5, gzip, the HDF5 way's",)  # minutes, and its processor is what it waits for
# What each way is compared with: the slowest step that it can't do without.
LIMIT_OF = {
    "eegzarr": "Blosc, float32",
    "eegzarr, block shuffle": "Blosc, float32",
    "eegzarr, uncompressed": "copy of mapped pages",
    "eegzarr, float16": "Blosc, float16",
    "eegzarr, WindowDataset": "Blosc, float32",
    "eegzarr, float16 to float32": "Blosc, float16",
    "zarr-python on the same lake": "Blosc, float32",
    "zarr-python 3.4 on the same lake": "Blosc, float32",
    "zarr-python 3.4, fused, on the same lake": "Blosc, float32",
    "annbatch on the same lake": "Blosc, float32",
    "zarrs on the same lake": "Blosc, float32",
    "tensorstore on the same lake": "Blosc, float32",
    "HDF5, Blosc, a window a chunk": "Blosc, float32",
    "np.memmap, a batch an index": "copy of mapped pages",
    "np.memmap": "copy of mapped pages",
    "LMDB, pickles": "copy of mapped pages",
    "lance": "read from the page cache",
    "neuralset": "copy of mapped pages",
    "litdata": "copy of mapped pages",
    "mosaicml-streaming": "read from the page cache",
    "webdataset": "read from the page cache",
}
Figures = dict[str, Any]


def run(settings: Settings, only: tuple[str, ...] = ()) -> Figures:
    """Measure every reader warm, cold and for its order, and every limit.

    Parameters
    ----------
    settings : Settings
    only : tuple of str
        Only readers whose name contains one of these, and eegzarr; empty for all.
    """
    chosen = [name for name in WAYS if not only or name == EEGZARR or any(part in name for part in only)]
    left_out = {name: reason for name in chosen if (reason := _why_not(name, settings))}
    chosen = [name for name in chosen if name not in left_out]
    if settings.smoke:
        workers = dict.fromkeys(chosen, 0)
        measured = _all_in_few_processes(chosen, settings)
    else:
        workers = {name: _best_workers(name, settings) for name in chosen}
        measured = _each_in_its_process(workers, settings)
    return {"workers": workers, **measured, "left_out": left_out}


def _each_in_its_process(workers: dict[str, int], settings: Settings) -> Figures:
    limits = {name: partial(_limit, name, settings) for name in LIMITS}
    warm = {name: partial(_read, settings, name, "warm", count) for name, count in workers.items()}
    both: dict[str, Callable[[], Figures]] = {**limits, **warm}
    measured = in_turns(both, settings.repeat, title="stream", journal=settings.journal)
    cold = {
        name: partial(_read, settings, name, "cold", count)
        for name, count in workers.items()
        if name not in NOT_TRIED_COLD
    }
    order = {name: partial(_order, settings, name, count) for name, count in workers.items() if not WAYS[name].permutes}
    return {
        "limits": {name: measured[name] for name in limits},
        "warm": {name: measured[name] for name in warm},
        "cold": in_turns(cold, settings.repeat, title="stream, page cache dropped", journal=settings.journal),
        "order": {name: runs[0] for name, runs in in_turns(order, 1, title="order", journal=settings.journal).items()},
    }


def _all_in_few_processes(chosen: list[str], settings: Settings) -> Figures:
    """Run every measurement of every reader; what takes longest, imports, is shared."""
    found: dict[str, dict[str, Any]] = {"warm": {}, "cold": {}, "order": {}}
    forget_pages([settings.formats])
    for needed in sorted({WAYS[name].environment for name in chosen}):
        names = [name for name in chosen if WAYS[name].environment == needed]
        for name, figures in zip(names, _readers(settings, names, list(found)), strict=True):
            found["warm"][name], found["cold"][name] = [figures["warm"]], [figures["cold"]]
            if "order" in figures:
                found["order"][name] = order_figures(figures["order"], settings.formats)
    limits = zip(LIMITS, _limits(list(LIMITS), settings), strict=True)
    return {**found, "limits": {name: [figures] for name, figures in limits}}


def _why_not(name: str, settings: Settings) -> str:
    way = WAYS[name]
    reason = environment(way.environment).reason if way.environment else ""
    if not reason and not (settings.formats / way.stored).exists():
        return f"{way.stored} couldn't be written"
    if not reason and way.environment and not settings.smoke:  # where a peer that fails is what is looked for
        try:
            _readers(settings, [name], ["cold"])
        except RuntimeError as failed:
            return str(failed).splitlines()[-1]
    return reason


def _read(settings: Settings, name: str, what: str, workers: int) -> Figures:
    """Measure one reader in a process of its own."""
    if what == "cold":
        forget_pages([settings.formats])
    else:
        recall_pages(settings.formats / WAYS[name].stored)
    figures: Figures = _readers(settings, [name], [what], workers)[0][what]
    return figures


def _order(settings: Settings, name: str, workers: int) -> Figures:
    arrived: Any = _read(settings, name, "order", workers)
    return order_figures(arrived, settings.formats)


def _readers(settings: Settings, names: list[str], measured: list[str], workers: int = 0) -> list[Figures]:
    way = WAYS[names[0]]
    python = environment(way.environment).python if way.environment else sys.executable
    options = ["--workers", workers, "--seconds", settings.seconds, "--warm-up", settings.warm_up]
    options += ["--permuting", *(name for name in names if WAYS[name].permutes)]
    command = [python, "-m", "benchmarks.reading", settings.formats, *names, *options, "--measure", *measured]
    # PyTorch's threads would spin on the cores that decode whenever they have nothing to do.
    return lines(list(map(str, command)), OMP_WAIT_POLICY="passive")


def _limit(name: str, settings: Settings) -> Figures:
    return _limits([name], settings)[0]


def _limits(names: list[str], settings: Settings) -> list[Figures]:
    command = [sys.executable, "-m", "benchmarks.limits", str(settings.formats), *names]
    return lines([*command, "--seconds", str(settings.seconds)])


def _best_workers(name: str, settings: Settings) -> int:
    """Return the number of DataLoader workers that gives most windows a second."""
    if not WAYS[name].uses_workers:
        return 0
    briefly = dataclasses.replace(settings, seconds=settings.seconds / 2, warm_up=settings.warm_up / 5)
    trials = {str(workers): partial(_read, briefly, name, "warm", workers) for workers in WORKERS}
    rates = in_turns(trials, 1, title=f"workers for {name}", journal=settings.journal)
    return max(WORKERS, key=lambda workers: float(rates[str(workers)][0]["windows_per_s"]))


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
    parts = [table(header, rows), "\n", _ahead(warm), "\n"]
    rows = [[name, middle(column(runs, "windows_per_s"))] for name, runs in limits.items()]
    parts += [table(["limit, all cores", "windows/s"], rows), "\n"]
    if figures["cold"]:
        shown = ("windows_per_s", "disk_mb_per_s", "disk_kb_per_window")
        rows = [[name, *(middle(column(runs, key)) for key in shown)] for name, runs in figures["cold"].items()]
        header = ["reader, page cache dropped", "windows/s", "MB/s read from disk", "kB read from disk a window"]
        parts += [table(header, rows), "\n"]
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
    parts += [f"Left out: {name}: {reason}\n\n" for name, reason in figures["left_out"].items()]
    return "".join(parts)


def _ahead(warm: dict[str, list[Figures]]) -> str:
    """Name the peers that are faster than eegzarr, and by how much."""
    told = []
    for name, runs in warm.items():
        by = {
            own: times(column(runs, "windows_per_s"), column(warm[own], "windows_per_s"))
            for own in (EEGZARR, UNCOMPRESSED)
            if own in warm
        }
        if not name.startswith(EEGZARR) and by[EEGZARR] > 1:
            told.append(f"{name} ({', '.join(f'{ratio:.2f} × {own}' for own, ratio in by.items())})")
    return f"Peers ahead of eegzarr, warm: {'; '.join(told) or 'none'}.\n"
