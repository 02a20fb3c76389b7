"""What others see of a lake at every moment of a build: the old group, the new one, or a refusal; never a mixture."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from clusters import worker_in_this_process
from conftest import tree_digests
from kills import AGES, OPTIONS, Killer, killer
from moments import KILLS, LONG, ONLY_LONG, Onlooker, digests_of, in_order, looked_at, moments_among, random_of, steps

import eegzarr
from eegzarr.build.repair import repair_lake
from eegzarr.errors import LakeError
from eegzarr.store.describe import describe_lake
from eegzarr.store.root import only_builder
from eegzarr.store.verify import verify_lake
from eegzarr.watch.view import look

GROUP = "challenge1/R1"


@pytest.fixture(scope="module", autouse=True)
def one_worker() -> Iterator[None]:
    with worker_in_this_process():
        yield


@pytest.fixture(scope="module")
def kills() -> Iterator[Killer]:
    with killer() as started:
        yield started


@pytest.fixture(scope="module")
def root(one_subject_root: Path) -> Path:
    return one_subject_root


@pytest.fixture(scope="module")
def pristine(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("moments") / "lake.zarr"
    eegzarr.build_lake(root, lake, **OPTIONS)
    return lake


@pytest.fixture(scope="module")
def smaller(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same windows in another type."""
    lake = tmp_path_factory.mktemp("moments") / "smaller.zarr"
    eegzarr.build_lake(root, lake, **OPTIONS, dtype="float16")
    return lake


@pytest.fixture(scope="module")
def aged(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same windows with another target."""
    lake = tmp_path_factory.mktemp("moments") / "aged.zarr"
    eegzarr.build_lake(root, lake, **{**OPTIONS, "recipe": AGES})
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
    ("change", "like"),
    [
        ({"dtype": "float16", "overwrite": True}, "smaller"),
        pytest.param({"overwrite": True}, "pristine", marks=ONLY_LONG),
        ({"recipe": AGES}, "aged"),
    ],
    ids=["type", "anew", "target"],
)
def test_what_is_overwritten_or_relabelled_is_the_old_group_or_the_new_or_refused(
    change: dict[str, Any], like: str, root: Path, lake: Path, request: pytest.FixtureRequest
) -> None:
    new = digests_of(request.getfixturevalue(like), GROUP)
    onlooker = Onlooker(lake, GROUP, old=digests_of(lake, GROUP), new=new)
    with looked_at(onlooker):
        eegzarr.build_lake(root, lake, **{**OPTIONS, **change})
    assert onlooker.looks > 20
    wanted = steps("old", "refused", "new")
    if onlooker.states.keys() == new:
        wanted = [tuple(name.replace("new", "old") for name in state) for state in wanted]
    assert in_order(onlooker.seen, wanted)
    assert verify_lake(lake) == []


@LONG
def test_an_overwrite_that_is_killed_leaves_no_mixture_and_goes_on(
    root: Path, pristine: Path, smaller: Path, kills: Killer, tmp_path: Path
) -> None:
    new, one = digests_of(smaller, GROUP), tmp_path / "one.zarr"
    onlooker = Onlooker(one, GROUP, old=digests_of(pristine, GROUP), new=new)
    changes = kills.changes_of("overwrite", root, Path(shutil.copytree(pristine, tmp_path / "whole.zarr")))
    for moment in moments_among(changes, 1, "an overwrite that is killed"):
        shutil.copytree(pristine, one)
        kills.kill("overwrite", root, one, moment)
        onlooker()
        eegzarr.build_lake(root, one, overwrite=True, dtype="float16", **OPTIONS)
        assert tree_digests(one) == tree_digests(smaller)
        assert verify_lake(one) == []
        shutil.rmtree(one)


@LONG
def test_a_build_that_is_killed_is_refused_or_whole_and_goes_on(
    root: Path, smaller: Path, kills: Killer, tmp_path: Path
) -> None:
    one = tmp_path / "one.zarr"
    onlooker = Onlooker(one, GROUP, new=digests_of(smaller, GROUP))
    changes = kills.changes_of("build", root, tmp_path / "whole.zarr")
    assert tree_digests(tmp_path / "whole.zarr") == tree_digests(smaller)
    for moment in moments_among(changes, 2, "a build that is killed"):
        kills.kill("build", root, one, moment)
        if (one / "zarr.json").exists():
            onlooker()
        eegzarr.build_lake(root, one, dtype="float16", **OPTIONS)
        assert tree_digests(one) == tree_digests(smaller)
        shutil.rmtree(one)


def test_what_file_managers_leave_in_a_group_that_is_being_built_harms_nothing(
    root: Path, smaller: Path, kills: Killer, tmp_path: Path
) -> None:
    one = tmp_path / "one.zarr"
    kills.kill("build", root, one, (45, 0))
    places = ["", "challenge1", GROUP, f"{GROUP}/eeg", f"{GROUP}/eeg/c", f"{GROUP}/build", f"{GROUP}/build/receipts/c"]
    litter = [one / place / ".DS_Store" for place in places]
    for file in litter:
        file.write_text("x")
    (bar,) = look(str(one)).bars
    assert 0 < bar.done <= bar.total == len(list((one / GROUP / "eeg/c").glob("[0-9]*")))
    assert [summary.status for summary in describe_lake(one)] == ["building"]
    assert eegzarr.build_lake(root, one, dtype="float16", **OPTIONS).windows
    repair_lake(one, verify_lake(one))
    assert tree_digests(one) == tree_digests(smaller)


@LONG
def test_labels_whose_writing_is_killed_are_the_old_or_the_new_or_refused(
    root: Path, pristine: Path, aged: Path, kills: Killer, tmp_path: Path
) -> None:
    one, new = tmp_path / "one.zarr", digests_of(aged, GROUP)
    onlooker = Onlooker(one, GROUP, old=digests_of(pristine, GROUP), new=new)
    changes = kills.changes_of("relabel", root, Path(shutil.copytree(pristine, tmp_path / "whole.zarr")))
    for moment in moments_among(changes, 1, "labels whose writing is killed"):
        shutil.copytree(pristine, one)
        before = shards_of(one)
        kills.kill("relabel", root, one, moment)
        onlooker()
        eegzarr.build_lake(root, one, **{**OPTIONS, "recipe": AGES})
        assert tree_digests(one) == tree_digests(aged)
        assert verify_lake(one) == []
        assert shards_of(one) == before
        shutil.rmtree(one)


def shards_of(lake: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each shard."""
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in lake.rglob("eeg/c/*/0/0")}


@LONG
def test_a_repair_that_is_killed_goes_on(root: Path, lake: Path, kills: Killer) -> None:
    before = tree_digests(lake)
    wanted = eegzarr.open_windows(lake, "challenge1").load()
    rng = random_of("what is damaged")
    damaged = [f"{GROUP}/{path}" for path in ("age/c/0", "peak_to_peak/c/0", "shards/receipt/c/0", "eeg/c/0/0/0")]

    def damage() -> None:
        for path in damaged if not KILLS else rng.sample([path for path in before if "/c/" in path], 6):
            (lake / path).write_bytes(b"gone")
        (lake / GROUP / ".DS_Store").write_text("x")

    def repair() -> None:
        for _ in range(3):  # what a table says is checked once that is repaired
            repair_lake(lake, verify_lake(lake), workers=1)
        assert tree_digests(lake) == before

    damage()
    changes = kills.changes_of("repair", root, lake)
    repair()
    for moment in moments_among(changes, 1, "a repair that is killed"):
        damage()
        kills.kill("repair", root, lake, moment)
        assert_right_or_refused(lake, wanted)
        repair()


def assert_right_or_refused(lake: Path, wanted: xr.Dataset) -> None:
    """Each variable that can be read at all is what it was."""
    try:
        found = eegzarr.open_windows(lake, "challenge1")
    except LakeError:
        return
    for name in wanted.variables:
        try:
            values = found[name].to_numpy()
        except LakeError:
            continue
        np.testing.assert_array_equal(values, wanted[name].to_numpy())


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


def test_a_copy_by_hard_links_keeps_what_it_has(root: Path, lake: Path, tmp_path: Path) -> None:
    before = tree_digests(lake)
    copy = shutil.copytree(lake, tmp_path / "copy.zarr", copy_function=os.link)
    for path in ("eeg/c/0/0/0", "age/c/0"):
        (lake / GROUP / path).unlink()
    repair_lake(lake, verify_lake(lake), workers=1)
    eegzarr.build_lake(root, lake, **{**OPTIONS, "recipe": AGES})
    eegzarr.build_lake(root, lake, overwrite=True, dtype="float16", **OPTIONS)
    eegzarr.store_split(lake, "challenge1", "all", {"train": eegzarr.open_windows(lake, "challenge1")})
    assert tree_digests(copy) == before


def test_a_builder_that_waited_finds_what_the_first_has_made(root: Path, lake: Path) -> None:
    with only_builder(str(lake), GROUP), pytest.raises(LakeError, match="being built by another process"):
        eegzarr.build_lake(root, lake, overwrite=True, **OPTIONS)
    assert eegzarr.build_lake(root, lake, **OPTIONS).already
