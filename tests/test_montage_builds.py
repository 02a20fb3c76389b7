"""A dataset of two montages, two spellings and two rates: one group of it, or a group for each."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from conftest import run_command, tree_digests
from montages import FEW, NAMES, RECIPE, by_mne, filled_by_mne, recording_of, write_dataset, write_edf, write_people

import eegzarr
from eegzarr.build.api import forecast
from eegzarr.build.repair import repair_lake
from eegzarr.errors import LakeError, UsageError
from eegzarr.recipes.montage import Montage
from eegzarr.recipes.recipe import Preparation
from eegzarr.recordings.positions import channel_positions
from eegzarr.store.open import open_recordings, selection_statistics
from eegzarr.store.verify import verify_lake
from eegzarr.stream import WindowStream, split_by_subject

FILLED = replace(
    RECIPE,
    name="filled",
    channels=NAMES[::-1],
    rename="10-20",
    missing="interpolate",
    preparation=Preparation(resample=True),
)
SPELLED = replace(RECIPE, rename="10-20")
FEW_100, FEW_200, ALL_200 = (
    f"study-{Montage(channels=channels, sfreq=rate).name}" for channels, rate in ((FEW, 100), (FEW, 200), (NAMES, 200))
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("montages") / "study"
    write_dataset(root)
    return root


def of_subject(windows: xr.Dataset, subject: str) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = windows.eeg.isel(window=(windows.subject == subject).values).values
    return found


def windows_by_mne(raw: mne.io.BaseRaw, channels: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Seconds of a whole recording in uV, (window, channel, time)."""
    signal = raw.get_data(picks=list(channels)) * 1e6
    cut: npt.NDArray[np.float64] = signal.reshape(len(channels), 6, -1).swapaxes(0, 1)
    return cut


def test_channels_and_missing_make_one_group_that_is_as_mne_interpolates_it(root: Path, tmp_path: Path) -> None:
    summary = eegzarr.build_lake(root, tmp_path / "lake", recipe=FILLED, workers=1)
    windows = eegzarr.open_windows(tmp_path / "lake", "filled").load()
    assert (summary.windows, sum(summary.reasons.values())) == (36, 1)  # but for the broken one
    assert tuple(windows.channel.values) == NAMES[::-1]
    assert windows.valid.all()
    np.testing.assert_allclose(windows.x.values, channel_positions(NAMES[::-1])[:, 0], atol=1e-6)
    for subject in ("full1", "full2", "other", "few", "fast", "fastfew"):
        raw = by_mne(recording_of(root, subject))
        raw.pick([name for name in raw.ch_names if name != "VEOG"])
        if raw.info["sfreq"] != 100:
            raw.resample(100, verbose="error")
        raw = filled_by_mne(raw, tuple(name for name in NAMES if name not in raw.ch_names))
        due = windows_by_mne(raw, NAMES[::-1])
        np.testing.assert_allclose(of_subject(windows, subject), due, atol=2e-3, err_msg=subject)
    table = open_recordings(tmp_path / "lake", "filled", "study").load()
    notes = dict(zip(table.path.values.tolist(), table.notes.values.tolist(), strict=True))
    assert "lacks P4, P3, F4, F3, Fp2: interpolated" in notes["sub-few/eeg/sub-few_task-x_eeg.edf"]


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_missing_channels_are_nan_and_their_windows_valid(dtype: str, root: Path, tmp_path: Path) -> None:
    recipe = replace(FILLED, name="gaps", missing="nan", preparation=Preparation())
    eegzarr.build_lake(root, tmp_path / "lake", recipe=recipe, dtype=dtype, workers=1)  # type: ignore[arg-type]
    windows = eegzarr.open_windows(tmp_path / "lake", "gaps").load()
    assert set(windows.subject.values) == {"full1", "full2", "other", "few"}
    assert windows.valid.all()
    there = np.isin(NAMES[::-1], FEW)
    few = of_subject(windows, "few")
    due = windows_by_mne(by_mne(recording_of(root, "few")), tuple(name for name in NAMES[::-1] if name in FEW))
    np.testing.assert_allclose(few[:, there], due, atol=1e-3 if dtype == "float32" else 0.026)
    assert np.isnan(few[:, ~there]).all()
    np.testing.assert_allclose(windows["mean"], np.nanmean(windows.eeg, axis=(0, 2)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(windows["std"], np.nanstd(windows.eeg, axis=(0, 2)), rtol=1e-3)
    reach = (windows.eeg.max("time", skipna=False) - windows.eeg.min("time", skipna=False)).values
    np.testing.assert_allclose(windows.peak_to_peak, np.nanmax(reach, axis=1), rtol=1e-6)
    assert not windows.flat_channels.any()


@pytest.fixture(scope="module")
def lake(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A group for each montage. Read it only."""
    lake = tmp_path_factory.mktemp("lakes") / "lake.zarr"
    summary = eegzarr.build_lake(root, lake, recipe=SPELLED, by_montage=True, workers=1)
    made = (summary, *summary.others)
    assert [one.group.partition("/")[2] for one in made] == ["study", *sorted([FEW_100, FEW_200, ALL_200])]
    assert [one.windows for one in made] == [18, 6, 6, 6]
    assert sum((one.reasons for one in made), start=summary.reasons - summary.reasons).total() == 1  # the broken one
    return lake


def test_every_readable_recording_is_in_the_lake(root: Path, lake: Path) -> None:
    assert set(eegzarr.store.open.recipes(lake)["rest"]) == {"study", FEW_100, FEW_200, ALL_200}
    found = {}
    for release in ("study", FEW_100, FEW_200, ALL_200):
        windows = eegzarr.open_windows(lake, "rest", releases=[release]).load()
        assert (windows.release == release).all()
        for subject in dict.fromkeys(windows.subject.values.tolist()):
            found[subject] = release
            due = windows_by_mne(by_mne(recording_of(root, subject)), tuple(windows.channel.values.tolist()))
            np.testing.assert_allclose(of_subject(windows, subject), due, atol=1e-3)
    mains = dict.fromkeys(("full1", "full2", "other"), "study")
    assert found == mains | {"few": FEW_100, "fastfew": FEW_200, "fast": ALL_200}
    assert verify_lake(lake) == []


def test_the_main_group_is_what_it_is_without_the_others(root: Path, lake: Path, tmp_path: Path) -> None:
    eegzarr.build_lake(root, tmp_path / "alone", recipe=SPELLED, workers=1)
    assert tree_digests(tmp_path / "alone" / "rest" / "study") == tree_digests(lake / "rest" / "study")
    again = eegzarr.build_lake(root, tmp_path / "alone", recipe=SPELLED, by_montage=True, workers=1)
    assert again.already
    assert not any(one.already for one in again.others)
    assert tree_digests(tmp_path / "alone" / "rest") == tree_digests(lake / "rest")


def test_a_lake_of_montages_resumes_forecasts_and_is_repaired(root: Path, lake: Path, tmp_path: Path) -> None:
    copy = tmp_path / "lake.zarr"
    shutil.copytree(lake, copy)
    foreseen = forecast(root, copy, recipe=SPELLED, by_montage=True, workers=1, overwrite=True)
    assert [one.windows for one in (foreseen, *foreseen.others)] == [18, 6, 6, 6]
    assert foreseen.skipped[0][0] == "sub-broken/eeg/sub-broken_task-x_eeg.edf"
    assert len(foreseen.skipped) == 1
    shard = copy / "rest" / FEW_200 / "eeg" / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-100])
    os.remove(copy / "rest" / FEW_200 / "age" / "c" / "0")
    repair_lake(copy, verify_lake(copy), workers=1)
    assert tree_digests(copy) == tree_digests(lake)
    again = eegzarr.build_lake(root, copy, recipe=SPELLED, by_montage=True, workers=1)
    assert all(one.already for one in (again, *again.others))


def test_a_group_of_a_montage_that_went_away_is_refused(root: Path, lake: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "study")
    shutil.copytree(lake, tmp_path / "lake.zarr")
    shutil.rmtree(tmp_path / "study" / "sub-fast")
    with pytest.raises(LakeError, match=f"{ALL_200} holds recordings of a montage"):
        eegzarr.build_lake(tmp_path / "study", tmp_path / "lake.zarr", recipe=SPELLED, by_montage=True, workers=1)


def test_without_a_recording_that_fits_the_recipe_all_groups_are_named(tmp_path: Path) -> None:
    for subject, names in (("a", NAMES), ("b", FEW), ("c", ("Fz", "Oz"))):
        write_edf(recording_of(tmp_path / "study", subject), names, rate=200)
    write_people(tmp_path / "study")
    recipe = replace(RECIPE, channels=("Cz", "Fz", "F3"))
    told = run_command(
        *("eegzarr.build", tmp_path / "study", tmp_path / "lake", "--recipe", _written(recipe, tmp_path)),
        *("--by-montage", "--workers", 1, "--strict"),
    )
    assert told.returncode == 0, told.stderr
    releases = eegzarr.store.open.recipes(tmp_path / "lake")["rest"]
    channels = {tuple(eegzarr.open_windows(tmp_path / "lake", "rest", [name]).channel.values) for name in releases}
    assert channels == {("Cz", "Fz", "F3"), ("Cz", "Fz"), ("Fz",)}
    assert all(f"rest/{name}: complete" in told.stdout for name in releases)
    with pytest.raises(LakeError, match="gives no window"):
        eegzarr.build_lake(tmp_path / "study", tmp_path / "none", recipe=recipe, workers=1)


def _written(recipe: object, folder: Path) -> Path:
    path = folder / "rest.toml"
    path.write_text(
        'anchor = "recording"\nstride = 1\ntarget = "age"\nchannels = ["Cz", "Fz", "F3"]\nrequire = []\n'
        "[span]\nstart = 0\nstop = 1\n"
    )
    return path


def test_releases_of_other_montages_are_joined_by_what_they_share(lake: Path) -> None:
    with pytest.raises(LakeError, match='channels="common" for the 7 channels that they share'):
        eegzarr.open_windows(lake, "rest", ["study", FEW_100])
    with pytest.raises(LakeError, match=r"100 Hz and .* at 200 Hz: open releases of one rate"):
        eegzarr.open_windows(lake, "rest", channels="common")
    with pytest.raises(UsageError, match="channels must be 'common' or None"):
        eegzarr.open_windows(lake, "rest", channels="all")  # type: ignore[arg-type]
    windows = eegzarr.open_windows(lake, "rest", ["study", FEW_100], channels="common")
    assert tuple(windows.channel.values) == FEW
    assert windows.eeg.shape == (24, 7, 100)
    parts = [eegzarr.open_windows(lake, "rest", [name]).sel(channel=list(FEW)) for name in ("study", FEW_100)]
    due = np.concatenate([part.eeg.values for part in parts])
    np.testing.assert_array_equal(windows.eeg.values, due)
    np.testing.assert_allclose(windows["mean"], due.mean(axis=(0, 2), dtype=float), rtol=1e-9)
    np.testing.assert_allclose(windows["std"], due.std(axis=(0, 2), dtype=float), rtol=1e-6)
    np.testing.assert_allclose(selection_statistics(windows)["std"], windows["std"])
    np.testing.assert_array_equal(windows.z, parts[0].z)
    other = eegzarr.open_windows(lake, "rest", [FEW_200, ALL_200], channels="common")
    assert tuple(other.channel.values) == FEW


def test_a_stream_gives_the_channels_that_releases_share(lake: Path) -> None:
    windows = eegzarr.open_windows(lake, "rest", [FEW_100, "study"], channels="common")
    given = [(x.numpy(), y.numpy()) for x, y in WindowStream(windows, batch_size=5)]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in given]), windows.eeg.values)
    np.testing.assert_array_equal(np.concatenate([y for _, y in given]), windows.target.values.astype(np.float32))
    picked = windows.sel(channel=["Cz", "Fp1"])
    shuffled = np.concatenate([x.numpy() for x, _ in WindowStream(picked, batch_size=7, shuffle=True, seed=1)])
    assert sorted(map(bytes, shuffled)) == sorted(map(bytes, picked.eeg.values))
    scaled = np.concatenate([x.numpy() for x, _ in WindowStream(windows, batch_size=24, normalize="channel")])
    np.testing.assert_allclose(scaled.mean(axis=(0, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(scaled.std(axis=(0, 2)), 1, atol=1e-3)


def test_a_subject_with_recordings_of_two_montages_is_one_person(tmp_path: Path) -> None:
    for subject in "abc":
        write_edf(recording_of(tmp_path / "study", subject), NAMES)
        few = recording_of(tmp_path / "study", subject)
        write_edf(few.with_name(few.name.replace("task-x", "task-y")), FEW)
    write_people(tmp_path / "study")
    eegzarr.build_lake(tmp_path / "study", tmp_path / "lake", recipe=RECIPE, by_montage=True, workers=1)
    windows = eegzarr.open_windows(tmp_path / "lake", "rest", channels="common")
    one, two = split_by_subject(windows, (0.6, 0.4), seed=0)
    assert not set(one.subject.values) & set(two.subject.values)
    assert WindowStream(windows).n_windows == 36
