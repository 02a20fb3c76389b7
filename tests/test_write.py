"""Windows that another program has cut: from MNE and braindecode into a lake."""

from __future__ import annotations

import shutil
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import run_command, tree_digests

import eegzarr
from eegzarr.errors import LakeError, RecipeError, UsageError
from eegzarr.events import Event, ShardFinished
from eegzarr.exchange.labels import typed_labels
from eegzarr.exchange.write import GivenWindows, write_windows
from eegzarr.recipes.recipe import recipe_from_json
from eegzarr.store.open import open_recordings
from eegzarr.store.verify import verify_lake

SMALL_SHARDS = 4 * 2**20
DERIVED = {"recording", "eegzarr_version"}


@pytest.fixture(scope="module")
def windows(sample_lake: Path) -> xr.Dataset:
    return eegzarr.open_windows(sample_lake, "challenge1").isel(window=slice(0, 90))


@pytest.fixture(scope="module")
def epochs(windows: xr.Dataset) -> mne.EpochsArray:
    return eegzarr.to_mne(windows)


@pytest.fixture(scope="module")
def from_epochs(epochs: mne.EpochsArray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake written from the sample's epochs. Read it only."""
    lake = tmp_path_factory.mktemp("given") / "lake.zarr"
    eegzarr.from_mne(epochs, lake, "oddball", "lab", shard_size=SMALL_SHARDS)
    return lake


def assert_same_windows(found: xr.Dataset, expected: xr.Dataset) -> None:
    np.testing.assert_allclose(found["eeg"], expected["eeg"], rtol=1e-6, atol=1e-4)
    for name in expected.coords:
        if name not in ("release", "recording"):
            assert found[name].dtype == expected[name].dtype, name
            np.testing.assert_array_equal(found[name].values, expected[name].values, err_msg=str(name))


def test_to_mne_and_back_is_the_same(windows: xr.Dataset, from_epochs: Path) -> None:
    found = eegzarr.open_windows(from_epochs, "oddball")
    labels = [name for name in windows.coords if name not in ("mean", "std", "flat_channels", "noisy_channels")]
    assert_same_windows(
        found.drop_vars(["mean", "std", "peak_to_peak"]),
        windows[["eeg", *labels]].drop_vars(["mean", "std", "peak_to_peak"]),
    )
    np.testing.assert_allclose(found["peak_to_peak"], windows["peak_to_peak"], rtol=1e-6)
    statistics = windows.eegzarr.statistics()
    np.testing.assert_allclose(found["mean"], statistics["mean"], atol=1e-4)
    np.testing.assert_allclose(found["std"], statistics["std"], rtol=1e-5)
    pairs = pd.factorize(windows["recording"].values)[0]
    np.testing.assert_array_equal(found["recording"], pairs)
    table = open_recordings(from_epochs, "oddball", "lab")
    assert table["windows"].values.tolist() == np.bincount(pairs).tolist()
    assert table["subject"].values.tolist() == [
        windows["subject"].values[pairs == row][0] for row in range(len(table["subject"]))
    ]
    again = eegzarr.to_mne(found)
    assert again.event_id == eegzarr.to_mne(windows).event_id


@pytest.mark.needs("braindecode")
def test_to_braindecode_and_back_is_the_same(windows: xr.Dataset, tmp_path: Path) -> None:
    dataset = windows.eegzarr.to_braindecode("rt_from_stimulus")
    summary = eegzarr.from_braindecode(dataset, tmp_path / "lake.zarr", "cache", "R1", dtype="float32")
    found = eegzarr.open_windows(tmp_path / "lake.zarr", "cache")
    assert summary.recordings == len(dataset.datasets)
    np.testing.assert_allclose(found["eeg"], windows["eeg"], rtol=1e-6, atol=1e-4)
    for name in ("subject", "run", "age", "start", "target", "rt_from_stimulus", "response_type", "correct"):
        assert found[name].dtype == windows[name].dtype, name
        np.testing.assert_array_equal(found[name].values, windows[name].values, err_msg=name)


def test_a_stream_and_a_split_take_what_was_written(windows: xr.Dataset, from_epochs: Path) -> None:
    from eegzarr.train import WindowStream

    found = eegzarr.open_windows(from_epochs, "oddball")
    stream = WindowStream(found, batch_size=16, shuffle=True, seed=0, with_labels=["window"])
    batches = list(stream)
    order = np.concatenate([labels["window"].numpy() for _, _, labels in batches])
    assert sorted(order.tolist()) == list(range(90))
    signals = np.concatenate([x.numpy() for x, _, _ in batches])
    np.testing.assert_allclose(signals, windows["eeg"].values[order], rtol=1e-6, atol=1e-4)
    train, test = eegzarr.split_by_subject(found, (0.5, 0.5), seed=1)
    assert not set(train["subject"].values.tolist()) & set(test["subject"].values.tolist())


def test_plain_xarray_opens_it_and_verify_finds_it_sound(from_epochs: Path) -> None:
    plain = xr.open_zarr(from_epochs, group="oddball/lab")
    assert plain["eeg"].attrs["units"] == "uV"
    assert plain.attrs["status"] == "complete"
    assert verify_lake(from_epochs) == []
    assert run_command("eegzarr.info", from_epochs).returncode == 0


def test_what_has_no_source_is_checked_but_not_repaired(from_epochs: Path, tmp_path: Path) -> None:
    lake = Path(shutil.copytree(from_epochs, tmp_path / "lake.zarr"))
    (lake / "oddball/lab/eeg/c/0/0/0").unlink()
    refused = run_command("eegzarr.verify", lake, "--repair", "--workers", 1)
    assert refused.returncode == 1
    assert "c/0/0/0: missing" in refused.stdout
    assert "can't be repaired: its windows were given" in refused.stderr
    assert "Traceback" not in refused.stderr


class _Stop(Exception):
    pass


def test_a_write_that_was_stopped_goes_on_to_the_same_bytes(
    epochs: mne.EpochsArray, from_epochs: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake.zarr"
    written: list[int] = []

    def stop_at_second(event: Event) -> None:
        if isinstance(event, ShardFinished):
            written.append(event.shard)
            if event.shard == 1:
                raise _Stop

    with pytest.raises(_Stop):
        eegzarr.from_mne(epochs, lake, "oddball", "lab", shard_size=SMALL_SHARDS, listeners=[stop_at_second])
    with pytest.raises(LakeError, match=r"still being built .2 of 3 shards.* resumes"):
        eegzarr.open_windows(lake, "oddball")
    del written[:]
    eegzarr.from_mne(epochs, lake, "oddball", "lab", shard_size=SMALL_SHARDS, listeners=[stop_at_second])
    assert written == [2]
    assert tree_digests(lake) == tree_digests(from_epochs)
    assert eegzarr.from_mne(epochs, lake, "oddball", "lab", shard_size=SMALL_SHARDS).already


def test_other_windows_of_that_name_are_refused(epochs: mne.EpochsArray, from_epochs: Path, tmp_path: Path) -> None:
    lake = Path(shutil.copytree(from_epochs, tmp_path / "lake.zarr"))
    other = epochs.copy().apply_function(lambda signal: signal * 2)
    with pytest.raises(LakeError, match="holds other windows"):
        eegzarr.from_mne(other, lake, "oddball", "lab")
    eegzarr.from_mne(other, lake, "oddball", "lab", overwrite=True)
    doubled, single = (eegzarr.open_windows(path, "oddball")["eeg"].values for path in (lake, from_epochs))
    np.testing.assert_allclose(doubled, 2 * single, rtol=1e-6, atol=1e-4)
    assert verify_lake(lake) == []


def test_a_few_windows_that_changed_are_noticed(epochs: mne.EpochsArray, from_epochs: Path, tmp_path: Path) -> None:
    lake = Path(shutil.copytree(from_epochs, tmp_path / "lake.zarr"))
    changed = epochs.get_data(copy=True)
    changed[40:70] += 1e-6
    other = mne.EpochsArray(changed, epochs.info, tmin=epochs.tmin, verbose="error")
    other.metadata = epochs.metadata
    assert eegzarr.from_mne(epochs, lake, "oddball", "lab").already
    with pytest.raises(LakeError, match="holds other windows"):
        eegzarr.from_mne(other, lake, "oddball", "lab")


@pytest.fixture
def raw() -> mne.io.RawArray:
    rng = np.random.default_rng(3)
    info = mne.create_info(["Fz", "Cz", "Pz", "EOG1"], 250.0, ["eeg", "eeg", "eeg", "eog"])
    recording = mne.io.RawArray(rng.normal(0, 2e-5, (4, 30 * 250)), info, verbose="error")
    return recording.set_montage("colin27_1020", on_missing="ignore", verbose="error")


def test_epochs_that_are_not_loaded_are_read_in_parts(
    raw: mne.io.RawArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "recording_raw.fif"
    raw.info["subject_info"] = {"his_id": "sub-07"}
    raw.save(path, verbose="error")
    lazy = mne.io.read_raw_fif(path, preload=False, verbose="error")
    events = mne.make_fixed_length_events(raw, id=5, duration=0.5)
    cut = mne.Epochs(
        lazy, events, {"tone": 5}, -0.1, 0.4, baseline=(None, 0), reject={"eeg": 1.3e-4}, preload=False, verbose="error"
    )
    asked = []
    get_data = mne.Epochs.get_data
    monkeypatch.setattr("eegzarr.exchange.parts._AT_ONCE", 8 * 3 * 126 * 7)
    monkeypatch.setattr(mne.Epochs, "get_data", lambda self, **how: asked.append(how["item"]) or get_data(self, **how))
    eegzarr.from_mne(cut, tmp_path / "lake.zarr", "tones", "lab")
    assert not cut.preload
    assert max(item.stop - item.start for item in asked) == 7
    found = eegzarr.open_windows(tmp_path / "lake.zarr", "tones")
    expected = get_data(cut, picks="eeg")
    assert len(events) > len(expected) > 20  # some were rejected
    np.testing.assert_allclose(found["eeg"], expected * 1e6, rtol=1e-5, atol=1e-5)
    assert found["channel"].values.tolist() == ["Fz", "Cz", "Pz"]
    assert np.isfinite(found["x"]).all()
    np.testing.assert_allclose(found["time"], cut.times)
    np.testing.assert_allclose(found["start"], cut.events[:, 0] / 250 - 0.1)
    decimated = cut.copy().load_data().decimate(2, verbose="error")
    eegzarr.from_mne(decimated, tmp_path / "lake.zarr", "tones", "half")
    half = eegzarr.open_windows(tmp_path / "lake.zarr", "tones", releases=["half"])
    assert half.attrs["sampling_rate"] == 125
    np.testing.assert_allclose(half["time"], decimated.times)
    np.testing.assert_allclose(half["start"], cut.events[:, 0] / 250 + decimated.times[0])
    assert set(found["event"].values.tolist()) == {"tone"}
    assert set(found["target"].values.tolist()) == {5.0}
    assert found.attrs["sampling_rate"] == 250
    assert set(found["subject"].values.tolist()) == {"07"}


def test_a_saved_file_of_epochs_tells_whose_it_is(raw: mne.io.RawArray, tmp_path: Path) -> None:
    made = mne.make_fixed_length_epochs(raw, 1.0, preload=True, verbose="error")
    path = tmp_path / "sub-07_ses-2_task-rest_epo.fif"
    made.save(path, verbose="error")
    eegzarr.from_mne(mne.read_epochs(path, preload=False, verbose="error"), tmp_path / "lake.zarr", "rest", "lab")
    found = eegzarr.open_windows(tmp_path / "lake.zarr", "rest")
    np.testing.assert_allclose(found["eeg"], made.get_data(picks="eeg") * 1e6, rtol=1e-5, atol=1e-5)
    told = {name: set(found[name].values.tolist()) for name in ("subject", "session", "task", "run")}
    assert told == {"subject": {"07"}, "session": {"2"}, "task": {"rest"}, "run": {""}}


def test_braindecodes_lazy_windows_are_taken(raw: mne.io.RawArray, tmp_path: Path) -> None:
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_fixed_length_windows

    recordings = BaseConcatDataset(
        [
            RawDataset(raw.copy(), pd.Series({"subject": n, "age": 9.5, "note": note}), "age")
            for n, note in ((1, None), (2, "calm"))
        ]
    )
    cut = create_fixed_length_windows(
        recordings, window_size_samples=200, window_stride_samples=100, on_last_window="drop"
    )
    eegzarr.from_braindecode(cut, tmp_path / "lake.zarr", "fixed", "lab")
    found = eegzarr.open_windows(tmp_path / "lake.zarr", "fixed")
    assert found.sizes == {"window": len(cut), "channel": 3, "time": 200}
    for number in (0, 10, len(cut) - 1):
        np.testing.assert_allclose(found["eeg"][number], cut[number][0][:3] * 1e6, rtol=1e-5, atol=1e-4)
    assert found["subject"].values.tolist() == ["1"] * (len(cut) // 2) + ["2"] * (len(cut) // 2)
    assert found["start"].values[:3].tolist() == [0.0, 0.4, 0.8]
    assert set(found["target"].values.tolist()) == {9.5}
    assert found["note"].values[[0, -1]].tolist() == ["", "calm"]


def test_what_does_not_fit_together_is_named(epochs: mne.EpochsArray, raw: mne.io.RawArray, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    half = epochs.copy().pick(epochs.ch_names[:60])
    with pytest.raises(UsageError, match="part 1 has other channels"):
        eegzarr.from_mne([epochs, half], lake, "a", "b")
    with pytest.raises(UsageError, match="part 1 has windows of 151 samples"):
        eegzarr.from_mne([epochs, epochs.copy().crop(0.5, 2.0)], lake, "a", "b")
    with pytest.raises(UsageError, match="no label 'nothing' to predict"):
        eegzarr.from_mne(epochs, lake, "a", "b", target="nothing")
    with pytest.raises(UsageError, match="without an EEG channel"):
        eegzarr.from_mne(mne.make_fixed_length_epochs(raw.copy().pick("EOG1"), verbose="error"), lake, "a", "b")
    with pytest.raises(UsageError, match="takes Epochs"):
        eegzarr.from_mne(raw, lake, "a", "b")
    with pytest.raises(UsageError, match="takes windows"):
        eegzarr.from_braindecode(raw, lake, "a", "b")
    assert not lake.exists()


def test_a_window_that_float16_cannot_hold_is_marked_with_the_reason(tmp_path: Path) -> None:
    signals = np.ones((6, 2, 8), np.float32)
    signals[4, 1, 3] = 70_000

    def read(first: int, out: np.ndarray) -> None:
        out[:] = signals[first : first + len(out)]

    given = GivenWindows(
        source="a simulation",
        channels=("A", "B"),
        sfreq=100.0,
        start=-0.02,
        n_times=8,
        labels=pd.DataFrame({"subject": list("aabbcc"), "target": range(6)}),
        fingerprint="1",
        read=read,
    )
    summary = write_windows(tmp_path / "lake.zarr", "steps", "lab", given, dtype="float16")
    assert summary.invalid == 1
    table = open_recordings(tmp_path / "lake.zarr", "steps", "lab")
    assert table["reason"].values.tolist() == [
        "",
        "",
        "reaches 7e+04 uV, more than float16 holds: windows that do are invalid",
    ]
    found = eegzarr.open_windows(tmp_path / "lake.zarr", "steps")
    assert np.isnan(found["eeg"][4]).all()
    np.testing.assert_array_equal(found["eeg"][[0, 1, 2, 3, 5]], signals[[0, 1, 2, 3, 5]])


def test_no_build_takes_a_recipe_of_given_windows(sample_root: Path, from_epochs: Path, tmp_path: Path) -> None:
    recipe = recipe_from_json(eegzarr.open_windows(from_epochs, "oddball").attrs["recipe"])
    with pytest.raises(RecipeError, match="were cut elsewhere"):
        eegzarr.build_lake(sample_root, tmp_path / "lake.zarr", recipe=recipe)


def test_columns_become_labels_of_their_type() -> None:
    table = typed_labels(
        pd.DataFrame(
            {
                "age": ["9.5", "n/a", "11"],
                "block": [1, 2, 3],
                "hit": [True, False, True],
                "load": [1, None, 2.5],
                "word": ["a", None, "c"],
                "kind": pd.Categorical(["x", "y", "x"]),
                "run": [1.0, np.nan, 2.0],
                "x": [1, 2, 3],
                "peak_to_peak": [1, 2, 3],
                "a/b": [1, 2, 3],
            }
        )
    )
    assert {name: str(values.dtype) for name, values in table.items() if values.dtype.kind in "iufb"} == {
        "age": "float32", "block": "int64", "hit": "bool", "load": "float64", "metadata_x": "int64", "a_b": "int64"
    }  # fmt: skip
    assert {name: list(table[name]) for name in ("word", "kind", "run")} == {
        "word": ["a", "", "c"],
        "kind": ["x", "y", "x"],
        "run": ["1", "", "2"],
    }
    with pytest.raises(UsageError, match="'age' must be a number"):
        typed_labels(pd.DataFrame({"age": ["old"]}))
