"""Streaming: shuffled batches of 128 from eegzarr beside its peers, in one run, in turns.

python -m benchmarks.stream SOURCE [--repeat 3] [--seconds 2] [--touch] [--folder DIR] [--json FILE]

Every reader runs in a process of its own and gives the same windows, in random order, as float32
tensors (one eegzarr reader float16, as stored). Peers that go through PyTorch's DataLoader do so
with 0, 1 and 2 workers, and the best counts. The Blosc limit is numcodecs decoding the same
frames, whole and in order, into reused memory on all cores. --touch lets the consumer add up every
sample, which takes cores away from the reader.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import middle, progress
from benchmarks.readers import LIMITS, WAYS, WITHOUT_WORKERS

WORKERS = (0, 1, 2)
COLD = ("eegzarr", "eegzarr, block shuffle", "eegzarr, float16", "LMDB, pickles", "np.memmap")
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
Figures = dict[str, float]


def read(way: str, folder: Path, *options: object) -> Figures:
    """Measure one way in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.readers", way, str(folder), *map(str, options)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{way} failed:\n{result.stderr}")
    figures: Figures = json.loads(result.stdout.splitlines()[-1])
    return figures


def best_workers(way: str, folder: Path, options: list[object]) -> int:
    """Return the number of DataLoader workers that gives most windows a second."""
    if way.startswith(WITHOUT_WORKERS):
        return 0
    rates = {n: read(way, folder, "--workers", n, *options)["windows_per_s"] for n in WORKERS}
    return max(rates, key=lambda n: rates[n])


def drop_page_cache() -> None:
    """Make the kernel forget all files' pages: needs root, and Linux."""
    os.sync()
    DROP_CACHES.write_text("3")


def main() -> None:
    """Measure, and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="BIDS dataset with the contrast change detection task")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--touch", action="store_true")
    parser.add_argument("--folder", type=Path, help="keep the formats here for the next run (default: temporary)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eegzarr-bench-") as scratch:
        folder = arguments.folder or Path(scratch) / "formats"
        if not folder.exists():
            progress("writing the windows in every format")
            subprocess.run([sys.executable, "-m", "benchmarks.formats", arguments.source, folder], check=True)
        options = ["--seconds", arguments.seconds, *(["--touch"] if arguments.touch else [])]
        warm: dict[str, list[Figures]] = {}
        cold: dict[str, list[Figures]] = {}
        workers = {}
        for way in WAYS:
            progress(f"choosing workers for {way}")
            workers[way] = best_workers(way, folder, options)
        for turn in range(arguments.repeat):
            progress(f"turn {turn + 1} of {arguments.repeat}")
            for way in (*LIMITS, *WAYS):
                warm.setdefault(way, []).append(read(way, folder, "--workers", workers.get(way, 0), *options))
            for way in COLD if os.access(DROP_CACHES, os.W_OK) else ():
                drop_page_cache()
                cold.setdefault(way, []).append(read(way, folder, "--cold", "--workers", workers[way], *options))
    if arguments.json:
        arguments.json.write_text(json.dumps({"workers": workers, "warm": warm, "cold": cold}, indent=1))
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    print("| reader, random windows, warm | workers | windows/s | eegzarr is | CPU µs a window | MB | first batch, s |")
    print("|---|---|---|---|---|---|---|")
    for way in WAYS:
        cells = [workers[way] or "", middle(column(warm, way)), f"{times(warm, 'eegzarr', way):.1f} ×"]
        cells += [f"{statistics.median(column(warm, way, 'cpu_us_per_window')):.0f}"]
        cells += [f"{statistics.median(column(warm, way, 'anonymous_mb')):.0f}"]
        cells += [f"{statistics.median(column(warm, way, 'first_batch_s')):.2f}"]
        print(f"| {way} | " + " | ".join(map(str, cells)) + " |")
    for name in LIMITS:
        print(f"| {name} | | {middle(column(warm, name))} | {times(warm, 'eegzarr', name):.2f} × | | | |")
    print(f"\neegzarr float16 is {times(warm, 'eegzarr, float16', 'limit: Blosc, float16'):.2f} of its limit")
    if cold:
        print("\n| reader, page cache dropped | windows/s | eegzarr float16 is |\n|---|---|---|")
        for way in COLD:
            print(f"| {way} | {middle(column(cold, way))} | {times(cold, 'eegzarr, float16', way):.1f} × |")


def column(runs: dict[str, list[Figures]], way: str, figure: str = "windows_per_s") -> list[float]:
    """Return a figure of a way in each turn."""
    return [figures[figure] for figures in runs[way]]


def times(runs: dict[str, list[Figures]], way: str, other: str) -> float:
    """Return how many times as fast as another a way is: the median over the turns."""
    return statistics.median(a / b for a, b in zip(column(runs, way), column(runs, other), strict=True))


if __name__ == "__main__":
    main()
