"""Windows that a table gives: each row becomes one, or is counted with its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_studies import eeg_path, write_recording

import eegzarr
from eegzarr.bids.dataset import find_source
from eegzarr.bids.given_windows import for_windows, read_window_table, with_windows
from eegzarr.build.inspect import inspect
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import RecipeError, SourceError
from eegzarr.recipes.recipe import Recipe, WindowSpan
from eegzarr.recipes.windows import kept_column
from eegzarr.store.open import open_recordings

RECIPE = Recipe(name="mine", anchor="event", span=WindowSpan(start=0.0, stop=1.0), target="load")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bids") / "study"
    for subject in ("1", "2"):
        for run in ("01", "02"):
            write_recording(eeg_path(root, subject, "x", run), seconds=10, seed=int(subject + run))
    return root


def test_rows_become_windows_or_are_counted(root: Path, tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "subject": ["1", "sub-1", "2", "2", "9", "1"],
            "run": ["1", 1, "02", "2", "1", np.nan],
            "onset": [2.5, 9.5, 0.0, np.nan, 1, 1],
            "load": ["low", "high", "high", "low", "low", "low"],
            "answer": [1.5, 2, np.nan, 3, 4, 5],
        }
    )
    summary = eegzarr.build_lake(root, tmp_path / "lake.zarr", recipe=RECIPE, windows=table, workers=1)
    windows = eegzarr.open_windows(tmp_path / "lake.zarr", "mine").load()
    assert windows["start"].values.tolist() == [2.5, 0.0]
    assert windows["load"].values.tolist() == ["low", "high"]
    np.testing.assert_array_equal(windows["answer"].values, [1.5, np.nan])
    assert windows["target"].attrs["flag_meanings"] == "high low"
    rows = open_recordings(tmp_path / "lake.zarr", "mine", "study").load()
    assert (rows["trials"].values.sum(), rows["windows"].values.sum(), rows["dropped"].values.sum()) == (4, 2, 2)
    told = " ".join(summary.notes)
    assert "1 rows left out: they name no recording of the source (subject 9, run 1)" in told
    assert "1 rows left out: they name 2 recordings (subject 1)" in told
    assert summary.reasons["no row of the table of windows names it"] == 2


def test_a_table_names_recordings_by_path_and_has_durations(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "windows.tsv"
    name = eeg_path(Path(), "1", "x", "01").as_posix()
    path.write_text(f"recording\tonset\tduration\tload\n{name}\t1\t3\ta\n{name}\t5\t1.5\tb\n")
    tiles = Recipe(name="tiles", anchor="interval", span=WindowSpan(start=0, stop=1), stride=1.0, target="load")
    table, told = read_window_table(path)
    recipe = for_windows(tiles, table)
    source = with_windows(find_source(root), recipe, table, told)
    (first, *_) = source.recordings
    found = inspect(source.root, first, recipe)
    assert found.windows["start_sample"].tolist() == [100, 200, 300, 500]
    assert found.windows[kept_column("load")].tolist() == ["a", "a", "a", "b"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("subject\tonsett\n1\t2\n", "Did you mean onset"),
        ("onset\tload\n1\ta\n", "doesn't say which recordings"),
        ("subject,onset\n1,2\n", "separated by commas"),
    ],
)
def test_a_table_that_lacks_what_it_needs_is_refused(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "w.tsv"
    path.write_text(content)
    with pytest.raises(SourceError, match=told):
        read_window_table(path)


def test_a_recipe_of_trials_takes_no_table(tmp_path: Path) -> None:
    table, _ = read_window_table(pd.DataFrame({"subject": ["1"], "onset": [1.0]}))
    with pytest.raises(RecipeError, match="need the anchor 'event'"):
        for_windows(CHALLENGE1, table)


def places(root: Path, table: pd.DataFrame) -> tuple[dict[str, list[int]], str]:
    """Return the first samples of each recording's windows, and what is noted."""
    given, told = read_window_table(table)
    recipe = for_windows(RECIPE, given)
    source = with_windows(find_source(root), recipe, given, told)
    inspections = [inspect(source.root, one, recipe) for one in source.recordings]
    starts = {one.recording.path: one.windows["start_sample"].tolist() for one in inspections if one.n_windows}
    return starts, " ".join(source.notes)


def test_a_recording_is_named_by_any_path_that_leads_to_it(root: Path) -> None:
    name = eeg_path(Path(), "1", "x", "01").as_posix()
    spelled = [name, f"./{name}", str(root / name), name.replace("/", "\\"), name.rpartition("/")[2]]
    starts, told = places(root, pd.DataFrame({"recording": spelled, "onset": [1, 1, 2, 3, 4.005], "load": "a"}))
    assert starts == {name: [100, 100, 200, 300, 400]}  # MNE rounds half a sample to the even one, too
    assert told == ""


def test_what_contradicts_or_is_misspelt_names_no_recording(root: Path) -> None:
    name = eeg_path(Path(), "1", "x", "01").as_posix()
    rows = {"recording": [name, "", ""], "subject": ["2", "01", "1"], "run": ["1", "1", "0"], "onset": 1, "load": "a"}
    starts, told = places(root, pd.DataFrame(rows))
    assert starts == {}
    assert f"no recording of the source (recording {name}, subject 2, run 1)" in told
    assert "(subject 01, run 1; there is subject 1)" in told
    assert "(subject 1, run 0)" in told


def test_cells_of_any_pandas_column_are_read(root: Path) -> None:
    name = eeg_path(Path(), "1", "x", "01").as_posix()
    rows = pd.DataFrame(
        {
            "recording": pd.Categorical([name] * 3),
            "run": pd.array([1, None, 1], dtype="Int64"),
            "onset": np.array([0.5, 1, 2], np.float32),
            "load": pd.array(["a\tb", None, "c\r\nd"], dtype="string"),
        }
    )
    given, _ = read_window_table(rows)
    assert given["load"] == ("a b", "n/a", "c d")
    assert given["run"] == ("1", "n/a", "1")
    assert places(root, rows)[0] == {name: [50, 100, 200]}
    with pytest.raises(SourceError, match="the column load twice"):
        read_window_table(pd.DataFrame([[name, 1, "a", "b"]], columns=["recording", "onset", "load", "load"]))
