"""What others see of a lake at every moment of a build: the old group, the new one, or a refusal; never a mixture."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import SMALL_SHARDS, tree_digests
from moments import KILLS, Onlooker, digests_of, in_order, looked_at, random_moments, steps

import eegzarr
from eegzarr.build.repair import repair_lake
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import LakeError
from eegzarr.sample.write import write_sample
from eegzarr.store.describe import describe_lake
from eegzarr.store.root import only_builder
from eegzarr.store.verify import verify_lake
from eegzarr.watch.view import look

GROUP = "challenge1/R1"
OPTIONS: dict[str, Any] = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS}
AGES = replace(CHALLENGE1, target="age")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("moments") / "bids", subjects=1)


@pytest.fixture(scope="module")
def pristine(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("moments") / "lake.zarr"
    eegzarr.build_lake(root, lake, **OPTIONS)
    return lake


@pytest.fixture
def lake(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "lake.zarr"))


def test_a_build_is_refused_until_it_is_whole(root: Path, pristine: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    onlooker = Onlooker(lake, GROUP, new=digests_of(pristine, GROUP))
    with looked_at(onlooker):
        eegzarr.build_lake(root, lake, **OPTIONS)
    assert onlooker.looks > 100
    assert in_order(onlooker.seen, steps("refused", "new"))


@pytest.mark.parametrize(
    "change",
    [{"dtype": "float16", "overwrite": True}, {"overwrite": True}, {"recipe": AGES}],
    ids=["type", "anew", "target"],
)
def test_what_is_overwritten_or_relabelled_is_the_old_group_or_the_new_or_refused(
    change: dict[str, Any], root: Path, lake: Path, tmp_path: Path
) -> None:
    eegzarr.build_lake(root, tmp_path / "new.zarr", **{**OPTIONS, **change})
    onlooker = Onlooker(lake, GROUP, old=digests_of(lake, GROUP), new=digests_of(tmp_path / "new.zarr", GROUP))
    with looked_at(onlooker):
        eegzarr.build_lake(root, lake, **{**OPTIONS, **change})
    assert onlooker.looks > 20
    wanted = steps("old", "refused", "new")
    is_the_same = onlooker.states.keys() == digests_of(tmp_path / "new.zarr", GROUP)
    if is_the_same:
        wanted = [tuple(name.replace("new", "old") for name in state) for state in wanted]
    assert in_order(onlooker.seen, wanted)
    assert verify_lake(lake) == []


KILLED = """
import os, signal, sys, threading
from dataclasses import replace
import eegzarr
from eegzarr.build.repair import repair_lake
from eegzarr.store.verify import verify_lake

root, lake, what, left, later = *sys.argv[1:4], int(sys.argv[4]), float(sys.argv[5])
WRITES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}

def count(event, arguments):
    global left
    if event in WRITES and str(arguments[0]).startswith(lake):
        left -= 1
        if not left and not later:
            os.kill(os.getpid(), signal.SIGKILL)
        if not left:
            threading.Timer(later / 1000, os.kill, [os.getpid(), signal.SIGKILL]).start()

if __name__ == "__main__":
    recipe = eegzarr.load_recipe("challenge1")
    sys.addaudithook(count)
    options = {"recipe": recipe, "workers": 1, "shard_size": 4 * 2**20}
    if what == "repair":
        repair_lake(lake, verify_lake(lake), workers=1)
    elif what == "finish":
        eegzarr.build_lake(root, lake, **{**options, "recipe": replace(recipe, target="age")})
    else:
        eegzarr.build_lake(root, lake, dtype="float16", overwrite=what == "overwrite", **options)
"""


def killed_at(moment: tuple[int, float], what: str, root: Path, lake: Path, script: Path) -> int:
    script.write_text(KILLED)
    command = [sys.executable, script, root, lake, what, *moment]
    return subprocess.run([*map(str, command)], capture_output=True, timeout=240, check=False).returncode


LONG = pytest.mark.timeout(0 if KILLS else 300)


@LONG
def test_an_overwrite_that_is_killed_leaves_no_mixture_and_goes_on(root: Path, lake: Path, tmp_path: Path) -> None:
    options = {**OPTIONS, "dtype": "float16"}
    eegzarr.build_lake(root, tmp_path / "new.zarr", **options)
    new = digests_of(tmp_path / "new.zarr", GROUP)
    onlooker = Onlooker(tmp_path / "one.zarr", GROUP, old=digests_of(lake, GROUP), new=new)
    for moment in random_moments(3, 250):
        one = Path(shutil.copytree(lake, tmp_path / "one.zarr", dirs_exist_ok=True))
        killed_at(moment, "overwrite", root, one, tmp_path / "kill.py")
        onlooker()
        eegzarr.build_lake(root, one, overwrite=True, **options)
        assert digests_of(one, GROUP) == new
        assert verify_lake(one) == []
        shutil.rmtree(one)


@LONG
def test_a_build_that_is_killed_is_refused_or_whole_and_goes_on(root: Path, tmp_path: Path) -> None:
    options = {**OPTIONS, "dtype": "float16"}
    eegzarr.build_lake(root, tmp_path / "new.zarr", **options)
    one = tmp_path / "one.zarr"
    onlooker = Onlooker(one, GROUP, new=digests_of(tmp_path / "new.zarr", GROUP))
    for moment in random_moments(3, 220):
        killed_at(moment, "build", root, one, tmp_path / "kill.py")
        if (one / "zarr.json").exists():
            onlooker()
        eegzarr.build_lake(root, one, **options)
        assert tree_digests(one) == tree_digests(tmp_path / "new.zarr")
        shutil.rmtree(one)


def test_what_file_managers_leave_in_a_group_that_is_being_built_harms_nothing(root: Path, tmp_path: Path) -> None:
    options = {**OPTIONS, "dtype": "float16"}
    one = tmp_path / "one.zarr"
    killed_at((60, 0), "build", root, one, tmp_path / "kill.py")
    places = ["", "challenge1", GROUP, f"{GROUP}/eeg", f"{GROUP}/eeg/c", f"{GROUP}/build", f"{GROUP}/build/receipts/c"]
    litter = [one / place / ".DS_Store" for place in places]
    for file in litter:
        file.write_text("x")
    (bar,) = look(str(one)).bars
    assert 0 < bar.done <= bar.total == len(list((one / GROUP / "eeg/c").glob("[0-9]*")))
    assert [summary.status for summary in describe_lake(one)] == ["building"]
    assert eegzarr.build_lake(root, one, **options).windows
    repair_lake(one, verify_lake(one))
    eegzarr.build_lake(root, tmp_path / "new.zarr", **options)
    assert tree_digests(one) == tree_digests(tmp_path / "new.zarr")


@LONG
def test_labels_whose_writing_is_killed_are_the_old_or_the_new_or_refused(
    root: Path, lake: Path, tmp_path: Path
) -> None:
    options = {**OPTIONS, "recipe": AGES}
    eegzarr.build_lake(root, tmp_path / "new.zarr", **options)
    new = digests_of(tmp_path / "new.zarr", GROUP)
    onlooker = Onlooker(tmp_path / "one.zarr", GROUP, old=digests_of(lake, GROUP), new=new)
    for moment in random_moments(2, 30):
        one = Path(shutil.copytree(lake, tmp_path / "one.zarr"))
        before = shards_of(one)
        killed_at(moment, "finish", root, one, tmp_path / "kill.py")
        onlooker()
        eegzarr.build_lake(root, one, **options)
        assert digests_of(one, GROUP) == new
        assert verify_lake(one) == []
        assert shards_of(one) == before
        shutil.rmtree(one)


def shards_of(lake: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each shard."""
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in lake.rglob("eeg/c/*/0/0")}


@LONG
def test_a_repair_that_is_killed_goes_on(root: Path, lake: Path, tmp_path: Path) -> None:
    before = tree_digests(lake)
    wanted = eegzarr.open_windows(lake, "challenge1").load()
    damaged = [f"{GROUP}/{path}" for path in ("age/c/0", "peak_to_peak/c/0", "shards/receipt/c/0", "eeg/c/0/0/0")]
    rng = random.Random(2025)
    for moment in random_moments(2, 20 if KILLS else 6):
        for path in damaged if not KILLS else rng.sample([path for path in before if "/c/" in path], 6):
            (lake / path).write_bytes(b"gone")
        (lake / GROUP / ".DS_Store").write_text("x")
        killed_at(moment, "repair", root, lake, tmp_path / "kill.py")
        assert_right_or_refused(lake, wanted)
        repair_lake(lake, verify_lake(lake), workers=1)
        assert tree_digests(lake) == before


def assert_right_or_refused(lake: Path, wanted: xr.Dataset) -> None:
    """Each variable that can be read at all is what it was."""
    for name in wanted.variables:
        try:
            found = eegzarr.open_windows(lake, "challenge1")[name].to_numpy()
        except LakeError:
            continue
        np.testing.assert_array_equal(found, wanted[name].to_numpy())


def test_a_repair_makes_nothing_worse_at_any_moment(root: Path, lake: Path, pristine: Path) -> None:
    for path in ("age/c/0", "peak_to_peak/c/0", "shards/receipt/c/0"):
        (lake / GROUP / path).write_bytes(b"gone")
    (lake / GROUP / "eeg/c/0/0/0").unlink()
    sound = {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in lake.rglob("*")
        if path.is_file() and path.read_bytes() == (pristine / path.relative_to(lake)).read_bytes()
    }
    del sound[lake / "zarr.json"]  # renewed, to the same bytes

    def untouched() -> None:
        assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sound} == sound

    with looked_at(untouched):
        repair_lake(lake, verify_lake(lake), workers=1)
    assert digests_of(lake, GROUP) == digests_of(pristine, GROUP)


def test_a_builder_that_waited_finds_what_the_first_has_made(root: Path, lake: Path) -> None:
    with only_builder(str(lake), GROUP), pytest.raises(LakeError, match="being built by another process"):
        eegzarr.build_lake(root, lake, overwrite=True, **OPTIONS)
    assert eegzarr.build_lake(root, lake, **OPTIONS).already
