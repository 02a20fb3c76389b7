"""WindowStream: shuffled batches, decoded by threads straight into a ring of tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch.utils.data import IterableDataset, get_worker_info

from eegzarr.errors import BatchTooLarge, LakeError, UsageError
from eegzarr.machine.memory import machine_memory
from eegzarr.machine.system import usable_cores
from eegzarr.store.group import stored_geometry
from eegzarr.store.layout import Geometry
from eegzarr.store.open import recording_subjects, selection_statistics
from eegzarr.stream.decode import Decoder, open_readers
from eegzarr.stream.order import (
    Shuffle,
    ShuffleQuality,
    Uneven,
    balanced_order,
    batch_count,
    block_order,
    crop_offsets,
    global_order,
    rank_batches,
    shuffle_quality,
)
from eegzarr.stream.selection import Target, concatenate, select
from eegzarr.stream.shape import Normalize, RowShape, channel_statistics, parse_seconds

_MIB = 2**20
_SHARE_OF_MEMORY = 0.7  # that the page cache may have
DTYPES = ("float32", "float16")


class WindowStream(IterableDataset[Any]):
    """Batches of a selection of windows, every window exactly once an epoch.

    The order depends on the selection, `seed` and the epoch alone: with any number of
    DataLoader workers it is the same sequence of batches, and ranks take turns in it. Call
    `set_epoch` before each epoch, as with PyTorch's ``DistributedSampler``, or the order
    repeats. Use it bare, or as ``DataLoader(stream, batch_size=None, num_workers=…)``; threads
    decode, so that workers rarely make it faster.

    Parameters
    ----------
    windows : Dataset or sequence of Dataset
        As `eegzarr.open_windows` returns it, or any selection of it; several are streamed
        together if their windows have one shape. Windows without a target and windows that
        could not be read are left out; see `left_out`.
    batch_size : int
        Windows in a batch; the last one of an epoch can be smaller.
    shuffle : bool or {"global", "block"}
        ``"global"`` is a true random permutation. ``"block"`` reads whole frames in random
        order and mixes their windows through a buffer of half of `memory`: for lakes in a
        bucket, or larger than the machine's memory. True chooses between them.
    seed : int
        Of permutations and random crops.
    target : str, sequence of str, or callable
        Label to give as y: any numeric coordinate along ``window``; several, as columns; or
        a function of the table of labels (DataFrame, a row a window) that returns one row of
        numbers a window.
    with_labels : sequence of str
        Labels to give beside x and y, as a dict of tensors, of lists where they are texts.
    crop : str or float, optional
        Length of a crop, such as ``"2s"``.
    random_crop : bool, optional
        Crop anywhere rather than in the middle; default where `shuffle` is on.
    normalize : {"channel", "window"}, optional
        ``"channel"``: take the mean of each channel and divide by its standard deviation, from
        the lake's statistics over the recordings of `statistics`. ``"window"``: by those of
        the window itself.
    statistics : Dataset, optional
        The training part, for ``normalize="channel"`` in evaluation; default `windows`.
    dtype : {"float32", "float16"}
        Of x. float16 from a float16 lake is the fastest.
    transform : callable, optional
        Applied to each x.
    balance : str, optional
        Label, such as ``"subject"``, whose values are drawn equally often: then a window can
        come several times in an epoch, or not at all.
    drop_last : bool
        Leave out a smaller last batch.
    threads : int, optional
        Threads that decode; default one a core, in a DataLoader worker one.
    ahead : int
        Batches that are decoded before they are asked for. A consumer slower than the reader
        blocks it there.
    keep : int
        A batch's memory is used again after `keep` further ones were asked for.
    copy : bool
        Give each batch memory of its own, for those who keep batches. DataLoader workers
        always do.
    pin_memory : bool
        Put the ring into page-locked memory, for copies to a GPU that don't block.
    memory : int
        Bytes of frames that are held at most from a bucket; ``"block"`` mixes half as much.
    concurrency : int
        Requests to a bucket that are under way at a time.
    rank, ranks : int, optional
        Which share of the batches to yield; default from ``torch.distributed``, if that is
        initialised, else all.
    uneven : {"drop", "pad"}
        What to do with batches that don't share out evenly among ranks: leave out the last
        few, or give the first few of the epoch again.
    disjoint_from : WindowStream, optional
        The stream to train on; one that shares a subject with it is refused.

    Yields
    ------
    x : Tensor, shape (batch, channel, time)
        In uV, if not normalised.
    y : Tensor, shape (batch,) or (batch, target)
        float32 targets.
    labels : dict
        With `with_labels` only.

    Raises
    ------
    UsageError
        If the selection is empty or smaller than a batch that may not be dropped, the target
        isn't there, subjects overlap, or `memory` can't hold a frame.
    LakeError
        Here or while iterating, if the lake is damaged; it names the shard and the frame.
    """

    def __init__(
        self,
        windows: xr.Dataset | Sequence[xr.Dataset],
        batch_size: int = 128,
        *,
        shuffle: bool | Shuffle = False,
        seed: int = 0,
        target: Target = "target",
        with_labels: Sequence[str] = (),
        crop: str | float | None = None,
        random_crop: bool | None = None,
        normalize: Normalize | None = None,
        statistics: xr.Dataset | None = None,
        dtype: str = "float32",
        transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
        balance: str | None = None,
        drop_last: bool = False,
        threads: int | None = None,
        ahead: int = 2,
        keep: int = 1,
        copy: bool = False,
        pin_memory: bool = False,
        memory: int = 192 * _MIB,
        concurrency: int = 16,
        rank: int | None = None,
        ranks: int | None = None,
        uneven: Uneven = "drop",
        disjoint_from: WindowStream | None = None,
    ) -> None:
        super().__init__()
        counts = {"batch_size": batch_size, "ahead": ahead, "keep": keep, "concurrency": concurrency}
        for name, value in {**counts, "threads": 1 if threads is None else threads}.items():
            if value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        parts = [windows] if isinstance(windows, xr.Dataset) else list(windows)
        if not parts:
            raise UsageError("no windows to stream: the sequence of Datasets is empty")
        self._selection = concatenate([select(part, target, with_labels, balance) for part in parts])
        count = len(self._selection)
        if not count:
            raise UsageError(f"no window to stream: {self._why_empty()}")
        if drop_last and batch_size > count:
            raise BatchTooLarge(
                f"batch_size {batch_size} is larger than the selection of {count} windows, with drop_last"
            )
        if disjoint_from is not None and (shared := sorted(self.subjects & disjoint_from.subjects)):
            raise UsageError(
                f"{len(shared)} subjects are also in the stream to train on ({', '.join(shared[:3])} …): "
                f"split with eegzarr.split_by_subject, or leave out disjoint_from"
            )
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self._geometry = _common_geometry(self._selection.groups)
        self._shape = _row_shape(parts, self._geometry, crop, normalize, statistics, dtype)
        self._memory = _checked_memory(memory, self._geometry, self.is_remote)
        self.shuffle = self._chosen_shuffle(shuffle)
        self._random_crop = self.shuffle is not None if random_crop is None else random_crop
        self._balance = balance is not None
        self._transform = transform
        self._threads = threads
        self._ahead, self._keep, self._copy, self._pin_memory = ahead, keep, copy, pin_memory
        self._concurrency = concurrency
        self._rank, self._ranks = _rank_and_ranks(rank, ranks)
        self._uneven = uneven
        # Shared with DataLoader workers that outlive an epoch.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._done = 0
        self._resume_at = 0
        self._resume_as: tuple[int, int] | None = None
        self._decoder: Decoder | None = None

    @property
    def left_out(self) -> dict[str, int]:
        """Windows of the selection that are not streamed, by reason."""
        return {"no target": self._selection.without_target, "signal not readable": self._selection.invalid}

    @property
    def targets(self) -> npt.NDArray[np.float32]:
        """Targets of all windows of the stream, in the order of the selection."""
        return self._selection.target

    @property
    def subjects(self) -> set[str]:
        """Subjects that the stream's windows are of."""
        selection = self._selection
        return {
            subject
            for number, (lake, group) in enumerate(selection.groups)
            for subject in recording_subjects(lake, group)[np.unique(selection.recording[selection.group == number])]
        }

    @property
    def n_windows(self) -> int:
        """Windows in an epoch, over all ranks."""
        return len(self._selection)

    @property
    def is_remote(self) -> bool:
        """Whether windows come from a URL."""
        return any("://" in lake for lake, _ in self._selection.groups)

    @property
    def epoch(self) -> int:
        """The epoch whose order the next iteration has."""
        return int(self._epoch.item())

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration has, from its beginning."""
        self._epoch.fill_(epoch)
        self._done = self._resume_at = 0
        self._resume_as = None

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream is: the epoch, and the batches of it that all ranks have yielded.

        In a DataLoader worker it holds the worker too: torchdata's ``StatefulDataLoader``
        gives each worker its own back.
        """
        state = {"seed": self.seed, "epoch": self.epoch, "batches": self._done}
        worker = get_worker_info()
        return state if worker is None else {**state, "worker": worker.id, "workers": worker.num_workers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration go on after the batches of a `state_dict`, on any number of ranks.

        Raises
        ------
        UsageError
            If it is of a stream with another seed.
        """
        if state["seed"] != self.seed:
            raise UsageError(f"the saved stream had seed {state['seed']}, this one has {self.seed}")
        self._epoch.fill_(state["epoch"])
        self._done = self._resume_at = state["batches"]
        self._resume_as = (state["worker"], state["workers"]) if "workers" in state else None

    def set_ahead(self, ahead: int) -> None:
        """Choose how many batches the next iteration decodes ahead; it changes no batch."""
        if ahead < 1:
            raise UsageError(f"ahead must be at least 1, got {ahead}")
        self._ahead = ahead

    def shuffle_quality(self) -> ShuffleQuality:
        """Measure the order of the epoch that is next, beside a true permutation."""
        selection = self._selection
        recording = selection.recording + selection.group.astype(np.int64) * (int(selection.recording.max()) + 1)
        target = selection.target.reshape(len(selection), -1)[:, 0]
        return shuffle_quality(self._order(), recording, target, self.batch_size, self.seed)

    def __len__(self) -> int:
        """Batches that this rank yields in an epoch."""
        return len(self._my_batches())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_decoder": None}

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        start, self._resume_at = self._resume_at, 0
        self._done = start
        turns = self._turns(worker, start)
        order = self._order()
        members = [order[number * self.batch_size : (number + 1) * self.batch_size] for number, _ in turns]
        decoder = self._open_decoder()
        batches = decoder.batches(
            members,
            self._crop_offsets(),
            threads=self._threads or (1 if worker else usable_cores()),
            ahead=self._ahead,
            keep=self._keep,
            copy=self._copy or worker is not None,
            pin_memory=self._pin_memory,
        )
        for (_, done), chosen, x in zip(turns, members, batches, strict=True):
            self._done = done
            yield self._batch(x, chosen)

    def _turns(self, worker: Any, start: int) -> list[tuple[int, int]]:
        """Return the batches to yield after the first `start`: number, and how many are done on all ranks after it."""
        as_before = worker is not None and self._resume_as is not None
        # What is left is dealt out anew, also to another number of ranks and workers. Only a worker
        # that goes on as the one it was keeps its old turns.
        dealt_from = 0 if as_before else start
        numbers = self._my_batches(dealt_from)
        done = dealt_from + (np.arange(len(numbers)) + 1) * self._ranks
        turns = list(zip(numbers.tolist(), done.tolist(), strict=True))
        if as_before:
            assert self._resume_as is not None
            number, workers = self._resume_as
            return [turn for turn in turns[number::workers] if turn[1] > start]
        return turns if worker is None else turns[worker.id :: worker.num_workers]

    def _batch(self, x: torch.Tensor, chosen: npt.NDArray[np.int64]) -> Any:
        x = x if self._transform is None else self._transform(x)
        y = torch.from_numpy(self._selection.target[chosen])
        if not self._selection.labels:
            return x, y
        labels: dict[str, Any] = {}
        for name, values in self._selection.labels.items():
            taken = values[chosen]
            labels[name] = torch.from_numpy(taken) if taken.dtype.kind in "fiub" else taken.tolist()
        return x, y, labels

    def _my_batches(self, start: int = 0) -> npt.NDArray[np.int64]:
        batches = batch_count(self.n_windows, self.batch_size, self.drop_last)
        return rank_batches(batches, self._rank, self._ranks, self._uneven, start)

    def _order(self) -> npt.NDArray[np.int64]:
        if self._balance:
            assert self._selection.weighed is not None
            return balanced_order(self._selection.weighed, self.seed, self.epoch)
        if self.shuffle == "global":
            return global_order(self.n_windows, self.seed, self.epoch)
        if self.shuffle == "block":
            frame = self._selection.window // self._geometry.windows_per_frame
            block = self._selection.group.astype(np.int64) * (int(frame.max()) + 1) + frame
            buffer = max(self.batch_size, self._memory // 2 // self._geometry.window_bytes)
            return block_order(block, self.seed, self.epoch, buffer)
        return np.arange(self.n_windows)

    def _crop_offsets(self) -> npt.NDArray[np.int64]:
        room = self._shape.stored_times - self._shape.n_times
        if self._random_crop:
            return crop_offsets(self.n_windows, room, self.seed, self.epoch)
        return np.full(self.n_windows, room // 2)

    def _open_decoder(self) -> Decoder:
        """Open the groups in this process; what a parent opened before a fork isn't used."""
        if self._decoder is None or self._decoder.pid != os.getpid():
            groups, beyond = self._selection.groups, not self._fits_memory()
            readers = open_readers(groups, self._memory, self._concurrency, beyond_memory=beyond)
            self._decoder = Decoder(readers, self._selection.group, self._selection.window, self._shape)
        return self._decoder

    def _chosen_shuffle(self, shuffle: bool | Shuffle) -> Shuffle | None:
        if shuffle is False:
            return None
        if shuffle is not True:
            if shuffle not in ("global", "block"):
                raise UsageError(f"shuffle must be True, False, 'global' or 'block', got {shuffle!r}")
            return shuffle
        # A true permutation reads every page of the lake all the time: it should fit into the page cache.
        return "global" if self._fits_memory() and not self.is_remote else "block"

    def _fits_memory(self) -> bool:
        return self.n_windows * self._geometry.window_bytes < _SHARE_OF_MEMORY * machine_memory()

    def _why_empty(self) -> str:
        told = ", ".join(f"{count} with {reason}" for reason, count in self.left_out.items() if count)
        return f"{told} were left out" if told else "the selection is empty"


def _common_geometry(groups: tuple[tuple[str, str], ...]) -> Geometry:
    found = [stored_geometry(lake, group) for lake, group in groups]
    geometries = [geometry for geometry in found if geometry is not None]
    if len(geometries) < len(groups):
        raise LakeError(f"{'/'.join(groups[found.index(None)])} has no array of signals")
    first = geometries[0]
    for (lake, group), geometry in zip(groups, geometries, strict=True):
        if (geometry.n_channels, geometry.n_times, geometry.dtype) != (first.n_channels, first.n_times, first.dtype):
            raise UsageError(
                f"windows of {lake}/{group} and those of {'/'.join(groups[0])} have different shapes or dtypes"
            )
    return first


def _row_shape(
    parts: Sequence[xr.Dataset],
    geometry: Geometry,
    crop: str | float | None,
    normalize: Normalize | None,
    statistics: xr.Dataset | None,
    dtype: str,
) -> RowShape:
    if dtype not in DTYPES:
        raise UsageError(f"dtype must be {' or '.join(DTYPES)}, got {dtype!r}")
    if normalize not in (None, "channel", "window"):
        raise UsageError(f"normalize must be 'channel', 'window' or None, got {normalize!r}")
    n_times = geometry.n_times
    if crop is not None:
        n_times = round(parse_seconds(crop) * float(parts[0].attrs["sampling_rate"]))
        if not 1 <= n_times <= geometry.n_times:
            raise UsageError(f"a crop of {crop} is {n_times} samples, windows have {geometry.n_times}")
    mean, std = None, None
    if normalize == "channel":
        mean, std = channel_statistics(selection_statistics(parts[0] if statistics is None else statistics))
    return RowShape(geometry.n_channels, n_times, dtype, geometry.n_times, geometry.dtype, normalize, mean, std)


def _checked_memory(memory: int, geometry: Geometry, is_remote: bool) -> int:
    frame = geometry.windows_per_frame * geometry.window_bytes
    if is_remote and memory < frame:
        raise UsageError(f"memory of {memory} bytes can't hold one frame of {frame} bytes: give at least that")
    return memory


def _rank_and_ranks(rank: int | None, ranks: int | None) -> tuple[int, int]:
    distributed = torch.distributed
    if ranks is None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    rank, ranks = rank or 0, ranks or 1
    if not 0 <= rank < ranks:
        raise UsageError(f"rank must be from 0 to {ranks - 1}, got {rank}")
    return rank, ranks
