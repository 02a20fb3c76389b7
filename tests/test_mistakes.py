"""Mistakes in a recipe or a source are told before anything is written, with what there is instead."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import eegzarr
from eegzarr.challenge.presets import CHALLENGE1, CHALLENGE2
from eegzarr.errors import EegzarrError, RecipeError
from eegzarr.recipes.recipe import recipe_from_fields

FIELDS: dict[str, Any] = {"name": "r", "anchor": "stimulus", "span": {"start": 0, "stop": 1}, "target": "age"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"require": ["stimulus_onsett"]}, "Did you mean stimulus_onset"),
        ({"span": {"start": 0, "stop": float("inf")}}, "both finite"),
        ({"span": {"start": float("nan"), "stop": 1}}, "both finite"),
        ({"sfreq": float("nan")}, "sfreq must be positive"),
        ({"sfreq": float("inf")}, "sfreq must be positive"),
        ({"anchor": "recording", "stride": float("nan")}, "need a stride"),
        ({"preparation": {"l_freq": float("nan")}}, "l_freq must be positive"),
        ({"name": "zarr.json"}, "can't name a group"),
        ({"name": "a\\b"}, "can't name a group"),
        ({"name": "CON"}, "can't name a group"),
        ({"name": "x" * 300}, "can't name a group"),
        ({"target": []}, "target must be a label"),
        ({"target": ["age", "age"]}, "names a label twice"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe_from_fields(FIELDS | fields)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("externalising", "Did you mean externalizing"),
        ("1 + 1", "names no label"),
        ("log(sex)", "can't be computed"),
        ("stimulus_onset", "is missing for all"),
        ("log(0 * age)", "is missing for all"),
    ],
)
def test_a_target_that_nothing_can_learn_is_refused(target: str, told: str, sample_root: Path, tmp_path: Path) -> None:
    with pytest.raises(EegzarrError, match=told):
        eegzarr.build_lake(sample_root, tmp_path / "x.zarr", recipe=replace(CHALLENGE2, target=target), workers=1)
    assert not (tmp_path / "x.zarr" / "challenge2" / "R1" / "zarr.json").exists()


def test_the_name_of_a_release_is_checked(sample_root: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="can't name a group"):
        eegzarr.build_lake(sample_root, tmp_path / "x.zarr", recipe=CHALLENGE1, name="zarr.json")
    assert not list(tmp_path.iterdir())


def test_other_kinds_of_recordings_are_named(tmp_path: Path) -> None:
    root = tmp_path / "meg"
    (root / "sub-01" / "meg").mkdir(parents=True)
    (root / "sub-01" / "meg" / "sub-01_task-x_meg.fif").touch()
    with pytest.raises(EegzarrError, match=r"has no EEG recording .*: it has meg recordings"):
        eegzarr.build_lake(root, tmp_path / "x.zarr", recipe=CHALLENGE1)
    shutil.rmtree(root / "sub-01" / "meg")
    (root / "sub-01" / "eeg").mkdir()
    (root / "sub-01" / "eeg" / "sub-01_task-x_eeg.nwb").touch()
    with pytest.raises(EegzarrError, match="NWB files aren't read"):
        eegzarr.build_lake(root, tmp_path / "x.zarr", recipe=CHALLENGE1)
