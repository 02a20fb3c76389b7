"""participants.tsv as people write it: each value is right as a label, or missing and counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import eegzarr
from conformance.case import Place
from conformance.edf_bytes import Edf
from conformance.judge import RECIPES
from eegzarr.errors import RecipeError

_RECIPE = RECIPES["rest"]
# Column, its text for three people, and what the label must be. None: missing (NaN, "" or a missing class).
COLUMNS: dict[str, tuple[tuple[str, str, str], tuple[Any, Any, Any]]] = {
    "age": (("7,5", "8", "9.25"), (7.5, 8.0, 9.25)),
    "site": (("007", "010", "100"), ("007", "010", "100")),
    "scan_date": (("20240115", "20240116", "20231231"), (20240115, 20240116, 20231231)),
    "code": (("100000001", "100000003", "100000005"), (100000001, 100000003, 100000005)),
    "score": (("1.5", "n/a", "-3e2"), (1.5, None, -300.0)),
    "group": (("patient", "control", "n/a"), ("patient", "control", None)),
    "handedness": (("R", "L", "A"), ("R", "L", "A")),
    "empty": (("n/a", "n/a", "n/a"), (None, None, None)),
    "town": (("Köln", "São Paulo", "Zürich"), ("Köln", "São Paulo", "Zürich")),
    "quoted": (('say "yes"', '"', "it's"), ('say "yes"', '"', "it's")),
    "yes": (("True", "False", "True"), ("True", "False", "True")),
    "mixed": (("1", "two", "3"), ("1", "two", "3")),
}
AWKWARD = (
    "BIS/BAS",
    "L/R",
    "time",
    "channel",
    "x",
    "eeg",
    "recordings",
    "window",
    "target",
    "zarr.json",
    "..",
    " spaced ",
)


def dataset(root: Path, table: str) -> Path:
    """Three people with a recording each."""
    for i in range(3):
        place = Place(root, f"p{i}")
        Edf(seconds=3).write(place.file("_eeg.edf"), i)
    (root / "participants.tsv").write_bytes(table.encode())
    return root


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> xr.Dataset:
    """A lake of people with all of `COLUMNS`, opened by xarray alone."""
    folder = tmp_path_factory.mktemp("people")
    header = "\t".join(["participant_id", *COLUMNS])
    rows = ["\t".join([f"sub-p{i}", *(texts[i] for texts, _ in COLUMNS.values())]) for i in range(3)]
    dataset(folder / "typed", "\n".join([header, *rows]) + "\n")
    eegzarr.build_lake(folder / "typed", folder / "lake.zarr", recipe=_RECIPE, scheduler=scheduler)
    return xr.open_zarr(folder / "lake.zarr", group="rest/typed").load()


@pytest.mark.parametrize("column", COLUMNS)
def test_a_value_is_what_the_table_says(windows: xr.Dataset, column: str) -> None:
    for i, due in enumerate(COLUMNS[column][1]):
        found = windows[column].values[windows["subject"].values == f"p{i}"]
        assert len(found) == 3
        for value in found.tolist():
            if due is None:
                assert value == "" or value != value, (column, i, value)
            elif isinstance(due, str):
                assert str(value) == due, (column, i, value)
            else:
                assert float(value) == np.float32(due) or value == due, (column, i, value)
                assert float(value) == due or not float(due).is_integer(), (column, i, value)


def test_a_column_of_any_name_is_a_label_and_breaks_nothing(tmp_path: Path, scheduler: str) -> None:
    header = "\t".join(["participant_id", "age", *AWKWARD])
    rows = ["\t".join([f"sub-p{i}", f"{i + 5}", *(f"{i}{j}.5" for j in range(len(AWKWARD)))]) for i in range(3)]
    root, lake = dataset(tmp_path / "named", "\n".join([header, *rows]) + "\n"), tmp_path / "lake.zarr"
    eegzarr.build_lake(root, lake, recipe=_RECIPE, scheduler=scheduler)
    windows = xr.open_zarr(lake, group="rest/named").load()
    assert dict(windows.sizes) == {"window": 9, "channel": 4, "time": 100}
    assert windows["time"].values[0] == 0
    assert windows["channel"].values.tolist() == ["Fz", "Cz", "Pz", "Oz"]
    held = {
        str(name): variable.values.tolist()
        for name, variable in windows.variables.items()
        if variable.dims == ("window",)
    }
    for j, name in enumerate(AWKWARD):
        wanted = [[float(f"{i}{j}.5"), f"{i}{j}.5"] for i in range(3)]
        carried = [label for label, values in held.items() if all(values[row] in wanted[row // 3] for row in range(9))]
        assert carried, f"the column {name!r} is no label: {list(held)}"


def test_what_cannot_be_read_as_a_number_is_missing_and_counted(tmp_path: Path, scheduler: str) -> None:
    table = "participant_id\tage\nsub-p0\t89+\nsub-p1\tseven\nsub-p2\t30\n"
    root, lake = dataset(tmp_path / "odd", table), tmp_path / "lake.zarr"
    summary = eegzarr.build_lake(root, lake, recipe=_RECIPE, scheduler=scheduler)
    ages = xr.open_zarr(lake, group="rest/odd").load()["age"].values.reshape(3, 3)[:, 0]
    assert np.isnan(ages[1])
    assert ages[2] == 30
    assert ages[0] == 89 or np.isnan(ages[0])
    assert any("age" in note and "seven" in note for note in summary.notes), summary.notes


def test_a_target_that_nobody_has_is_refused_by_its_name(tmp_path: Path, scheduler: str) -> None:
    root = dataset(tmp_path / "none", "participant_id\tage\tiq\nsub-p0\t5\tn/a\nsub-p1\t6\t\nsub-p2\t7\tn/a\n")
    for target in ("iq", "log(iq)"):
        with pytest.raises(RecipeError, match=r"missing for all 9 windows.*age"):
            eegzarr.build_lake(root, tmp_path / "l.zarr", recipe=replace(_RECIPE, target=target), scheduler=scheduler)
    assert not (tmp_path / "l.zarr").exists()


@pytest.mark.parametrize(
    ("change", "encoding"),
    [
        (lambda text: text, "utf-8-sig"),
        (lambda text: text.replace("\n", "\r\n"), "utf-8"),
        (lambda text: text.replace("\n", "\t\n"), "utf-8"),
        (lambda text: text.replace("sub-", ""), "utf-8"),
        (lambda text: text.replace("\n", "\n\n"), "utf-8"),
        (lambda text: text + text.splitlines()[1] + "\n", "utf-8"),
    ],
    ids=["a mark", "Windows line ends", "trailing tabs", "without sub-", "blank lines", "a row twice"],
)
def test_variants_of_a_table_say_the_same(tmp_path: Path, scheduler: str, change: Any, encoding: str) -> None:
    root = dataset(tmp_path / "variant", "")
    text = change("participant_id\tage\tgroup\nsub-p0\t5\ta\nsub-p1\t6\tb\nsub-p2\t7\tc\n")
    (root / "participants.tsv").write_bytes(text.encode(encoding))
    lake = tmp_path / "lake.zarr"
    eegzarr.build_lake(root, lake, recipe=_RECIPE, scheduler=scheduler)
    windows = xr.open_zarr(lake, group="rest/variant").load()
    frame = pd.DataFrame({name: windows[name].values for name in ("subject", "age", "group")}).drop_duplicates()
    assert frame.to_numpy().tolist() == [["p0", 5, "a"], ["p1", 6, "b"], ["p2", 7, "c"]]
