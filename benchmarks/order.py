"""How well the order of an epoch is mixed, judged by the windows that arrive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.settings import BATCH, Batches

MARK = 8  # samples of the first channel: they tell a window from all others


def arrived(make: Callable[[], Batches], folder: Path) -> list[int]:
    """Return the numbers of the windows of the second epoch, as they came.

    Windows are recognised by their samples, so that it is what arrives that counts.
    """
    marks = np.load(folder / "memmap.npy", mmap_mode="r")[:, 0, :MARK]
    number = {mark.tobytes(): index for index, mark in enumerate(np.ascontiguousarray(marks))}
    batches = make()
    for _ in batches(0):
        pass
    return [number[mark.tobytes()] for x in batches(1) for mark in np.ascontiguousarray(x[:, 0, :MARK])]


def order_figures(order: list[int], folder: Path) -> dict[str, float]:
    """Compare an order with a random permutation of the same windows."""
    from eegzarr.stream.order import shuffle_quality

    with np.load(folder / "labels.npz") as labels:
        recording, target = labels["recording"], labels["target"]
    quality = shuffle_quality(np.array(order), recording, target, BATCH, seed=0)
    return {
        "distinct_windows": len(set(order)) / len(recording),
        "recordings_in_batch": quality.recordings,
        "recordings_in_batch_permuted": quality.recordings_true,
        "neighbours_correlation": quality.correlation,
        "neighbours_correlation_permuted": quality.correlation_true,
    }
