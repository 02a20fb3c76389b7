"""WindowStream: shuffled batches, decoded by threads straight into tensors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch.utils.data import IterableDataset

from eegzarr.errors import UsageError
from eegzarr.machine.memory import as_bytes
from eegzarr.stream.about import AboutWindows
from eegzarr.stream.anywhere import checked_views, interleaved
from eegzarr.stream.counts import whole
from eegzarr.stream.decoding.batches import Decoder, Reading
from eegzarr.stream.epochs import Ranks
from eegzarr.stream.order import Shuffle, ShuffleQuality, Uneven
from eegzarr.stream.position import Dealing, Turn, saved_position
from eegzarr.stream.progress import Progress
from eegzarr.stream.report import Circumstances, Report, report_of
from eegzarr.stream.rows import RowOptions, WindowRows
from eegzarr.stream.sequence import EpochSequence, chosen_shuffle
from eegzarr.stream.shape import Normalize
from eegzarr.stream.targets import Target
from eegzarr.stream.times.board import Board
from eegzarr.stream.times.meter import Meter
from eegzarr.stream.times.times import Times, latest


class WindowStream(AboutWindows, IterableDataset[Any]):
    """Batches of a selection of windows, every window exactly once per epoch.

    The order depends on the selection, `seed` and the epoch alone: with any number of
    DataLoader workers it is the same sequence of batches, and ranks take turns in it. After an
    iteration that was drained comes the next epoch; `set_epoch` chooses one.
    Use it bare, or as ``DataLoader(stream, batch_size=None, num_workers=…)``; threads
    decode, so that workers rarely make it faster. Batches can be kept: their memory is reused only
    once nothing holds them.

    Parameters
    ----------
    windows : Dataset or sequence of Dataset
        As `eegzarr.open_windows` returns it, or any selection of it: windows, channels and times in any
        order. Signals that were changed must be in memory. Several Datasets are streamed one after another, if
        they have the same channels (the order is that of the first), rate and samples. Windows without a target and
        windows that could not be read are left out; see `left_out`.
    batch_size : int
        Windows in a batch; the last one of an epoch can be smaller.
    shuffle : bool or {"global", "block"}
        ``"global"`` is a true random permutation. ``"block"`` reads whole frames in random
        order and mixes their windows through a buffer of half of `memory`: for lakes in a
        bucket, or larger than the machine's memory. True chooses between them.
    seed : int
        Of permutations and random crops; at least 0.
    target : str, sequence of str, callable or None
        Label to give as y: any coordinate along ``window``; several, as columns; or a function of the
        table of labels (DataFrame, a row per window) that returns one row per window. None gives x alone.
    classes : sequence of str, optional
        Classes of a target that is text, in the order of their codes; default all that the label has in
        the lake, in alphabetical order.
    with_labels : sequence of str
        Labels to give beside x and y, as a dict of tensors, of lists where they are texts.
    crop : str or float, optional
        Length of a crop, such as ``"2s"``.
    random_crop : bool, optional
        Crop anywhere in the window rather than in the middle; default where `shuffle` is on.
    anywhere : bool
        Take the crop, or as many samples as the window has, anywhere in the window's recording, each place equally
        likely: in one stretch of it, outside of bad times. For whole recordings (``--recipe continuous``) and windows
        that were cut from them.
    views : int
        Random crops of each window, or with `anywhere` of its recording: x is then (batch, view, channel, time).
    normalize : {"channel", "window", "recording", "robust"}, optional
        Subtract the mean of each channel and divide by its standard deviation. ``"channel"``: those over
        the recordings of `statistics`, from the lake; of several Datasets each by its own.
        ``"recording"``: those of the window's recording, ``"window"``: of the window itself. ``"robust"``: the
        recording's median, and its interquartile range over 1.349, which artefacts hardly move.
    statistics : Dataset or sequence of Dataset, optional
        The training part, for ``normalize="channel"`` in evaluation; default `windows`.
    clamp : float, optional
        Largest absolute value after normalising, such as 20.
    dtype : {"float32", "float16", "int16"}
        Of x. int16 gives an int16 lake's integers, half the bytes to copy to a GPU: ``x * stream.scale`` is in uV.
    with_positions : bool
        Give electrode positions in m, (channel, 3), last.
    transform : callable, optional
        Applied to each x.
    balance : str, optional
        Label, such as ``"subject"``, whose values are drawn equally often: then a window can
        come several times in an epoch, or not at all.
    drop_last : bool
        Leave out a smaller last batch.
    threads : int, optional
        Threads that decode; default one per core, in a DataLoader worker one.
    ahead : int
        Batches to decode before they are asked for. That many ahead, the reader waits for the consumer.
    keep, copy : optional
        Deprecated; they have no effect.
    pin_memory : bool
        Give batches in page-locked memory, for copies to a GPU that don't block. In DataLoader workers it has no
        effect.
    memory : int or str
        The most frames from a bucket to hold at a time, in bytes or as a text; ``"block"`` mixes half as much.
    concurrency : int
        Requests to a bucket that are under way at a time.
    rank, ranks : int, optional
        Which share of the batches to yield; default from ``torch.distributed`` when an iteration begins, if that
        is initialised, else all.
    uneven : {"drop", "pad"}
        What to do with batches that don't share out evenly among ranks: leave out the last
        few, or give the first few of the epoch again.
    disjoint_from : WindowStream, optional
        The stream to train on; one that shares a subject with it is refused.

    Yields
    ------
    x : Tensor, shape (batch, channel, time), or (batch, view, channel, time) with several `views`
        In uV, if not normalised; in units of `scale` with ``dtype="int16"``.
    y : Tensor, shape (batch,) or (batch, target)
        float32 numbers, or int64 places in `classes`; not with ``target=None``.
    labels : dict
        With `with_labels` only.

    Raises
    ------
    UsageError
        If the selection is empty, can't be honoured, or is smaller than a batch that may not be dropped, the target
        isn't there, subjects overlap, `memory` can't hold a frame, or float16 can't hold a value.
    LakeError
        Here or while iterating, if the lake is damaged, or was written to since it was opened.
    """

    def __init__(
        self,
        windows: xr.Dataset | Sequence[xr.Dataset],
        batch_size: int = 128,
        *,
        shuffle: bool | Shuffle = False,
        seed: int = 0,
        target: Target = "target",
        classes: Sequence[str] | None = None,
        with_labels: Sequence[str] = (),
        crop: str | float | None = None,
        random_crop: bool | None = None,
        anywhere: bool = False,
        views: int = 1,
        normalize: Normalize | None = None,
        statistics: xr.Dataset | Sequence[xr.Dataset] | None = None,
        clamp: float | None = None,
        dtype: str = "float32",
        with_positions: bool = False,
        transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
        balance: str | None = None,
        drop_last: bool = False,
        threads: int | None = None,
        ahead: int = 2,
        keep: int | None = None,
        copy: bool | None = None,
        pin_memory: bool = False,
        memory: int | str = "192MiB",
        concurrency: int = 16,
        rank: int | None = None,
        ranks: int | None = None,
        uneven: Uneven = "drop",
        disjoint_from: WindowStream | None = None,
    ) -> None:
        super().__init__()
        if keep is not None or copy is not None:
            warnings.warn("keep and copy have no effect: every batch can be kept", DeprecationWarning, stacklevel=2)
        held = as_bytes(memory, "memory") or 0
        self._reading = Reading(
            threads=threads, ahead=ahead, pin_memory=pin_memory, memory=held, concurrency=concurrency
        )
        self._rows = rows = WindowRows.of(windows, RowOptions.among(locals()), anywhere=anywhere)
        self._reading.check_holds(rows)
        if disjoint_from is not None and not isinstance(disjoint_from, AboutWindows):
            raise UsageError(f"disjoint_from must be a WindowStream, got {type(disjoint_from).__name__}")
        if disjoint_from is not None:
            _check_disjoint(rows.selection.people, disjoint_from._rows.selection.people)
        self.batch_size = whole("batch_size", batch_size, 1)
        self.seed = whole("seed", seed, 0)
        self.drop_last = drop_last
        dealing = Dealing(windows=len(rows.selection), batch_size=self.batch_size, drop_last=drop_last, uneven=uneven)
        self._progress = Progress(dealing, Ranks(rank, ranks))
        self._may_shuffle_as_saved = shuffle is True
        chosen = chosen_shuffle(shuffle, rows)
        self._sequence = EpochSequence(
            rows=rows,
            seed=self.seed,
            shuffle=chosen,
            buffer=max(self.batch_size, _whole_frames(held // 2, rows.frame_bytes) // rows.mixed_bytes),
            balance=balance,
            random_crop=chosen is not None if random_crop is None else random_crop,
        )
        has_room = rows.shape.n_times < rows.shape.window_times
        self.views = checked_views(views, is_random=anywhere or (self._sequence.random_crop and has_room))
        self._decoder: Decoder | None = None
        self._meter: Meter | None = None
        self._board = Board()

    @property
    def shuffle(self) -> Shuffle | None:
        """How windows are shuffled: what True has chosen, too."""
        return self._sequence.shuffle

    @property
    def ranks(self) -> tuple[int, int]:
        """Rank and number of ranks, as they are now."""
        return self._progress.ranks

    @property
    def epoch(self) -> int:
        """The epoch whose order the next iteration has."""
        return self._progress.epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration has, from its beginning."""
        self._progress.go_to(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream is: the epoch, and the windows of it that all ranks have given.

        In a DataLoader worker it holds the worker too: torchdata's ``StatefulDataLoader``
        gives each worker its own back.

        Raises
        ------
        UsageError
            In the main process, while DataLoader workers read: it can't know how much of what they have read
            has been taken.
        """
        return {**self._identity(), **self._progress.state()}

    def state_at(self, epoch: int, batches: int) -> dict[str, Any]:
        """Return the state after this many batches of an epoch, over all ranks, for loops that count by themselves."""
        return {**self._identity(), **self._progress.state_at(epoch, batches)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration resume after the windows of a `state_dict`, on any number of ranks.

        With another batch size it continues at the next window. Where ``shuffle=True`` left it open how to shuffle, the
        order is the saved one.

        Raises
        ------
        UsageError
            If it is of a stream with another seed, other windows or another order.
        """
        saved = saved_position(state, self._identity(), may_shuffle_as_saved=self._may_shuffle_as_saved)
        self._progress.resume(saved)
        self._sequence = self._sequence.resumed(saved.shuffle, saved.buffer)

    def set_ahead(self, ahead: int) -> None:
        """Choose how many batches the next iteration decodes ahead; it changes no batch."""
        self._reading = replace(self._reading, ahead=ahead)

    def shuffle_quality(self) -> ShuffleQuality:
        """Measure the order of the epoch that is next, beside a true permutation."""
        return self._sequence.quality(self.epoch, self.batch_size)

    def __len__(self) -> int:
        """Batches that this rank yields in an epoch."""
        return len(self.turns())

    def __repr__(self) -> str:
        return f"WindowStream of {self._summary()}; batches of {self._batches()}"

    def _batches(self) -> str:
        order = "in order" if self._sequence.name is None else f"shuffled: {self._sequence.name}"
        return f"{self.batch_size}, {order}, seed {self.seed}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_decoder": None, "_meter": None}

    def __iter__(self) -> Iterator[Any]:
        begun, turns = self._progress.begin()
        batches = self.read([(begun.epoch, turn) for turn in turns], begun.epoch)
        try:
            for turn in turns:
                batch = next(batches)
                self._progress.gave(begun, turn, is_last=turn is turns[-1])
                yield batch
                del batch  # or its memory would be held here
        finally:
            batches.close()
        self._progress.finish(begun)

    def turns(self) -> list[Turn]:
        """Return the batches of an epoch that this rank gives."""
        return self._progress.turns()

    def read(self, turns: Sequence[tuple[int, Turn]], iteration: int) -> Generator[Any, None, None]:
        """Yield batches, each named by its epoch and its turn there; `iteration` distinguishes workers' reports."""
        meter = self._meter = Meter(self._reading.n_threads, self._board.own(iteration))
        orders = {epoch: self._rows_of(epoch) for epoch in dict(turns)}
        members = [orders[epoch][0][turn.first : turn.stop] for epoch, turn in turns]
        several = [(epoch, slice(self.views * turn.first, self.views * turn.stop)) for epoch, turn in turns]
        chosen_rows, offsets = ([orders[epoch][of][rows] for epoch, rows in several] for of in (1, 2))
        decoder = self._open_decoder()
        tensors = decoder.batches(chosen_rows, offsets, self._reading)
        meter.opened(decoder.opened.spent)
        try:
            for chosen in members:
                yield self._next(tensors, chosen, meter)  # held by nobody here
                meter.resumes()
        finally:
            meter.resumes()
            tensors.close()

    def report(self) -> Report:
        """Return where the time of the last iteration went, or of the one under way, and what to change.

        Of DataLoader workers it is what they have measured together.

        Raises
        ------
        UsageError
            If nothing was read yet.
        """
        return report_of(self.times(), self.circumstances())

    def times(self, since: float = 0.0) -> Times | None:
        """Return what was measured of the last iteration, of those that began since a time."""
        own = None if self._meter is None else self._meter.measured()
        return latest(own, self._board.latest(), since=since)

    def circumstances(self) -> Circumstances:
        """Return what else the advice depends on."""
        return Circumstances.of(self._rows, ahead=self._reading.ahead, concurrency=self._reading.concurrency)

    def _rows_of(self, epoch: int) -> tuple[npt.NDArray[np.int64], ...]:
        """Return the windows of an epoch in order; that of each row, and where its crop begins."""
        # At once for all batches: batch by batch it took a fifth of an epoch of batches of 8.
        order, views = self._sequence.order(epoch), range(self.views)
        offsets = interleaved([self._sequence.offsets(epoch, view) for view in views], order)
        return order, np.repeat(order, self.views), offsets

    def _next(self, tensors: Iterator[torch.Tensor], chosen: npt.NDArray[np.int64], meter: Meter) -> Any:
        meter.waits()
        x = next(tensors)
        meter.has_batch()
        if self.views > 1:
            x = x.unflatten(0, (len(chosen), self.views))
        batch = self._rows.batch(x, chosen)
        meter.gives(len(chosen))
        return batch

    def _identity(self) -> dict[str, Any]:
        """Return what a saved position is of."""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "shuffle": self._sequence.name,
            "buffer": self._sequence.buffer,
            "selection": self._rows.selection.digest,
            "crop": [self._rows.shape.n_times, self.views, self._rows.anywhere is not None],
        }

    def _open_decoder(self) -> Decoder:
        """Open the groups in this process; what a parent opened before a fork isn't used."""
        if self._decoder is None or self._decoder.pid != os.getpid():
            self._decoder = Decoder(self._rows, self._reading, by_block=self._sequence.name == "block")
        return self._decoder


def _check_disjoint(own: frozenset[tuple[str, str]], other: frozenset[tuple[str, str]]) -> None:
    if shared := sorted(own & other):
        names = ", ".join(name for _, name in shared[:3])
        raise UsageError(
            f"{len(shared)} subjects are also in the stream to train on ({names} …): "
            "split with eegzarr.split_by_subject, or leave out disjoint_from"
        )


def _whole_frames(nbytes: int, frame: int) -> int:
    """Return bytes without what no frame fills: a block has whole frames, and the next one needs room beside it."""
    return nbytes - nbytes % frame if 0 < frame <= nbytes else nbytes
