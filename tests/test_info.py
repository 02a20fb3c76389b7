"""python -m eegzarr.info: a lake in figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from eegzarr.info import main
from eegzarr.store.describe import describe_lake
from eegzarr.store.open import open_recordings, open_windows

GROUP = "challenge1/R1"


def test_the_table_names_every_group(two_release_lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(two_release_lake)]) == 0
    shown = capsys.readouterr().out
    for release in ("R1", "R2"):
        windows = open_windows(two_release_lake, "challenge1", [release]).sizes["window"]
        line = next(line for line in shown.splitlines() if f"challenge1/{release}" in line)
        assert f" {windows:,} " in line
        assert "complete" in line
    assert "rt_from_stimulus" in shown
    assert "1 recording: no trials in events.tsv" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_json_holds_what_the_lake_holds(sample_lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sample_lake), "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    windows, recordings = open_windows(sample_lake, "challenge1"), open_recordings(sample_lake, "challenge1", "R1")
    assert group["group"] == GROUP
    assert group["windows"] == windows.sizes["window"]
    assert group["subjects"] == len(set(windows["subject"].values.tolist()))
    assert group["hours"] == pytest.approx(windows.sizes["window"] * 2 / 3600)
    assert group["nbytes"] == sum(
        file.stat().st_size for file in (sample_lake / GROUP / "eeg/c").rglob("0") if file.is_file()
    )
    assert group["ratio"] == pytest.approx(windows["eeg"].nbytes / group["nbytes"])
    assert sum(group["skipped"].values()) == int((recordings["reason"].values != "").sum())
    rt = windows["rt_from_stimulus"].values
    assert group["labels"]["rt_from_stimulus"]["mean"] == pytest.approx(float(rt.mean()))
    assert group["labels"]["rt_from_stimulus"]["median"] == pytest.approx(float(np.median(rt)))
    assert sum(group["labels"]["sex"]["counts"].values()) == windows.sizes["window"]


def test_unfinished_and_damaged_groups_are_shown_as_that(sample_lake: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    shutil.copytree(sample_lake, lake)
    for name in ("R2", "R3"):
        shutil.copytree(lake / GROUP, lake / "challenge1" / name)
    (lake / "challenge1/R2/recordings/duration/zarr.json").write_text("{")
    document = json.loads((lake / "challenge1/R3/zarr.json").read_text())
    del document["attributes"]["status"]
    (lake / "challenge1/R3/zarr.json").write_text(json.dumps(document))
    statuses = {summary.group: summary.status for summary in describe_lake(lake)}
    assert statuses == {"challenge1/R1": "complete", "challenge1/R2": "damaged", "challenge1/R3": "damaged"}
    assert all(summary.note for summary in describe_lake(lake)[1:])


def test_plot_draws_a_picture(sample_lake: Path, tmp_path: Path) -> None:
    picture = tmp_path / "labels.png"
    assert main([str(sample_lake), "--plot", str(picture)]) == 0
    with Image.open(picture) as drawn:
        pixels = np.asarray(drawn.convert("L"))
    assert min(pixels.shape) > 500
    assert 0.02 < (pixels < 200).mean() < 0.6


@pytest.mark.parametrize("plot", ["labels.docx", "no/such/folder/labels.png"])
def test_a_plot_that_cannot_be_written_is_one_line(
    plot: str, sample_lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(sample_lake), "--plot", str(tmp_path / plot)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert plot.rpartition("/")[2] in line


def test_no_lake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing.zarr")]) == 1
    assert "isn't a lake" in capsys.readouterr().err


def test_the_whole_lake_opens_as_a_tree(two_release_lake: Path) -> None:
    with xr.open_datatree(two_release_lake, engine="zarr", chunks={}) as tree:
        assert {"/challenge1/R1", "/challenge1/R2", "/challenge1/R1/recordings", "/challenge1/R2/shards"} <= set(
            tree.groups
        )
        total = sum(tree["challenge1"][release].sizes["window"] for release in ("R1", "R2"))
        assert total == open_windows(two_release_lake, "challenge1").sizes["window"]
        first = tree["challenge1/R1/eeg"]
        assert first.chunks is not None
        assert np.isfinite(first.isel(window=0).values).all()
