"""WindowDataset: windows by number, for training loops that sample for themselves."""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch.utils.data import Dataset

from eegzarr.errors import UsageError
from eegzarr.machine.memory import as_bytes
from eegzarr.store.reading.compiled import compile_loops
from eegzarr.stream.about import AboutWindows
from eegzarr.stream.decoding.opened import OpenRows
from eegzarr.stream.report import Circumstances, Report, report_of
from eegzarr.stream.rows import RowOptions, WindowRows
from eegzarr.stream.shape import Normalize
from eegzarr.stream.targets import Target
from eegzarr.stream.times.board import Board
from eegzarr.stream.times.meter import Meter
from eegzarr.stream.times.times import latest

_CHECKED_EVERY = 1.0  # s
_CONCURRENCY = 16  # requests to a bucket


class WindowDataset(AboutWindows, Dataset[Any]):
    """A selection of windows as a map-style dataset: ``dataset[i]`` reads and decodes window i.

    It works with DataLoader's samplers, ``Subset``, ``random_split``, skorch and braindecode; a DataLoader fetches each
    batch in one call. Where nothing needs windows by number, `eegzarr.stream.WindowStream` is faster: it decodes
    ahead, by threads, straight into batches. It can be used in any number of threads and worker processes, however
    these were started.

    Parameters
    ----------
    windows : Dataset or sequence of Dataset
        As for `eegzarr.stream.WindowStream`, as are the parameters that aren't described here. Windows without a
        target and windows that could not be read are left out.
    random_crop : bool
        Crop anywhere rather than in the middle, drawn from PyTorch's generator.
    memory : int or str
        The most frames from a bucket to hold at a time, in bytes or as a text.

    Raises
    ------
    UsageError, LakeError
        As for `eegzarr.stream.WindowStream`.
    """

    def __init__(
        self,
        windows: xr.Dataset | Sequence[xr.Dataset],
        *,
        target: Target = "target",
        classes: Sequence[str] | None = None,
        with_labels: Sequence[str] = (),
        crop: str | float | None = None,
        random_crop: bool = False,
        normalize: Normalize | None = None,
        statistics: xr.Dataset | Sequence[xr.Dataset] | None = None,
        clamp: float | None = None,
        dtype: str = "float32",
        with_positions: bool = False,
        transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
        memory: int | str = "192MiB",
    ) -> None:
        self._rows = WindowRows.of(windows, RowOptions.among(locals()))
        self._random_crop = random_crop
        self._memory = as_bytes(memory, "memory") or 0
        self._opened: OpenRows | None = None
        self._meter: Meter | None = None
        self._board = Board()
        self._checked = 0.0

    def __len__(self) -> int:
        return len(self._rows.selection)

    def __getitem__(self, key: Any) -> Any:
        """Return a window, (channel, time), and its target; of a slice, list or array of numbers a batch of them."""
        if isinstance(key, slice):
            return self._batch(np.arange(len(self))[key])
        if (isinstance(key, Sequence) or hasattr(key, "__array__")) and np.ndim(key):
            return self._batch(self._places(np.asarray(key)))
        try:
            number = operator.index(key)
        except TypeError as error:
            raise UsageError(f"windows are taken by number, a slice or an array of numbers, got {key!r:.60}") from error
        if isinstance(key, bool):
            raise UsageError(
                f"windows are taken by number, a slice or an array of numbers, got {key}: choose by an array"
            )
        return _sample(self._batch(self._places(np.array([number]))), 0, with_positions=self._rows.with_positions)

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """Return several windows, decoded in one call; what a DataLoader asks for."""
        places = self._places(np.asarray(numbers, np.int64))
        batch = self._batch(places)
        return [_sample(batch, i, with_positions=self._rows.with_positions) for i in range(len(places))]

    def report(self) -> Report:
        """Return where the time went since the first window was asked for, and what to change.

        Where DataLoader workers were the last to begin, it is what they have measured together.

        Raises
        ------
        UsageError
            If nothing was read yet.
        """
        own = None if self._meter is None else self._meter.measured()
        at = Circumstances.of(self._rows, ahead=0, concurrency=_CONCURRENCY)
        return report_of(latest(own, self._board.latest()), at)

    def __repr__(self) -> str:
        return f"WindowDataset of {self._summary()}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_meter": None}

    def _places(self, numbers: npt.NDArray) -> npt.NDArray[np.int64]:
        if numbers.ndim != 1:
            raise UsageError(f"windows are taken by a list of numbers, got an array of the shape {numbers.shape}")
        if numbers.dtype == bool and numbers.shape == (len(self),):
            return np.flatnonzero(numbers)
        if numbers.dtype.kind not in "iu" and numbers.size:
            raise UsageError(f"windows are taken by whole numbers or by a mask of {len(self)}, got {numbers.dtype}")
        outside = (numbers < -len(self)) | (numbers >= len(self))
        if outside.any():  # an IndexError ends a plain for loop
            raise IndexError(f"there is no window {numbers[outside][0]}: the dataset has {len(self)}")
        return np.where(numbers < 0, numbers + len(self), numbers).astype(np.int64)

    def _batch(self, chosen: npt.NDArray[np.int64]) -> Any:
        shape = self._rows.shape
        rows = torch.empty((len(chosen), shape.n_channels, shape.n_times), dtype=getattr(torch, shape.dtype))
        room = shape.window_times - shape.n_times
        offsets = np.full(len(chosen), room // 2)
        if self._random_crop:
            offsets = torch.randint(0, room + 1, (len(chosen),)).numpy()
        if len(chosen):
            opened, meter = self._open()
            asked = time.perf_counter()
            opened.fill(rows.numpy(), chosen, offsets)
            meter.took(asked, len(chosen))
        return self._rows.batch(rows, chosen)

    def _open(self) -> tuple[OpenRows, Meter]:
        opened, meter = self._opened, self._meter
        if opened is None or meter is None or opened.pid != os.getpid():
            meter = self._meter = Meter(threads=1, row=self._board.own())
            opened = self._opened = OpenRows(self._rows, self._memory, _CONCURRENCY)
            compile_loops()
            meter.opened(opened.spent)
        if time.monotonic() - self._checked > _CHECKED_EVERY:
            opened.check()
            self._checked = time.monotonic()
        return opened, meter


def _sample(batch: Any, number: int, *, with_positions: bool) -> Any:
    if not isinstance(batch, tuple):
        return batch[number]
    given = [
        {name: values[number] for name, values in part.items()} if isinstance(part, dict) else part[number]
        for part in (batch[:-1] if with_positions else batch)
    ]
    return (*given, batch[-1]) if with_positions else tuple(given)
