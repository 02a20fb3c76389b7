"""What bounds a reader on a machine: every figure is also given as a share of its limit.

python -m benchmarks.limits FOLDER LIMIT … [--seconds S]

FOLDER is what `benchmarks.formats` wrote. Prints a line of JSON for each limit.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import blosc

from benchmarks.measure import forget_pages, use_cores
from benchmarks.settings import GROUP
from eegzarr.store.reading.local import LocalReader

READ_BYTES = 2**20
COPIED_BYTES = 64 * 2**20  # larger than caches of the processor, as a ring of batches is


def blosc_limit(lake: Path, seconds: float) -> float:
    """Windows a second that Blosc decodes on all cores, frame after frame, into reused memory."""
    reader = LocalReader(str(lake), GROUP)
    geometry = reader.geometry
    windows = zarr.open_array(lake / GROUP / "eeg", mode="r").shape[0]
    frames = [reader.frame(number).content for number in range(max(1, windows // geometry.windows_per_frame))]
    blosc.use_threads = False
    shape = (geometry.windows_per_frame, geometry.n_channels, geometry.n_times)

    def decode(frame: memoryview, rows: np.ndarray) -> None:
        blosc.decompress(frame, rows)

    return geometry.windows_per_frame * _on_all_cores(frames, np.zeros(shape, geometry.dtype), decode, seconds)


def memcpy_limit(folder: Path, seconds: float) -> float:
    """float32 windows a second that all cores copy from memory to memory."""
    source = np.ones(COPIED_BYTES // 4, np.float32)
    windows = COPIED_BYTES / _window_bytes(folder)
    return windows * _on_all_cores([source] * _cores(), source.copy(), lambda part, own: np.copyto(own, part), seconds)


def mapped_limit(folder: Path, seconds: float) -> float:
    """float32 windows a second that all cores copy from mapped pages of the page cache into reused memory."""
    mapped = np.asarray(np.load(folder / "memmap.npy", mmap_mode="r")).reshape(-1).view(np.uint8)
    # In pieces of several windows: the copy is measured, not what Python does between two.
    pieces = [mapped[first : first + READ_BYTES] for first in range(0, mapped.nbytes - READ_BYTES + 1, READ_BYTES)]
    own = np.zeros(READ_BYTES, np.uint8)
    rate = _on_all_cores(pieces, own, lambda piece, own: np.copyto(own, piece), seconds)
    return rate * READ_BYTES / _window_bytes(folder)


def page_cache_limit(folder: Path, seconds: float) -> float:
    """float32 windows a second that all cores read from the page cache, by read() into reused memory."""
    descriptor = os.open(folder / "memmap.npy", os.O_RDONLY)
    places = range(0, os.fstat(descriptor).st_size - READ_BYTES + 1, READ_BYTES) or range(1)

    def read(place: int, own: np.ndarray) -> None:
        os.preadv(descriptor, [own.data], place)

    try:
        rate = _on_all_cores(list(places), np.zeros(READ_BYTES, np.uint8), read, seconds)
    finally:
        os.close(descriptor)
    return rate * READ_BYTES / _window_bytes(folder)


def disk_limit(folder: Path, seconds: float) -> float:
    """float32 windows a second that come from disk: one file, in order, once, whatever `seconds`."""
    path = folder / "memmap.npy"
    forget_pages([path])
    own = np.zeros(16 * READ_BYTES, np.uint8)
    began, count = time.perf_counter(), 0
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while got := os.preadv(descriptor, [own.data], count):
            count += got
    finally:
        os.close(descriptor)
    return count / (time.perf_counter() - began) / _window_bytes(folder)


LIMITS: dict[str, Callable[[Path, float], float]] = {
    "Blosc, float32": lambda folder, seconds: blosc_limit(folder / "float32.zarr", seconds),
    "Blosc, float16": lambda folder, seconds: blosc_limit(folder / "float16.zarr", seconds),
    "memcpy": memcpy_limit,
    "copy of mapped pages": mapped_limit,
    "read from the page cache": page_cache_limit,
    "read from disk": disk_limit,
}


def _window_bytes(folder: Path) -> int:
    windows = np.load(folder / "memmap.npy", mmap_mode="r")
    return windows.nbytes // len(windows)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _on_all_cores(
    parts: list[Any], target: np.ndarray, work: Callable[[Any, np.ndarray], None], seconds: float
) -> float:
    """Return how many parts a second all cores work on, a thread each, once every part was worked on."""
    for part in parts:
        work(part, target)
    end = time.perf_counter() + seconds

    def run(core: int) -> int:
        own, done = target.copy(), 0
        while True:
            for part in parts[core :: _cores()] or parts:
                work(part, own)
                done += 1
                if time.perf_counter() > end:
                    return done

    with ThreadPoolExecutor(_cores()) as pool:
        return sum(pool.map(run, range(_cores()))) / seconds


def main() -> None:
    """Measure limits and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("limits", nargs="+", choices=LIMITS, metavar="LIMIT")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="keep to so many")
    arguments = parser.parse_args()
    use_cores(arguments.cores)
    for name in arguments.limits:
        print(json.dumps({"windows_per_s": LIMITS[name](arguments.folder, arguments.seconds)}), flush=True)


if __name__ == "__main__":
    main()
