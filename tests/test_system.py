"""What only Linux has, and what stands in for it elsewhere: tried by hiding it from every process of a build."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import filelock
import pytest
from conftest import SMALL_SHARDS, tree_digests

from eegzarr.machine import system

ROOT = Path(__file__).parents[1]
# Python imports it when it starts, in Dask's workers, too. What is hidden is what Windows lacks.
HIDDEN = """
import builtins, ctypes, mmap, os, signal
IMPORT = builtins.__import__
def import_without_fcntl(name, globals=None, *rest, **more):
    if name == "fcntl" and (globals or {}).get("__name__", "").startswith("eegzarr."):  # others would ask for msvcrt
        raise ImportError(name)
    return IMPORT(name, globals, *rest, **more)
builtins.__import__ = import_without_fcntl
for name in ("sync", "fdatasync", "statvfs", "sched_getaffinity"):
    delattr(os, name)
del signal.pthread_sigmask, mmap.MADV_WILLNEED
os.process_cpu_count = os.cpu_count  # as on Windows, from Python 3.13 on
CDLL = ctypes.CDLL
class NamedLibrary(CDLL):
    def __init__(self, name, *rest, **more):
        if name is None:
            raise TypeError("a library has a name")
        super().__init__(name, *rest, **more)
ctypes.CDLL = NamedLibrary
"""
BUILD = """
import sys, eegzarr
from eegzarr.challenge.presets import CHALLENGE1
if __name__ == "__main__":
    source, lake, shard_size = sys.argv[1:]
    eegzarr.build_lake(source, lake, recipe=CHALLENGE1, workers=1, shard_size=int(shard_size))
"""
READ = """
import sys, eegzarr
from eegzarr.machine import system
from eegzarr.verify import main
assert system.fcntl is None
windows = eegzarr.open_windows(sys.argv[1], "challenge1")
print(float(windows["eeg"].mean()), windows.sizes["window"])
sys.exit(main([sys.argv[1]]))
"""
DESCRIBE = """
import sys
from eegzarr import info, report
sys.exit(info.main([sys.argv[1]]) or report.main([sys.argv[1], "--out", sys.argv[2]]))
"""
STREAM = """
import sys, eegzarr
from eegzarr.train import WindowStream
print(sum(len(x) for x, y in WindowStream(eegzarr.open_windows(sys.argv[1], "challenge1"), batch_size=32)))
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """An environment whose Pythons lack what only Linux has."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/sitecustomize.py").write_text(HIDDEN)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "hidden"), str(ROOT)])}


def run(script: str, *arguments: object, env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script)
    command = [sys.executable, str(folder / "script.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=280)


def test_a_build_makes_the_same_bytes_without_what_only_linux_has(
    sample_root: Path, sample_lake: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    lake = tmp_path / "lake.zarr"
    done = run(BUILD, sample_root, lake, SMALL_SHARDS, env=elsewhere, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert tree_digests(lake) == tree_digests(sample_lake)


def test_a_lake_is_opened_and_verified_without_what_only_linux_has(
    sample_lake: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    done = run(READ, sample_lake, env=elsewhere, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "241" in done.stdout


def test_a_lake_is_described_without_what_only_linux_has(
    sample_lake: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    done = run(DESCRIBE, sample_lake, tmp_path / "page.html", env=elsewhere, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "challenge1/R1" in done.stdout
    assert "challenge1/R1" in (tmp_path / "page.html").read_text(encoding="utf8")


@pytest.mark.needs("torch")
def test_a_lake_is_streamed_without_what_only_linux_has(
    sample_lake: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    done = run(STREAM, sample_lake, env=elsewhere, folder=tmp_path)
    assert done.stdout.strip() == "241", done.stderr


def test_without_locks_on_folders_a_second_build_is_still_kept_off(
    sample_root: Path, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    lake = tmp_path / "lake.zarr"
    (tmp_path / "lake.zarr.locks").mkdir()
    with filelock.FileLock(tmp_path / "lake.zarr.locks/challenge1-R1.lock"):
        done = run(BUILD, sample_root, lake, SMALL_SHARDS, env=elsewhere, folder=tmp_path)
    assert "is being built by another process" in done.stderr
    assert not lake.exists() or not list(lake.rglob("*.lock"))


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), system.locked(tmp_path, tmp_path / "lock"):
            with pytest.raises(system.Locked), system.locked(tmp_path, tmp_path / "lock"):
                pass
            raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(system.fcntl is None, reason="a system without locks on folders")
@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOLCK])
def test_where_folders_cannot_be_locked_a_file_beside_the_lake_is(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS locks only what is open for writing."""
    lock = system.fcntl.flock

    def lock_of_nfs(descriptor: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        lock(descriptor, how)

    monkeypatch.setattr(system.fcntl, "flock", lock_of_nfs)
    file = tmp_path / "lake.zarr.locks/lake.lock"
    for _ in range(2):
        with system.locked(tmp_path / "lake.zarr", file):
            with pytest.raises(system.Locked), system.locked(tmp_path / "lake.zarr", file):
                pass
            assert file.exists()


@pytest.mark.skipif(system.fcntl is None, reason="a system without locks on folders")
def test_where_nothing_can_be_locked_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(system.fcntl, "flock", no_locks)
    with system.locked(tmp_path / "lake.zarr", tmp_path / "lake.lock"):
        assert (tmp_path / "lake.zarr").is_dir()
    told = [record.getMessage() for record in caplog.records if record.name == system.__name__]
    assert told == [
        f"{tmp_path / 'lake.zarr'} can't be locked (Function not implemented): see that no other process builds there"
    ]


@pytest.mark.skipif(system.resource is None, reason="a system without such limits")
def test_more_files_are_opened_where_the_system_lets_a_process() -> None:
    before = system.resource.getrlimit(system.resource.RLIMIT_NOFILE)
    try:
        system.resource.setrlimit(system.resource.RLIMIT_NOFILE, (200, before[1]))
        assert system.open_files_allowed(150) == 150
        assert system.resource.getrlimit(system.resource.RLIMIT_NOFILE)[0] == 200
        assert system.open_files_allowed(240) == 240
        assert system.resource.getrlimit(system.resource.RLIMIT_NOFILE)[0] == 240
    finally:
        system.resource.setrlimit(system.resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(system.resource is None, reason="a system without such limits")
def test_a_build_that_may_open_few_files_says_so(sample_root: Path, tmp_path: Path) -> None:
    build = f"{sys.executable} -m eegzarr.build {sample_root} {tmp_path / 'lake.zarr'} --workers 2"
    refused = subprocess.run(["sh", "-c", f"ulimit -n 32; exec {build}"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "may have 32 files open, and should have 80. Raise the limit, as with ulimit -n 80" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("lines", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "100000 100000"}, [1.0]),
        ("0::/\n", {"cpu.max": "max 100000"}, []),
        ("0::/slurm/job_7/step_0\n", {"slurm/job_7/cpu.max": "350000 100000", "slurm/cpu.max": "max 100000"}, [3.5]),
        ("4:cpu,cpuacct:/docker/7\n0::/\n", {"cpu,cpuacct/docker/7/cpu.cfs": "150000"}, [1.5]),
        # A container sees its own limits at the top, and its path in the machine around it.
        ("3:cpuacct:/\n2:cpu:/docker/7\n", {"cpu/cpu.cfs": "100000"}, [1.0]),
        ("2:cpu:/\n", {"cpu/cpu.cfs": "-1"}, []),
        ("", {}, []),
    ],
)
def test_a_quota_of_processor_time_is_found_in_any_cgroup_above(
    lines: str, files: dict[str, str], cores: list[float], tmp_path: Path
) -> None:
    (tmp_path / "own").write_text(lines)
    for name, text in files.items():
        parts = [("quota_us", text), ("period_us", "100000")] if name.endswith("cfs") else [("", text)]
        for ending, content in parts:
            file = tmp_path / "cgroup" / (f"{name}_{ending}" if ending else name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
    assert list(system._quotas(tmp_path / "cgroup", tmp_path / "own")) == cores


def test_a_quota_of_one_core_of_many_gives_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(system, "_quotas", lambda: iter([1.0, 12.5]))
    assert system.usable_cores() == 1
    monkeypatch.setattr(system, "_quotas", lambda: iter([2.5]))
    assert system.usable_cores() == 3
