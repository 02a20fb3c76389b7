"""Every format that MNE reads from BIDS, and originals that are filtered, resampled and referenced."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pytest
import scipy.io
import xarray as xr
from conftest import run_command, tree_digests
from dask.distributed import LocalCluster

import eegzarr
import eegzarr.build.task
from eegzarr.challenge.presets import CHALLENGE1, CHALLENGE2
from eegzarr.errors import RecipeError
from eegzarr.recipes.load import load_recipe
from eegzarr.recipes.recipe import Preparation, WindowSpan
from eegzarr.recordings.header import Header
from eegzarr.sample import write_sample

GROUP = "challenge1/R1"
ORIGINAL = Preparation(l_freq=0.5, h_freq=50.0, resample=True)


@pytest.fixture(scope="module")
def bdf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("formats") / "bdf", subjects=1, runs=1, trials=6)


@pytest.fixture(scope="module")
def bdf_windows(bdf: Path, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return built(bdf, tmp_path_factory.mktemp("formats") / "bdf.zarr")


def built(root: Path, lake: Path, recipe: eegzarr.Recipe = CHALLENGE1) -> xr.Dataset:
    eegzarr.build_lake(root, lake, recipe=recipe, workers=1)
    return xr.open_zarr(lake, group=f"{recipe.name}/R1").load()


def edf(raw: mne.io.BaseRaw, path: Path) -> None:
    mne.export.export_raw(path.with_suffix(".edf"), raw, verbose="error")


def fif(raw: mne.io.BaseRaw, path: Path) -> None:
    raw.save(path.with_suffix(".fif"), verbose="error")


def brainvision(raw: mne.io.BaseRaw, path: Path) -> None:
    mne.export.export_raw(path.with_suffix(".vhdr"), raw, verbose="error")


def eeglab(raw: mne.io.BaseRaw, path: Path) -> None:
    mne.export.export_raw(path.with_suffix(".set"), raw, verbose="error")


def eeglab_with_fdt(raw: mne.io.BaseRaw, path: Path) -> None:
    eeglab(raw, path)
    content = scipy.io.loadmat(path.with_suffix(".set"), squeeze_me=False)
    (raw.get_data() * 1e6).T.astype("<f4").tofile(path.with_suffix(".fdt"))
    content["data"] = path.with_suffix(".fdt").name
    scipy.io.savemat(path.with_suffix(".set"), {k: v for k, v in content.items() if not k.startswith("__")})


def rewritten(bdf: Path, root: Path, write: Callable[[mne.io.BaseRaw, Path], None], sfreq: float = 100) -> Path:
    """The same dataset in another format."""
    shutil.copytree(bdf, root)
    for path in root.glob("sub-*/eeg/*_eeg.bdf"):
        raw = mne.io.read_raw_bdf(path, preload=True, verbose="error")
        raw.set_annotations(None)
        if sfreq != raw.info["sfreq"]:
            rng = np.random.default_rng(0)
            signal = np.cumsum(rng.normal(0, 1e-6, (129, round(raw.n_times * sfreq / 100))), axis=1)
            raw = mne.io.RawArray(signal, mne.create_info(raw.ch_names, sfreq, "eeg"), verbose="error")
        write(raw, path)
        path.unlink()
    return root


@pytest.mark.parametrize("write", [edf, fif, brainvision, eeglab, eeglab_with_fdt])
@pytest.mark.filterwarnings("ignore")
def test_every_format_gives_the_same_windows(
    write: Callable[[mne.io.BaseRaw, Path], None], bdf: Path, bdf_windows: xr.Dataset, tmp_path: Path
) -> None:
    windows = built(rewritten(bdf, tmp_path / "bids", write), tmp_path / "lake.zarr")
    resolution = 0.02 if write is edf else 1e-3  # EDF has 16 bits
    np.testing.assert_allclose(windows["eeg"], bdf_windows["eeg"], atol=resolution)
    np.testing.assert_array_equal(windows["target"], bdf_windows["target"])


@pytest.mark.filterwarnings("ignore")
def test_samples_that_are_no_numbers_make_their_windows_invalid(
    bdf: Path, bdf_windows: xr.Dataset, tmp_path: Path
) -> None:
    second = int(float(bdf_windows["start"][1]) * 100)

    def with_holes(raw: mne.io.BaseRaw, path: Path) -> None:
        if "contrast" in path.name:
            raw._data[3, second + 50] = np.nan
            raw._data[4, second + 60] = np.inf
        fif(raw, path)

    windows = built(rewritten(bdf, tmp_path / "bids", with_holes), tmp_path / "lake.zarr")
    valid = windows["valid"].values
    assert not valid[1]
    assert valid.sum() == len(valid) - 1
    np.testing.assert_allclose(windows["eeg"].values[valid], bdf_windows["eeg"].values[valid], atol=1e-3)
    assert np.isfinite(windows["mean"]).all()


@pytest.fixture(scope="module")
def original(bdf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release at 500 Hz, as OpenNeuro has it."""
    return rewritten(bdf, tmp_path_factory.mktemp("original") / "bids", eeglab, sfreq=500)


@pytest.mark.filterwarnings("ignore")
def test_an_original_becomes_what_mne_makes_of_it(original: Path, tmp_path: Path) -> None:
    recipe = replace(CHALLENGE1, preparation=replace(ORIGINAL, reference="average"))
    windows = built(original, tmp_path / "lake.zarr", recipe)
    raw = mne.io.read_raw(next(original.glob("sub-*/eeg/*contrast*_eeg.set")), preload=True, verbose="error")
    raw.filter(0.5, 50, verbose="error").resample(100, verbose="error")
    signal = raw.get_data() * 1e6
    signal -= signal.mean(axis=0)
    for window in windows["eeg"].transpose("window", "channel", "time"):
        start = round(float(window["start"]) * 100)
        np.testing.assert_allclose(window, signal[:, start : start + 200], atol=1e-3 * signal.std())
    assert eegzarr.open_windows(tmp_path / "lake.zarr", "challenge1").attrs["sampling_rate"] == 100


def test_the_command_takes_the_preparation_as_options(original: Path, tmp_path: Path) -> None:
    command = ["eegzarr.build", "--source", original, "--out", tmp_path / "lake.zarr", "--dry-run", "--workers", 1]
    plain = run_command(*command)
    assert plain.returncode == 1
    assert "sampled at 500 Hz, the recipe wants 100 Hz" in plain.stderr
    prepared = run_command(*command, "--resample", "--l-freq", 0.5, "--h-freq", 50)
    assert prepared.returncode == 0, prepared.stderr
    for notch, told in (("60,120", 0), ("sidecar", 0), ("mains", 2)):
        asked = run_command(*command, "--resample", "--notch", notch)
        assert asked.returncode == told, asked.stderr
    wrong = run_command(*command, "--l-freq", 50, "--h-freq", 0.5)
    assert wrong.returncode == 2
    assert "l_freq must lie below h_freq" in wrong.stderr


@pytest.mark.filterwarnings("ignore")
def test_a_recording_in_many_shards_is_prepared_once(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = []
    prepare = eegzarr.build.task.prepare_recording

    def counted(path: Path, *arguments: object) -> np.ndarray:
        prepared.append(path.name)
        return prepare(path, *arguments)

    recipe = replace(CHALLENGE2, tasks=("contrastChangeDetection",), preparation=ORIGINAL)
    shard_size = 4 * 129 * 400 * 4
    whole = tmp_path / "whole.zarr"
    eegzarr.build_lake(original, whole, recipe=recipe, workers=2, shard_size=shard_size)
    monkeypatch.setattr(eegzarr.build.task, "prepare_recording", counted)
    # Workers as threads of this process, so that the calls can be counted.
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        lake = tmp_path / "lake.zarr"
        eegzarr.build_lake(original, lake, recipe=recipe, scheduler=address, shard_size=shard_size)
    assert xr.open_zarr(lake, group="challenge2/R1/shards").sizes["shard"] > 3
    assert len(prepared) == 1
    assert tree_digests(lake) == tree_digests(whole)


def test_what_is_shorter_than_a_window_is_skipped_with_its_reason(bdf: Path, tmp_path: Path) -> None:
    recipe = replace(CHALLENGE2, span=WindowSpan(start=0.0, stop=35.0))
    windows = built(bdf, tmp_path / "lake.zarr", recipe)
    table = xr.open_zarr(tmp_path / "lake.zarr", group="challenge2/R1/recordings").load()
    reasons = dict(zip(table["task"].values.tolist(), table["reason"].values.tolist(), strict=True))
    assert reasons == {"RestingState": "", "contrastChangeDetection": "shorter than a window (33 s)"}
    assert set(windows["task"].values.tolist()) == {"RestingState"}


def test_challenge2_has_windows_every_two_seconds_over_all_tasks(bdf: Path, tmp_path: Path) -> None:
    windows = built(bdf, tmp_path / "lake.zarr", CHALLENGE2)
    assert windows["eeg"].shape[1:] == (129, 400)
    for _, own in windows.groupby("task"):
        np.testing.assert_allclose(own["start"], 2.0 * np.arange(own.sizes["window"]))
    rest = windows.isel(window=windows["task"].values == "RestingState")
    assert rest.sizes["window"] == 19  # of 40 s
    np.testing.assert_array_equal(windows["target"], windows["externalizing"])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("l_freq = 0", "l_freq must be positive"),
        ("reference = 'E999'", "the reference 'E999' is none of its channels"),
        ("resample = 1", "resample must be true or false"),
        ("notch = -50", "notch must have positive frequencies"),
        ("notch = 'mains'", "notch must be a frequency"),
    ],
)
def test_a_preparation_that_cannot_be_is_refused(line: str, told: str, tmp_path: Path) -> None:
    text = 'target = "rt_from_stimulus"\nanchor = "stimulus"\nchannels = ["E1"]\nspan = {start = 0, stop = 1}\n'
    (tmp_path / "mine.toml").write_text(f"{text}[preparation]\n{line}\n")
    with pytest.raises(RecipeError, match=told):
        load_recipe(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("told", "hertz"),
    [
        (50, 50.0),
        (59.9, 59.9),
        ("60", 60.0),
        ("50 Hz", 50.0),
        *((odd, np.nan) for odd in ("n/a", None, True, -1, [50])),
    ],
)
def test_a_line_frequency_may_stand_as_a_text(told: object, hertz: float) -> None:
    header = Header(sfreq=100.0, n_times=100, channels=("Cz",)).described({"PowerLineFrequency": told})
    np.testing.assert_equal(header.line_freq, hertz)
