"""Windows that a table gives are cut as a build makes them; names and runs of a recipe mean the same in both."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
from conftest import SMALL_SHARDS

import eegzarr
from eegzarr.cut.api import cut_lake
from eegzarr.errors import EegzarrError, NothingToBuild, RecipeError, UsageError
from eegzarr.recipes.recipe import Recipe, WindowSpan, recipe_from_fields

RECIPE = Recipe(name="mine", anchor="event", span=WindowSpan(start=-0.2, stop=0.6), target="load")
TILED = Recipe(name="tiled", anchor="interval", span=WindowSpan(start=0, stop=0.5), stride=0.4, target="load")
NAMED = recipe_from_fields(
    {
        "name": "named",
        "anchor": "recording",
        "target": "age",
        "span": {"start": 0, "stop": 4},
        "stride": 3,
        "runs": ["2"],
        "rename": {"E62": "Pz", "Cz": "Top"},
        "channels": ["Top", "Pz", "E7"],
    }
)


PLAIN = {"name": "n", "anchor": "recording", "target": "age", "span": {"start": 0, "stop": 1}, "stride": 1}


@pytest.fixture(scope="module")
def table(sample_root: Path) -> pd.DataFrame:
    """Rows for most recordings, some that no recording can have, in no order."""
    files = sorted(sample_root.rglob("*_eeg.bdf"))[:-2]
    entities = [dict(part.split("-") for part in file.stem.split("_")[:-1]) for file in files]
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "subject": [one["sub"] for one in entities],
            "task": [one["task"] for one in entities],
            "run": [one.get("run", "n/a") for one in entities],
        }
    ).sample(300, replace=True, random_state=1)
    rows = rows.reset_index(drop=True)
    rows["onset"] = rng.uniform(-1, 60, len(rows)).round(3)
    rows["load"] = rng.choice(["low", "high", "n/a"], len(rows))
    rows["answer"] = rng.normal(size=len(rows))
    rows["duration"] = 1.25
    rows.loc[7, "subject"] = "NOBODY"
    return rows


@pytest.fixture(scope="module")
def direct(sample_root: Path, table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What builds make of the table."""
    lake = tmp_path_factory.mktemp("direct") / "lake.zarr"
    for recipe in (RECIPE, TILED):
        eegzarr.build_lake(sample_root, lake, recipe=recipe, windows=table, workers=1)
    eegzarr.build_lake(sample_root, lake, recipe=NAMED, workers=1)
    return lake


@pytest.fixture(scope="module")
def lake(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole recordings."""
    lake = tmp_path_factory.mktemp("whole") / "lake.zarr"
    eegzarr.build_lake(sample_root, lake, recipe="continuous", workers=1, shard_size=SMALL_SHARDS)
    return lake


@pytest.mark.parametrize("recipe", [RECIPE, TILED, NAMED], ids=lambda recipe: recipe.name)
def test_what_is_cut_is_what_a_build_makes(recipe: Recipe, direct: Path, lake: Path, table: pd.DataFrame) -> None:
    windows = None if recipe is NAMED else table
    wanted = eegzarr.open_windows(direct, recipe.name).load()
    assert wanted.sizes["window"] > 100
    (summary,) = cut_lake(lake, recipe, windows=windows)
    for found in (eegzarr.cut(lake, recipe, windows=windows), eegzarr.open_windows(lake, recipe.name)):
        assert set(found.variables) - set(wanted.variables) == {"tile", "tile_offset"}
        for name in wanted.variables:
            assert found[name].dtype == wanted[name].dtype, name
            if name in ("x", "y", "z"):  # in m; the last digit of MNE's fit of a head depends on the NumPy
                np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-7, err_msg=str(name))
            else:
                np.testing.assert_array_equal(found[name], wanted[name], err_msg=str(name))
            assert found[name].attrs == wanted[name].attrs, name
        assert found.attrs.get("notes") == wanted.attrs.get("notes")
    assert summary.windows == wanted.sizes["window"]
    assert cut_lake(lake, recipe, windows=windows)[0].already


def test_a_table_alone_says_which_windows(lake: Path, sample_root: Path, table: pd.DataFrame) -> None:
    own = table.rename(columns={"load": "target"}).query("onset >= 0")
    found = eegzarr.cut(lake, own).load()
    assert found.sizes["time"] == 125
    assert found["target"].attrs["flag_meanings"] == "high low"
    assert any("1 rows left out: they name no recording" in note for note in found.attrs["notes"])
    assert 150 < found.sizes["window"] < len(own)
    given = {round(row.answer, 9): row for row in own.itertuples()}
    for window in range(0, found.sizes["window"], 9):
        mine = found.isel(window=window)
        row = given[round(float(mine.answer), 9)]
        run = "" if row.run == "n/a" else f"_run-{row.run}"
        path = sample_root / f"sub-{row.subject}/eeg/sub-{row.subject}_task-{row.task}{run}_eeg.bdf"
        first = round(row.onset * 100)
        signal = mne.io.read_raw_bdf(path, verbose="error").get_data(start=first, stop=first + 125) * 1e6
        np.testing.assert_allclose(mine.eeg, signal, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, UsageError, "give a recipe, or a table"),
        ({"recipe": pd.DataFrame({"onset": [1.0], "subject": ["x"]})}, RecipeError, "has no column duration"),
        (
            {"recipe": pd.DataFrame({"onset": [1, 2], "subject": ["x", "y"], "duration": [1, 2]})},
            RecipeError,
            "has the durations 1, 2, .* give all rows one duration",
        ),
        (
            {"recipe": "challenge1", "windows": pd.DataFrame({"onset": [1], "subject": ["x"]})},
            RecipeError,
            "need the anchor 'event'",
        ),
        ({"recipe": "a.tsv", "windows": pd.DataFrame()}, UsageError, "two tables"),
        ({"recipe": "challenge1", "memory_limit": "240MiB"}, UsageError, "240MiB is too small .* give at least"),
        ({"recipe": "a.tsv"}, EegzarrError, "a.tsv can't be read"),
        (
            {"recipe": RECIPE, "windows": pd.DataFrame({"onset": [1], "subject": ["NOBODY"], "load": ["x"]})},
            NothingToBuild,
            "names it.*1 rows left out: they name no recording of the source .subject NOBODY.",
        ),
        ({"recipe": recipe_from_fields({**PLAIN, "types": {"E7": "eog"}})}, RecipeError, "types = E7 is eog"),
        (
            {"recipe": recipe_from_fields({**PLAIN, "channels": ["Cz"], "missing": "interpolate"})},
            RecipeError,
            "missing = interpolate, and .* was stored with skip",
        ),
        ({"recipe": recipe_from_fields({**PLAIN, "runs": ["7"]})}, NothingToBuild, "no recording of the run 7"),
    ],
)
def test_what_can_not_be_cut_is_refused_with_what_to_do(
    lake: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        eegzarr.cut(lake, **arguments)


def test_cut_is_a_function_with_a_signature() -> None:
    names = ["lake", "recipe", "windows", "releases", "signals", "memory_limit"]
    assert list(inspect.signature(eegzarr.cut).parameters) == names
    assert "Cut windows of a recipe" in str(eegzarr.cut.__doc__)
