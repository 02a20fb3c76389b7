"""Whole commands, measured from outside: wall and CPU seconds, peak memory of the process tree."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from eegzarr.store.guard import tree_memory


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run of a command.

    Attributes
    ----------
    wall, cpu : float
        s; `cpu` is of the command and all that it started and waited for.
    peak_pss : int
        Bytes: the largest sum, at one moment, of the tree's proportional set sizes.
    """

    wall: float
    cpu: float
    peak_pss: int


def measure(command: Sequence[str]) -> Measured:
    """Run a command to its end and measure it.

    Raises
    ------
    RuntimeError
        If it fails; its output is in the message.
    """
    before, began = _children_cpu(), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak = 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        root = psutil.Process(process.pid)
        # Reading a process's memory map holds its page faults up: rarely, then.
        while not ended.wait(0.25):
            peak = max(peak, tree_memory(root))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, _ = process.communicate()
    wall = time.monotonic() - began
    ended.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{output}")
    return Measured(wall=wall, cpu=_children_cpu() - before, peak_pss=peak)


def _children_cpu() -> float:
    times = psutil.Process().cpu_times()
    return times.children_user + times.children_system


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def middle(values: Sequence[float]) -> str:
    """Return the median with the smallest and the largest value."""
    digits = 1 if max(values) < 1000 else 0
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def progress(text: str) -> None:
    """Tell on stderr what is being measured."""
    print(text, file=sys.stderr, flush=True)
