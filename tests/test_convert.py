"""python -m eegzarr.convert: caches of windows into a lake."""

from __future__ import annotations

import pickle
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import psutil
import pytest
import xarray as xr

import eegzarr
from eegzarr.challenge.presets import HBN_CHANNELS
from eegzarr.convert import main
from eegzarr.errors import SourceError
from eegzarr.exchange.meaning import Told
from eegzarr.exchange.pickles import open_lmdb
from eegzarr.machine import system
from eegzarr.store.verify import verify_lake

h5py = pytest.importorskip("h5py")
lmdb = pytest.importorskip("lmdb")

TELLING = ["--sfreq", "100", "--channels", "hbn", "--units", "V"]


@pytest.fixture(scope="module")
def windows(sample_lake: Path) -> xr.Dataset:
    return eegzarr.open_windows(sample_lake, "challenge1").isel(window=slice(0, 50)).load()


@pytest.fixture
def hdf5(windows: xr.Dataset, tmp_path: Path) -> Path:
    """As trainings write it: gzip, chunks guessed, volts, no attributes."""
    path = tmp_path / "R1.h5"
    with h5py.File(path, "w") as file:
        volts = windows["eeg"].values / np.float32(1e6)
        file.create_dataset("eeg", data=volts, compression="gzip", compression_opts=1, chunks=True)
        file["labels"] = windows["target"].values
        file["subject"] = windows["subject"].values.astype(h5py.string_dtype())
        file["age"] = windows["age"].values
        file["block"] = np.arange(50)
        file["of_another_length"] = np.arange(3)
    return path


def convert(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_hdf5_becomes_a_lake(hdf5: Path, windows: xr.Dataset, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    assert convert(hdf5, "--out", lake, "--recipe", "hdf5", "--start", 0.5, *TELLING) == 0
    found = eegzarr.open_windows(lake, "hdf5", releases=["R1"])
    np.testing.assert_allclose(found["eeg"], windows["eeg"], rtol=1e-6, atol=1e-4)
    for name in ("target", "subject", "age"):
        np.testing.assert_array_equal(found[name].values, windows[name].values, err_msg=name)
        assert found[name].dtype == windows[name].dtype
    assert found["block"].values.tolist() == list(range(50))
    assert "of_another_length" not in found.variables
    np.testing.assert_allclose(found["time"], windows["time"])
    assert tuple(found["channel"].values) == HBN_CHANNELS
    assert len(np.unique(found["recording"])) == len(np.unique(windows["subject"]))
    assert verify_lake(lake) == []


def test_what_attributes_tell_needs_no_option(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["eeg"] = rng.normal(0, 10, (7, 2, 50))
        file["eeg"].attrs["units"] = "uV"
        file["ch_names"] = ["C3", "C4"]
        file["labels"] = np.arange(7)
        file.attrs["sfreq"] = 250
        signals = file["eeg"][:]
    assert convert(tmp_path / "a.h5", "--out", tmp_path / "lake.zarr", "--recipe", "motor") == 0
    found = eegzarr.open_windows(tmp_path / "lake.zarr", "motor")
    np.testing.assert_allclose(found["eeg"], signals, rtol=1e-6)
    assert found["channel"].values.tolist() == ["C3", "C4"]
    assert found.attrs["sampling_rate"] == 250


def test_the_options_that_are_wanting_are_named(hdf5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = tmp_path / "lake.zarr"
    assert convert(hdf5, "--out", lake, "--recipe", "a", "--sfreq", 100) == 2
    assert "give --units V and --channels" in one_line(capsys)
    assert convert(hdf5, "--out", lake, "--recipe", "a", *TELLING[:2], "--units", "V", "--channels", "Fz,Cz") == 2
    assert "has 129 channels, and 2 names are given" in one_line(capsys)
    assert convert(hdf5, "--out", lake, "--recipe", "a", *TELLING, "--target", "nothing") == 2
    assert "no label 'nothing' to predict" in one_line(capsys)
    assert not lake.exists()


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command says of what went wrong; above it may stand what was begun."""
    *before, told = capsys.readouterr().err.strip().splitlines()
    assert told.startswith("eegzarr.convert: ")
    assert not any("Traceback" in line for line in before)
    return told


@pytest.mark.parametrize("kept", [0, 4, 3000, 0.5, 0.98])
def test_a_truncated_hdf5_file_is_said_to_be_one(
    kept: float, hdf5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = hdf5.read_bytes()
    hdf5.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    assert convert(hdf5, "--out", tmp_path / "lake.zarr", "--recipe", "a", *TELLING) == 2
    assert "R1.h5" in (told := one_line(capsys))
    assert "truncated" in told or "damaged" in told


def test_a_damaged_chunk_stops_it_and_a_restored_file_goes_on(
    hdf5: Path, windows: xr.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(hdf5.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 4096)
    sound, content[middle] = bytes(content[middle]), bytes(4096)
    hdf5.write_bytes(content)
    lake = tmp_path / "lake.zarr"
    assert convert(hdf5, "--out", lake, "--recipe", "a", *TELLING) == 2
    assert "is damaged: windows 0 to 49 can't be read" in one_line(capsys)
    content[middle] = sound
    hdf5.write_bytes(content)
    assert convert(hdf5, "--out", lake, "--recipe", "a", *TELLING, "--overwrite") == 0
    np.testing.assert_allclose(eegzarr.open_windows(lake, "a")["eeg"], windows["eeg"], rtol=1e-6, atol=1e-4)


@pytest.fixture
def pickles(tmp_path: Path) -> Path:
    """As CBraMod's preprocessing writes it: patches of 200 samples, uV, a list of keys by split."""
    path = tmp_path / "FACED"
    rng = np.random.default_rng(5)
    keys: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    with lmdb.open(str(path), map_size=2**26) as environment, environment.begin(write=True) as transaction:
        for number in range(12):
            split = ("train", "train", "val", "test")[number % 4]
            keys[split].append(key := f"sub{number // 4:03}-{number}")
            sample = {"sample": rng.normal(0, 20, (3, 5, 200)), "label": number % 9}
            transaction.put(key.encode(), pickle.dumps(sample))
        transaction.put(b"__keys__", pickle.dumps(keys))
    return path


def test_lmdb_pickles_become_a_lake(pickles: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    told = ["--sfreq", 200, "--units", "uV", "--channels", "Fp1,Fz,Cz"]
    assert convert(pickles, "--out", lake, "--recipe", "faced", *told) == 0
    found = eegzarr.open_windows(lake, "faced", releases=["FACED"])
    assert found.sizes == {"window": 12, "channel": 3, "time": 1000}
    assert found["split"].values.tolist() == ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    with lmdb.open(str(pickles), readonly=True, lock=False) as environment, environment.begin() as transaction:
        for number, key in enumerate(found["key"].values.tolist()):
            sample = pickle.loads(transaction.get(key.encode()))
            np.testing.assert_allclose(found["eeg"][number], sample["sample"].reshape(3, 1000), rtol=1e-6)
            assert found["target"].values[number] == sample["label"]
    assert verify_lake(lake) == []


def test_a_truncated_or_damaged_lmdb_is_said_to_be_one(
    pickles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--out", tmp_path / "lake.zarr", "--recipe", "a", "--sfreq", 200, "--units", "uV", "--channels", "A,B,C"]
    content = (pickles / "data.mdb").read_bytes()
    (pickles / "data.mdb").write_bytes(content[: len(content) // 2])
    assert convert(pickles, *told) == 2
    assert "data.mdb is truncated" in one_line(capsys)
    (pickles / "data.mdb").write_bytes(content[:100])
    assert convert(pickles, *told) == 2
    assert "FACED" in one_line(capsys)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    with lmdb.open(str(tmp_path / "db")) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"a", pickle.dumps({"sample": Runs(), "label": 0}))
    with (
        pytest.raises(SourceError, match="db, a: its pickle isn't read: it holds"),
        open_lmdb(tmp_path / "db", Told(sfreq=1, channels=("A",), units="V")),
    ):
        pass
    assert not (tmp_path / "ran").exists()


@pytest.mark.needs("braindecode")
def test_a_braindecode_cache_becomes_a_lake(windows: xr.Dataset, tmp_path: Path) -> None:
    dataset = windows.eegzarr.to_braindecode("rt_from_stimulus")
    (tmp_path / "cache").mkdir()
    dataset.save(str(tmp_path / "cache"))
    lake = tmp_path / "lake.zarr"
    assert convert(tmp_path / "cache", "--out", lake, "--recipe", "cached", "--name", "R1") == 0
    found = eegzarr.open_windows(lake, "cached")
    np.testing.assert_allclose(found["eeg"], windows["eeg"], rtol=1e-6, atol=1e-4)
    assert found["subject"].values.tolist() == windows["subject"].values.tolist()
    for name in ("target", "rt_from_stimulus", "start"):  # MNE saves metadata as decimals
        np.testing.assert_allclose(found[name].values, windows[name].values, rtol=1e-12, err_msg=name)
    assert verify_lake(lake) == []


@pytest.mark.needs("braindecode")
@pytest.mark.skipif(system.resource is None, reason="a system without such limits")
def test_a_braindecode_cache_may_have_more_recordings_than_files_may_be_open(tmp_path: Path) -> None:
    """MNE keeps a file of each recording open."""
    from braindecode.datasets import BaseConcatDataset, WindowsDataset

    metadata = pd.DataFrame(
        {"i_window_in_trial": [0], "i_start_in_trial": [0], "i_stop_in_trial": [50], "target": [1.0]}
    )
    parts = []
    for number in range(40):
        noise = np.random.default_rng(number).normal(0, 1e-5, (1, 2, 50))
        epochs = mne.EpochsArray(noise, mne.create_info(["Fz", "Cz"], 100.0, "eeg"), metadata=metadata, verbose="error")
        parts.append(WindowsDataset(epochs, description={"subject": f"{number}"}))
        parts[-1].window_kwargs = [("WindowsDataset", {"targets_from": "metadata"})]
    BaseConcatDataset(parts).save(str(tmp_path / "cache"))
    before = system.resource.getrlimit(system.resource.RLIMIT_NOFILE)
    try:
        open_now = psutil.Process().num_fds()
        system.resource.setrlimit(system.resource.RLIMIT_NOFILE, (open_now + 30, before[1]))
        assert convert(tmp_path / "cache", tmp_path / "lake.zarr", "--recipe", "mine") == 0
    finally:
        system.resource.setrlimit(system.resource.RLIMIT_NOFILE, before)
    assert eegzarr.open_windows(tmp_path / "lake.zarr", "mine").sizes["window"] == 40


@pytest.mark.needs("braindecode")
def test_a_damaged_braindecode_cache_is_said_to_be_one(
    windows: xr.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").mkdir()
    windows.isel(window=slice(0, 5)).eegzarr.to_braindecode().save(str(tmp_path / "cache"))
    signals = tmp_path / "cache" / "0" / "0-epo.fif"
    content = signals.read_bytes()
    for kept in (0, 1000, len(content) - 1000):
        signals.write_bytes(content[:kept])
        assert convert(tmp_path / "cache", "--out", tmp_path / "lake.zarr", "--recipe", "a") != 0
        assert "cache" in one_line(capsys)
    assert convert(tmp_path / "cache", "--out", tmp_path / "lake.zarr", "--recipe", "a", "--sfreq", 3) == 2
    assert "--sfreq is for HDF5 and LMDB" in one_line(capsys)


@pytest.mark.parametrize("name", ["nothing", "folder", "notes.txt"])
def test_what_is_no_cache_is_said_to_be_none(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("no windows here")
    assert convert(tmp_path / name, "--out", tmp_path / "lake.zarr", "--recipe", "a") == 2
    assert name in one_line(capsys)
