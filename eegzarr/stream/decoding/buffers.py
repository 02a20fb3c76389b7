"""Memory of batches, reused once nothing holds it."""

from __future__ import annotations

import warnings
import weakref
from dataclasses import dataclass

import numpy.typing as npt
import torch
from torch.utils.data import get_worker_info


def can_pin() -> bool:
    """Return whether page-locked memory helps here; warn if there is no device to copy to.

    It isn't in a DataLoader's worker: what that gives is copied to the main process, and a forked one can't use CUDA.
    """
    if get_worker_info() is not None:
        return False
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device is None or device.type == "mps":
        warnings.warn("pin_memory has no effect: PyTorch finds no GPU to copy to", stacklevel=2)
        return False
    return True


@dataclass
class _Buffer:
    rows: npt.NDArray
    given: weakref.ref[npt.NDArray] | None = None

    @property
    def is_free(self) -> bool:
        return self.given is None or self.given() is None


class BufferPool:
    """Buffers for batches of one shape; one per process, used by one iteration at a time.

    Pages of fresh memory cost more to fault in than a window to decode. So a buffer is used again, but only once
    no tensor or array shares its memory any longer: it is given out as a tensor of a fresh view, which lives
    as long as anything that does.

    Parameters
    ----------
    shape : tuple of int
        Of the largest batch, (window, channel, time).
    dtype : str
    pin_memory : bool
        Page-locked memory, where there is a device to copy to; see `can_pin`. It comes from PyTorch each time: a copy
        to a GPU that doesn't block may outlive the batch, and PyTorch alone knows until when. It keeps such memory by
        itself.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, *, pin_memory: bool) -> None:
        self.shape = shape
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._pin_memory = pin_memory and can_pin()
        self._buffers: list[_Buffer] = []

    def take(self, count: int) -> tuple[torch.Tensor, npt.NDArray]:
        """Return memory for a batch of this many windows, as a tensor and as an array."""
        if self._pin_memory:
            pinned = torch.empty((count, *self.shape[1:]), dtype=self._dtype, pin_memory=True)
            return pinned, pinned.numpy()
        buffer = next((one for one in self._buffers if one.is_free), None)
        if buffer is None:
            buffer = _Buffer(torch.empty(self.shape, dtype=self._dtype).numpy())
            self._buffers.append(buffer)
        view = buffer.rows[:count]
        buffer.given = weakref.ref(view)
        return torch.from_numpy(view), buffer.rows[:count]

    def trim(self, count: int) -> None:
        """Drop all but `count` buffers; a dropped one that is still held lives as long as its holders."""
        free = [buffer for buffer in self._buffers if buffer.is_free]
        held = [buffer for buffer in self._buffers if not buffer.is_free]
        self._buffers = [*held, *free][:count]
