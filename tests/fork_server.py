"""One process imports what workers need, and the workers of all builds of a test process are forked from it.

A command has such a process for itself, see `eegzarr.build.workers.ahead`. The tests build several hundred times in a
process that lives on, where each worker would be an empty Python that imports all of it again: a second of a core.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from typing import Any

import dask

from eegzarr.build.workers.ahead import ENVIRONMENT, METHOD, PRELOADED, environment
from eegzarr.machine.system import forks_safely, interrupts_blocked

_server: Any = forkserver._forkserver


class _ServerOfToday(forkserver.ForkServer):
    """A fork server that begins anew where the environment has changed, which its processes wouldn't see otherwise."""

    begun_in: dict[str, str]
    imports: tuple[str, ...] = PRELOADED

    def ensure_running(self) -> None:
        now = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"} | ENVIRONMENT
        if now != getattr(self, "begun_in", now):
            forget_server()
        self.begun_in = now
        self.set_forkserver_preload(list(self.imports))  # Dask, too, says what to import, whenever it starts a worker
        with interrupts_blocked(), environment(ENVIRONMENT):  # as of a command's workers
            super().ensure_running()


def fork_workers() -> None:
    """Have the workers of builds in this process forked, where that is safe."""
    if forks_safely():
        _server.__class__ = _ServerOfToday
        dask.config.set({METHOD: "forkserver"})


@contextmanager
def spawned_workers() -> Iterator[None]:
    """Have the workers of builds started as those of a program are, inside the ``with``."""
    with dask.config.set({METHOD: "spawn"}):
        yield


def forget_server() -> None:
    """Have the next worker forked from another server; this one ends with its last worker.

    Its own way to end is to wait for that, and a DataLoader's workers may live on.
    """
    with _server._lock:
        if _server._forkserver_pid is None:
            return
        os.close(_server._forkserver_alive_fd)
        with suppress(FileNotFoundError):
            os.unlink(_server._forkserver_address)
        _server._forkserver_pid = _server._forkserver_alive_fd = _server._forkserver_address = None


@contextmanager
def preloaded(*modules: str) -> Iterator[None]:
    """Have other modules imported where workers are forked from, inside the ``with``."""
    if not forks_safely():
        yield
        return
    forget_server()
    _server.imports = modules
    try:
        yield
    finally:
        forget_server()
        _server.imports = PRELOADED
