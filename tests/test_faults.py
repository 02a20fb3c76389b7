"""Faults of the machine under a build: memory, disk, clusters that come and go."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from clusters import await_file, dask_process, end_all
from conftest import SMALL_SHARDS, run_command, tree_digests
from distributed import WorkerPlugin, default_client

import eegzarr
import eegzarr.build.workers.cluster
import eegzarr.build.workers.waiting
import eegzarr.machine.memory
from eegzarr.build.workers.resources import Resources, affordable_shard_size, projected_worker_memory
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import BuildStopped, LakeError, UsageError
from eegzarr.events import BuildBegan, Noticed
from eegzarr.machine.memory import MemoryGate, _slurm_limit, parse_share

MIB = 2**20


def test_a_machine_that_is_too_full_lets_no_shard_start(
    sample_root: Path, sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "lake.zarr"
    options = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS}
    monkeypatch.setattr(eegzarr.machine.memory, "PATIENCE", 0.2)
    with pytest.raises(BuildStopped, match=r"stayed above --max-memory 1% .*run the same command again") as stopped:
        eegzarr.build_lake(sample_root, out, max_memory=0.01, **options)
    assert stopped.value.exit_code == 75
    assert not list(out.rglob("c/*/0/0"))
    eegzarr.build_lake(sample_root, out, **options)
    assert tree_digests(out) == tree_digests(sample_lake)


def test_the_gate_opens_again_when_there_is_room() -> None:
    used = [0.5, 0.9, 0.9, 0.5, 0.9]
    gate = MemoryGate(0.85, patience=100, used=lambda: used.pop(0))
    assert [gate.is_open() for _ in range(4)] == [True, False, False, True]
    gate.check_patience()


@pytest.mark.parametrize(("text", "share"), [("85%", 0.85), ("100%", 1.0), ("7", 0.07)])
def test_shares_are_percent(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0%", "101%", "much", ""])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="isn't a share"):
        parse_share(text)


@pytest.mark.parametrize(
    ("environment", "limit"),
    [
        ({}, []),
        ({"SLURM_MEM_PER_NODE": "16000"}, [16000 * MIB]),
        ({"SLURM_MEM_PER_NODE": "0"}, []),
        ({"SLURM_MEM_PER_CPU": "4000", "SLURM_CPUS_ON_NODE": "8"}, [32000 * MIB]),
    ],
)
def test_slurms_memory_is_known(environment: dict[str, str], limit: list[int]) -> None:
    assert _slurm_limit(environment) == limit


def test_a_limit_that_is_too_small_is_refused_with_the_smallest_that_works(sample_root: Path, tmp_path: Path) -> None:
    command = ["eegzarr.build", "--source", sample_root, "--out", tmp_path / "lake.zarr", "--memory-limit"]
    refused = run_command(*command, "300MiB")
    assert refused.returncode == 2
    smallest = refused.stderr.split("give at least ")[1].split("MiB")[0]
    assert not (tmp_path / "lake.zarr").exists()
    assert run_command(*command, f"{int(smallest) - 1}MiB").returncode == 2
    works = run_command(*command, f"{smallest}MiB")
    assert works.returncode == 0, works.stderr
    peak = float(works.stdout.split("peak memory ")[1].split(" MiB")[0].replace(",", ""))
    assert peak <= int(smallest)


@pytest.mark.parametrize("mib", [500, 700, 1024, 4096])
def test_what_is_projected_fits_the_limit(mib: int) -> None:
    size = affordable_shard_size(64 * MIB, 4, None, mib * MIB)
    at_work = projected_worker_memory(size, 4)
    resources = Resources.fit(at_work, None, mib * MIB)
    assert resources.projected(at_work) <= mib * MIB
    assert resources.worker_memory >= at_work


class Leak(WorkerPlugin):
    """Take memory that nobody projected as soon as a worker begins to write, as a reader that leaks would."""

    def transition(self, key: object, start: str, finish: str, **_: object) -> None:
        if finish == "executing" and str(key).startswith("write_shard"):
            self.taken = b"x" * (600 * MIB)
            time.sleep(1)  # a worker is looked at every 0.1 s


@pytest.mark.timeout(900)  # its worker starts again several times, each a minute on a busy machine
def test_a_worker_that_takes_too_much_ends_the_build_with_the_way_out(sample_root: Path, tmp_path: Path) -> None:
    def leak(event: object) -> None:
        if isinstance(event, BuildBegan):
            default_client().register_plugin(Leak())

    with pytest.raises(LakeError, match="give a larger --memory-limit or fewer --workers"):
        eegzarr.build_lake(
            sample_root, tmp_path / "lake.zarr", recipe=CHALLENGE1, workers=1, memory_limit="700MiB", listeners=[leak]
        )


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_build_and_nothing_is_lost(sample_root: Path, sample_lake: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-o", "size=12m") as disk:
        command = ["eegzarr.build", "--source", sample_root, "--out", disk / "lake.zarr", "--workers", 1]
        command += ["--shard-size", SMALL_SHARDS, "--log-dir", tmp_path / "logs"]
        full = run_command(*command)
        assert full.returncode == 75, full.stderr
        assert "no space left" in full.stderr
        assert "make room and run the same command again" in full.stderr
        assert "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        again = run_command(*command)
        assert again.returncode == 0, again.stderr
        assert "finished before" in again.stderr
        assert tree_digests(disk / "lake.zarr") == tree_digests(sample_lake)


def test_a_disk_that_is_read_only_is_said_to_be(sample_root: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-o", "ro") as disk:
        refused = run_command("eegzarr.build", "--source", sample_root, "--out", disk / "lake.zarr")
        assert refused.returncode == 1
        assert "can't be written" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Path]:
    """A scheduler and two workers, as processes that somebody started; the scheduler's file."""
    file = tmp_path / "scheduler.json"
    worker = ("--nthreads", "1", "--local-directory", str(tmp_path / "dask"))
    processes = [dask_process("scheduler", file, "--port", "0", "--no-show")]
    processes += [dask_process("worker", file, *worker) for _ in range(2)]
    try:
        await_file(file)
        yield file
    finally:
        end_all(processes[::-1])


def test_a_cluster_that_runs_already_is_used_and_workers_may_come_and_go(
    cluster: Path, sample_root: Path, sample_lake: Path, tmp_path: Path
) -> None:
    from dask.distributed import Client

    late = []

    def disturb(event: object) -> None:
        if type(event).__name__ == "ShardFinished" and not late:
            late.append(dask_process("worker", cluster, "--nthreads", "1"))
            with Client(scheduler_file=str(cluster)) as client:
                first = next(iter(client.scheduler_info(n_workers=-1)["workers"]))
                pid = client.run(os.getpid, workers=[first])[first]
            os.kill(pid, signal.SIGKILL)

    out = tmp_path / "lake.zarr"
    try:
        summary = eegzarr.build_lake(
            sample_root,
            out,
            recipe=CHALLENGE1,
            scheduler_file=str(cluster),
            shard_size=SMALL_SHARDS,
            listeners=[disturb],
        )
    finally:
        for process in late:
            process.terminate()
            process.wait(20)
    assert late
    assert summary.memory_limit == 0
    assert tree_digests(out) == tree_digests(sample_lake)


@pytest.mark.parametrize("gone", ["worker", "scheduler"])
def test_a_cluster_that_is_gone_is_said_and_given_up_resumably(
    gone: str, cluster: Path, sample_root: Path, sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dask.distributed import Client

    monkeypatch.setattr(eegzarr.build.workers.waiting, "LOOK", 0.2)
    monkeypatch.setattr(eegzarr.build.workers.waiting, "NOTICE", 0.5)
    monkeypatch.setattr(eegzarr.build.workers.waiting, "PATIENCE", 3.0)
    noticed: list[str] = []

    def disturb(event: object) -> None:
        if isinstance(event, Noticed):
            noticed.append(event.message)
        if isinstance(event, BuildBegan):
            with Client(scheduler_file=str(cluster)) as client:
                pids = (
                    list(client.run(os.getpid).values()) if gone == "worker" else [client.run_on_scheduler(os.getpid)]
                )
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                parent = psutil.Process(pid).parent() if gone == "worker" and psutil.pid_exists(pid) else None
                if parent is not None and "dask" in " ".join(parent.cmdline()):
                    parent.kill()  # the nanny, which would start it again

    out = tmp_path / "lake.zarr"
    options = {"recipe": CHALLENGE1, "shard_size": SMALL_SHARDS}
    with pytest.raises(BuildStopped, match="run the same command again") as stopped:
        eegzarr.build_lake(sample_root, out, scheduler_file=str(cluster), listeners=[disturb], **options)
    assert stopped.value.exit_code == 75
    if gone == "worker":
        assert any("waiting for a worker" in message for message in noticed)
    eegzarr.build_lake(sample_root, out, workers=1, **options)
    assert tree_digests(out) == tree_digests(sample_lake)


def test_a_scheduler_that_is_not_there_is_named(sample_root: Path, tmp_path: Path) -> None:
    command = ["eegzarr.build", "--source", sample_root, "--out", tmp_path / "lake.zarr"]
    missing = run_command(*command, "--scheduler-file", tmp_path / "none.json")
    assert missing.returncode == 2
    assert "no such file" in missing.stderr
    both = run_command(*command, "--scheduler", "tcp://127.0.0.1:1", "--workers", 2)
    assert both.returncode == 2
    assert "--workers and --memory-limit are for local workers" in both.stderr
    assert not (tmp_path / "lake.zarr").exists()
