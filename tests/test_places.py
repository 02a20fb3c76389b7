"""Where a lake may be, and what may stand beside what in it: whatever else is there stays, or the build is refused."""

from __future__ import annotations

import ctypes
import errno
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from clusters import worker_in_this_process
from conftest import SMALL_SHARDS, tree_digests

import eegzarr
from eegzarr.build.repair import repair_lake
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import LakeError
from eegzarr.events import Noticed
from eegzarr.machine import system
from eegzarr.store.root import drop, renew_root
from eegzarr.store.verify import verify_lake

GROUP = "challenge1/R1"


@pytest.fixture
def lake(sample_lake: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_lake, tmp_path / "lake.zarr"))


@pytest.mark.parametrize("part", ["inner.zarr", "challenge1", GROUP, "deep/er.zarr"])
def test_a_lake_is_not_built_in_a_lake(part: str, lake: Path, sample_root: Path) -> None:
    before = tree_digests(lake)
    with pytest.raises(LakeError, match=r"lies in the lake .*lake\.zarr"):
        eegzarr.build_lake(sample_root, lake / part, recipe=CHALLENGE1, workers=1)
    assert tree_digests(lake) == before


@pytest.mark.parametrize("kind", ["array", "group"])
def test_a_zarr_hierarchy_of_another_kind_is_not_written_over(kind: str, sample_root: Path, tmp_path: Path) -> None:
    place = tmp_path / "mine.zarr" / ("" if kind == "array" else "values")
    zarr.create_array(place, shape=(3,), dtype="i4")[:] = 1
    if kind == "group":
        zarr.open_group(tmp_path / "mine.zarr", mode="a").attrs["note"] = "mine"
    before = tree_digests(tmp_path)
    with pytest.raises(LakeError, match=rf"is a Zarr {kind}.* and no lake"):
        eegzarr.build_lake(sample_root, tmp_path / "mine.zarr", recipe=CHALLENGE1, workers=1)
    assert tree_digests(tmp_path) == before


def test_a_link_that_leads_nowhere_is_named(sample_root: Path, tmp_path: Path) -> None:
    (tmp_path / "lake.zarr").symlink_to(tmp_path / "unmounted")
    with pytest.raises(LakeError, match=r"is a link to .*unmounted, which isn't there"):
        eegzarr.build_lake(sample_root, tmp_path / "lake.zarr", recipe=CHALLENGE1, workers=1)


@pytest.mark.parametrize("linked", ["challenge1", GROUP, f"{GROUP}/eeg"])
def test_what_lies_behind_a_link_belongs_to_the_lake(linked: str, lake: Path, tmp_path: Path) -> None:
    before = (lake / "zarr.json").read_bytes()
    (lake / linked).rename(tmp_path / "other disk")
    (lake / linked).symlink_to(tmp_path / "other disk")
    (lake / GROUP / "recordings" / "up").symlink_to(lake / GROUP)  # leads back up
    renew_root(str(lake))
    assert (lake / "zarr.json").read_bytes() == before
    assert xr.open_zarr(lake, group=GROUP)["eeg"][:1].to_numpy().size
    (lake / GROUP / "recordings" / "up").unlink()
    assert verify_lake(lake) == []
    drop(str(lake), GROUP)
    assert [path.name for path in (lake / GROUP).iterdir()] == ["zarr.json"]


def test_attributes_that_others_gave_the_root_stay(lake: Path) -> None:
    root = zarr.open_group(lake, mode="r+", use_consolidated=False)
    root.attrs["note"] = "ours since 2026"
    renew_root(str(lake))
    assert zarr.open_group(lake, mode="r").attrs["note"] == "ours since 2026"
    assert verify_lake(lake) == []
    assert eegzarr.open_windows(lake, "challenge1").sizes["window"]


def test_names_that_some_file_systems_take_for_the_same_are_refused(lake: Path, sample_root: Path) -> None:
    before = tree_digests(lake)
    with pytest.raises(LakeError, match="has a release R1: some file systems take r1 for the same name"):
        eegzarr.build_lake(sample_root, lake, recipe=CHALLENGE1, workers=1, name="r1")
    with pytest.raises(LakeError, match="has a recipe challenge1: some file systems take Challenge1"):
        eegzarr.build_lake(sample_root, lake, recipe=replace(CHALLENGE1, name="Challenge1"), workers=1)
    assert tree_digests(lake) == before


def test_recordings_that_two_releases_share_are_told(lake: Path, sample_root: Path, tmp_path: Path) -> None:
    told: list[str] = []
    copied = shutil.copytree(sample_root, tmp_path / "copy")
    options = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS, "name": "again"}
    listener = lambda event: told.append(event.message) if isinstance(event, Noticed) else None  # noqa: E731
    eegzarr.build_lake(copied, lake, listeners=[listener], **options)
    assert any("recordings are in" in note and "releases=['again']" in note for note in told)
    first, second = (eegzarr.open_windows(lake, "challenge1", [name])["eeg"] for name in ("R1", "again"))
    np.testing.assert_array_equal(first[:3].to_numpy(), second[:3].to_numpy())


@pytest.mark.parametrize("path", ["zarr.json", "challenge1/zarr.json"])
@pytest.mark.parametrize("content", [None, b"", b"{"])
def test_the_same_build_mends_what_stands_above_its_group(
    path: str, content: bytes | None, lake: Path, sample_root: Path
) -> None:
    before = tree_digests(lake)
    (lake / path).unlink()
    if content is not None:
        (lake / path).write_bytes(content)
    assert eegzarr.build_lake(sample_root, lake, recipe=CHALLENGE1, workers=1).already
    assert tree_digests(lake) == before


def test_a_damaged_release_keeps_nobody_from_the_others(lake: Path) -> None:
    shutil.copytree(lake / GROUP, lake / "challenge1/R9")
    (lake / "challenge1/R9/zarr.json").write_bytes(b"")
    assert eegzarr.open_windows(lake, "challenge1", ["R1"]).sizes["window"]
    with pytest.raises(LakeError, match=r"R9/zarr\.json is damaged"):
        eegzarr.open_windows(lake, "challenge1")


def test_a_damaged_root_keeps_no_group_from_its_repair(lake: Path) -> None:
    before = tree_digests(lake)
    (lake / "zarr.json").write_bytes((lake / "zarr.json").read_bytes().replace(b'"status"', b'"stat\x00us"', 1))
    (lake / GROUP / "age/c/0").write_bytes(b"gone")
    repair_lake(lake, verify_lake(lake), workers=1)
    assert tree_digests(lake) == before


def test_a_file_where_a_group_should_be_is_named(lake: Path, sample_root: Path) -> None:
    (lake / "challenge2").write_text("x")
    with pytest.raises(LakeError, match=r"can't be written: .*challenge2"):
        eegzarr.build_lake(sample_root, lake, recipe="challenge2", workers=1)
    assert eegzarr.open_windows(lake, "challenge1").sizes["window"]


def test_a_lake_is_at_home_where_its_path_says_so(
    one_subject_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell leaves the ~ of --out=~/lake.zarr, and Python that of any text."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/study").symlink_to(one_subject_root)
    with worker_in_this_process():
        eegzarr.build_lake("~/study", "~/lake.zarr", recipe=CHALLENGE1, workers=1, shard_size=SMALL_SHARDS)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert eegzarr.open_windows("~/lake.zarr", "challenge1").sizes["window"]


@pytest.mark.needs("torch")
def test_a_lake_that_is_moved_while_it_is_open_is_said_to_be_gone(lake: Path) -> None:
    from eegzarr.stream import WindowStream  # PyTorch

    stream = WindowStream(eegzarr.open_windows(lake, "challenge1"), batch_size=8)
    epoch = iter(stream)
    next(epoch)
    lake.rename(lake.with_name("moved.zarr"))
    with pytest.raises(LakeError, match=r"challenge1/R1 isn't there any more: was the lake moved"):
        next(iter(stream))
    lake.with_name("moved.zarr").rename(lake)
    assert sum(len(x) for x, _ in stream) == stream.n_windows


@pytest.mark.needs("torch")
def test_a_disk_that_maps_no_files_is_read_by_ranges(any_lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some do that a program provides."""
    from eegzarr.stream import WindowStream  # PyTorch

    wanted = eegzarr.open_windows(any_lake, "challenge1")["eeg"].to_numpy()

    class Library:
        """The C library of a system whose file systems map nothing."""

        def mmap(self, *_: object) -> int:
            ctypes.set_errno(errno.ENODEV)
            return ctypes.c_void_p(-1).value or -1

    monkeypatch.setattr(system, "_maps", Library())
    windows = eegzarr.open_windows(any_lake, "challenge1")
    np.testing.assert_array_equal(windows["eeg"].to_numpy(), wanted)
    batches = [x.numpy().copy() for x in WindowStream(windows, batch_size=64, target=None)]
    np.testing.assert_array_equal(np.concatenate(batches), wanted)


def test_a_lake_may_have_any_name_and_be_named_in_any_way(
    one_subject_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, link = tmp_path / "a b#50%20?[ü]&'.zarr", tmp_path / "link.zarr"
    link.symlink_to(lake.name)
    lake.mkdir()
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS}
    with worker_in_this_process():
        eegzarr.build_lake(one_subject_root, lake, **options)
        for name in (f"./{lake.name}/", "link.zarr", f"{link}/"):
            assert eegzarr.build_lake(one_subject_root, name, **options).already
        eegzarr.build_lake(one_subject_root, "link.zarr/", dtype="float16", overwrite=True, **options)
    assert link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {lake.name, link.name}
    assert verify_lake(f"./{lake.name}/") == []
    assert eegzarr.open_windows(lake.name, "challenge1")["eeg"].dtype == np.float16
