"""Machines of 1 to 128 cores, simulated: how many workers, shards of what size, what memory, what the monitor shows."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from eegzarr.build.workers.resources import Resources, affordable_shard_size, projected_worker_memory
from eegzarr.machine import memory, system
from eegzarr.store.layout import SHARD_SIZE
from eegzarr.watch.view import look

MIB, GIB = 2**20, 2**30
PAGE = Path(__file__).parents[1] / "docs" / "howto" / "memory.md"
ROW = re.compile(r"^\| (\d+) \| (\d+) GiB \| (\d+) \| (\d+) MiB \| (\d+) MiB \|$", re.MULTILINE)
TABLE = [tuple(map(int, row)) for row in ROW.findall(PAGE.read_text(encoding="utf8"))]


class Machine:
    """A machine of any size, and a cgroup in it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.group = folder / "cgroup" / "job"
        self.group.mkdir(parents=True)
        (folder / "own").write_text("0::/job\n")
        self._patch = monkeypatch
        for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU"):
            monkeypatch.delenv(name, raising=False)
        folders = system.cgroup_folders

        def here(controller: str, *_: Path) -> list[Path]:
            return folders(controller, folder / "cgroup", folder / "own")

        monkeypatch.setattr(system, "cgroup_folders", here)
        monkeypatch.setattr(memory, "cgroup_folders", here)

    def has(self, cores: int, nbytes: int) -> None:
        affinity, share = set(range(cores)), SimpleNamespace(total=nbytes, percent=10.0)
        self._patch.setattr(system.os, "sched_getaffinity", lambda _: affinity, raising=False)
        self._patch.setattr(memory.psutil, "virtual_memory", lambda: share)

    def gives_job(self, cores: float, nbytes: int, used: int = 0) -> None:
        (self.group / "cpu.max").write_text(f"{int(cores * 100_000)} 100000\n")
        (self.group / "memory.max").write_text(f"{nbytes}\n")
        (self.group / "memory.current").write_text(f"{used}\n")
        (self.group / "memory.stat").write_text("file 0\nshmem 0\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def build_there() -> tuple[int, int, int, int]:
    """What a build without options takes: workers, size of shards, bytes projected, and their limit."""
    size = affordable_shard_size(SHARD_SIZE, 4, None, None)
    at_work = projected_worker_memory(size, 4)
    resources = Resources.fit(at_work)
    assert resources.worker_memory >= at_work
    return resources.workers, size, resources.projected(at_work), resources.memory


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} cores, {row[1]} GiB")
def test_the_table_of_machines_is_right(row: tuple[int, ...], machine: Machine) -> None:
    cores, gib, *expected = row
    machine.has(cores, gib * GIB)
    workers, size, projected, limit = build_there()
    assert [workers, size // MIB, projected // MIB] == expected
    assert projected <= limit == gib * GIB // 2


def test_the_table_has_small_and_large_machines() -> None:
    assert {1, 2, 8, 128} <= {cores for cores, *_ in TABLE}


@pytest.mark.parametrize("cores", [1, 2, 8, 128])
def test_a_job_counts_and_not_the_machine_around_it(cores: int, machine: Machine) -> None:
    machine.has(cores, 512 * GIB)
    machine.gives_job(2.5, 4 * GIB)
    workers, size, projected, limit = build_there()
    assert (workers, size, limit) == (min(cores, 3), SHARD_SIZE, 2 * GIB)
    assert projected <= limit


@pytest.mark.parametrize("cores", [1, 128])
def test_the_monitor_shows_the_memory_of_the_job(cores: int, machine: Machine, sample_lake: Path) -> None:
    machine.has(cores, 512 * GIB)
    assert look(str(sample_lake)).machine == pytest.approx(0.1)
    machine.gives_job(1, 4 * GIB, used=3 * GIB)
    assert look(str(sample_lake)).machine == pytest.approx(0.75)
