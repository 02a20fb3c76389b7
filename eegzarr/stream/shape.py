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
# Bytes of windows that are decoded before they are cropped and converted. What Python does between two
# calls keeps other threads waiting: with 4 windows at a time float32 from float16 streamed a third as fast.
_TOGETHER = 4 * 2**20


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
    def stored_bytes(self) -> int:
        """Bytes of a decoded window."""
        return self.n_channels * self.stored_times * np.dtype(self.stored_dtype).itemsize

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
        together = max(1, _TOGETHER // shape.stored_bytes)
        stored = self._buffer("stored", (together, shape.n_channels, shape.stored_times), shape.stored_dtype)
        values = self._buffer("values", (together, shape.n_channels, shape.n_times), "float32")
        for first in range(0, len(rows), together):
            several = slice(first, first + together)
            filled = rows[several]
            count = len(filled)
            self._decoder.decode(groups[several], windows[several], stored[:count])
            if shape.normalize is None:
                _crop(stored[:count], offsets[several], filled)
                continue
            _crop(stored[:count], offsets[several], values[:count])
            mean, std = self._statistics(values[:count])
            values[:count] -= mean
            values[:count] /= std
            _convert(values[:count], filled)

    def _statistics(self, values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        shape = self._shape
        if shape.normalize == "window":
            return channel_statistics({"mean": values.mean(axis=2), "std": values.std(axis=2)})
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


def _crop(stored: npt.NDArray, offsets: npt.NDArray[np.int64], rows: npt.NDArray) -> None:
    """Copy the part of each window from its offset on, as the type of the rows."""
    length = rows.shape[-1]
    first = int(offsets[0])
    if (offsets == first).all():  # one call for all of them costs a third
        _convert(stored[:, :, first : first + length], rows)
        return
    for window, offset, row in zip(stored, offsets.tolist(), rows, strict=True):
        _convert(window[:, offset : offset + length], row)


def _convert(values: npt.NDArray, rows: npt.NDArray) -> None:
    # By torch, not NumPy: from float16 to float32 it is twelve times as fast.
    torch.from_numpy(rows).copy_(torch.from_numpy(values))


def channel_statistics(
    statistics: Mapping[str, npt.NDArray],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return mean and standard deviation as (…, channel, 1) float32; a channel that doesn't vary has 1."""
    mean, std = (np.asarray(statistics[name], np.float32)[..., None] for name in ("mean", "std"))
    return mean, np.where(std > 0, std, np.float32(1))
