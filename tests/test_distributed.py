"""Clusters whose workers die, join late, are slow, have another version, or don't see the lake: the bytes are the same.

Each worker is a process in a folder and a mount namespace of its own, as on a machine of its own.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clusters import await_file, await_workers, dask_process, end_all
from conftest import SMALL_SHARDS, tree_digests

import eegzarr
from eegzarr.build.task import ShardTask
from eegzarr.build.workers.crew import Needs, check_written, version
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.cut.api import cut_lake
from eegzarr.errors import BuildStopped, LakeError, UsageError
from eegzarr.events import Noticed, ShardFinished
from eegzarr.machine import waits
from eegzarr.recipes.recipe import Preparation
from eegzarr.store.layout import Geometry

PACKAGE = Path(eegzarr.__file__).parent
APART = ("unshare", "--mount")
BLIND = (*APART, "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"')


@dataclass
class Cluster:
    """A scheduler, workers by their names, and the folder that the worker "blind" has lost."""

    folder: Path
    file: Path
    lakes: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def add(self, name: str, before: tuple[str, ...] = APART, python_path: Path = PACKAGE.parent) -> None:
        own = self.folder / name
        own.mkdir()
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(own), "--name", name)
        env = {"PYTHONPATH": str(python_path)}
        self.processes[name] = dask_process("worker", self.file, *options, before=before, folder=own, env=env)

    def signal(self, number: signal.Signals, *names: str) -> None:
        for name in names:
            self.processes[name].send_signal(number)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and four workers, one of which doesn't see the folder of lakes."""
    if not shutil.which("unshare") or subprocess.run([*APART, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces of mounts need root")
    folder = tmp_path_factory.mktemp("cluster")
    started = Cluster(folder, folder / "scheduler.json", folder / "lakes")
    started.lakes.mkdir()
    scheduler = dask_process("scheduler", started.file, "--host", "127.0.0.1", "--port", "0", folder=folder)
    try:
        await_file(started.file)
        for name in ("steady", "slow", "dying"):
            started.add(name)
        started.add("blind", (*BLIND, str(started.lakes)))
        await_workers(started.file, 4)
        yield started
    finally:
        end_all([*started.processes.values(), scheduler])


@pytest.fixture(scope="module")
def another_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an eegzarr of another version."""
    folder = tmp_path_factory.mktemp("other")
    shutil.copytree(PACKAGE, folder / "eegzarr", ignore=shutil.ignore_patterns("__pycache__"))
    init = folder / "eegzarr" / "__init__.py"
    own = f'"{eegzarr.__version__}"'
    assert own in init.read_text()
    init.write_text(init.read_text().replace(own, '"99.0.0"'))
    return folder


def test_whatever_happens_to_workers_the_bytes_are_those_of_a_local_build(
    cluster: Cluster, another_version: Path, sample_root: Path, sample_lake: Path
) -> None:
    noticed: list[str] = []
    resumed = threading.Timer(30, cluster.signal, (signal.SIGCONT, "steady", "slow"))  # at the latest

    def disturb(event: object) -> None:
        if isinstance(event, Noticed):
            noticed.append(event.message)
            if "99.0.0" in event.message:
                cluster.signal(signal.SIGCONT, "steady", "slow")
        if isinstance(event, ShardFinished) and "other" not in cluster.processes:
            # What these have is under way until the worker of another version has come, which is given some of it.
            cluster.signal(signal.SIGSTOP, "steady", "slow", "dying")
            cluster.add("other", python_path=another_version)
            await_workers(cluster.file, 5)
            cluster.signal(signal.SIGKILL, "dying")
            cluster.add("late")
            resumed.start()

    out = cluster.lakes / "disturbed.zarr"
    options = {"recipe": CHALLENGE1, "shard_size": SMALL_SHARDS, "scheduler_file": str(cluster.file)}
    try:
        eegzarr.build_lake(sample_root, out, listeners=[disturb], **options)
        assert tree_digests(out) == tree_digests(sample_lake)
        # On a busy machine the others may be done before it has a task.
        assert all(message.endswith("given no more tasks") for message in noticed if " has eegzarr 99.0.0 " in message)
        assert any(f"doesn't see the lake {out}: it is given no more tasks" in message for message in noticed)
        # A build that begins while it is there is refused.
        with pytest.raises(UsageError, match=r"its workers have eegzarr 99\.0\.0"):
            eegzarr.build_lake(sample_root, cluster.lakes / "refused.zarr", **options)
        assert not (cluster.lakes / "refused.zarr").exists()
    finally:
        resumed.cancel()
        end_all([cluster.processes.pop("other")])


@pytest.mark.parametrize("kind", ["int16", "continuous"])
def test_integers_and_whole_recordings_are_the_same_from_a_cluster(
    kind: str, cluster: Cluster, sample_root: Path, integer_lake: Path, tmp_path: Path
) -> None:
    options = {"recipe": CHALLENGE1, "dtype": "int16"} if kind == "int16" else {"recipe": "continuous"}
    options["shard_size"] = SMALL_SHARDS if kind == "int16" else 4 * SMALL_SHARDS
    out, local = cluster.lakes / f"{kind}.zarr", integer_lake
    if kind == "continuous":
        local = tmp_path / "local.zarr"
        eegzarr.build_lake(sample_root, local, workers=2, **options)
    eegzarr.build_lake(sample_root, out, scheduler_file=str(cluster.file), **options)
    if kind == "continuous":
        for recipe, store in (("challenge1", False), ("challenge2", True)):
            cut_lake(local, recipe, store=store)
            (summary,) = cut_lake(out, recipe, store=store, scheduler_file=str(cluster.file))
            assert not summary.already
    assert tree_digests(out) == tree_digests(local)


def test_where_no_worker_sees_the_lake_the_build_stops_with_the_reason_and_resumes(
    cluster: Cluster, sample_root: Path, sample_lake: Path
) -> None:
    own = cluster.lakes / "own"
    own.mkdir()
    options = {"recipe": CHALLENGE1, "shard_size": SMALL_SHARDS}
    subprocess.run(["mount", "-t", "tmpfs", "none", str(own)], check=True)  # in this process's namespace alone
    try:
        with pytest.raises(BuildStopped, match="no worker of the Dask cluster can do the build's tasks") as stopped:
            eegzarr.build_lake(sample_root, own / "lake.zarr", scheduler_file=str(cluster.file), **options)
        assert f"doesn't see the lake {own / 'lake.zarr'}" in str(stopped.value)
        with pytest.raises(LakeError, match="still being built"):
            eegzarr.open_windows(own / "lake.zarr", "challenge1")
        eegzarr.build_lake(sample_root, own / "lake.zarr", workers=1, **options)
        assert tree_digests(own / "lake.zarr") == tree_digests(sample_lake)
    finally:
        subprocess.run(["umount", "-l", str(own)], check=True)


def test_what_a_worker_lacks_is_named(sample_root: Path, sample_lake: Path, tmp_path: Path) -> None:
    place = {"lake": str(sample_lake), "group": "challenge1/R1"}
    source = str(sample_root)
    assert Needs(version=version(), source=source).unmet() == ""
    assert Needs(version=version(), source="s3://bucket/of-its-own").unmet() == ""
    assert Needs(version="eegzarr 0", source=source).unmet() == f"has {version()}, and the build eegzarr 0"
    assert Needs(version=version(), source=f"{tmp_path}/gone").unmet() == f"doesn't see the source {tmp_path}/gone"
    another = Needs(version=version(), source=source, digest="0" * 64, **place)
    assert another.unmet() == f"sees another lake at {sample_lake}"


def test_a_shard_that_was_written_where_the_build_cant_see_it_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"lake": str(tmp_path), "group": "r/R1", "shard": 0, "source_root": "", "signals_digest": ""}
    task = ShardTask(
        **place, channels=(), geometry=Geometry.of(2, 10), pieces=(), sfreq=100.0, preparation=Preparation()
    )
    receipt: Any = SimpleNamespace(nbytes=5)
    shard = tmp_path / "r/R1/eeg" / task.geometry.shard_key(0)
    shard.parent.mkdir(parents=True)
    threading.Timer(0.1, shard.write_bytes, (b"later",)).start()
    check_written(task, receipt, ())
    shard.write_bytes(b"another")
    monkeypatch.setattr(waits, "PATIENCE", 0.1)
    with pytest.raises(BuildStopped, match=f"{shard}, which a worker has written where this process can't see it"):
        check_written(task, receipt, ())
