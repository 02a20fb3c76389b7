"""ds.eegzarr: tables, selections, statistics and conversions."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import eegzarr
from eegzarr.errors import UsageError
from eegzarr.recipes.windows import WITHOUT_A_PLACE
from eegzarr.store.describe import lost_windows
from eegzarr.store.open import open_recordings
from eegzarr.store.quality import START_KIT_EXCLUSIONS, GoodWindows, bad_channels, faults


@pytest.fixture(scope="module")
def windows(sample_lake: Path) -> xr.Dataset:
    return eegzarr.open_windows(sample_lake, "challenge1")


def _table_of(std: np.ndarray, count: int = 1000, mean: float = 3.0) -> xr.Dataset:
    """A table of recordings whose channels have the given standard deviations, (recording, channel)."""
    return xr.Dataset(
        {
            "count": (("recording", "channel"), np.full(std.shape, count)),
            "mean": (("recording", "channel"), np.full(std.shape, mean)),
            "sum_of_squares": (("recording", "channel"), count * (std**2 + mean**2)),
        }
    )


def test_flat_and_noisy_channels_are_counted_but_not_the_reference() -> None:
    std = np.full((3, 20), 10.0)
    std[:, 19] = 0  # flat in every recording: the reference
    std[0, :4] = 0.01
    std[1, :2] = 45
    counted = bad_channels(_table_of(std))
    assert counted["flat_channels"].tolist() == [4, 0, 0]
    assert counted["noisy_channels"].tolist() == [0, 2, 0]


def test_a_recording_without_windows_has_no_bad_channel() -> None:
    std = np.full((2, 8), 10.0)
    std[0, 0] = 0
    table = _table_of(std)
    for name in ("count", "mean", "sum_of_squares"):
        table[name][1] = 0
    assert bad_channels(table)["flat_channels"].tolist() == [0, 0]  # flat in the only one that has any


def test_labels_are_read_when_looked_at_and_pickle(two_release_lake: Path) -> None:
    fresh = eegzarr.open_windows(two_release_lake, "challenge1")
    named = [str(name) for name, variable in fresh.variables.items() if variable.dims == ("window",)]
    lazy = set(named) - {"window"}
    assert {"subject", "age", "flat_channels", "noisy_channels", "start_kit_excluded"} <= lazy
    assert not any(fresh.variables[name]._in_memory for name in lazy)
    part = pickle.loads(pickle.dumps(fresh.isel(window=slice(3, None, 5))))
    assert not part.variables["subject"]._in_memory
    assert part["subject"].values.tolist() == fresh["subject"].values[3::5].tolist()


def test_quality_coordinates_select(windows: xr.Dataset, sample_lake: Path) -> None:
    per_recording = bad_channels(open_recordings(sample_lake, "challenge1", "R1"))
    expected = per_recording["noisy_channels"][windows["recording"].values]
    np.testing.assert_array_equal(windows["noisy_channels"], expected)
    kept = windows.sel(window=windows.noisy_channels <= int(expected.max()))
    assert kept.sizes["window"] == windows.sizes["window"]


@pytest.mark.parametrize(
    ("coordinate", "value", "criterion"),
    [
        ("peak_to_peak", np.float32(700), "peak_to_peak"),
        ("flat_channels", np.int16(9), "flat_channels"),
        ("noisy_channels", np.int16(50), "noisy_channels"),
        ("availability", "caution", "availability"),
        ("subject", START_KIT_EXCLUSIONS[3], "start_kit"),
    ],
)
def test_good_leaves_out_what_a_criterion_says(
    coordinate: str, value: object, criterion: str, windows: xr.Dataset
) -> None:
    everything = windows.eegzarr.good()
    spoilt = windows.copy()
    values = spoilt[coordinate].to_numpy().copy()
    values[[2, 5]] = value
    spoilt = spoilt.assign_coords({coordinate: ("window", values)})
    numbers = everything["window"].values.tolist()
    assert {2, 5} <= set(numbers)
    good = spoilt.eegzarr.good()
    assert good["window"].values.tolist() == [number for number in numbers if number not in (2, 5)]
    assert spoilt.eegzarr.faults().any(axis=1).sum() == windows.sizes["window"] - good.sizes["window"]
    off = False if criterion == "start_kit" else None
    without = spoilt.eegzarr.good(**{criterion: off})["window"].values.tolist()
    assert without == windows.eegzarr.good(**{criterion: off})["window"].values.tolist()


def test_good_of_plain_windows_says_what_it_needs(sample_lake: Path) -> None:
    plain = xr.open_zarr(sample_lake, group="challenge1/R1")
    with pytest.raises(UsageError, match="open_windows"):
        plain.eegzarr.good()
    assert plain.eegzarr.good(flat_channels=None, noisy_channels=None).sizes["window"] > 0


@pytest.mark.parametrize("wrong", [{"peak_to_peak": -1.0}, {"flat_channels": -2}, {"availability": "available"}])
def test_a_criterion_that_cannot_be_is_refused(wrong: dict, windows: xr.Dataset) -> None:
    with pytest.raises(UsageError):
        windows.eegzarr.good(**wrong)


def test_every_lost_window_has_one_reason(windows: xr.Dataset, sample_lake: Path) -> None:
    counts = lost_windows(windows, GoodWindows(peak_to_peak=float(windows.peak_to_peak.median())))
    table = open_recordings(sample_lake, "challenge1", "R1")
    assert counts.pop(WITHOUT_A_PLACE) == int(table["dropped"].values[table["windows"].values > 0].sum())
    wanted = GoodWindows(peak_to_peak=float(windows.peak_to_peak.median()))
    bad = np.logical_or.reduce(list(faults(windows, wanted).values())) | np.isnan(windows["target"].values)
    assert sum(counts.values()) == bad.sum()
    assert bad.sum() >= windows.sizes["window"] // 2


def test_the_table_has_a_row_a_window(windows: xr.Dataset) -> None:
    part = windows.isel(window=[7, 3])
    table = part.eegzarr.table()
    assert table["window"].tolist() == [7, 3]
    assert table["subject"].tolist() == part["subject"].values.tolist()
    assert "eeg" not in table


def test_statistics_are_those_of_the_windows_selected(windows: xr.Dataset) -> None:
    part = windows.isel(window=slice(5, 60, 3))
    signal = part["eeg"].values.astype(float)
    statistics = part.eegzarr.statistics()
    np.testing.assert_allclose(statistics["mean"], signal.mean(axis=(0, 2)), atol=1e-9)
    np.testing.assert_allclose(statistics["std"], signal.std(axis=(0, 2)), rtol=1e-9)
    described = part.eegzarr.describe().loc["rt_from_stimulus"]
    assert described["mean"] == pytest.approx(float(part["rt_from_stimulus"].mean()))


def test_averages_are_those_of_groupby(windows: xr.Dataset) -> None:
    average = windows.eegzarr.average("response_type")
    expected = windows["eeg"].compute().groupby("response_type").mean()
    for kind in expected["response_type"].values.tolist():
        np.testing.assert_allclose(average.sel(condition=kind), expected.sel(response_type=kind), atol=1e-4)
    halves = windows.eegzarr.average("rt_from_stimulus")
    assert halves.sizes["condition"] == 2
    assert int(halves["windows"].sum()) == windows.sizes["window"]


def test_a_dataset_without_windows_is_refused() -> None:
    with pytest.raises(UsageError, match="no channel, time, window"):
        _ = xr.Dataset({"a": ("b", [1])}).eegzarr


def test_groupby_and_labelled_slices_stay_lazy(windows: xr.Dataset) -> None:
    by_subject = windows["eeg"].sel(channel="E62", time=slice(1.0, 1.5)).groupby("subject").mean()
    assert by_subject.chunks is not None
    one = windows["subject"].values[0]
    expected = windows["eeg"].sel(channel="E62", time=slice(1.0, 1.5)).values[windows["subject"].values == one].mean(0)
    np.testing.assert_allclose(by_subject.sel(subject=one), expected, atol=1e-4)


def test_to_braindecode_is_what_its_scripts_take(windows: xr.Dataset) -> None:
    from braindecode.datasets import BaseConcatDataset, WindowsDataset
    from torch.utils.data import DataLoader

    part = windows.isel(window=slice(0, 70))
    dataset = part.eegzarr.to_braindecode("rt_from_stimulus")
    assert isinstance(dataset, BaseConcatDataset)
    assert all(isinstance(one, WindowsDataset) for one in dataset.datasets)
    assert len(dataset) == 70
    x, y, (in_trial, start, stop) = dataset[11]
    np.testing.assert_allclose(x * 1e6, part["eeg"].values[11], atol=1e-3)
    assert y == pytest.approx(float(part["rt_from_stimulus"][11]))
    assert (in_trial, stop - start) == (0, 200)
    assert start == round(float(part["start"][11]) * 100)
    parts = dataset.split("subject")
    assert sorted(parts) == sorted(set(part["subject"].values.tolist()))
    metadata = dataset.get_metadata()
    assert metadata["window"].tolist() == part["window"].values.tolist()
    assert metadata["subject"].tolist() == part["subject"].values.tolist()
    batch, target, _ = next(iter(DataLoader(dataset, batch_size=8)))
    assert tuple(batch.shape) == (8, 129, 200)
    assert target.shape == (8,)


@pytest.mark.needs("braindecode")
def test_to_braindecode_names_what_it_lacks(windows: xr.Dataset) -> None:
    with pytest.raises(UsageError, match="no label 'nothing'"):
        eegzarr.to_braindecode(windows, "nothing")
    with pytest.raises(UsageError, match="empty"):
        eegzarr.to_braindecode(windows.isel(window=[]))


@pytest.mark.needs("braindecode")
def test_mne_is_told_the_rate_and_the_events_of_what_was_selected(windows: xr.Dataset) -> None:
    few = windows.isel(window=slice(6))
    whole = few.eegzarr.to_mne()
    half = few.isel(time=slice(40, None, 2)).eegzarr.to_mne()
    assert half.info["sfreq"] == 50
    np.testing.assert_array_equal(half.get_data(), whole.get_data()[..., 40::2])
    np.testing.assert_allclose(half.times, whole.times[40::2])
    later = few.isel(time=slice(40, None)).eegzarr.to_mne()
    np.testing.assert_array_equal(later.events, whole.events)
    for convert in (lambda one: one.eegzarr.to_mne(), eegzarr.to_mne, eegzarr.to_braindecode):
        with pytest.raises(UsageError, match=r"select with lists, such as \.isel\(window=\[3\]\)"):
            convert(windows.isel(window=3))
