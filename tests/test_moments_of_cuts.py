"""What others see of a lake while whole recordings are built, windows are cut, and splits are stored; killed or not.

Each command is looked at between every two writes, and copies of the lake that were taken there are what a kill leaves.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr
from clusters import worker_in_this_process
from conftest import tree_digests
from moments import KILLS, LONG, ONLY_LONG, Copies, Onlooker, digests_of, in_order, looked_at, steps

import eegzarr
from eegzarr.build.repair import repair_lake
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.cut.api import cut_lake
from eegzarr.errors import LakeError
from eegzarr.store.root import only_builder
from eegzarr.store.verify import verify_lake

WHOLE, CUT = "continuous/R1", "challenge1/R1"
AGES = replace(CHALLENGE1, target="age")
Command = Callable[[Path], object]


@pytest.fixture(scope="module", autouse=True)
def one_worker() -> Iterator[None]:
    with worker_in_this_process():
        yield


@pytest.fixture(scope="module")
def root(one_subject_root: Path) -> Path:
    return one_subject_root


def build(root: Path, lake: Path) -> object:
    return eegzarr.build_lake(root, lake, recipe="continuous", dtype="int16", workers=1)


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of whole recordings."""
    lake = tmp_path_factory.mktemp("moments") / "lake.zarr"
    build(root, lake)
    return lake


@pytest.fixture
def lake(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "lake.zarr"))


def cut(lake: Path) -> object:
    return cut_lake(lake, CHALLENGE1)


def cut_otherwise(lake: Path) -> object:
    return cut_lake(lake, AGES, overwrite=True)


def store(lake: Path) -> object:
    return cut_lake(lake, CHALLENGE1, store=True)


def store_over_cut(lake: Path) -> object:
    return cut_lake(lake, CHALLENGE1, store=True, overwrite=True)


def finished(lake: Path, command: Command, folder: Path) -> Path:
    done = Path(shutil.copytree(lake, folder / "new.zarr")) if lake.exists() else folder / "new.zarr"
    command(done)
    return done


def goes_on(copies: Copies, command: Command, group: str, states: dict[str, set[str]], done: Path) -> None:
    """Whatever was left at a moment is the old group, the new one, or refused; the command makes the new one of it."""
    for left in copies.taken:
        seen = Onlooker(left, group, **states)
        if (left / "zarr.json").exists():
            seen()
        command(left)
        assert tree_digests(left) == tree_digests(done)
        assert verify_lake(left) == []


@LONG
@pytest.mark.parametrize(
    ("before", "command"),
    [
        pytest.param([], cut, marks=ONLY_LONG),
        ([cut], cut_otherwise),
        ([], store),
        pytest.param([cut], store_over_cut, marks=ONLY_LONG),
    ],
    ids=["cut", "cut otherwise", "stored", "stored over cut"],
)
def test_a_cut_is_the_old_group_the_new_one_or_refused(
    before: list[Command], command: Command, lake: Path, tmp_path: Path
) -> None:
    for earlier in before:
        earlier(lake)
    done = finished(lake, command, tmp_path)
    states = {"old": digests_of(lake, CUT)} if before else {}
    states["new"] = digests_of(done, CUT)
    signals = Onlooker(lake, WHOLE, there=digests_of(lake, WHOLE))
    onlooker = Onlooker(lake, CUT, **states)

    def look() -> None:
        onlooker()
        if KILLS:
            signals()

    copies = Copies(lake, tmp_path / "copies", 1, look)
    with looked_at(copies):
        command(lake)
    signals()
    assert onlooker.looks > 20
    assert in_order(onlooker.seen, steps(*(["old", "refused", "new"] if before else ["refused", "new"])))
    assert signals.seen == [("there",) * 3]
    goes_on(copies, command, CUT, states, done)


@LONG
def test_whole_recordings_are_refused_until_they_are_all_there(root: Path, whole: Path, tmp_path: Path) -> None:
    lake, states = tmp_path / "lake.zarr", {"new": digests_of(whole, WHOLE)}
    onlooker = Onlooker(lake, WHOLE, **states)
    copies = Copies(lake, tmp_path / "copies", 1, onlooker)
    with looked_at(copies):
        build(root, lake)
    assert onlooker.looks > 20
    assert in_order(onlooker.seen, steps("refused", "new"))
    goes_on(copies, lambda left: build(root, left), WHOLE, states, whole)


def test_windows_are_never_cut_from_recordings_that_are_being_written_anew(root: Path, lake: Path) -> None:
    cut(lake)
    opened = eegzarr.open_windows(lake, "challenge1")
    wanted = opened["eeg"].to_numpy()
    seen: list[str] = []
    last: list[list[bytes]] = [[]]

    def look() -> None:
        metadata = [(lake / group / "zarr.json").read_bytes() for group in (WHOLE, CUT)]
        if metadata == last[0] and seen[-1] == "refused" and not KILLS:
            return  # whatever else has changed, these two files refuse it
        last[0] = metadata
        try:
            found = eegzarr.open_windows(lake, "challenge1")["eeg"].to_numpy()
        except LakeError:
            seen.append("refused")
            return
        assert (found == wanted).all()
        seen.append("old")

    with looked_at(look):
        eegzarr.build_lake(root, lake, recipe="continuous", dtype="int16", step="0.5uV", workers=1, overwrite=True)
    assert seen == sorted(seen)
    assert set(seen) == {"old", "refused"}
    with pytest.raises(LakeError, match=r"have changed since\. Cut it again"):
        eegzarr.open_windows(lake, "challenge1")
    with pytest.raises(LakeError, match="rebuilt while it was open"):
        opened["eeg"].to_numpy()


def test_a_split_is_the_old_one_or_the_new_one_at_every_moment(lake: Path, tmp_path: Path) -> None:
    cut(lake)
    windows = eegzarr.open_windows(lake, "challenge1")
    first, second = (windows.isel(window=part) for part in (slice(0, 20), slice(20, None)))
    before = tree_digests(lake)
    seen: list[int] = []

    def look() -> None:
        assert xr.open_zarr(lake, group=CUT).attrs["status"] == "complete"
        if "paper" in eegzarr.list_splits(lake, "challenge1"):
            seen.append(eegzarr.open_split(lake, "challenge1", "paper")["train"].sizes["window"])

    copies = Copies(lake, tmp_path / "copies", 1, look)
    with looked_at(copies):
        eegzarr.store_split(lake, "challenge1", "paper", {"train": first, "test": second})
        eegzarr.store_split(lake, "challenge1", "paper", {"train": windows}, overwrite=True)
    sizes = [first.sizes["window"], windows.sizes["window"]]
    assert list(dict.fromkeys(seen)) == sizes
    assert {path: digest for path, digest in tree_digests(lake).items() if path in before} == before
    for left in copies.taken:
        eegzarr.store_split(left, "challenge1", "paper", {"train": windows}, overwrite=True)
        repair_lake(left, verify_lake(left))  # a file that was being written
        assert tree_digests(left) == tree_digests(lake)
        assert verify_lake(left) == []


def test_two_who_cut_the_same_wait_for_each_other(lake: Path) -> None:
    with only_builder(str(lake), CUT), pytest.raises(LakeError, match="being built by another process"):
        cut(lake)
    cut(lake)
