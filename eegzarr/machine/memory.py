"""What this machine has, and what memory a tree of processes takes of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from numbers import Integral
from pathlib import Path

import psutil

from eegzarr.errors import BuildStopped, UsageError
from eegzarr.machine.system import cgroup_folders, memory_without_files, shared_memory
from eegzarr.machine.waits import Waited

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
PATIENCE = 30.0  # s


def parse_bytes(text: str) -> int:
    """Return the number of bytes in a text such as ``2GiB`` or ``900MB``.

    Raises
    ------
    UsageError
        If it isn't a positive size.
    """
    stripped = text.strip().lower().removesuffix("b")
    number = stripped.rstrip("kmgti")
    unit = stripped[len(number) :]
    try:
        size = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        size = 0
    if size <= 0:
        raise UsageError(f"{text!r} isn't a size: write a number and a unit, such as 2GiB or 900MB")
    return size


def parse_share(text: str) -> float:
    """Return the share in a text such as ``85%``.

    Raises
    ------
    UsageError
        If it isn't between 1 and 100 percent.
    """
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0.01 <= share <= 1:
        raise UsageError(f"{text!r} isn't a share: write percent from 1% to 100%, such as 85%")
    return share


def as_bytes(size: int | str | None, option: str) -> int | None:
    """Return a size that is given as a number of bytes or as a text for `parse_bytes`; None stays None.

    Raises
    ------
    UsageError
        If it isn't a positive size; the message begins with `option`.
    """
    if size is None:
        return None
    if isinstance(size, str):
        try:
            return parse_bytes(size)
        except UsageError as error:
            raise UsageError(f"{option} {error}") from error
    if isinstance(size, bool) or not isinstance(size, Integral) or size <= 0:
        raise UsageError(f"{option} {size!r} isn't a size: give bytes, or a text such as '2GiB'")
    return int(size)


def as_share(share: float | str, option: str) -> float:
    """Return a share that is given as a number from 0.01 to 1 or as a text for `parse_share`.

    Raises
    ------
    UsageError
        If it is neither; the message begins with `option`.
    """
    if isinstance(share, str):
        try:
            return parse_share(share)
        except UsageError as error:
            raise UsageError(f"{option} {error}") from error
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0.01 <= share <= 1:
        raise UsageError(f"{option} {share!r} isn't a share: give a number from 0.01 to 1, or a text such as '85%'")
    return float(share)


def machine_memory() -> int:
    """Bytes that this process may use: of the machine, or of its cgroup or SLURM job if that is less."""
    limits = [psutil.virtual_memory().total, *_slurm_limit(os.environ)]
    return min([*limits, *(limit for limit in map(_number_in, _cgroup_limit_files()) if limit)])


def _slurm_limit(environment: Mapping[str, str]) -> list[int]:
    """Memory of a SLURM job on this node, as https://slurm.schedmd.com/sbatch.html has it, in MB there."""
    per_node = environment.get("SLURM_MEM_PER_NODE", "")
    per_cpu, cpus = environment.get("SLURM_MEM_PER_CPU", ""), environment.get("SLURM_CPUS_ON_NODE", "")
    if per_node.isdigit() and int(per_node):  # 0 stands for all of the node's
        return [int(per_node) * 2**20]
    if per_cpu.isdigit() and cpus.isdigit() and int(per_cpu):
        return [int(per_cpu) * int(cpus) * 2**20]
    return []


def machine_used_share() -> float:
    """Share of the memory in use that can't be given back: of the machine, or of a cgroup that is fuller."""
    shares = [psutil.virtual_memory().percent / 100]
    for limit_file in _cgroup_limit_files():
        limit, used = _number_in(limit_file), _cgroup_used(limit_file.parent)
        if limit and used is not None:
            shares.append(used / limit)
    return max(shares)


def _cgroup_used(folder: Path) -> int | None:
    """Bytes of a cgroup without its page cache, which the kernel drops when it needs to."""
    usage = _number_in(folder / "memory.current") or _number_in(folder / "memory.usage_in_bytes")
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return None
    stat = dict(line.split(maxsplit=1) for line in lines)
    cached = int(stat.get("file", stat.get("total_cache", 0))) - int(stat.get("shmem", stat.get("total_shmem", 0)))
    return None if usage is None else max(0, usage - cached)


def _number_in(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _cgroup_limit_files() -> list[Path]:
    """Limit files of this process's cgroup and of all above it; SLURM sets one in the middle."""
    names = ("memory.max", "memory.limit_in_bytes")
    return [folder / name for folder in cgroup_folders("memory") for name in names]


def tree_memory(root: psutil.Process | None = None) -> int:
    """Proportional set size in bytes of a process and all below it.

    Shared pages count once over the tree: the sum of resident sizes would count them in
    every process. Where the system has no PSS, the unique set size takes its place.
    """
    root = root or psutil.Process()
    total = 0
    for process in [root, *_children(root)]:
        with suppress(psutil.Error):  # one that has ended
            total += shared_memory(process)
    return total


def private_memory(root: psutil.Process | None = None) -> int:
    """Bytes of a process and all below it that are theirs: `tree_memory` without the pages of mapped files.

    A lake that is streamed is mapped, and all that was read of it counts as resident; the kernel
    takes these pages back whenever it needs them.
    """
    root = root or psutil.Process()
    total = 0
    for process in [root, *_children(root)]:
        with suppress(psutil.Error):
            total += memory_without_files(process)
    return total


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


class MemoryGate:
    """Closed while the machine's memory is too full for more work to start.

    Parameters
    ----------
    most : float
        Share of the memory above which it is closed.
    patience : float, optional
        Seconds that it may stay closed; default half a minute.
    used : callable
        Gives the share in use.
    """

    def __init__(
        self, most: float, patience: float | None = None, used: Callable[[], float] = machine_used_share
    ) -> None:
        self._most = most
        self._patience = PATIENCE if patience is None else patience
        self._used = used
        self._closed: Waited | None = None

    def is_open(self) -> bool:
        """Return whether more may start now."""
        if self._used() <= self._most:
            self._closed = None
            return True
        if self._closed is None:
            self._closed = Waited()
        return False

    def check_patience(self) -> None:
        """Stop when it has been closed for too long.

        Raises
        ------
        BuildStopped
        """
        if self._closed is not None and self._closed.seconds() > self._patience:
            raise BuildStopped(
                f"the machine's memory is {self._used():.0%} full, and stayed above --max-memory {self._most:.0%} "
                f"for {self._patience:.0f} s: close other programs and run the same command again"
            )


class MemoryWatch:
    """Samples the memory of this process tree in a thread, inside a ``with``.

    Parameters
    ----------
    on_sample : callable
        Called with (bytes of the tree, share of the machine in use) at each sample.
    interval : float
        Seconds between samples.
    measured : callable
        Gives the bytes of the tree.

    Attributes
    ----------
    peak : int
        Largest sample so far, in bytes.
    """

    def __init__(
        self,
        on_sample: Callable[[int, float], None],
        interval: float = 0.5,
        measured: Callable[[], int] = tree_memory,
    ) -> None:
        self.peak = 0
        self._measured = measured
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
            tree = self._measured()
            self.peak = max(self.peak, tree)
            self._on_sample(tree, machine_used_share())
            if self._stop.wait(self._interval):
                return
