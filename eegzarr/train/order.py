"""In which order windows come: functions of (number, seed, epoch) alone.

One global sequence of batches is defined first; ranks and workers then take turns in it, so
that no number of either changes what a model sees.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Uneven = Literal["drop", "pad"]


def global_order(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return a random permutation of `count` windows: every order is equally likely."""
    return _generator(seed, epoch).permutation(count)


def block_order(block: npt.NDArray[np.int64], seed: int, epoch: int, buffer: int) -> npt.NDArray[np.int64]:
    """Return an order that reads whole blocks, mixed through a buffer.

    Blocks come in random order; windows are drawn at random from as many blocks at a time
    as fit into the buffer.

    Parameters
    ----------
    block : array of int, shape (window,)
        The block (frame) that each window lies in; windows of a block are neighbours.
    buffer : int
        Windows that are mixed at a time.
    """
    generator = _generator(seed, epoch)
    edges = np.flatnonzero(np.diff(block)) + 1
    runs = np.split(np.arange(len(block)), edges)
    shuffled = [runs[i] for i in generator.permutation(len(runs))] if len(block) else []
    order: list[npt.NDArray[np.int64]] = []
    held: list[npt.NDArray[np.int64]] = []
    size = 0
    for run in shuffled:
        held.append(run)
        size += len(run)
        if size >= buffer:
            order.append(generator.permutation(np.concatenate(held)))
            held, size = [], 0
    if held:
        order.append(generator.permutation(np.concatenate(held)))
    return np.concatenate(order) if order else np.empty(0, np.int64)


def batch_count(windows: int, batch_size: int, drop_last: bool) -> int:
    """Return how many batches an epoch has, over all ranks."""
    return windows // batch_size if drop_last else -(-windows // batch_size)


def rank_batches(batches: int, rank: int, ranks: int, uneven: Uneven) -> npt.NDArray[np.int64]:
    """Return the numbers of the global batches that a rank takes: as many for each rank.

    Ranks take turns. Where batches don't share out evenly, ``"drop"`` leaves out the last
    few and ``"pad"`` gives the first few of the epoch a second time.
    """
    rounds = batches // ranks if uneven == "drop" else -(-batches // ranks)
    return (np.arange(rounds) * ranks + rank) % max(1, batches)


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch])
