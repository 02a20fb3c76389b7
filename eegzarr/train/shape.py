"""From a stored window to a row of a batch: decode, crop, convert, normalise."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from eegzarr.errors import UsageError
from eegzarr.store.read import WindowReader

Normalize = Literal["channel", "window"]


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
    """

    def __init__(self, shape: RowShape) -> None:
        self._shape = shape
        self._scratch = threading.local()

    def fill(self, row: npt.NDArray, reader: WindowReader, window: int, offset: int) -> None:
        """Fill `row`, (channel, time), with a window, cropped from its sample `offset` on."""
        shape = self._shape
        if shape.is_stored:
            reader.read_into(window, row)
            return
        stored = self._buffer("stored", (shape.n_channels, shape.stored_times), shape.stored_dtype)
        reader.read_into(window, stored)
        crop = stored[:, offset : offset + shape.n_times]
        if shape.normalize is None:
            row[:] = crop
            return
        values = self._buffer("values", row.shape, "float32")
        values[:] = crop
        if shape.normalize == "channel":
            assert shape.mean is not None
            assert shape.std is not None
            mean, std = shape.mean, shape.std
        else:
            mean, std = channel_statistics({"mean": values.mean(axis=1), "std": values.std(axis=1)})
        values -= mean
        values /= std
        row[:] = values

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: str) -> npt.NDArray:
        buffer: npt.NDArray | None = getattr(self._scratch, name, None)
        if buffer is None:
            buffer = np.empty(shape, dtype)
            setattr(self._scratch, name, buffer)
        return buffer


def channel_statistics(
    statistics: Mapping[str, npt.NDArray],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return mean and standard deviation as (channel, 1) float32; a channel that doesn't vary has 1."""
    mean, std = (np.asarray(statistics[name], np.float32)[:, None] for name in ("mean", "std"))
    return mean, np.where(std > 0, std, np.float32(1))
