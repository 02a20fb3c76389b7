"""Lakes as analysts open them: plain xarray, eegzarr.open_windows, other Zarr readers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import xarray as xr
import zarr

import eegzarr
from eegzarr.errors import LakeError, UsageError
from eegzarr.store.open import open_recordings, selection_statistics

GROUP = "challenge1/R1"


def test_plain_xarray_shows_everything_and_warns_of_nothing(sample_lake: Path) -> None:
    code = (
        "import sys, xarray as xr; xr.backends.plugins.get_backend('zarr'); "
        "engines = 'eegzarr' in sys.modules; "  # xarray before 2025.7 loads every engine that is installed
        f"ds = xr.open_zarr({str(sample_lake)!r}, group={GROUP!r}); "
        "print(ds); print(*ds.coords); "
        f"tree = xr.open_datatree({str(sample_lake)!r}, engine='zarr'); print(tree.groups); "
        "print('eegzarr' in sys.modules and not engines)"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.endswith("False\n")
    for word in ("eeg", "rt_from_stimulus", "subject", "status:", "/challenge1/R1/recordings"):
        assert word in result.stdout


def test_tensorstore_reads_the_same_numbers(any_lake: Path) -> None:
    path = str(any_lake / GROUP / "eeg")
    array = tensorstore.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}).result()
    expected = zarr.open_array(path, mode="r")[:]
    np.testing.assert_array_equal(array.read().result(), expected)
    assert np.isfinite(expected).all()


def test_open_windows_is_lazy_and_equals_plain_xarray(any_lake: Path) -> None:
    ours = eegzarr.open_windows(any_lake, "challenge1", releases=["R1"])
    plain = xr.open_zarr(any_lake, group=GROUP)
    derived = {"flat_channels", "noisy_channels", "bad_channels", "start_kit_excluded"}
    assert set(ours.variables) == set(plain.variables) | derived
    assert ours["eeg"].chunks is not None
    assert len(ours["eeg"].chunks[0]) == len(list((any_lake / GROUP / "eeg/c").iterdir()))
    assert ours["eeg"].dtype == np.float32
    np.testing.assert_array_equal(ours["eeg"], plain["eeg"].astype(np.float32))
    assert ours["subject"].values.tolist() == plain["subject"].values.tolist()
    one = ours.eeg.sel(channel="Cz", time=slice(1.0, 1.5))
    assert one.shape == (ours.sizes["window"], 51)


def test_a_mask_selects_windows(sample_lake: Path) -> None:
    ds = eegzarr.open_windows(sample_lake, "challenge1")
    chosen = ds.sel(window=(ds.age > 8) & (ds.peak_to_peak < 500))
    expected = (ds.age.values > 8) & (ds.peak_to_peak.values < 500)
    assert chosen["window"].values.tolist() == np.flatnonzero(expected).tolist()
    assert 0 < chosen.sizes["window"] < ds.sizes["window"]


def test_releases_are_joined_with_their_common_statistics(two_release_lake: Path) -> None:
    both = eegzarr.open_windows(two_release_lake, "challenge1")
    parts = [eegzarr.open_windows(two_release_lake, "challenge1", releases=[name]) for name in ("R1", "R2")]
    assert both.sizes["window"] == sum(part.sizes["window"] for part in parts)
    assert sorted(set(both["release"].values.tolist())) == ["R1", "R2"]
    signal = both["eeg"].values.astype(float)
    np.testing.assert_allclose(both["mean"], signal.mean(axis=(0, 2)), atol=1e-9)
    np.testing.assert_allclose(both["std"], signal.std(axis=(0, 2)), rtol=1e-9)


def test_statistics_of_subjects_need_no_signal(sample_lake: Path) -> None:
    ds = eegzarr.open_windows(sample_lake, "challenge1")
    subjects = sorted(set(ds["subject"].values.tolist()))[:3]
    part = ds.isel(window=np.isin(ds["subject"].values, subjects))
    expected = part["eeg"].values.astype(float)
    statistics = selection_statistics(part)
    np.testing.assert_allclose(statistics["mean"], expected.mean(axis=(0, 2)), atol=1e-9)
    np.testing.assert_allclose(statistics["std"], expected.std(axis=(0, 2)), rtol=1e-9)


def test_the_recordings_table_tells_what_was_skipped(sample_lake: Path) -> None:
    table = open_recordings(sample_lake, "challenge1", "R1")
    assert "no trials in events.tsv" in table["reason"].values.tolist()


@pytest.fixture
def half_built(sample_lake: Path, tmp_path: Path) -> Path:
    """A lake with a group that says that it is being built."""
    lake = tmp_path / "lake.zarr"
    shutil.copytree(sample_lake, lake)
    alter(lake / GROUP / "zarr.json", lambda document: document["attributes"].update(status="building"))
    return lake


def alter(metadata: Path, change: Callable[[dict], object]) -> None:
    document = json.loads(metadata.read_text())
    change(document)
    metadata.write_text(json.dumps(document))


def test_a_half_built_group_is_refused_with_the_command_that_finishes_it(half_built: Path) -> None:
    source = json.loads((half_built / GROUP / "zarr.json").read_text())["attributes"]["source"]
    command = f"python -m eegzarr.build --source {source} --out {half_built} --recipe challenge1 --name R1"
    with pytest.raises(LakeError, match="still being built") as error:
        eegzarr.open_windows(half_built, "challenge1")
    assert str(error.value).endswith(command)
    alter(half_built / GROUP / "eeg/zarr.json", lambda document: document.update(data_type="float16"))
    with pytest.raises(LakeError) as error:
        eegzarr.open_windows(half_built, "challenge1")
    assert str(error.value).endswith(f"{command} --dtype float16")

    def store_uncompressed(document: dict) -> None:
        document["codecs"][0]["configuration"]["codecs"][1]["configuration"]["clevel"] = 0

    alter(half_built / GROUP / "eeg/zarr.json", store_uncompressed)
    with pytest.raises(LakeError) as error:
        eegzarr.open_windows(half_built, "challenge1")
    assert str(error.value).endswith(f"{command} --dtype float16 --compression none")


def test_a_half_built_group_of_ones_own_recipe_is_finished_by_the_command_that_began_it(half_built: Path) -> None:
    def set_name(document: dict) -> None:
        recipe = json.loads(document["attributes"]["recipe"])
        document["attributes"]["recipe"] = json.dumps(recipe | {"name": "oddball"})

    alter(half_built / GROUP / "zarr.json", set_name)
    with pytest.raises(LakeError, match="the command that began it, with the recipe oddball; it is in its log"):
        eegzarr.open_windows(half_built, "challenge1")


@pytest.mark.parametrize(
    ("recipe", "releases", "told"),
    [
        ("challenge2", None, "it has challenge1"),
        ("challenge1", ["R9"], "it has R1"),
        ("challenge1", [], "none was named"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    recipe: str, releases: list | None, told: str, sample_lake: Path
) -> None:
    with pytest.raises(LakeError, match=told):
        eegzarr.open_windows(sample_lake, recipe, releases)


def test_no_lake_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="isn't a lake"):
        eegzarr.open_windows(tmp_path, "challenge1")
    with pytest.raises(UsageError, match="list of names"):
        eegzarr.open_windows(tmp_path, "challenge1", "R1")


def test_to_mne_gives_epochs_in_volts_with_labels(sample_lake: Path) -> None:
    ds = eegzarr.open_windows(sample_lake, "challenge1").isel(window=slice(0, 60))
    epochs = eegzarr.to_mne(ds)
    np.testing.assert_allclose(epochs.get_data() * 1e6, ds["eeg"].values, atol=1e-3)
    assert epochs.info["sfreq"] == 100
    assert (epochs.tmin, epochs.tmax) == (0.5, 2.49)
    assert epochs.metadata["subject"].tolist() == ds["subject"].values.tolist()
    assert epochs.get_montage() is not None
    assert len(epochs["left_buttonPress"]) == int((ds["response_type"] == "left_buttonPress").sum())
    one_recording = eegzarr.to_mne(ds.isel(window=ds["recording"].values == 0))
    stimulus = np.round(ds["stimulus_onset"].values[ds["recording"].values == 0] * 100)
    assert one_recording.events[:, 0].tolist() == stimulus.astype(int).tolist()


def test_to_mne_of_nothing_says_so(sample_lake: Path) -> None:
    with pytest.raises(UsageError, match="empty"):
        eegzarr.to_mne(eegzarr.open_windows(sample_lake, "challenge1").isel(window=[]))
