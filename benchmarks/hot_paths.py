"""The hot paths of eegzarr, each beside the plainest code that does the unavoidable part of its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from numcodecs import blosc

from benchmarks.settings import GROUP
from eegzarr.store.layout import Geometry, create_eeg, open_store
from eegzarr.store.reading.compiled import compile_loops
from eegzarr.store.reading.local import LocalReader
from eegzarr.store.reading.read import WindowDecoder
from eegzarr.store.shard import encode_frame, encode_shard, put
from eegzarr.stream.order import balanced_order, block_order, global_order

CHANNELS, TIMES = 129, 200
FRAMES = 4
ORDERED = 100_000

ENCODE = "encode a frame / compress its windows"
DECODE = "decode shuffled windows from a shard / decompress them from memory"
COPY = "decode shuffled uncompressed windows from a shard / copy them from memory"
GLOBAL = "order of a global shuffle / permutation"
BLOCK = "order of a block shuffle / permutation"
BALANCED = "balanced order / permutation"
# How many times as long as its reference each may take: some way above what was measured.
CEILINGS = {ENCODE: 2.0, DECODE: 3.0, COPY: 4.0, GLOBAL: 2.0, BLOCK: 60.0, BALANCED: 400.0}


@dataclass(frozen=True)
class HotPath:
    """Code of eegzarr beside what it can't do without."""

    path: Callable[[], object]
    reference: Callable[[], object]


def hot_paths(folder: Path) -> dict[str, HotPath]:
    """Return what is measured, by its name, on simulated windows stored in a folder."""
    blosc.use_threads = False
    compile_loops()  # as long streams do
    windows = _simulated_windows()
    count = len(windows)
    geometry, plain = Geometry.of(CHANNELS, TIMES), Geometry.of(CHANNELS, TIMES, compression="none")
    packed, copied = (_stored(windows, g, folder / g.compression) for g in (geometry, plain))
    frame = windows[: geometry.windows_per_frame]
    rows = np.zeros_like(windows)
    shuffled, group = np.random.default_rng(1).permutation(count), np.zeros(count, np.int32)
    compressed = [_compress(window, geometry) for window in windows]
    unpacking, copying = WindowDecoder([packed]), WindowDecoder([copied])
    recording = np.repeat(np.arange(ORDERED // 25), 25)

    def decode_plainly() -> None:
        for buffer, row in zip(compressed, rows, strict=True):
            blosc.decompress(buffer, row)

    def copy_plainly() -> None:
        for number, row in zip(shuffled.tolist(), rows, strict=True):
            row[:] = windows[number]

    def permute() -> object:
        return np.random.default_rng(0).permutation(ORDERED)

    return {
        ENCODE: HotPath(
            lambda: encode_frame(frame, geometry), lambda: [_compress(window, geometry) for window in frame]
        ),
        DECODE: HotPath(lambda: unpacking.decode(group, shuffled, rows), decode_plainly),
        COPY: HotPath(lambda: copying.decode(group, shuffled, rows), copy_plainly),
        GLOBAL: HotPath(lambda: global_order(ORDERED, 0, 0), permute),
        BLOCK: HotPath(lambda: block_order(np.arange(ORDERED) // geometry.windows_per_frame, 0, 0, 1024), permute),
        BALANCED: HotPath(lambda: balanced_order(recording, 0, 0), permute),
    }


def _simulated_windows() -> np.ndarray:
    """Sums of noise: like EEG, neighbours are alike, and it compresses a little."""
    count = FRAMES * Geometry.of(CHANNELS, TIMES).windows_per_frame
    noise = np.random.default_rng(0).normal(size=(count, CHANNELS, TIMES))
    return np.cumsum(noise, axis=2).astype(np.float32)


def _stored(windows: np.ndarray, geometry: Geometry, lake: Path) -> LocalReader:
    store = open_store(str(lake))
    create_eeg(zarr.open_group(store, mode="a", zarr_format=3).create_group(GROUP), len(windows), geometry)
    put(str(lake), f"{GROUP}/eeg/{geometry.shard_key(0)}", encode_shard(windows, geometry))
    return LocalReader(str(lake), GROUP)


def _compress(window: np.ndarray, geometry: Geometry) -> bytes:
    compressed: bytes = blosc.compress(window, geometry.cname.encode(), geometry.clevel, geometry.shuffle_code)
    return compressed
