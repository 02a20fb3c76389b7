"""Selections and options that nobody plans for: what comes is what xarray has, or it is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import eegzarr
from eegzarr.errors import UsageError
from eegzarr.stream import MixedStream, WindowDataset, WindowStream
from eegzarr.stream.alone import normalized_alone
from eegzarr.train.models.predictor import Predictor


@pytest.fixture(scope="module")
def windows(sample_lake: Path) -> xr.Dataset:
    return eegzarr.open_windows(sample_lake, "challenge1").isel(window=slice(None, None, 9))


@pytest.fixture(scope="module")
def loaded(windows: xr.Dataset) -> xr.Dataset:
    return windows.isel(channel=[3, 128, 3], time=slice(150, 20, -7)).load()


@pytest.mark.parametrize("normalize", ["window", "channel", "recording", "robust"])
def test_a_flat_channel_is_0_after_normalising_whatever_its_level(normalize: str, loaded: xr.Dataset) -> None:
    flat = loaded.copy(deep=True)
    flat["eeg"][:, 1] = 41.644722  # of which 200 don't add up to 200 times it
    x = torch.cat(list(WindowStream(flat, 16, target=None, normalize=normalize)))  # type: ignore[arg-type]
    assert float(x[:, 1].abs().max()) < 1e-4
    assert float(x[:, 0].std()) > 0.1


@pytest.mark.parametrize("n_times", [1, 2, 97, 127, 1000])
def test_windows_are_normalised_alike_in_streams_and_models_and_flat_channels_are_0_exactly(n_times: int) -> None:
    rng = np.random.default_rng(n_times)
    x = rng.normal(40, 12, (5, 60, n_times)).astype(np.float32)
    x[:, 30:] = rng.uniform(1, 2, (5, 30, 1)).astype(np.float32)  # NumPy's mean of 127 of these is off by 4 units
    found = normalized_alone(x)
    std = x.astype(float).std(axis=2, keepdims=True)
    expected = (x - x.mean(axis=2, keepdims=True, dtype=float)) / np.where(std > 1e-5, std, 1)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert not found[:, 30:].any()
    model = Predictor(torch.nn.Identity(), 60, n_times, 100.0, normalize="window")
    np.testing.assert_allclose(model.scaled(torch.from_numpy(x)).numpy(), found, atol=2e-5)
    assert not model.scaled(torch.from_numpy(x))[:, 30:].any()


@pytest.mark.parametrize("dtype", [">f4", "longdouble", "float64", "int64", "uint8", "int8"])
def test_signals_in_memory_may_be_of_any_real_type(dtype: str, loaded: xr.Dataset) -> None:
    changed = loaded.assign(eeg=np.abs(loaded["eeg"]).astype(dtype))
    expected = changed["eeg"].values.astype(np.float32)
    np.testing.assert_array_equal(torch.cat(list(WindowStream(changed, 16, target=None))).numpy(), expected)


def test_a_target_function_may_sort_its_table(windows: xr.Dataset) -> None:
    age = windows["age"].values.astype(np.float32)
    functions: list[Callable[[pd.DataFrame], pd.Series]] = [
        lambda labels: labels.sort_values("age")["age"],
        lambda labels: labels[::-1]["age"],
        lambda labels: labels.set_index("subject")["age"],
    ]
    for function in functions:
        np.testing.assert_array_equal(WindowStream(windows, 16, target=function).targets, age)
    intervals = WindowStream(windows, 16, target=lambda labels: pd.cut(labels["age"], 3, labels=None))
    assert [len(intervals.classes), set(np.unique(intervals.targets)) <= {0, 1, 2}] == [3, True]
    ordered = WindowStream(windows, 16, target=lambda labels: pd.Categorical(labels["sex"], ["M", "F"]))
    assert ordered.classes == ("M", "F")


def test_a_label_of_all_windows_may_be_a_scalar(windows: xr.Dataset) -> None:
    one = windows.drop_vars(["subject", "valid"]).assign_coords(subject="A", valid=True)
    stream = WindowStream(one, 16)
    assert (stream.n_windows, stream.subjects) == (windows.sizes["window"], {"A"})


def widened(windows: xr.Dataset) -> xr.Dataset:
    other = windows.isel(channel=[5], window=slice(None, None, -1))
    return xr.concat(
        [windows.isel(channel=[1, 2]), other], "channel", join="override", coords="different", compat="equals"
    )


REFUSED: list[tuple[Callable[[xr.Dataset], xr.Dataset], dict[str, object], str]] = [
    (widened, {}, r"must have one value for each window, .*coords='minimal'"),
    (lambda ds: ds.isel(channel=[]), {}, "no channel is selected"),
    (lambda ds: ds.isel(time=slice(0, 0)), {}, "no time is selected"),
    (lambda ds: ds.where(ds["target"].load() > 1.5, drop=True), {}, r"\.sel\(window=condition\), not \.where"),
    (lambda ds: ds.assign(eeg=ds["eeg"].load() > 0), {}, "must be floats or integers, these are bool"),
    (lambda ds: ds, {"target": 3}, "target must be a label, a list of labels, a function or None, got 3"),
    (lambda ds: ds, {"target": lambda labels: labels[[]]}, "must give a row for each of"),
    (lambda ds: ds, {"normalize": "channel", "statistics": "none"}, "the statistics are over no window"),
    (lambda ds: ds, {"batch_size": 2.5}, "batch_size must be a whole number, at least 1, got 2.5"),
    (lambda ds: ds, {"batch_size": "128"}, "batch_size must be a whole number"),
    (lambda ds: ds, {"seed": None}, "seed must be a whole number, at least 0, got None"),
    (lambda ds: ds, {"seed": 1.5}, "seed must be a whole number"),
    (lambda ds: ds, {"threads": 1.5}, "threads must be a whole number"),
    (lambda ds: ds, {"ahead": None}, "ahead must be a whole number"),
    (lambda ds: ds, {"memory": "2GB"}, "memory must be a whole number"),
    (lambda ds: ds, {"concurrency": 0}, "concurrency must be at least 1"),
    (lambda ds: ds, {"normalize": "window", "clamp": "20"}, "clamp must be a number above 0, got '20'"),
    (lambda ds: ds, {"transform": "abs"}, "transform must be a function of x"),
]


@pytest.mark.parametrize(("change", "options", "told"), REFUSED)
def test_what_makes_no_sense_is_refused_by_name(
    change: Callable[[xr.Dataset], xr.Dataset], options: dict[str, object], told: str, windows: xr.Dataset
) -> None:
    if options.get("statistics") == "none":
        options = {**options, "statistics": windows.isel(window=[])}
    with pytest.raises(UsageError, match=told):
        WindowStream(change(windows), **{"batch_size": 8, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("epoch", "told"), [(1.5, "whole number"), ("1", "whole number"), (-1, "at least 0"), (2**40, "not of a step")]
)
def test_an_epoch_is_a_whole_number(epoch: int, told: str, windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 8)
    for one in (stream, MixedStream({"a": stream})):
        with pytest.raises(UsageError, match=told):
            one.set_epoch(epoch)
    stream.set_epoch(np.int64(3))
    assert stream.epoch == 3


def test_mixtures_of_odd_parts_are_padded_or_refused_by_name(windows: xr.Dataset) -> None:
    views = WindowStream(windows.isel(channel=[1, 2]), 8, crop=0.5, random_crop=True, views=2, target=None)
    plain = WindowStream(windows.isel(channel=[3]), 8, target=None)
    mixed = MixedStream({"views": views, "plain": plain}, collate="pad", seed=1)
    alone = {"views": iter(views), "plain": iter(plain)}
    for name, batch in mixed:
        np.testing.assert_array_equal(batch.x[..., batch.mask].flatten(), next(alone[name]).flatten())
    for weights in ({"views": "1", "plain": 2}, [1, 2], {"views": True, "plain": float("nan")}, 3):
        with pytest.raises(UsageError, match=r"weights (are for|must be above 0)"):
            MixedStream({"views": views, "plain": plain}, weights=weights)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="give a dict"):
        MixedStream([views, plain])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"the shape \(1, 2\)"):
        WindowDataset(windows)[np.array([[1, 2]])]


def test_normalising_a_few_channels_is_normalising_these_of_all(windows: xr.Dataset) -> None:
    channels = [128, 5, 5, 40]
    for normalize in ("channel", "recording", "robust"):
        few = WindowDataset(windows.isel(channel=channels), target=None, normalize=normalize)[:]  # type: ignore[arg-type]
        every = WindowDataset(windows, target=None, normalize=normalize)[:]  # type: ignore[arg-type]
        np.testing.assert_array_equal(few.numpy(), every.numpy()[:, channels])
