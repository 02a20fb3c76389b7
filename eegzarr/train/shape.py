"""From a stored window to a row of a batch: decode, crop, convert, normalise."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from eegzarr.errors import UsageError
from eegzarr.store.read import WindowDecoder, WindowReader

Normalize = Literal["channel", "window"]
# Windows decoded before they are converted: so few stay in a core's own cache in between.
_TOGETHER = 4


def parse_seconds(duration: str | float) -> float:
    """Return seconds of a number, or of a text such as ``"2s"``.

    Raises
    ------
    UsageError
        If it is no positive duration.
    """
    try:
        seconds = float(duration.removesuffix("s")) if isinstance(duration, str) else float(duration)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{duration!r} is no duration: write seconds, such as '2s' or 2.0")
    return seconds


@dataclass(frozen=True)
class RowShape:
    """What is done to each window on its way into a batch.

    Attributes
    ----------
    n_channels, n_times : int
        Of a row.
    dtype : str
        Of a row.
    stored_times : int
        Of a stored window; more than `n_times` where rows are crops.
    stored_dtype : str
    normalize : {"channel", "window"} or None
        ``"channel"`` takes `mean` from each channel and divides by `std`, uV, (channel, 1);
        ``"window"`` uses each window's own, per channel.
    """

    n_channels: int
    n_times: int
    dtype: str
    stored_times: int
    stored_dtype: str
    normalize: Normalize | None = None
    mean: npt.NDArray[np.float32] | None = None
    std: npt.NDArray[np.float32] | None = None

    @property
    def is_stored(self) -> bool:
        """Whether a row is just the stored window."""
        return self.n_times == self.stored_times and self.dtype == self.stored_dtype and self.normalize is None


class RowFiller:
    """Fills rows of a shape; one a process, any number of threads.

    Parameters
    ----------
    shape : RowShape
    readers : sequence of WindowReader
    """

    def __init__(self, shape: RowShape, readers: Sequence[WindowReader]) -> None:
        self._shape = shape
        self._decoder = WindowDecoder(readers)
        self._scratch = threading.local()

    def fill(
        self,
        rows: npt.NDArray,
        groups: npt.NDArray[np.int32],
        windows: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
    ) -> None:
        """Fill `rows`, (window, channel, time), each with a window of a reader, cropped from a sample on."""
        shape = self._shape
        if shape.is_stored:
            self._decoder.decode(groups, windows, rows)
            return
        stored = self._buffer("stored", (_TOGETHER, shape.n_channels, shape.stored_times), shape.stored_dtype)
        values = self._buffer("values", rows.shape[1:], "float32")
        for number, (row, offset) in enumerate(zip(rows, offsets.tolist(), strict=True)):
            slot = number % _TOGETHER
            if not slot:
                several = slice(number, number + _TOGETHER)
                self._decoder.decode(groups[several], windows[several], stored[: len(rows[several])])
            window = stored[slot, :, offset : offset + shape.n_times]
            if shape.normalize is None:
                _convert(window, row)
                continue
            _convert(window, values)
            mean, std = self._statistics(values)
            values -= mean
            values /= std
            _convert(values, row)

    def _statistics(self, window: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        shape = self._shape
        if shape.normalize == "window":
            return channel_statistics({"mean": window.mean(axis=1), "std": window.std(axis=1)})
        assert shape.mean is not None
        assert shape.std is not None
        return shape.mean, shape.std

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: str) -> npt.NDArray:
        """Return a thread's own buffer."""
        buffer: npt.NDArray | None = getattr(self._scratch, name, None)
        if buffer is None:
            buffer = np.empty(shape, dtype)
            setattr(self._scratch, name, buffer)
        return buffer


def _convert(window: npt.NDArray, row: npt.NDArray) -> None:
    # By torch, not NumPy: from float16 to float32 it is twelve times as fast.
    torch.from_numpy(row).copy_(torch.from_numpy(window))


def channel_statistics(
    statistics: Mapping[str, npt.NDArray],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return mean and standard deviation as (…, channel, 1) float32; a channel that doesn't vary has 1."""
    mean, std = (np.asarray(statistics[name], np.float32)[..., None] for name in ("mean", "std"))
    return mean, np.where(std > 0, std, np.float32(1))
