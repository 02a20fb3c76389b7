"""Memory: what this machine has, and what a tree of processes takes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from eegzarr.errors import UsageError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_CGROUP = Path("/sys/fs/cgroup")


def parse_bytes(text: str) -> int:
    """Return the number of bytes in a text such as ``2GiB`` or ``900MB``.

    Raises
    ------
    UsageError
        If it is no positive size.
    """
    stripped = text.strip().lower().removesuffix("b")
    number = stripped.rstrip("kmgti")
    unit = stripped[len(number) :]
    try:
        size = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        size = 0
    if size <= 0:
        raise UsageError(f"{text!r} is no size: write a number and a unit, such as 2GiB or 900MB")
    return size


def machine_memory() -> int:
    """Bytes that this process may use: of the machine, or of its cgroup if that is less."""
    limits = [psutil.virtual_memory().total]
    for path in _cgroup_limit_files():
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def _cgroup_limit_files() -> list[Path]:
    """Limit files of this process's cgroup and of all above it; SLURM sets one in the middle."""
    files = [_CGROUP / "memory.max", _CGROUP / "memory/memory.limit_in_bytes"]
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return files
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root, name = (_CGROUP, "memory.max")
        if "memory" in controllers.split(","):
            root, name = _CGROUP / "memory", "memory.limit_in_bytes"
        elif controllers:
            continue
        folder = root / path.strip("/")
        files += [parent / name for parent in (folder, *folder.parents) if parent.is_relative_to(root)]
    return files


def tree_memory(root: psutil.Process | None = None) -> int:
    """Proportional set size in bytes of a process and all below it.

    Shared pages count once over the tree: the sum of resident sizes would count them in
    every process. Where the system has no PSS, the unique set size stands in.
    """
    root = root or psutil.Process()
    total = 0
    for process in [root, *_children(root)]:
        try:
            full: Any = process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        total += int(getattr(full, "pss", full.uss))
    return total


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


class MemoryWatch:
    """Samples the memory of this process tree in a thread, inside a ``with``.

    Parameters
    ----------
    on_sample : callable
        Called with (bytes of the tree, share of the machine in use) at each sample.
    interval : float
        Seconds between samples.

    Attributes
    ----------
    peak : int
        Largest sample so far, in bytes.
    """

    def __init__(self, on_sample: Callable[[int, float], None], interval: float = 0.5) -> None:
        self.peak = 0
        self._on_sample = on_sample
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="eegzarr-memory", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            tree = tree_memory()
            self.peak = max(self.peak, tree)
            self._on_sample(tree, psutil.virtual_memory().percent / 100)
            if self._stop.wait(self._interval):
                return
