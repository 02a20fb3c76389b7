"""Real small things to test on: a simulated BIDS dataset, and a lake built from it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fork_server import fork_workers
from hypothesis import settings
from needs import is_missing, missing_for_module, missing_for_test

import eegzarr
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.sample import write_sample
from eegzarr.store.reading import compiled as loops

SMALL_SHARDS = 4 * 2**20  # a dozen shards from the sample, where the default makes one

os.environ.setdefault("OMP_NUM_THREADS", "1")  # another test is beside
# What a shell starts in the background ignores Ctrl-C, and so would all processes that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
fork_workers()
settings.register_profile("laws", deadline=None)  # a law holds on a busy machine too
settings.load_profile("laws")


collect_ignore = [file.name for file in sorted(Path(__file__).parent.glob("test_*.py")) if missing_for_module(file)]


def pytest_report_header() -> str:
    return f"left out, for want of a package: {', '.join(collect_ignore)}" if collect_ignore else ""


# The files that take longest, begun first: no process is left with one of them at the end. pytest-xdist has an order of
# its own, by the number of tests, but with --no-loadscope-reorder.
LONGEST = ("test_benchmarks", "test_docs", "test_train_tools", "test_build", "test_remote", "test_moments")
LONGEST += ("test_cut_everywhere", "test_loops", "test_train_resume", "test_moments_of_cuts", "test_table")
LONGEST += ("test_stream", "test_train_score", "test_cut", "test_selection", "test_buckets", "test_train_ranks")
LONGEST += ("test_train_fit", "test_faults", "test_verify", "test_moments_in_buckets", "test_waits")
LONGEST += ("test_montage_builds",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))
    for item in items:
        marked = [package for mark in item.iter_markers("needs") for package in mark.args if is_missing(package)]
        function = getattr(item, "originalname", item.name)
        if missing := sorted({*marked, *missing_for_test(item.path, function)}):
            item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)}"))


@contextmanager
def decoding(*, compiled: bool) -> Iterator[None]:
    """Windows are decoded by compiled code, or one by one in Python, inside the ``with``."""
    before, loops._made[:] = list(loops._made), [] if compiled else [None]
    loops.compile_loops()
    assert (loops.compiled_loops() is not None) == compiled
    try:
        yield
    finally:
        loops._made[:] = before


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BIDS dataset as `eegzarr.sample` writes it."""
    return write_sample(tmp_path_factory.mktemp("bids") / "sample")


@pytest.fixture(scope="session")
def one_subject_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with one subject alone."""
    return write_sample(tmp_path_factory.mktemp("bids") / "one", subjects=1)


@pytest.fixture(scope="session")
def sample_lake(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the sample's challenge1/R1, in small shards. Read it only."""
    lake = tmp_path_factory.mktemp("lake") / "lake.zarr"
    eegzarr.build_lake(sample_root, lake, recipe=CHALLENGE1, workers=2, shard_size=SMALL_SHARDS)
    return lake


@pytest.fixture(scope="session")
def integer_lake(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the sample's challenge1/R1 as integers of 0.05 uV, in small shards. Read it only."""
    lake = tmp_path_factory.mktemp("integers") / "lake.zarr"
    eegzarr.build_lake(sample_root, lake, recipe=CHALLENGE1, workers=2, dtype="int16", shard_size=SMALL_SHARDS)
    return lake


@pytest.fixture(scope="session", params=["float32", "int16"])
def any_lake(request: pytest.FixtureRequest) -> Path:
    """The sample's challenge1/R1 as floats, and as integers. Read it only."""
    fixture = "sample_lake" if request.param == "float32" else "integer_lake"
    return Path(request.getfixturevalue(fixture))


@pytest.fixture(scope="session")
def two_release_lake(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with two releases of challenge1, R1 and R2, of different subjects. Read it only."""
    lake = tmp_path_factory.mktemp("lakes") / "lake.zarr"
    eegzarr.build_lake(sample_root, lake, recipe=CHALLENGE1, workers=1, shard_size=SMALL_SHARDS)
    other = write_sample(tmp_path_factory.mktemp("bids") / "other", subjects=2, seed=7)
    for folder in sorted(other.glob("sub-*")):
        renamed = folder.name.replace("NDARSIM", "NDAROTHER")
        for file in folder.rglob("*_*"):
            file.rename(file.with_name(file.name.replace(folder.name, renamed)))
        folder.rename(folder.with_name(renamed))
    participants = other / "participants.tsv"
    participants.write_text(participants.read_text().replace("NDARSIM", "NDAROTHER").replace("\tR1\t", "\tR2\t"))
    eegzarr.build_lake(other, lake, recipe=CHALLENGE1, workers=1, shard_size=SMALL_SHARDS)
    return lake


def tree_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path in it."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def run_command(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run ``python -m …`` as a user would."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False
    )
