"""Micro-benchmarks of the hot paths, each as a ratio to the plainest code that does the unavoidable part.

python -m benchmarks.micro     # prints the ratios, and fails where one is above its ceiling

A ratio of two times that were taken in turns on one machine means the same on any, which
a time doesn't: it can be checked in CI.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import blosc

from benchmarks.measure import table
from benchmarks.settings import GROUP
from eegzarr.store.layout import Geometry, create_eeg, open_store
from eegzarr.store.read import LocalReader, WindowDecoder
from eegzarr.store.shard import encode_frame, encode_shard, put
from eegzarr.train.order import balanced_order, block_order, global_order

ROUNDS = 7
CHANNELS, TIMES = 129, 200
FRAMES = 4
ORDERED = 100_000


@dataclass(frozen=True)
class HotPath:
    """Code of eegzarr beside what it can't do without.

    Attributes
    ----------
    path, reference : callable
    ceiling : float
        Times as long as the reference that the path may take; some way above what was measured.
    """

    path: Callable[[], object]
    reference: Callable[[], object]
    ceiling: float


def ratio(hot: HotPath) -> float:
    """Return how many times as long as its reference a path takes: shortest of rounds, in turns."""
    shortest = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for index, call in enumerate((hot.path, hot.reference)):
            began = time.perf_counter()
            call()
            shortest[index] = min(shortest[index], time.perf_counter() - began)
    return shortest[0] / shortest[1]


def hot_paths(folder: Path) -> dict[str, HotPath]:
    """Return what is measured, on simulated windows stored in a folder."""
    geometry = Geometry.of(CHANNELS, TIMES)
    count = FRAMES * geometry.windows_per_frame
    # Sums of noise: like EEG, neighbours are alike, and it compresses a little.
    noise = np.random.default_rng(0).normal(size=(count, CHANNELS, TIMES))
    windows = np.cumsum(noise, axis=2).astype(np.float32)
    store = open_store(str(folder / "lake.zarr"))
    create_eeg(zarr.open_group(store, mode="a", zarr_format=3).create_group(GROUP), count, geometry)
    put(str(folder / "lake.zarr"), f"{GROUP}/eeg/{geometry.shard_key(0)}", encode_shard(windows, geometry))
    frame = windows[: geometry.windows_per_frame]
    decoder = WindowDecoder([LocalReader(str(folder / "lake.zarr"), GROUP)])
    rows = np.zeros_like(windows)
    shuffled, group = np.random.default_rng(1).permutation(count), np.zeros(count, np.int32)
    compressed = [_compress(window, geometry) for window in windows]

    def decode_plainly() -> None:
        for buffer, row in zip(compressed, rows, strict=True):
            blosc.decompress(buffer, row)

    recording = np.repeat(np.arange(ORDERED // 25), 25)
    return {
        "encode a frame / compress its windows": HotPath(
            lambda: encode_frame(frame, geometry), lambda: [_compress(window, geometry) for window in frame], 2.0
        ),
        "decode shuffled windows from a shard / decompress them from memory": HotPath(
            lambda: decoder.decode(group, shuffled, rows), decode_plainly, 3.0
        ),
        "order of a global shuffle / permutation": HotPath(
            lambda: global_order(ORDERED, 0, 0), lambda: np.random.default_rng(0).permutation(ORDERED), 2.0
        ),
        "order of a block shuffle / permutation": HotPath(
            lambda: block_order(np.arange(ORDERED) // geometry.windows_per_frame, 0, 0, 1024),
            lambda: np.random.default_rng(0).permutation(ORDERED),
            60.0,
        ),
        "balanced order / permutation": HotPath(
            lambda: balanced_order(recording, 0, 0), lambda: np.random.default_rng(0).permutation(ORDERED), 400.0
        ),
    }


def _compress(window: np.ndarray, geometry: Geometry) -> bytes:
    compressed: bytes = blosc.compress(window, geometry.cname.encode(), geometry.clevel, geometry.shuffle_code)
    return compressed


def run() -> dict[str, Any]:
    """Measure all paths."""
    blosc.use_threads = False
    with tempfile.TemporaryDirectory(prefix="eegzarr-micro-") as folder:
        paths = hot_paths(Path(folder))
        return {name: {"ratio": ratio(hot), "ceiling": hot.ceiling} for name, hot in paths.items()}


def report(figures: dict[str, Any]) -> str:
    """Return the table of a run."""
    rows = [[name, f"{figure['ratio']:.2f}", f"{figure['ceiling']:g}"] for name, figure in figures.items()]
    return table(["path / reference", "times as long", "ceiling"], rows)


def main() -> int:
    """Print the ratios; return 1 where one is above its ceiling."""
    figures = run()
    print(json.dumps(figures))
    return int(any(figure["ratio"] > figure["ceiling"] for figure in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
