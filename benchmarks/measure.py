"""Whole commands, measured from outside: wall and CPU seconds, peak memory of the process tree."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from benchmarks.journal import once
from eegzarr.machine.memory import tree_memory

Result = TypeVar("Result")


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
    with tempfile.TemporaryFile("w+") as output:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
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
        try:
            # wait4, not the times of all children: commands can be measured beside each other.
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()  # it ends what it started
            raise
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        watcher.join()
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{output.read()}")
    return Measured(wall=wall, cpu=usage.ru_utime + usage.ru_stime, peak_pss=peak)


def lines(command: Sequence[str], **environment: str) -> list[dict[str, Any]]:
    """Run a command that prints lines of JSON, and return these.

    Raises
    ------
    RuntimeError
        If it fails; what it said is in the message.
    """
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def in_turns(
    jobs: Mapping[str, Callable[[], Result]],
    repeat: int,
    *,
    title: str,
    journal: Path,
    at_once: int = 1,
    enough: Callable[[list[Result]], bool] = lambda so_far: False,
) -> dict[str, list[Result]]:
    """Run every job once a turn, so that what drifts on the machine meets all alike.

    Parameters
    ----------
    jobs : mapping of callable
    repeat : int
        Turns.
    title : str
        Told on stderr, with the turn and the job; tells the figures from others in the journal.
    journal : Path
        What is there isn't measured again.
    at_once : int
        Jobs that run beside each other: more than one only where nothing is measured.
    enough : callable
        Given a job's results of the turns so far; where it is true the job stays out of further turns.
    """
    results: dict[str, list[Result]] = {name: [] for name in jobs}
    for turn in range(1, repeat + 1):
        asked = [name for name in jobs if not (results[name] and enough(results[name]))]
        with ThreadPoolExecutor(at_once) as pool:
            each = pool.map if at_once > 1 else map  # in this thread, which is the one that an interrupt ends

            def run(name: str, turn: int = turn) -> Result:
                measured = f"{title}: turn {turn} of {repeat}, {name}"

                def measure_now() -> Result:
                    progress(measured)
                    return jobs[name]()

                return once(journal, measured, measure_now)

            for name, result in zip(asked, each(run, asked), strict=True):
                results[name].append(result)
    return results


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def forget_pages(paths: Iterable[Path]) -> None:
    """Have the kernel drop these files from its page cache, which needs no rights but those to read them."""
    for path in paths:
        for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # pages that wait to be written can't be dropped
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def from_first_batch(stream: Iterable[Sized]) -> float:
    """Return windows/s of an epoch after its first batch, before which files are opened."""
    batches = iter(stream)
    next(batches)
    began = time.perf_counter()
    return sum(map(len, batches)) / (time.perf_counter() - began)


def recall_pages(path: Path) -> None:
    """Have the kernel put a file, or all files below a folder, into its page cache, as far as memory goes."""
    buffer = bytearray(2**22)
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        with file.open("rb", buffering=0) as content:
            while content.readinto(buffer):
                pass


def column(runs: Sequence[dict[str, Any]], figure: str) -> list[float]:
    """Return a figure of each turn."""
    return [run[figure] for run in runs]


def times(runs: Sequence[float], others: Sequence[float]) -> float:
    """Return the median, over the turns that both have, of one figure divided by another of the same turn."""
    return statistics.median(a / b for a, b in zip(runs, others, strict=False))


def middle(values: Sequence[float]) -> str:
    """Return the median with the smallest and the largest value."""
    digits = 0 if max(values) >= 1000 else 1 if max(values) >= 10 else 2
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def use_cores(count: int) -> None:
    """Keep this process, and what it starts, to the first so many of its cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def progress(text: str) -> None:
    """Tell on stderr what is being measured."""
    print(text, file=sys.stderr, flush=True)
