"""Scale: opening, planning and streaming against the number of windows, and streaming against cores.

python -m benchmarks.scale LAKE     # measures one lake, in this process
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil
import zarr

from benchmarks import larger
from benchmarks.hbn import COSTS, extended
from benchmarks.measure import column, in_turns, lines, middle, progress, size_on_disk, table, times
from benchmarks.repeat import repeat_lake
from benchmarks.settings import GROUP, Settings

WINDOWS = (10_000, 100_000, 1_000_000)
SMOKE_WINDOWS = (1_000,)
BATCH = 128
SECONDS = 2.0  # at the beginning of the first epoch, and of the second
EPOCH_SECONDS = 60.0  # of the first epoch, at most
Figures = dict[str, Any]


def run(settings: Settings) -> Figures:
    """Measure lakes of more and more windows, and one lake on more and more cores."""
    lakes = {}
    for windows in SMOKE_WINDOWS if settings.smoke else WINDOWS:
        progress(f"making a lake of {windows} windows")
        lakes[str(windows)] = settings.scratch / f"lake-{windows}.zarr"
        repeat_lake(settings.formats / "float32.zarr", lakes[str(windows)], windows)
    by_windows = {name: partial(_child, "benchmarks.scale", lake) for name, lake in lakes.items()}
    formats, seconds = settings.formats, settings.seconds
    by_cores = {}
    for cores in range(1, 1 + (1 if settings.smoke else len(os.sched_getaffinity(0)))):
        limited = ["--seconds", seconds, "--cores", cores]
        reading = partial(_child, "benchmarks.reading", formats, "eegzarr", "--warm-up", settings.warm_up, *limited)
        by_cores[f"{cores} eegzarr"] = reading
        by_cores[f"{cores} Blosc"] = partial(_child, "benchmarks.limits", formats, "Blosc, float32", *limited)
    stored = settings.formats / "float32.zarr" / GROUP / "eeg"
    bytes_per_window = size_on_disk(stored) / zarr.open_array(stored, mode="r").shape[0]
    return {
        "bytes_per_window": bytes_per_window,
        "windows": in_turns(by_windows, settings.repeat, title="scale", journal=settings.journal),
        "cores": in_turns(by_cores, settings.repeat, title="scale, cores", journal=settings.journal),
        "larger": larger.run(settings, bytes_per_window),
    }


def measured_lake(lake: str) -> Figures:
    """Open a lake, plan an epoch of it and stream some batches; memory is anonymous, above the imports'."""
    import eegzarr
    import eegzarr.store.open
    from eegzarr.train import WindowStream

    idle = psutil.Process().memory_full_info().uss
    began = time.perf_counter()
    windows = eegzarr.open_windows(lake, "challenge1")
    opened = time.perf_counter() - began
    stream = WindowStream(windows, BATCH, shuffle="global")
    batches = iter(stream)
    next(batches)
    first = time.perf_counter() - began
    beginning = _taken(batches, SECONDS)
    rest = _taken(batches, EPOCH_SECONDS)
    anonymous = psutil.Process().memory_full_info().uss - idle
    del batches  # ends its threads
    stream.set_epoch(1)
    later = _taken(iter(stream), SECONDS)
    return {
        "open_s": opened,
        "first_batch_s": first,
        "anonymous_mb": anonymous / 1e6,
        "beginning_per_s": beginning[0] / beginning[1],
        "first_epoch_per_s": (beginning[0] + rest[0]) / (beginning[1] + rest[1]),
        "windows_per_s": later[0] / later[1],
    }


def _taken(batches: Iterator[Any], seconds: float) -> tuple[int, float]:
    """Return how many windows were taken, and the s that it took, which is more than 0."""
    count, began, wall = 0, time.perf_counter(), 1e-9
    for x, _ in batches:
        count += len(x)
        wall = time.perf_counter() - began
        if wall > seconds:
            break
    return count, wall


def _child(module: str, *arguments: object) -> Figures:
    figures = lines([sys.executable, "-m", module, *map(str, arguments)])[0]
    return figures.get("warm", figures)  # as readers give it


def report(figures: Figures) -> str:
    """Return the tables of a run, and what they come to for all of HBN."""
    columns = {
        **COSTS,
        "beginning_per_s": f"windows/s in the first {SECONDS:g} s",
        "first_epoch_per_s": "over the first epoch",
        "windows_per_s": "in the second",
    }
    rows = [
        [f"{int(windows):,}", *(middle(column(runs, key)) for key in columns)]
        for windows, runs in figures["windows"].items()
    ]
    parts = [table(["windows in the lake", *columns.values()], rows), "\n"]
    by_cores: list[list[object]] = []
    for cores in range(1, len(figures["cores"]) // 2 + 1):
        rate, limit = (column(figures["cores"][f"{cores} {of}"], "windows_per_s") for of in ("eegzarr", "Blosc"))
        by_cores.append([cores, middle(rate), middle(limit), f"{times(rate, limit):.2f}"])
    parts += [table(["cores", "eegzarr, windows/s", "limit: Blosc decode", "share"], by_cores), "\n"]
    parts += [larger.report(figures["larger"]), "\n"]
    return "".join(parts) + extended(figures)


if __name__ == "__main__":
    print(json.dumps(measured_lake(sys.argv[1])))
