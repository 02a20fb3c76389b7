"""Where a stream is in an epoch: its turns in the sequence of batches, and the state that is saved of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from eegzarr.errors import BatchTooLarge, UsageError
from eegzarr.stream.counts import epoch_number, whole
from eegzarr.stream.order import SHUFFLES, Uneven, batch_count, rank_batches


@dataclass(frozen=True, kw_only=True)
class Dealing:
    """How an epoch's windows are cut into batches and shared out.

    Attributes
    ----------
    windows : int
        In an epoch.
    batch_size : int
    drop_last : bool
    uneven : {"drop", "pad"}

    Raises
    ------
    UsageError
        If there can't be such batches.
    BatchTooLarge
        If the first batch isn't whole, and smaller ones are left out.
    """

    windows: int
    batch_size: int
    drop_last: bool
    uneven: Uneven

    def __post_init__(self) -> None:
        whole("batch_size", self.batch_size, 1)
        if self.uneven not in get_args(Uneven):
            raise UsageError(f"uneven must be 'drop' or 'pad', got {self.uneven!r}")
        if self.drop_last and self.batch_size > self.windows:
            raise BatchTooLarge(f"batch_size {self.batch_size} is larger than the selection of {self.windows} windows")

    def turns(self, dealt_from: int, rank: int, ranks: int) -> list[Turn]:
        """Return the batches that a rank gives, of the windows from `dealt_from` on.

        Raises
        ------
        UsageError
            If there are batches, and none for each rank.
        """
        size, end = self.batch_size, self.windows
        batches = batch_count(end - dealt_from, size, self.drop_last)
        numbers = rank_batches(batches, rank, ranks, self.uneven)
        if batches and not len(numbers) and not dealt_from:
            raise UsageError(
                f"{batches} batches of {size} windows are too few for {ranks} ranks: make batches smaller, or give the "
                "first ones twice with uneven='pad'"
            )
        first = dealt_from + numbers * size
        done = np.minimum(end, dealt_from + (np.arange(len(numbers)) + 1) * ranks * size)
        pairs = zip(first.tolist(), done.tolist(), strict=True)
        return [Turn(begin, min(begin + size, end), after) for begin, after in pairs]


@dataclass(frozen=True)
class Turn:
    """A batch: windows `first` to `stop` of the epoch's order, and how many all ranks have given after it."""

    first: int
    stop: int
    done: int


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A saved state that fits: where to resume.

    Attributes
    ----------
    epoch, windows, dealt_from : int
        See `eegzarr.stream.epochs.Begun`.
    shuffle : str or None
        The order that the epoch has, as it was resolved.
    buffer : int
        Windows that ``"block"`` mixes at a time; 0 where the state doesn't say.
    worker : (int, int) or None
        The DataLoader worker that saved it, and of how many.
    """

    epoch: int
    windows: int
    dealt_from: int
    shuffle: str | None
    buffer: int
    worker: tuple[int, int] | None


def saved_position(state: dict[str, Any], own: dict[str, Any], *, may_shuffle_as_saved: bool) -> Saved:
    """Return where to resume from a saved state.

    Parameters
    ----------
    own : dict
        The state of the stream that resumes.
    may_shuffle_as_saved : bool
        Whether the stream leaves it open how it shuffles.

    Raises
    ------
    UsageError
        If it is the state of a stream that gives other windows, or in another order.
    """
    if not isinstance(state, dict) or not {"seed", "epoch"} <= set(state) or not {"windows", "batches"} & set(state):
        raise UsageError(f"this isn't the state of a WindowStream: {state!r:.80}")
    if state["seed"] != own["seed"]:
        raise UsageError(f"the saved stream had seed {state['seed']}, this one has {own['seed']}")
    if state.get("selection", own["selection"]) != own["selection"]:
        raise UsageError(
            "the saved stream was of other windows: other releases, another selection or order of windows, channels or "
            "times, another target that leaves out others, or a lake that was rebuilt"
        )
    crop = list(state.get("crop", own["crop"]))  # earlier versions didn't say
    if crop != own["crop"]:
        raise UsageError(f"the saved stream gave {_told_of_crop(crop)}, this one gives {_told_of_crop(own['crop'])}")
    shuffle = state.get("shuffle", own["shuffle"])
    if shuffle != own["shuffle"] and not (may_shuffle_as_saved and shuffle in SHUFFLES):
        raise UsageError(f"the saved stream had shuffle={shuffle!r}, this one has {own['shuffle']!r}")
    # What an earlier version saved counts batches; of the same size, or it would have to say so.
    windows = (
        whole("windows of a saved stream", state["windows"], 0)
        if "windows" in state
        else whole("batches of a saved stream", state["batches"], 0) * own["batch_size"]
    )
    return Saved(
        epoch=epoch_number(state["epoch"]),
        windows=windows,
        dealt_from=whole("dealt_from", state.get("dealt_from", 0 if "workers" in state else windows), 0),
        shuffle=shuffle,
        buffer=whole("buffer", state.get("buffer", 0), 0),
        worker=(state["worker"], state["workers"]) if "workers" in state else None,
    )


def _told_of_crop(crop: Sequence[Any]) -> str:
    times, views, is_anywhere = crop
    in_views = f" in {views} views" if views > 1 else ""
    return f"{times} samples{in_views}, from {'anywhere in a recording' if is_anywhere else 'the window'}"
