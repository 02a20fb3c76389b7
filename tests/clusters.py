"""Dask schedulers and workers as processes that somebody started, each in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from dask.distributed import Client


def dask_process(
    kind: str,
    scheduler_file: Path,
    *options: str,
    before: Sequence[str] = (),
    folder: Path | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a scheduler or a worker; `before` is the command that runs it, as env or unshare do."""
    command = [*before, sys.executable, "-m", f"distributed.cli.dask_{kind}"]
    return subprocess.Popen(
        [*command, "--scheduler-file", str(scheduler_file), "--no-dashboard", *options],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def await_file(file: Path) -> None:
    """Wait until a scheduler has written its file."""
    end = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < end, "the scheduler didn't start"
        time.sleep(0.1)


def await_workers(scheduler_file: Path, count: int) -> None:
    """Wait until a cluster has as many workers."""
    with Client(scheduler_file=str(scheduler_file)) as client:
        client.wait_for_workers(count, timeout=120)


def end_all(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """End processes, those that are stopped, too."""
    ended = list(processes)
    for process in ended:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
    for process in ended:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
