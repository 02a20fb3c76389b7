"""Splits that a lake keeps: opened by name to the same windows, or refused with what differs."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import tree_digests

import eegzarr
from eegzarr.build.repair import repair_lake
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import LakeError, UsageError
from eegzarr.info import main as info
from eegzarr.pictures.lake import lake_page
from eegzarr.store.open import recipes
from eegzarr.store.verify import verify_lake


@pytest.fixture
def lake(two_release_lake: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_release_lake, tmp_path / "lake.zarr"))


def same(first: xr.Dataset, second: xr.Dataset) -> bool:
    """Whether two Datasets have the same windows with the same labels; both from lakes of the same recipe."""
    labels = [windows.drop_dims(("channel", "time")).drop_attrs().load() for windows in (first, second)]
    return labels[0].drop_vars("window").identical(labels[1].drop_vars("window"))


def test_a_stored_split_opens_to_the_same_windows_and_changes_nothing_else(lake: Path) -> None:
    before = tree_digests(lake)
    windows = eegzarr.open_windows(lake, "challenge1", ["R2", "R1"])
    train, valid = eegzarr.split_by_subject(windows, (0.5, 0.5))
    shuffled = train.isel(window=np.random.default_rng(0).integers(0, train.sizes["window"], 50))  # with repeats
    renumbered = valid.assign_coords(window=np.arange(valid.sizes["window"])[::-1])
    parts = {"train": shuffled, "valid": renumbered, "none": windows.isel(window=slice(0))}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eegzarr.store_split(lake, "challenge1", "paper", parts)
        eegzarr.store_split(lake, "challenge1", "paper", parts)  # the same again is no other
        opened = eegzarr.open_split(lake, "challenge1", "paper")
        assert list(recipes(lake)) == ["challenge1"]
        assert list(zarr.open_group(lake, mode="r").group_keys()) == ["challenge1"]  # what plain readers see
    assert list(opened) == ["train", "valid", "none"]
    assert same(opened["train"], shuffled)
    assert same(opened["valid"], valid)
    np.testing.assert_array_equal(opened["valid"]["eeg"].values, valid["eeg"].values)
    assert opened["none"].sizes["window"] == 0
    assert eegzarr.list_splits(lake, "challenge1") == ["paper"]
    after = tree_digests(lake)
    assert {path: after[path] for path in before} == before
    assert {path.partition("/")[0] for path in set(after) - set(before)} == {".splits"}
    assert verify_lake(lake) == []
    assert "challenge1" in zarr.open_group(lake / ".splits", mode="r")  # a hierarchy like any other


def test_the_splits_of_a_lake_are_shown(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    windows = eegzarr.open_windows(lake, "challenge1")
    eegzarr.store_split(lake, "challenge1", "paper", {"train": windows, "valid": windows.isel(window=[])})
    (lake / ".splits/challenge1/half").mkdir()
    (lake / ".splits/challenge1/half/zarr.json").write_text("{}")
    count = windows.sizes["window"]
    assert info([str(lake)]) == 0
    assert f"challenge1: split paper: train {count}, valid 0 windows" in capsys.readouterr().out
    assert info([str(lake), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["splits"]
    assert told == {"challenge1": {"half": None, "paper": {"train": count, "valid": 0}}}
    page = lake_page(lake, check=False, signals=False)
    assert f">train {count}, valid 0 windows</td>" in page
    assert ">damaged: store it again, with overwrite=True</td>" in page


def test_a_split_holds_as_long_as_the_windows_are_the_same(lake: Path, sample_root: Path, tmp_path: Path) -> None:
    windows = eegzarr.open_windows(lake, "challenge1", ["R1"])
    parts = dict(zip(("train", "valid"), eegzarr.split_by_subject(windows, (0.7, 0.3)), strict=True))
    eegzarr.store_split(lake, "challenge1", "by subject", parts)
    eegzarr.build_lake(sample_root, lake, recipe=CHALLENGE1, dtype="float16", workers=1, overwrite=True)
    assert same(eegzarr.open_split(lake, "challenge1", "by subject")["valid"], parts["valid"])
    fewer = Path(shutil.copytree(sample_root, tmp_path / "fewer"))
    gone = sorted(fewer.glob("sub-*"))[0]
    subjects = len(np.unique(windows["subject"]))
    shutil.rmtree(gone)
    eegzarr.build_lake(fewer, lake, recipe=CHALLENGE1, workers=1, overwrite=True)
    told = f"challenge1/R1 had {windows.sizes['window']} windows, now .* and {subjects} subjects, now {subjects - 1}"
    with pytest.raises(LakeError, match=told):
        eegzarr.open_split(lake, "challenge1", "by subject")
    shutil.rmtree(lake / "challenge1" / "R1")
    with pytest.raises(LakeError, match="has no release R1"):
        eegzarr.open_split(lake, "challenge1", "by subject")


def test_invalid_splits_are_refused(lake: Path) -> None:
    windows = eegzarr.open_windows(lake, "challenge1")
    first, second = windows.isel(window=slice(20)), windows.isel(window=slice(18, 40))
    with pytest.raises(UsageError, match="2 windows are in the parts 'a' and 'b'"):
        eegzarr.store_split(lake, "challenge1", "x", {"a": first, "b": second})
    for name in ("../x", "a/b", "", "zarr.json", ".x", "a*"):
        with pytest.raises(UsageError, match="can't be named"):
            eegzarr.store_split(lake, "challenge1", name, {"a": first})
        with pytest.raises(LakeError, match="has no split"):
            eegzarr.open_split(lake, "challenge1", name)
    with pytest.raises(UsageError, match="at least one part"):
        eegzarr.store_split(lake, "challenge1", "x", {})
    later = first.assign_coords(start=first["start"] + 0.5)
    with pytest.raises(UsageError, match="20 of 20 windows of the part 'a' are not in the lake"):
        eegzarr.store_split(lake, "challenge1", "x", {"a": later})
    assert not (lake / ".splits").exists()
    eegzarr.store_split(lake, "challenge1", "Paper", {"a": first})
    with pytest.raises(UsageError, match="another split 'Paper'"):
        eegzarr.store_split(lake, "challenge1", "Paper", {"a": second})
    with pytest.raises(UsageError, match="some file systems take 'paper' for the same"):
        eegzarr.store_split(lake, "challenge1", "paper", {"a": first})
    eegzarr.store_split(lake, "challenge1", "Paper", {"a": second}, overwrite=True)
    assert same(eegzarr.open_split(lake, "challenge1", "Paper")["a"], second)
    with pytest.raises(LakeError, match=r"no split 'Papre' of challenge1; it has Paper\. Did you mean Paper\?"):
        eegzarr.open_split(lake, "challenge1", "Papre")
    with pytest.raises(LakeError, match="isn't a lake"):
        eegzarr.open_split(lake / "nothing", "challenge1", "Paper")


def test_damage_to_splits_is_found_and_a_repair_leaves_them(lake: Path) -> None:
    windows = eegzarr.open_windows(lake, "challenge1")
    eegzarr.store_split(lake, "challenge1", "one", {"a": windows.isel(window=slice(9))})
    file = lake / ".splits/challenge1/one/zarr.json"
    content = json.loads(file.read_text())
    content["attributes"]["parts"]["a"][0][2] = 8
    file.write_text(json.dumps(content))
    (lake / ".splits/challenge1/zarr.json").write_text("{}")
    (lake / ".splits/notes.txt").write_text("mine")
    with pytest.raises(LakeError, match="is damaged"):
        eegzarr.open_split(lake, "challenge1", "one")
    faults = verify_lake(lake)
    assert {(fault.path, fault.kind) for fault in faults} == {
        (".splits/challenge1/one/zarr.json", "damaged"),
        (".splits/challenge1/zarr.json", "damaged"),
        (".splits/notes.txt", "stray"),
    }
    repair_lake(lake, faults)
    assert [fault.path for fault in verify_lake(lake)] == [".splits/challenge1/one/zarr.json"]
    assert json.loads(file.read_text()) == content
    eegzarr.store_split(lake, "challenge1", "one", {"a": windows.isel(window=slice(9))}, overwrite=True)
    assert verify_lake(lake) == []
