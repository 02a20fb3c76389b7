"""Dask clusters for tests: processes that somebody started, each in a folder of its own; a thread of this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dask
import mne  # noqa: F401 - two threads that import what parses Python make Python 3.11 raise SystemError
import pytest
from dask.distributed import Client, LocalCluster

from eegzarr.build import repair
from eegzarr.build.workers import session


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


@contextmanager
def worker_in_this_process() -> Iterator[None]:
    """Give builds and repairs one worker that is a thread of this process, inside the ``with``.

    Nothing starts and ends for each of them; what the worker writes can be looked at; and a kill ends it, too.
    """
    quick = {"distributed.worker.profile.enabled": False}
    options = {"n_workers": 1, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    any_port = {"dashboard_address": "127.0.0.1:0"}
    with dask.config.set(quick), LocalCluster(processes=False, scheduler_kwargs=any_port, **options) as cluster:

        @contextmanager
        def client(_: object) -> Iterator[Client]:
            with Client(cluster) as connected:
                yield connected

        with pytest.MonkeyPatch.context() as patched:
            for module in (session, repair):
                patched.setattr(module, "local_client", client)
            yield
