"""No wait of a build is silent, and none is for ever: locks that another process holds, servers that stall."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from conftest import SMALL_SHARDS, tree_digests
from s3_server import BUCKET, CREDENTIALS, faulty_proxy, s3_server

import eegzarr
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import BuildStopped, LakeError
from eegzarr.events import Noticed, ShardFinished
from eegzarr.machine import waits
from eegzarr.machine.system import locked
from eegzarr.store import bucket
from eegzarr.store.layout import open_store
from eegzarr.store.private import set_bytes
from eegzarr.store.root import renew_root
from eegzarr.store.verify import verify_lake

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


def test_the_time_that_a_process_was_stopped_is_no_waiting() -> None:
    looks = iter([0.0, 1.0, 2.0, 50_000.0, 50_001.0])  # Ctrl-Z, and fg the next day
    waited = waits.Waited(longest=10, clock=lambda: next(looks))
    assert [waited.seconds() for _ in range(4)] == [1.0, 2.0, 12.0, 13.0]


@contextmanager
def stalled_server() -> Iterator[str]:
    """Accept connections, and never read nor answer, inside the ``with``; yield the URL."""
    held = []

    def accept() -> None:
        while True:
            try:
                held.append(listener.accept()[0])
            except OSError:
                return  # closed

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
    for connection in held:
        connection.close()


@pytest.fixture
def stalled(short_waits: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with stalled_server() as url:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        fsspec.filesystem("s3").clear_instance_cache()
        yield url
        fsspec.filesystem("s3").clear_instance_cache()


def test_a_lake_whose_server_stalls_is_said_to_be_out_of_reach(stalled: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(LakeError, match=r"took more than .* Check the network"):
        eegzarr.open_windows(f"s3://{BUCKET}/stalled.zarr", "challenge1")
    waited_for = f"waiting for s3://{BUCKET}/stalled.zarr, which doesn't answer"
    ours = [record for record in caplog.records if record.name.startswith("eegzarr.")]  # a library may log, too
    assert [record.getMessage().partition(";")[0] for record in ours] == [waited_for]


def test_a_server_that_stalls_is_no_damage(stalled: str) -> None:
    with pytest.raises(LakeError, match="took more than"):
        verify_lake(f"s3://{BUCKET}/stalled.zarr")


def test_a_server_that_takes_no_bytes_is_given_up(stalled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "SLOWEST", 2**26)
    store = open_store(f"s3://{BUCKET}/stalled.zarr")
    with pytest.raises(TimeoutError, match="took more than"):
        set_bytes(store, "challenge1/R1/eeg/c/0/0/0", bytes(2**25))


def test_a_build_whose_bucket_stalls_says_so_and_resumes(
    sample_root: Path, sample_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, noticed = f"s3://{BUCKET}/lake.zarr", []
    with s3_server() as port, faulty_proxy(port) as proxy:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        fsspec.filesystem("s3").clear_instance_cache()

        def listen(event: object) -> None:
            if isinstance(event, Noticed):
                noticed.append(event.message)
            if isinstance(event, ShardFinished):
                stall.setattr(waits, "NOTICE", 0.1)
                stall.setattr(waits, "PATIENCE", 0.5)
                proxy.delay = 3600  # what is under way and what follows

        options = {"recipe": CHALLENGE1, "workers": 1}  # all windows in one shard: then labels follow
        with monkeypatch.context() as stall, pytest.raises(BuildStopped, match="run the same command") as stopped:
            eegzarr.build_lake(sample_root, lake, listeners=[listen], **options)
        proxy.delay = 0
        assert stopped.value.exit_code == 75
        assert any(f"waiting for {lake}, which doesn't answer" in message for message in noticed)
        assert eegzarr.build_lake(sample_root, lake, **options).windows
        opened, local = eegzarr.open_windows(lake, "challenge1"), eegzarr.open_windows(sample_lake, "challenge1")
        assert opened["target"].equals(local["target"])
