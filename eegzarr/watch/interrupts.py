"""Ctrl-C, SIGTERM and SIGHUP during a build."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from eegzarr.events import Event

_SIGNALS = [signal.SIGINT, signal.SIGTERM]
_SIGNALS += [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # Windows


class Interrupts:
    """Raises KeyboardInterrupt at Ctrl-C, SIGTERM and SIGHUP, inside a ``with``; a listener.

    SLURM ends a job with the second, a terminal that is closed with the third.

    What a signal's handler raises is lost where it comes while an object is being freed: Python
    prints it and continues. As a listener it is raised again at the next event then.
    """

    def __init__(self) -> None:
        self._came = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in _SIGNALS:
            # A shell has what it runs in the background ignore Ctrl-C, which is for the foreground then.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._raise)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self, event: Event) -> None:
        # Memory is sampled in a thread, where this would be lost again.
        if self._came and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        raise KeyboardInterrupt
