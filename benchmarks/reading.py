"""Reading shuffled windows, measured in a process of its own.

python -m benchmarks.reading FOLDER WAY … [--workers N] [--seconds S] [--measure warm cold order]
python -m benchmarks.reading s3://BUCKET WAY …

FOLDER is what `benchmarks.formats` wrote. Prints a line of JSON for each way: its
figures by what was measured. What it imports itself also runs in environments without PyTorch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.blocks import READERS as BLOCK_READERS
from benchmarks.order import arrived
from benchmarks.settings import Batches

COLD_WINDOWS = 5000
WARM_UP_WINDOWS = 60_000
BUCKET = "s3://"
Figures = dict[str, float]


def processes() -> list[psutil.Process]:
    """Return this process and all that it started and that live."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def anonymous_memory() -> int:
    """Bytes of anonymous memory of these processes, from smaps_rollup."""
    total = 0
    for process in processes():
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                total += 1024 * int(line.split()[1])
    return total


def cpu_seconds() -> float:
    """User and system time of these processes."""
    return sum(t.user + t.system for t in (process.cpu_times() for process in processes()))


def disk_bytes() -> int:
    """Bytes that these processes had read from disk: page faults and reading ahead are among them."""
    return sum(process.io_counters().read_bytes for process in processes())


def warm_figures(make: Callable[[], Batches], seconds: float, warm_up: float) -> Figures:
    """Measure epochs after the first: batches that are taken, and batches of which every sample is added up.

    Parameters
    ----------
    make : callable
        Opens what is read.
    seconds : float
        s of either measurement.
    warm_up : float
        s of reading before, at most; it also ends when everything was read several times.
    """
    idle = anonymous_memory()
    began = time.perf_counter()
    batches = make()
    running = batches(0)
    next(running)
    first = time.perf_counter() - began
    endless = _epochs(running, batches)
    end, count = time.perf_counter() + warm_up, 0
    while count < WARM_UP_WINDOWS and time.perf_counter() < end:
        count += len(next(endless))
    cpu = cpu_seconds()
    taken, wall = _consume(endless, seconds, lambda x: x[:, 0, 0].sum())
    cpu = cpu_seconds() - cpu
    # Within an epoch, while its buffers and workers are alive.
    memory = anonymous_memory() - idle
    touched, touching = _consume(endless, seconds, lambda x: x.sum())
    return {
        "windows_per_s": taken / wall,
        "touched_per_s": touched / touching,
        "cpu_us_per_window": 1e6 * cpu / taken,
        "anonymous_mb": memory / 1e6,
        "first_batch_s": first,
    }


def cold_figures(make: Callable[[], Batches]) -> Figures:
    """Measure the first epoch, or the most of it; what opening takes isn't counted."""
    return disk_figures(make()(0), windows=COLD_WINDOWS)


def disk_figures(batches: Iterable[Any], *, windows: float = math.inf, seconds: float = math.inf) -> Figures:
    """Measure what batches take that come from disk, up to so many windows or s."""
    before, began, count, wall = disk_bytes(), time.perf_counter(), 0, 0.0
    for x in batches:
        count += len(x)
        x[:, 0, 0].sum()
        wall = time.perf_counter() - began
        if count >= windows or wall > seconds:
            break
    read = disk_bytes() - before
    return {
        "seconds": wall,
        "windows_per_s": count / wall,
        "disk_mb_per_s": read / wall / 1e6,
        "disk_kb_per_window": read / count / 1e3,
    }


def bucket_figures(make: Callable[[], Batches]) -> Figures:
    """Measure the first epoch whole, what opening takes beside it, and the two epochs after it.

    Nothing of an epoch is kept for the next, so that all is fetched again; but memory is there and code is compiled.
    """
    began = time.perf_counter()
    batches = make()
    opened = time.perf_counter()
    running = batches(0)
    count = len(next(running))
    first = time.perf_counter() - opened
    cpu = cpu_seconds()
    count += _drained(running)
    wall = time.perf_counter() - opened
    cpu = cpu_seconds() - cpu
    then = time.perf_counter()
    later = sum(_drained(batches(epoch)) for epoch in (1, 2))
    return {
        "windows_per_s": count / wall,
        "later_windows_per_s": later / (time.perf_counter() - then),
        "open_s": opened - began,
        "first_batch_s": first,
        "cpu_us_per_window": 1e6 * cpu / count,
    }


def _drained(batches: Iterator[Any]) -> int:
    """Take all batches, look at a sample of each window, and count these."""
    count = 0
    for x in batches:
        count += len(x)
        x[:, 0, 0].sum()
    return count


def _epochs(running: Iterator[Any], batches: Batches) -> Iterator[Any]:
    yield from running
    epoch = 0
    while True:
        epoch += 1
        yield from batches(epoch)


def _consume(batches: Iterator[Any], seconds: float, use: Callable[[Any], object]) -> tuple[int, float]:
    count, began, wall = 0, time.perf_counter(), 0.0
    while not count or wall < seconds:
        x = next(batches)
        use(x)
        count += len(x)
        wall = time.perf_counter() - began
    return count, wall


def main() -> None:
    """Measure ways and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("ways", nargs="+", metavar="WAY")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warm-up", type=float, default=15.0)
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="keep to so many")
    parser.add_argument("--permuting", nargs="*", default=[], metavar="WAY", help="of whose order nothing is measured")
    parser.add_argument("--measure", nargs="+", choices=("warm", "cold", "order", "bucket"), default=["warm"])
    arguments = parser.parse_args()
    # This process, and what it starts.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    warnings.filterwarnings("ignore")
    for name in arguments.ways:
        make = _opener(arguments.folder, name, arguments.workers)
        measurements: dict[str, Callable[[], Figures | list[int]]] = {
            "warm": partial(warm_figures, make, arguments.seconds, arguments.warm_up),
            "cold": partial(cold_figures, make),
            "order": partial(arrived, make, Path(arguments.folder)),
            "bucket": partial(bucket_figures, make),
        }
        asked = [what for what in arguments.measure if not (what == "order" and name in arguments.permuting)]
        figures = {what: measurements[what]() for what in asked}
        print(json.dumps(figures), flush=True)


def _opener(folder: str, name: str, workers: int) -> Callable[[], Batches]:
    # What a training script has imported anyway isn't counted: neither as time nor as memory.
    if name in BLOCK_READERS:
        return lambda: BLOCK_READERS[name](Path(folder) / "float32.zarr")
    from benchmarks.readers import BUCKET_WAYS, WAYS

    if name.startswith("braindecode"):
        import braindecode.datautil  # noqa: F401
    elif name.startswith("eegzarr"):
        import eegzarr.store.open
        import eegzarr.train  # noqa: F401
    if folder.startswith(BUCKET):
        return lambda: BUCKET_WAYS[name](folder)
    return lambda: WAYS[name].batches(Path(folder), workers)


if __name__ == "__main__":
    main()
