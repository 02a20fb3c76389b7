"""Selections and options that nobody plans for: what comes is what xarray has, or it is refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import eegzarr
from eegzarr.errors import LakeError, UsageError
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


@pytest.mark.parametrize("normalize", ["window", "channel", "recording", "robust"])
def test_what_rounding_has_left_of_a_flat_channel_is_not_made_a_signal(normalize: str, loaded: xr.Dataset) -> None:
    flat = loaded.copy(deep=True)
    of_reference = 3e-7  # uV, as HBN-EEG's reference channel has it once it is filtered
    flat["eeg"][:, 1] = np.random.default_rng(0).normal(0, of_reference, flat["eeg"][:, 1].shape)
    x = torch.cat(list(WindowStream(flat, 16, target=None, normalize=normalize)))  # type: ignore[arg-type]
    assert float(x[:, 1].std()) < 0.01
    assert float(x[:, 0].std()) > 0.1


@pytest.mark.parametrize("n_times", [1, 2, 97, 127, 1000])
def test_windows_are_normalised_alike_in_streams_and_models_and_flat_channels_are_0_exactly(n_times: int) -> None:
    rng = np.random.default_rng(n_times)
    x = rng.normal(40, 12, (5, 60, n_times)).astype(np.float32)
    x[:, 30:] = rng.uniform(1, 2, (5, 30, 1)).astype(np.float32)  # NumPy's mean of 127 of these is off by 4 units
    found = normalized_alone(x)
    std = x.astype(float).std(axis=2, keepdims=True)
    expected = (x - x.mean(axis=2, keepdims=True, dtype=float)) / np.where(std > 1e-4, std, 1)
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
    (lambda ds: None, {}, "must be a Dataset of windows, or several, got NoneType"),  # type: ignore[arg-type,return-value]
    (lambda ds: ds["eeg"], {}, "must be a Dataset of windows, or several, got DataArray"),  # type: ignore[arg-type,return-value]
    (lambda ds: ds, {"disjoint_from": 3}, "disjoint_from must be a WindowStream, got int"),
    (lambda ds: ds, {"target": 3}, "target must be a label, a list of labels, a function or None, got 3"),
    (lambda ds: ds, {"target": lambda labels: labels[[]]}, "must give a row for each of"),
    (lambda ds: ds, {"normalize": "channel", "statistics": "none"}, "the statistics are over no window"),
    (lambda ds: ds, {"batch_size": 2.5}, "batch_size must be a whole number, at least 1, got 2.5"),
    (lambda ds: ds, {"batch_size": "128"}, "batch_size must be a whole number"),
    (lambda ds: ds, {"seed": None}, "seed must be a whole number, at least 0, got None"),
    (lambda ds: ds, {"seed": 1.5}, "seed must be a whole number"),
    (lambda ds: ds, {"threads": 1.5}, "threads must be a whole number"),
    (lambda ds: ds, {"ahead": None}, "ahead must be a whole number"),
    (lambda ds: ds, {"memory": "plenty"}, "memory 'plenty' isn't a size"),
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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"windows": "many"}, "windows of a saved stream must be a whole number"),
        ({"windows": -5}, "windows of a saved stream must be at least 0"),
        ({"windows": 10**6}, "had given 1000000 windows, this one has"),
        ({"epoch": None}, "an epoch must be a whole number"),
        ({"dealt_from": 0.5}, "dealt_from must be a whole number"),
        ({"batches": 10**6}, "had given 1000000 batches, this one has"),
        ({"worker": 0, "workers": 2}, "state of a DataLoader worker"),
    ],
)
def test_a_state_that_was_spoilt_is_refused(change: dict[str, object], told: str, windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 8)
    mixed = MixedStream({"a": stream})
    read = mixed if "batches" in change or "worker" in change else stream
    with pytest.raises(UsageError, match=told):
        read.load_state_dict({**read.state_dict(), **change})
    for state in (None, {}, {"epoch": 0, "seed": 0}):
        for one in (stream, mixed):
            with pytest.raises(UsageError, match="this isn't the state of a"):
                one.load_state_dict(state)  # type: ignore[arg-type]
    assert len(list(stream)) == len(stream)


def test_an_epoch_that_is_chosen_in_mid_iteration_holds(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 8, shuffle=True, seed=4)
    for number, _ in enumerate(stream):
        if number == 1:
            stream.set_epoch(5)
    assert stream.epoch == 5
    chosen = [y.tolist() for _, y in stream]
    stream.set_epoch(5)
    assert [y.tolist() for _, y in stream] == chosen
    assert stream.epoch == 6


def test_windows_by_number_take_whatever_holds_numbers(windows: xr.Dataset) -> None:
    dataset, numbers = WindowDataset(windows, target=None), [3, -1, 3]
    wanted = windows["eeg"].values[numbers]
    for key in (pd.Index(numbers), pd.Series(numbers), xr.DataArray(numbers), tuple(numbers), np.array(numbers, "i1")):
        np.testing.assert_array_equal(dataset[key], wanted)
    with pytest.raises(UsageError, match="by number, a slice or an array of numbers, got True"):
        dataset[True]


def test_what_eegzarr_did_not_open_or_what_is_gone_is_said(sample_lake: Path, tmp_path: Path) -> None:
    plain = xr.open_zarr(sample_lake, group="challenge1/R1")
    with pytest.raises(UsageError, match=r"were not opened by eegzarr.*eegzarr\.open_windows"):
        WindowStream(plain, 8)
    loaded = plain.isel(window=slice(9)).load()
    np.testing.assert_array_equal(next(iter(WindowStream(loaded, 8, target=None))), loaded["eeg"][:8])
    lake = tmp_path / "lake.zarr"
    shutil.copytree(sample_lake, lake)
    opened = eegzarr.open_windows(lake, "challenge1")
    lake.rename(tmp_path / "moved.zarr")
    with pytest.raises(LakeError, match="is gone from where it was opened"):
        WindowStream(opened, 8)


def test_parts_that_make_no_sense_are_refused_by_name(windows: xr.Dataset, sample_lake: Path) -> None:
    first = WindowStream(windows, 8, rank=0, ranks=2)
    for rank, ranks in ((1, 2), (0, 1)):
        with pytest.raises(UsageError, match=r"of one rank, these aren't: 'a' is rank 0 of 2, 'b' is rank"):
            len(MixedStream({"a": first, "b": WindowStream(windows, 8, rank=rank, ranks=ranks)}))
    with pytest.raises(UsageError, match="fractions must be numbers"):
        eegzarr.split_by_subject(windows, "ab")  # type: ignore[arg-type]
    for parts in ([windows], {"train": 5}):
        with pytest.raises(UsageError, match="Datasets by name: give a dict"):
            eegzarr.store_split(sample_lake, "challenge1", "odd", parts)  # type: ignore[arg-type]


def test_lightning_data_says_what_it_decides(windows: xr.Dataset) -> None:
    pytest.importorskip("lightning")
    from eegzarr.stream import LightningData

    with pytest.raises(UsageError, match="LightningData takes no shuffle: it shuffles the training part"):
        LightningData(windows, shuffle=False)
