"""In which order windows come: functions of (windows, seed, epoch) alone.

One global sequence of batches is defined first; ranks and workers then take turns in it, so
that no number of either changes what a model sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Uneven = Literal["drop", "pad"]
Shuffle = Literal["global", "block"]
SHUFFLES: tuple[Shuffle, ...] = ("global", "block")

# What a random number is drawn for: a stream of numbers of its own for each purpose.
_ORDER, _CROP = 0, 1


def global_order(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return a random permutation of `count` windows: every order is equally likely."""
    return _generator(seed, epoch, _ORDER).permutation(count)


def block_order(block: npt.NDArray[np.int64], seed: int, epoch: int, buffer: int) -> npt.NDArray[np.int64]:
    """Return an order that reads whole blocks, mixed through a buffer.

    Blocks come in random order; windows are drawn at random from as many blocks at a time
    as it takes to fill the buffer.

    Parameters
    ----------
    block : array of int, shape (window,)
        The block (frame) that each window lies in.
    buffer : int
        Windows that are mixed at a time.
    """
    generator = _generator(seed, epoch, _ORDER)
    number, _ = pd.factorize(block)
    blocks = int(np.max(number, initial=-1)) + 1
    place = generator.permutation(blocks)[number]  # where each window's block comes
    by_block = np.argsort(place, kind="stable")
    # A buffer ends with the block that fills it.
    filled = np.cumsum(np.bincount(place, minlength=blocks))
    part = np.empty(blocks, np.int64)
    part_number, threshold = 0, buffer
    for i, total in enumerate(filled.tolist()):
        part[i] = part_number
        if total >= threshold:
            part_number, threshold = part_number + 1, total + buffer
    mixed = np.lexsort((generator.random(len(block)), part[place[by_block]]))
    return by_block[mixed]


def balanced_order(label: npt.NDArray, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return as many draws as there are windows, each value of the label equally often (within one).

    Windows of a rare value come several times, those of a common one not all.
    """
    generator = _generator(seed, epoch, _ORDER)
    code, values = pd.factorize(label)
    count = len(label)
    shares = np.full(len(values), count // len(values))
    shares[generator.permutation(len(values))[: count % len(values)]] += 1
    drawn = []
    for value, share in enumerate(shares.tolist()):
        members = np.flatnonzero(code == value)
        rounds = -(-share // len(members))
        # Whole rounds: no window comes again before all of its value have come.
        drawn.append(np.concatenate([generator.permutation(members) for _ in range(rounds)])[:share])
    return generator.permutation(np.concatenate(drawn))


def crop_offsets(count: int, room: int, seed: int, epoch: int, view: int = 0) -> npt.NDArray[np.int64]:
    """Return for each window the first sample of its random crop, from 0 to `room`."""
    return crop_generator(seed, epoch, view).integers(0, room + 1, count)


def crop_generator(seed: int, epoch: int, view: int) -> np.random.Generator:
    """Return what draws the crops of an epoch, for each of several views of a window its own."""
    return np.random.default_rng([seed, epoch, _CROP, view] if view else [seed, epoch, _CROP])


def batch_count(windows: int, batch_size: int, drop_last: bool) -> int:
    """Return how many batches an epoch has, over all ranks."""
    return windows // batch_size if drop_last else -(-windows // batch_size)


def rank_batches(batches: int, rank: int, ranks: int, uneven: Uneven, start: int = 0) -> npt.NDArray[np.int64]:
    """Return the numbers of the global batches that a rank takes, from `start` on: as many for each rank.

    Ranks take turns. Where batches don't share out evenly, ``"drop"`` leaves out the last
    few and ``"pad"`` gives the first few of the epoch a second time.
    """
    left = max(0, batches - start)
    rounds = left // ranks if uneven == "drop" else -(-left // ranks)
    return (start + np.arange(rounds) * ranks + rank) % max(1, batches)


@dataclass(frozen=True, kw_only=True)
class ShuffleQuality:
    """How well an order mixes, compared with a true permutation of the same windows.

    Attributes
    ----------
    recordings, recordings_true : float
        Distinct recordings in a batch, on average.
    correlation, correlation_true : float
        Of neighbours in the order: how alike the targets of successive windows are, from -1
        to 1. A true permutation has about 0, recordings read one after another more.
    """

    recordings: float
    recordings_true: float
    correlation: float
    correlation_true: float


def shuffle_quality(
    order: npt.NDArray[np.int64],
    recording: npt.NDArray[np.int64],
    target: npt.NDArray[np.float32],
    batch_size: int,
    seed: int,
) -> ShuffleQuality:
    """Measure an order of windows beside a true permutation.

    Parameters
    ----------
    order : array of int, shape (draw,)
    recording : array of int, shape (window,)
        Which recording a window is of.
    target : array of float, shape (window,)
    """
    true = np.random.default_rng([seed, 2**31]).permutation(len(recording))
    measured = [(_distinct(o, recording, batch_size), _neighbours(target[o])) for o in (order, true)]
    (recordings, correlation), (recordings_true, correlation_true) = measured
    return ShuffleQuality(
        recordings=recordings,
        recordings_true=recordings_true,
        correlation=correlation,
        correlation_true=correlation_true,
    )


def _distinct(order: npt.NDArray[np.int64], recording: npt.NDArray[np.int64], batch_size: int) -> float:
    whole = max(1, len(order) // batch_size) * batch_size
    batches = recording[order[:whole]].reshape(-1, min(batch_size, len(order)))
    return float(np.mean([len(np.unique(batch)) for batch in batches]))


def _neighbours(values: npt.NDArray[np.float32]) -> float:
    if len(values) < 3 or values.std() == 0:
        return 0.0
    return float(np.corrcoef(values[:-1], values[1:])[0, 1])


def _generator(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch, purpose])
