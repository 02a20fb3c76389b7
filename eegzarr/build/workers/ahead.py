"""Workers that are forked from a process which imports what they need, while the main process imports its own.

Otherwise each worker starts as an empty Python and imports all of it again, after the main process has: 0.9 s of a core
for each. A command's process is the command's own; a program that calls `eegzarr.build_lake` may have set up
`multiprocessing` as it likes, so its workers start the usual way.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from typing import Any

from eegzarr.machine.system import forks_safely, interrupts_blocked

_MIB = 2**20
# Read when a process starts. Shards go back to the system when freed, segments of a recording stay: a page fault for
# each of them took twice the time of reading it.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(16 * _MIB),
    "MALLOC_TRIM_THRESHOLD_": str(32 * _MIB),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # MNE asks numba for help that reading recordings never needs; it costs 40 MB.
    "MNE_USE_NUMBA": "false",
    "DASK_LOGGING__DISTRIBUTED": "critical",
}
METHOD = "distributed.worker.multiprocessing-method"
PRELOADED = ("eegzarr.build.workers.preload",)
# multiprocessing has one for each process, and no public way to end it before its process does.
_server: Any = forkserver._forkserver


@contextmanager
def imported_ahead() -> Iterator[None]:
    """Have the workers of local clusters forked, inside the ``with``; nothing where that isn't safe.

    To be entered before what is slow to import, which the server's imports then run beside.
    """
    is_ours = threading.current_thread() is threading.main_thread() and _server._forkserver_pid is None
    if not (forks_safely() and is_ours):
        yield
        return
    preloaded_before = _server._preload_modules
    with interrupts_blocked():
        resource_tracker.ensure_running()  # which unblocks Ctrl-C when it starts
    config = {METHOD: "forkserver"}
    with interrupts_blocked(), environment(ENVIRONMENT):
        _server.set_forkserver_preload(list(PRELOADED))
        try:
            _server.ensure_running()
        except OSError:  # its socket is in TMPDIR, whose path may be too long for a socket
            config = {}
    try:
        import dask.config

        # Else what is set before distributed is imported takes all of its settings along when it goes.
        dask.config.update_defaults({"distributed": {"worker": {"multiprocessing-method": "spawn"}}})
        with dask.config.set(config):
            yield
    finally:
        _end_server()
        _server.set_forkserver_preload(preloaded_before)


def _end_server() -> None:
    """End the server at once: it holds nothing, and its workers have ended."""
    if _server._forkserver_pid is not None:
        with suppress(ProcessLookupError):
            os.kill(_server._forkserver_pid, signal.SIGKILL)
        _server._stop()


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment, inside the ``with``."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
