"""What DataLoader workers have measured, in memory that they share with the process that started them."""

from __future__ import annotations

import mmap
import zlib
from dataclasses import astuple, fields
from multiprocessing.context import get_spawning_popen
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import get_worker_info

from eegzarr.stream.times.times import Times

_MOST_WORKERS = 256
_MEASURED = [field.name for field in fields(Times)][:-1]  # all but how many workers there are
_COUNTED = ("windows", "batches", "threads")
_SHAPE = (_MOST_WORKERS, 1 + len(_MEASURED))  # and before them which iteration it is

Row = npt.NDArray[np.float64]


class Board:
    """A row for each worker of the last iteration, which it alone writes to.

    A forked worker inherits the memory, which takes no file descriptor; a new process is sent it.
    """

    def __init__(self) -> None:
        self._inherited: Row = np.frombuffer(mmap.mmap(-1, 8 * _SHAPE[0] * _SHAPE[1])).reshape(_SHAPE)
        self._sent: torch.Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        if get_spawning_popen() is None:
            return {}  # a copy
        if self._sent is None:
            self._sent = torch.zeros(_SHAPE, dtype=torch.float64).share_memory_()
        return {"_sent": self._sent}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self._sent = state.get("_sent")

    def own(self, iteration: int = 0) -> Row | None:
        """Return the row of this worker, as if it hadn't measured anything; None in the main process.

        Parameters
        ----------
        iteration : int
            Tells iterations of workers that live on from each other.
        """
        worker = get_worker_info()
        if worker is None or worker.id >= _MOST_WORKERS:
            return None
        row: Row = (self._inherited if self._sent is None else self._sent.numpy())[worker.id]
        seed = worker.seed - worker.id  # one for all workers that a loader starts together
        row[:] = 0
        row[0] = 1 + zlib.crc32(f"{seed} {iteration}".encode())
        return row

    def latest(self) -> Times | None:
        """Return what workers have measured of the iteration that began last, None where none has."""
        rows = self._inherited if self._sent is None else np.concatenate([self._inherited, self._sent.numpy()])
        began = 1 + _MEASURED.index("began")
        rows = rows[rows[:, began] > 0]
        if not len(rows):
            return None
        rows = rows[rows[:, 0] == rows[rows[:, began].argmax(), 0]]
        added: dict[str, Any] = dict(zip(_MEASURED, rows[:, 1:].sum(axis=0).tolist(), strict=True))
        counts = {name: int(added[name]) for name in _COUNTED}
        return Times(**{**added, **counts, "began": float(rows[:, began].min())}, workers=len(rows))


def write(row: Row, times: Times) -> None:
    """Note what a worker has measured so far."""
    row[1:] = astuple(times)[:-1]
