"""Selections and options that nobody plans for: what comes is what xarray has, or it is refused by name."""

from __future__ import annotations

import json
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


def test_recordings_in_memory_are_told_apart_by_their_releases(two_release_lake: Path) -> None:
    both = eegzarr.open_windows(two_release_lake, "challenge1").isel(channel=[1, 2])
    for normalize in ("recording", "robust"):
        options = {"target": None, "normalize": normalize}
        lazy, loaded = (WindowDataset(one, **options)[:] for one in (both, both.copy().load()))  # type: ignore[arg-type]
        torch.testing.assert_close(loaded, lazy, rtol=0, atol=0.2 if normalize == "robust" else 1e-4)
    first, second = (both.sel(window=both["release"] == release) for release in ("R1", "R2"))
    count = min(first.sizes["window"], second.sizes["window"])
    swapped = first.isel(window=slice(count)).drop_vars(["start", "recording", "window"])
    swapped = swapped.assign(eeg=second["eeg"].isel(window=slice(count)).drop_vars(list(second.coords)))
    with pytest.raises(UsageError, match=r"the release is 'R1', and the signals are those of challenge1/R2"):
        WindowStream(swapped, 8)
    renamed = first.assign_coords(release=("window", np.full(first.sizes["window"], "ours", object)))
    assert WindowStream(renamed, 8).n_windows == first.sizes["window"]


@pytest.mark.parametrize("normalize", ["channel", "recording", "robust"])
def test_samples_in_memory_that_are_no_numbers_move_no_scale(normalize: str, loaded: xr.Dataset) -> None:
    options = {"target": None, "normalize": normalize}
    spoilt = loaded.assign_coords(channel=["A", "A", "B"]).copy(deep=True)
    spoilt["eeg"][3, 1, 2:5] = np.nan
    x, whole = (WindowDataset(one, **options)[:] for one in (spoilt, loaded))  # type: ignore[arg-type]
    assert int(x.isnan().sum()) == 3
    known = ~x.isnan()
    torch.testing.assert_close(x[known], whole[known], rtol=0.02, atol=0.02)


def test_classes_are_those_of_the_lake_until_a_label_has_other_values(windows: xr.Dataset) -> None:
    women = windows.sel(window=windows["sex"] == "F")
    for part in (women, women.copy().load()):  # signals in memory, labels as they were
        assert WindowStream(part, 16, target="sex").classes == ("F", "M")
    words = windows["sex"].to_series().map({"F": "female", "M": "male"}).to_numpy(object)
    renamed = windows.assign_coords(sex=("window", words))
    for part in (renamed, renamed.copy().load()):
        assert WindowStream(part, 16, target="sex").classes == ("female", "male")


def test_a_missing_class_is_no_class_to_balance_and_codes_are_not_mixed(windows: xr.Dataset) -> None:
    codes = np.resize(np.array([0, 1, -1, 0], np.int16), windows.sizes["window"])
    stages = {"flag_values": [0, 1], "flag_meanings": "wake rem"}
    scored = windows.assign_coords(stage=("window", codes, stages))
    stream = WindowStream(scored, 16, target=None, balance="stage", with_labels=["stage"])
    counts = np.bincount(torch.cat([labels["stage"] for _, labels in stream]).numpy())
    assert stream.left_out["no stage"] == (codes < 0).sum()
    assert counts.max() - counts.min() <= 1
    other = scored.assign_coords(stage=("window", codes, {**stages, "flag_meanings": "rem wake"}))
    with pytest.raises(UsageError, match="the codes of the label 'stage' mean different classes"):
        WindowStream([scored, other], 16, with_labels=["stage"])
    by_name = WindowStream([scored, other], 16, target="stage", balance="stage", with_labels=["recording"])
    assert sorted(by_name.classes) == ["rem", "wake"]


def test_states_are_plain_numbers(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, np.int64(8), seed=np.uint8(3), rank=np.int64(0), ranks=np.int64(1))  # type: ignore[arg-type]
    mixed = MixedStream({"a": stream}, seed=np.int32(2))  # type: ignore[arg-type]
    for one in (stream, mixed):
        one.load_state_dict(json.loads(json.dumps(one.state_dict())))


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
    (lambda ds: ds, {"views": 2.5}, "views must be a whole number"),
    (lambda ds: ds, {"rank": "0", "ranks": "2"}, "rank must be a whole number, at least 0, got '0'"),
    (lambda ds: ds.rename(window="trial"), {}, "these have trial, channel, time: rename them back"),
    (lambda ds: ds, {"target": {"age", "sex"}}, "target must be a label, a list of labels, a function or None"),
    (lambda ds: ds, {"target": np.array([1.5, 2])}, "a label to predict is given by its name, got np.float64"),
    (lambda ds: ds, {"target": "sex", "classes": "FM"}, "classes must be a list of names"),
    (
        lambda ds: ds,
        {"target": "sex", "classes": ["F", "F", "M"]},
        "classes must be different names, got 'F', 'F', 'M'",
    ),
    (
        lambda ds: ds.drop_vars("recording").load(),
        {"normalize": "recording"},
        "only where the label 'recording' names it",
    ),
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
    with pytest.raises(UsageError, match="'plain' would never come: by its weight"):
        len(MixedStream({"views": views, "plain": plain}, weights={"views": 1, "plain": 1e-6}))
    for transform in (lambda x: x[:, 0], lambda x: x.repeat(1, 3, 1), lambda x: {"x": x}):
        flat = WindowStream(windows.isel(channel=[4, 5]), 8, transform=transform)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=r"transform= of 'flat' gave .* for its 2 channels"):
            list(MixedStream({"flat": flat, "plain": plain}, collate="pad"))
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
    for split, told in (
        (lambda: eegzarr.split_by(windows, "channel"), "no label 'channel' to split by"),
        (lambda: eegzarr.split_by_subject([windows, windows]), "must be a Dataset of windows, got list"),  # type: ignore[arg-type]
        (lambda: eegzarr.split_by_subject(windows, seed=-1), "seed must be at least 0"),
        (lambda: eegzarr.split_by_release(windows, "R1"), "parts are a list of releases"),
        (lambda: eegzarr.split_by(windows, "sex", (0.2, 0.2, 0.6)), "2 values of 'sex' can't be split into 3 parts"),
    ):
        with pytest.raises(UsageError, match=told):
            split()
    one = windows.drop_vars("release").assign_coords(release="R1", session=("window", windows["run"].values))
    assert eegzarr.split_by_release(one, ["R1"])[0].sizes == windows.sizes
    first, second = eegzarr.split_by_session(one, [1, "2"])
    assert first.sizes["window"] + second.sizes["window"] == windows.sizes["window"]
    unknown = windows.assign_coords(age=("window", np.where(windows["sex"] == "F", np.nan, 9.0)))
    parts = eegzarr.split_by(unknown, "subject", (0.5, 0.5), stratify="age")
    assert sum(part.sizes["window"] for part in parts) == windows.sizes["window"]
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


def test_lightning_data_evaluates_each_window_once_with_the_training_parts_classes(windows: xr.Dataset) -> None:
    pytest.importorskip("lightning")
    from eegzarr.stream import LightningData

    loaded = windows.drop_attrs().load()  # of no lake any longer
    women = loaded.sel(window=loaded["sex"] == "F")
    data = LightningData(
        loaded, women, batch_size=8, target="sex", balance="sex", crop=0.5, random_crop=True, normalize="channel"
    )
    x, y = (torch.cat(parts) for parts in zip(*data.val_dataloader(), strict=True))  # type: ignore[arg-type]
    assert y.tolist() == [0] * women.sizes["window"]
    options = {"target": "sex", "classes": ["F", "M"], "crop": 0.5, "normalize": "channel", "statistics": loaded}
    torch.testing.assert_close(x, WindowDataset(women, **options)[:][0])  # type: ignore[arg-type]
