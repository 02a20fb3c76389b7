"""When a fit should stop before its end: signals, and memory."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import psutil

from eegzarr.machine.memory import MemoryWatch, machine_memory, private_memory

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAMPLES_TO_ACT = 2  # in a row: one peak isn't a shortage


class StopSignals:
    """Notes SIGINT and SIGTERM inside a ``with``, so that work can stop where its state is whole.

    A second SIGINT raises KeyboardInterrupt at once. Outside the main thread, which alone gets
    signals, it notes nothing.

    Attributes
    ----------
    requested : str or None
        Name of the signal.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name


class MemoryGuard:
    """Watches memory in a thread, inside a ``with``.

    Parameters
    ----------
    limit : float
        Share of the machine's memory, of this process's cgroup if that has less, from 0 to 1.
    interval : float
        Seconds between samples.

    Attributes
    ----------
    tree : int
        Bytes of this process and those below it, without mapped files, at the last sample.
    peak : int
        Largest of them.
    share : float
        Of memory in use, at the last sample.
    """

    def __init__(self, limit: float, interval: float = 1.0) -> None:
        self.tree = 0
        self.share = 0.0
        self._limit = limit
        self._above = 0
        self._available = machine_memory()
        self._has_own_limit = self._available < psutil.virtual_memory().total
        self._watch = MemoryWatch(self._sampled, interval, private_memory)

    def __enter__(self) -> MemoryGuard:
        self._watch.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.__exit__()

    @property
    def peak(self) -> int:
        """Largest sample of the process tree so far, in bytes."""
        return self._watch.peak

    @property
    def is_exceeded(self) -> bool:
        """Whether the last samples in a row were above the limit."""
        return self._above >= _SAMPLES_TO_ACT

    def begin_again(self) -> None:
        """Forget the samples so far: something was done about them."""
        self._above = 0

    def _sampled(self, tree: int, machine: float) -> None:
        own = tree / self._available if self._has_own_limit else 0.0
        self.tree, self.share = tree, max(machine, own)
        self._above = self._above + 1 if self.share > self._limit else 0
