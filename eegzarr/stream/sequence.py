"""In which order a stream gives its windows, and where it crops them, in each epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eegzarr.errors import UsageError
from eegzarr.stream.counts import whole
from eegzarr.stream.order import (
    SHUFFLES,
    Shuffle,
    ShuffleQuality,
    balanced_order,
    block_order,
    crop_generator,
    crop_offsets,
    global_order,
    shuffle_quality,
)
from eegzarr.stream.rows import WindowRows


@dataclass(frozen=True, kw_only=True)
class EpochSequence:
    """Orders and crops of windows, by epoch.

    Attributes
    ----------
    rows : WindowRows
    seed : int
    shuffle : {"global", "block"} or None
    buffer : int
        Windows that ``"block"`` mixes at a time.
    balance : str or None
        The label whose values are drawn equally often.
    random_crop : bool

    Raises
    ------
    UsageError
        If random numbers can't be drawn from the seed.
    """

    rows: WindowRows
    seed: int
    shuffle: Shuffle | None
    buffer: int
    balance: str | None
    random_crop: bool

    def __post_init__(self) -> None:
        whole("seed", self.seed, 0)

    @property
    def name(self) -> str | None:
        """What the order is, for a saved state."""
        return self.shuffle if self.balance is None else f"balanced by {self.balance}"

    def resumed(self, name: str | None, buffer: int) -> EpochSequence:
        """Return the sequence of a saved state: with the order of this name, and its buffer unless it is 0."""
        shuffle = next((way for way in SHUFFLES if way == name), self.shuffle)
        return replace(self, shuffle=shuffle, buffer=buffer or self.buffer)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the windows of an epoch, as places in the selection."""
        count = len(self.rows.selection)
        if self.balance is not None:
            assert self.rows.selection.weighed is not None
            return balanced_order(self.rows.selection.weighed, self.seed, epoch)
        if self.shuffle == "global":
            return global_order(count, self.seed, epoch)
        if self.shuffle == "block":
            drawn = None if self.rows.anywhere is None else self.offsets(epoch)
            return block_order(self.rows.blocks(drawn), self.seed, epoch, self.buffer)
        return np.arange(count)

    def offsets(self, epoch: int, view: int = 0) -> npt.NDArray[np.int64]:
        """Return the first sample of each window's crop, counted from the window's first; of one of several views."""
        if self.rows.anywhere is not None:
            return self.rows.anywhere.drawn(crop_generator(self.seed, epoch, view)) - self.rows.selection.window
        count, room = len(self.rows.selection), self.rows.shape.window_times - self.rows.shape.n_times
        if self.random_crop:
            return crop_offsets(count, room, self.seed, epoch, view)
        return np.full(count, room // 2)

    def quality(self, epoch: int, batch_size: int) -> ShuffleQuality:
        """Measure the order of an epoch beside a true permutation."""
        selection = self.rows.selection
        values = selection.targets.values
        target = np.zeros(len(selection)) if values is None else values.reshape(len(selection), -1)[:, 0]
        order = self.order(epoch)
        return shuffle_quality(order, selection.recordings, target.astype(np.float32), batch_size, self.seed)


def chosen_shuffle(shuffle: bool | Shuffle, rows: WindowRows) -> Shuffle | None:
    """Return how to shuffle, where True leaves it open.

    Raises
    ------
    UsageError
        If there is no such way.
    """
    if not isinstance(shuffle, bool):
        if shuffle not in SHUFFLES:
            raise UsageError(f"shuffle must be True, False, 'global' or 'block', got {shuffle!r}")
        return shuffle
    if not shuffle:
        return None
    # A true permutation reads every page of the lake all the time: it should fit into the page cache.
    return "global" if rows.fit_memory() and not rows.is_remote else "block"
