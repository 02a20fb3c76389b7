"""Workers of a command are forked from a process that imported what they need, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import dask
import psutil
import pytest
from fork_server import forget_server, spawned_workers

from eegzarr.build.workers.ahead import ENVIRONMENT, METHOD, imported_ahead
from eegzarr.build.workers.cluster import local_client
from eegzarr.build.workers.resources import Resources
from eegzarr.machine.system import forks_safely

TWICE = """
from eegzarr.build.workers.ahead import imported_ahead

if __name__ == "__main__":
    for _ in range(2):
        with imported_ahead():
            from dask.distributed import LocalCluster

            with LocalCluster(n_workers=1, processes=False, dashboard_address=None):
                pass
"""


@pytest.fixture(autouse=True)
def no_server_of_other_tests() -> Iterator[None]:
    """No fork server, as in a command, and Dask's own settings: builds of other tests have a server here."""
    forget_server()
    with spawned_workers():
        yield
    forget_server()


def of_worker() -> tuple[int, bool, dict[str, str | None], int]:
    """What a worker says of itself: its parent, whether Ctrl-C is blocked, variables, frozen objects."""
    import gc

    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return os.getppid(), blocked, {name: os.environ.get(name) for name in ENVIRONMENT}, gc.get_freeze_count()


@pytest.mark.skipif(not forks_safely(), reason="workers start the usual way here")
def test_workers_are_forked_from_one_process_which_ends_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    usual = dask.config.get(METHOD)
    with imported_ahead():
        assert "MALLOC_TRIM_THRESHOLD_" not in os.environ
        with local_client(Resources(workers=2, memory=2**31)) as client:
            (parent,) = {parent for parent, *_ in client.run(of_worker).values()}
            assert psutil.Process(parent).ppid() == os.getpid()
            for _, is_blocked, variables, frozen in client.run(of_worker).values():
                assert is_blocked
                assert variables == ENVIRONMENT
                assert frozen > 10_000
    assert not psutil.pid_exists(parent)
    assert dask.config.get(METHOD) == usual


def test_a_temporary_folder_whose_path_is_too_long_for_a_socket(sample_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("t" * 110)
    folder.mkdir()
    built = subprocess.run(
        [sys.executable, "-m", "eegzarr.build", sample_root, tmp_path / "lake.zarr", "--workers", "1"],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr


def test_a_program_that_has_a_server_of_its_own_keeps_it() -> None:
    def outside_of_the_main_thread() -> None:
        with imported_ahead():
            methods.append(dask.config.get(METHOD))

    methods: list[str] = []
    thread = threading.Thread(target=outside_of_the_main_thread)
    thread.start()
    thread.join()
    if forks_safely():
        forkserver.ensure_running()
        own = forkserver._forkserver._forkserver_pid
        with imported_ahead():
            methods.append(dask.config.get(METHOD))
        assert psutil.pid_exists(own)
    assert set(methods) == {dask.config.get(METHOD)}


def test_two_commands_in_one_process_find_dasks_settings(tmp_path: Path) -> None:
    """What is set before distributed is imported took all of its settings along when it went."""
    (tmp_path / "twice.py").write_text(TWICE)
    done = subprocess.run([sys.executable, str(tmp_path / "twice.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
