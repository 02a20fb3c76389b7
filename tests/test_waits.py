"""No wait of a build is silent, and none is for ever: locks that another process holds, servers that stall."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import SMALL_SHARDS, tree_digests

import eegzarr
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import BuildStopped
from eegzarr.events import Noticed, ShardFinished
from eegzarr.machine.system import locked
from eegzarr.store import waits
from eegzarr.store.root import renew_root

HOLD = """
import sys
from pathlib import Path
from eegzarr.machine.system import locked

with locked(Path(sys.argv[1]), Path(sys.argv[1] + ".locks/lake.lock")):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(lake: Path) -> Iterator[None]:
    """Have another process hold the lock of a lake's root, inside the ``with``."""
    command = [sys.executable, "-c", HOLD, str(lake)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.communicate()


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "NOTICE", 0.1)
    monkeypatch.setattr(waits, "PATIENCE", 0.5)


def test_a_root_that_stays_locked_stops_a_build_that_then_resumes(
    short_waits: None, sample_root: Path, sample_lake: Path, tmp_path: Path
) -> None:
    out, noticed, finished = tmp_path / "lake.zarr", [], []

    def listen(event: object) -> None:
        if isinstance(event, Noticed):
            noticed.append(event.message)
        if isinstance(event, ShardFinished):
            finished.append(event.shard)

    options = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS, "listeners": [listen]}
    with held_by_another_process(out), pytest.raises(BuildStopped, match="run the same command again") as stopped:
        eegzarr.build_lake(sample_root, out, **options)
    assert stopped.value.exit_code == 75
    assert noticed == [f"waiting for another process that holds the lock of {out}; this stops after {0.5 / 60:g} min"]
    assert finished
    finished.clear()
    assert eegzarr.build_lake(sample_root, out, **options).windows
    assert not finished  # all that lacked was the copy of the group's metadata
    assert tree_digests(out) == tree_digests(sample_lake)


def test_a_root_that_is_locked_for_a_while_is_renewed_after_it(tmp_path: Path) -> None:
    lake, noticed = tmp_path / "lake.zarr", []
    let_go = threading.Event()
    with locked(lake, tmp_path / "lock"):
        waiting = threading.Thread(target=lambda: (renew_root(str(lake), watchers=(noticed.append,)), let_go.set()))
        waiting.start()
        assert not let_go.wait(0.3)
        assert not (lake / "zarr.json").exists()
    assert let_go.wait(60)
    waiting.join()
    assert (lake / "zarr.json").exists()
    assert not noticed  # it took less than half a minute
