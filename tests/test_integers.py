"""Samples as integers of one step: what is stored, what reads it, and what is too large for it."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from conftest import run_command, tree_digests
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import eegzarr
from eegzarr.build.__main__ import describe
from eegzarr.build.repair import repair_lake
from eegzarr.errors import LakeError, UsageError
from eegzarr.exchange.write import GivenWindows, write_windows
from eegzarr.store.integers import FILL, LARGEST, as_step, round_to, step_that_holds, to_integers, to_microvolts
from eegzarr.store.open import open_recordings
from eegzarr.store.verify import verify_lake

GROUP = "challenge1/R1"
STEPS = st.sampled_from([0.01, 0.02, 0.03125, 0.05, 0.1, 1 / 3, 0.5])
finite = st.floats(-300, 300, width=32)


def given_windows(eeg: np.ndarray, recording: list[int] | None = None) -> GivenWindows:
    """Windows in uV, (window, channel, time), as another program gives them."""

    def read(first: int, out: np.ndarray) -> None:
        out[:] = eeg[first : first + len(out)]

    labels = pd.DataFrame({"recording": recording or [0] * len(eeg), "subject": "01", "target": 1.0})
    channels = tuple(f"E{number}" for number in range(eeg.shape[1]))
    return GivenWindows(
        source="test",
        channels=channels,
        sfreq=100.0,
        start=0.0,
        n_times=eeg.shape[2],
        labels=labels,
        fingerprint="",
        read=read,
    )


def noise(windows: int = 40, channels: int = 3, times: int = 40) -> np.ndarray:
    steps = np.random.default_rng(windows).normal(0, 9, (windows, channels, times))
    return np.cumsum(steps, axis=2).astype(np.float32)


@settings(max_examples=50)
@given(arrays.arrays(np.float32, (2, 3, 8), elements=finite), STEPS)
def test_a_sample_is_stored_as_the_nearest_integer(windows: np.ndarray, step: float) -> None:
    integers = to_integers(windows, step)
    assert integers.dtype == np.int16
    assert np.abs(integers * step - windows).max() <= step / 2 * (1 + 1e-12)
    stored = windows.copy()
    again, rounding = round_to(stored, step)
    np.testing.assert_array_equal(again, integers)
    np.testing.assert_array_equal(stored, (integers * step).astype(np.float32))
    assert rounding.absolute <= step / 2
    assert rounding.absolute == pytest.approx(np.abs(integers * step - windows).max(), abs=1e-12)
    # What was rounded once stays.
    np.testing.assert_array_equal(to_integers(stored, step), integers)


@given(STEPS)
def test_every_integer_comes_back(step: float) -> None:
    every = np.arange(-LARGEST, LARGEST + 1).astype(np.int16)
    np.testing.assert_array_equal(to_integers(to_microvolts(every, step), step), every)


def test_what_is_no_number_or_too_large_becomes_no_number() -> None:
    told = np.array([np.nan, np.inf, -np.inf, 40.0, -40.0, 32.767, -32.768], np.float32)
    integers = to_integers(told, 0.001)
    assert integers.tolist() == [FILL, FILL, FILL, FILL, FILL, 32767, FILL]
    np.testing.assert_array_equal(np.isnan(to_microvolts(integers, 0.001)), [True, True, True, True, True, False, True])


@given(st.floats(1e-3, 1e7))
def test_the_step_that_is_proposed_holds_the_sample(highest: float) -> None:
    step = step_that_holds(highest)
    assert to_integers(np.array([highest]), step)[0] != FILL
    assert step <= highest / LARGEST * 1.011


@pytest.mark.parametrize(
    ("told", "step"),
    [
        *[(text, 0.05) for text in ("0.05uV", "0.05 µV", "50nV", "50 nV", "5e-8 V", "5E-8V", "0.00005mV", "50000 pV")],
        *[(text, 0.05) for text in (".05 \u03bcV", "0.05 microvolts", "50 nanovolts", "0.05mcV", "+0.05 uV ")],
        *[(0.1, 0.1), ("0.25", 0.25), ("1e-4 mV", 0.1), (None, 0.05), ("AUTO ", None)],
    ],
)
def test_steps_are_read_with_their_units(told: str | float | None, step: float | None) -> None:
    assert as_step(told, "int16") == step  # to the last bit: another spelling is no other step


@pytest.mark.parametrize(
    "told", ["", "0", "-1uV", "1 Ohm", "fine", "nan", "inf", "0.05uV uV", "auto2", "1_0uV", "1/32uV", "1e999999999 V"]
)
def test_a_step_that_is_none_is_refused_by_its_text(told: str) -> None:
    with pytest.raises(UsageError, match="--step must be auto or a voltage"):
        as_step(told, "int16")


def test_floats_have_no_step() -> None:
    with pytest.raises(UsageError, match=r"--step 0\.1uV is for --dtype int16: float16 has no step"):
        as_step("0.1uV", "float16")


def test_plain_xarray_gives_microvolts_and_warns_of_nothing(integer_lake: Path, sample_lake: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = xr.open_zarr(integer_lake, group=GROUP)
    assert plain.attrs["format_version"] == "2"
    assert plain["eeg"].attrs["units"] == "uV"
    stored = zarr.open_array(integer_lake / GROUP / "eeg", mode="r")
    assert (str(stored.dtype), stored.attrs["scale_factor"], stored.attrs["_FillValue"]) == ("int16", 0.05, FILL)
    floats = xr.open_zarr(sample_lake, group=GROUP)
    error = np.abs(plain["eeg"].values - floats["eeg"].values)
    assert 0.0249 < plain.attrs["largest_error_uV"] <= 0.025
    assert error.max() == pytest.approx(plain.attrs["largest_error_uV"], abs=1e-9)
    assert plain.attrs["lossless"] is False
    assert "largest_error_uV" not in floats.attrs
    assert floats.attrs["format_version"] == "1"


def test_statistics_are_of_what_is_stored(integer_lake: Path) -> None:
    plain = xr.open_zarr(integer_lake, group=GROUP)
    eeg = plain["eeg"].values
    np.testing.assert_allclose(plain["mean"], eeg.mean(axis=(0, 2)), atol=1e-7)
    np.testing.assert_allclose(plain["std"], eeg.std(axis=(0, 2)), rtol=1e-7)
    np.testing.assert_allclose(plain["peak_to_peak"], (eeg.max(axis=2) - eeg.min(axis=2)).max(axis=1), rtol=1e-6)
    opened = eegzarr.open_windows(integer_lake, "challenge1")
    np.testing.assert_allclose(opened.eegzarr.statistics()["std"], plain["std"])


def test_info_and_verify_know_integers(integer_lake: Path) -> None:
    assert verify_lake(integer_lake) == []
    told = json.loads(run_command("eegzarr.info", integer_lake, "--json").stdout)["groups"][0]
    assert (told["dtype"], told["step"]) == ("int16", 0.05)
    assert told["decoded_nbytes"] == 241 * 129 * 200 * 2
    assert "int16 of 0.05 uV" in run_command("eegzarr.info", integer_lake).stdout


def test_mne_gets_the_same_volts(integer_lake: Path) -> None:
    some = eegzarr.open_windows(integer_lake, "challenge1").isel(window=slice(10, 14))
    np.testing.assert_allclose(eegzarr.to_mne(some).get_data() * 1e6, some["eeg"].values, rtol=1e-6)


@pytest.mark.parametrize("name", ["WindowStream", "WindowDataset"])
def test_integers_are_given_as_they_are_stored_with_their_scale(name: str, integer_lake: Path) -> None:
    from eegzarr.stream import WindowDataset, WindowStream

    kind = {"WindowStream": WindowStream, "WindowDataset": WindowDataset}[name]
    opened = eegzarr.open_windows(integer_lake, "challenge1").isel(window=slice(0, 70), channel=[7, 3])
    given = kind(opened, dtype="int16", crop="1s", target=None)
    assert given.scale == 0.05
    x = np.concatenate([one.numpy() for one in given]) if kind is WindowStream else given[0:70].numpy()
    assert x.dtype == np.int16
    expected = opened["eeg"].isel(time=slice(50, 150)).values
    np.testing.assert_array_equal((x * given.scale).astype(np.float32), expected)
    assert kind(opened).scale == 1.0


def test_integers_are_refused_where_there_is_not_one_step(
    integer_lake: Path, sample_lake: Path, tmp_path: Path
) -> None:
    from eegzarr.stream import WindowStream

    floats = eegzarr.open_windows(sample_lake, "challenge1")
    opened = eegzarr.open_windows(integer_lake, "challenge1")
    with pytest.raises(UsageError, match="these samples are floats"):
        WindowStream(floats, dtype="int16")
    with pytest.raises(UsageError, match="these samples are floats"):
        WindowStream([opened, floats], dtype="int16")
    with pytest.raises(UsageError, match="normalize needs float32 or float16"):
        WindowStream(opened, dtype="int16", normalize="channel")
    for release, step in (("a", 0.1), ("b", "200nV")):
        write_windows(tmp_path / "lake.zarr", "r", release, given_windows(noise()), dtype="int16", step=step)
    with pytest.raises(UsageError, match=r"needs one step, these lakes have 0\.1 uV and 0\.2 uV"):
        WindowStream(eegzarr.open_windows(tmp_path / "lake.zarr", "r"), dtype="int16")


def test_lakes_of_several_steps_are_streamed_together(tmp_path: Path) -> None:
    from eegzarr.stream import WindowStream

    lake, eeg = tmp_path / "lake.zarr", noise()
    for release, step in (("a", 0.1), ("b", 0.5)):
        write_windows(lake, "r", release, given_windows(eeg), dtype="int16", step=step)
    opened = eegzarr.open_windows(lake, "r")
    stream = WindowStream(opened, 16, shuffle=True, with_labels=["release"])
    for x, _, labels in stream:
        for row, release in zip(x.numpy(), labels["release"], strict=True):
            step = {"a": 0.1, "b": 0.5}[release]
            assert np.abs(eeg - row).max(axis=(1, 2)).min() <= step / 2 + 1e-5
    plain = [xr.open_zarr(lake, group=f"r/{release}")["eeg"].values.astype(np.float32) for release in "ab"]
    np.testing.assert_array_equal(opened["eeg"].values, np.concatenate(plain))
    # What is saved elsewhere isn't rounded to the step of the first.
    opened[["eeg"]].reset_coords(drop=True).load().to_zarr(tmp_path / "copy.zarr", consolidated=False)
    np.testing.assert_array_equal(
        xr.open_zarr(tmp_path / "copy.zarr", consolidated=False)["eeg"].values, opened["eeg"].values
    )


def test_integers_and_floats_are_mixed(integer_lake: Path, sample_lake: Path) -> None:
    from eegzarr.stream import MixedStream, WindowStream

    streams = {
        "integers": WindowStream(eegzarr.open_windows(integer_lake, "challenge1"), 32, target=None, dtype="int16"),
        "floats": WindowStream(eegzarr.open_windows(sample_lake, "challenge1"), 32, target=None),
    }
    found = {name: [] for name in streams}
    for name, x in MixedStream(streams, seed=1):
        found[name].append(x.numpy())
    microvolts = np.concatenate(found["integers"]) * streams["integers"].scale
    assert np.abs(microvolts - np.concatenate(found["floats"])).max() <= 0.0251


def test_windows_beyond_the_range_are_marked_and_the_step_that_holds_them_is_told(tmp_path: Path) -> None:
    eeg = noise()
    eeg[5, 1, 7], eeg[30, 0, 0] = 2000.0, -5000.0
    lake = tmp_path / "lake.zarr"
    made = write_windows(lake, "r", "R", given_windows(eeg, [0] * 20 + [1] * 20), dtype="int16", shard_size=2**13)
    opened = eegzarr.open_windows(lake, "r")
    lost = np.isin(np.arange(40), (5, 30))
    np.testing.assert_array_equal(opened["valid"], ~lost)
    assert np.isnan(opened["eeg"].values[lost]).all()
    assert np.isnan(opened["peak_to_peak"].values[lost]).all()
    assert np.abs(opened["eeg"].values[~lost] - eeg[~lost]).max() <= 0.0251
    assert made.invalid == 2
    first, second = open_recordings(lake, "r", "R")["reason"].values.tolist()
    assert "reaches 2e+03 uV" in first
    assert first.endswith("a step of 0.0611 uV would hold them")
    assert second.endswith("a step of 0.153 uV would hold them")
    assert opened.attrs["smallest_step_uV"] == made.smallest_step == 0.153
    assert "--step 0.153uV would hold all windows" in describe(made, str(lake))
    again = write_windows(tmp_path / "wide.zarr", "r", "R", given_windows(eeg), dtype="int16", step=0.153)
    assert again.invalid == 0


def test_integers_that_are_the_samples_are_lossless(tmp_path: Path) -> None:
    digital = np.random.default_rng(1).integers(-LARGEST, LARGEST + 1, (20, 3, 40))
    eeg = (digital * 0.1).astype(np.float32)
    write_windows(tmp_path / "lake.zarr", "r", "R", given_windows(eeg), dtype="int16", step="0.1uV")
    opened = eegzarr.open_windows(tmp_path / "lake.zarr", "r")
    assert opened.attrs["lossless"] is True
    np.testing.assert_array_equal(opened["eeg"].values, eeg)
    eeg[3, 1, 2] = np.nextafter(eeg[3, 1, 2], np.float32(np.inf))  # the least that can be lost
    write_windows(tmp_path / "other.zarr", "r", "R", given_windows(eeg), dtype="int16", step="0.1uV")
    assert eegzarr.open_windows(tmp_path / "other.zarr", "r").attrs["lossless"] is False


def test_windows_of_one_sample_are_opened_as_they_were_written(tmp_path: Path) -> None:
    eeg = noise(40, 1, 1)
    write_windows(tmp_path / "lake.zarr", "r", "R", given_windows(eeg), dtype="int16")
    np.testing.assert_allclose(eegzarr.open_windows(tmp_path / "lake.zarr", "r")["eeg"].values, eeg, atol=0.0251)


def test_a_write_that_was_stopped_continues_to_the_same_bytes(tmp_path: Path) -> None:
    def stop(event: object) -> None:
        if type(event).__name__ == "ShardFinished":
            raise KeyboardInterrupt

    options = {"dtype": "int16", "step": "0.1uV", "shard_size": 2**12}
    with pytest.raises(KeyboardInterrupt):
        write_windows(tmp_path / "a.zarr", "r", "R", given_windows(noise()), listeners=[stop], **options)
    with pytest.raises(LakeError, match=r"give --step 0\.1uV"):
        write_windows(tmp_path / "a.zarr", "r", "R", given_windows(noise()), dtype="int16")
    for lake in ("a.zarr", "b.zarr"):
        write_windows(tmp_path / lake, "r", "R", given_windows(noise()), **options)
    assert tree_digests(tmp_path / "a.zarr") == tree_digests(tmp_path / "b.zarr")
    assert write_windows(tmp_path / "a.zarr", "r", "R", given_windows(noise()), **options).already


def test_a_repair_brings_flipped_integers_back_to_the_same_bytes(
    integer_lake: Path, sample_root: Path, tmp_path: Path
) -> None:
    lake = Path(shutil.copytree(integer_lake, tmp_path / "lake.zarr"))
    before = tree_digests(lake)
    for path in (f"{GROUP}/eeg/c/1/0/0", f"{GROUP}/peak_to_peak/c/0"):
        content = bytearray((lake / path).read_bytes())
        content[len(content) // 2] ^= 1
        (lake / path).write_bytes(content)
    faults = verify_lake(lake)
    assert {fault.path for fault in faults} == {f"{GROUP}/eeg/c/1/0/0", f"{GROUP}/peak_to_peak/c/0"}
    repair_lake(lake, faults, source=sample_root, workers=1)
    assert verify_lake(lake) == []
    assert tree_digests(lake) == before


@pytest.mark.needs("braindecode")
def test_training_from_integers_scores_what_training_from_floats_does(
    integer_lake: Path, sample_lake: Path, tmp_path: Path
) -> None:
    from eegzarr.train.loop.fit import fit
    from eegzarr.train.options import FitOptions

    scores = []
    for lake in (integer_lake, sample_lake):
        options = FitOptions(
            lake=str(lake), epochs=2, batch_size=32, device="cpu", threads=1, model_arguments={"F1": 2}
        )
        scores.append(fit(options, tmp_path / lake.parent.name, max_memory=1.0).scores["test"].nrmse)
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
