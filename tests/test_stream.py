"""WindowStream: every window once, in a reproducible order, from any selection."""

from __future__ import annotations

import inspect
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from fork_server import preloaded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import eegzarr
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import LakeError, UsageError
from eegzarr.recipes.recipe import Recipe, WindowSpan
from eegzarr.store.reading.local import LocalReader
from eegzarr.stream import WindowDataset
from eegzarr.stream.order import batch_count, block_order, crop_offsets, global_order, rank_batches
from eegzarr.stream.rows import RowOptions
from eegzarr.train import WindowStream


@pytest.fixture(scope="module")
def windows(sample_lake: Path) -> xr.Dataset:
    return eegzarr.open_windows(sample_lake, "challenge1")


@pytest.fixture(scope="module")
def signal(windows: xr.Dataset) -> np.ndarray:
    return windows["eeg"].values


def drain(stream) -> tuple[np.ndarray, np.ndarray]:
    batches = [(x.clone(), y) for x, y in stream]
    return torch.cat([x for x, _ in batches]).numpy(), torch.cat([y for _, y in batches]).numpy()


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_hold_the_windows_and_their_targets(shuffle: bool, windows: xr.Dataset, signal: np.ndarray) -> None:
    stream = WindowStream(windows, 32, shuffle=shuffle, seed=3)
    x, y = drain(stream)
    order = global_order(len(signal), 3, 0) if shuffle else np.arange(len(signal))
    np.testing.assert_array_equal(x, signal[order])
    np.testing.assert_array_equal(y, windows["target"].values[order])
    assert len(stream) == -(-len(signal) // 32)


def test_epochs_differ_and_repeat(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 64, shuffle=True, seed=1)
    orders = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        orders.append(drain(stream)[1].tolist())
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_workers_give_the_same_sequence(context: str, windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 32, shuffle=True, seed=5)
    expected = drain(stream)  # the parent has read from the lake before it forks
    stream.set_epoch(0)
    workers = 2 if context == "spawn" else 3
    loader = DataLoader(stream, batch_size=None, num_workers=workers, multiprocessing_context=context)
    with preloaded("eegzarr.stream.stream"):
        got = drain(loader)
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])


def test_set_epoch_reaches_workers_that_live_on(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 64, shuffle=True)
    loader = DataLoader(stream, batch_size=None, num_workers=1, persistent_workers=True)
    first = drain(loader)[1].tolist()
    stream.set_epoch(1)
    second = drain(loader)[1].tolist()
    stream.set_epoch(1)
    assert drain(stream)[1].tolist() == second != first


@pytest.mark.parametrize("selection", ["mask", "reversed", "labels", "few", "releases"])
def test_any_selection_streams(selection: str, windows: xr.Dataset, two_release_lake: Path) -> None:
    rng = np.random.default_rng(0)
    if selection == "mask":
        chosen = windows.sel(window=windows.rt_from_stimulus > 1.5)
    elif selection == "reversed":
        chosen = windows.isel(window=slice(None, None, -1))
    elif selection == "labels":
        chosen = windows.sel(window=[200, 3, 77])
    elif selection == "few":
        chosen = windows.isel(window=rng.permutation(windows.sizes["window"])[:41])
    else:
        both = eegzarr.open_windows(two_release_lake, "challenge1")
        chosen = both.isel(window=rng.permutation(both.sizes["window"]))
    x, y = drain(WindowStream(chosen, 16))
    np.testing.assert_array_equal(x, chosen["eeg"].values)
    np.testing.assert_array_equal(y, chosen["target"].values)


def test_windows_without_a_target_or_signal_are_left_out_and_counted(windows: xr.Dataset) -> None:
    target, valid = windows["target"].values.copy(), windows["valid"].values.copy()
    target[[2, 5]], valid[[5, 9, 11]] = np.nan, False
    damaged = windows.assign_coords(target=("window", target), valid=("window", valid))
    stream = WindowStream(damaged, 50)
    assert stream.left_out == {"no target": 1, "signal not readable": 3}
    assert stream.n_windows == len(target) - 4
    assert not np.isnan(drain(stream)[1]).any()


def test_another_label_can_be_the_target(windows: xr.Dataset) -> None:
    y = drain(WindowStream(windows, 50, target="age"))[1]
    np.testing.assert_array_equal(y, windows["age"].values)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_saved_stream_goes_on_with_the_next_batch(after: int, windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 32, shuffle=True, seed=2)
    stream.set_epoch(4)
    whole = [y.tolist() for _, y in stream]
    stream.set_epoch(4)
    batches = iter(stream)
    seen = [next(batches)[1].tolist() for _ in range(after)]
    state = pickle.loads(pickle.dumps(stream.state_dict()))
    batches.close()
    again = pickle.loads(pickle.dumps(WindowStream(windows, 32, shuffle=True, seed=2)))
    again.load_state_dict(state)
    assert seen + [y.tolist() for _, y in again] == whole


def test_a_batch_is_never_overwritten_while_anything_shares_its_memory(windows: xr.Dataset, signal: np.ndarray) -> None:
    order = global_order(len(signal), 0, 0)
    whole = [signal[order[first : first + 8]] for first in range(0, len(order), 8)]
    ways: list[Callable[[torch.Tensor], Any]] = [
        lambda x: x,
        lambda x: x[1:, :5],
        lambda x: x.numpy()[:, 3],
        lambda x: x.detach().view(-1),
    ]
    for way in ways:
        held = [way(x) for x, _ in WindowStream(windows, 8, shuffle=True, ahead=3)]
        for got, expected in zip(held, whole, strict=True):
            np.testing.assert_array_equal(got, way(torch.from_numpy(expected)))
    pairs = list(zip(WindowStream(windows, 8), WindowStream(windows, 8, shuffle=True), strict=True))
    for number, ((x, _), (shuffled, _)) in enumerate(pairs):
        np.testing.assert_array_equal(x, signal[8 * number : 8 * number + 8])
        np.testing.assert_array_equal(shuffled, whole[number])
    for number, (x, _) in enumerate(DataLoader(WindowStream(windows, 8, shuffle=True), batch_size=None)):
        np.testing.assert_array_equal(x, whole[number])


def test_memory_that_nobody_holds_is_used_again(windows: xr.Dataset) -> None:
    places = {x.data_ptr() for x, _ in WindowStream(windows, 8, shuffle=True, ahead=2)}
    assert len(places) <= 4


def test_the_reader_is_never_ahead_of_its_bound(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 32, shuffle=False, ahead=2)  # a batch a frame
    reader = stream._open_decoder().opened.readers[0]
    assert isinstance(reader, LocalReader)
    batches = iter(stream)
    for taken in range(1, 6):
        next(batches)
        read = np.flatnonzero(reader._addresses)
        assert 32 * taken <= len(read) <= 32 * (taken + 2)
        assert max(read) < 32 * (taken + 2)
    batches.close()


def test_a_damaged_frame_stops_the_epoch_with_its_name(sample_lake: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    shutil.copytree(sample_lake, lake)
    shard = lake / "challenge1/R1/eeg/c/3/0/0"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 4
    shard.write_bytes(content)
    with pytest.raises(LakeError, match=r"c/3/0/0, frame 0, is damaged"):
        drain(WindowStream(eegzarr.open_windows(lake, "challenge1"), 32))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"target": "mood"}, "no label 'mood'"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"uneven": "x"}, "uneven must be 'drop' or 'pad'"),
        ({"ranks": 2}, "rank is missing"),
        ({"rank": 1}, "ranks is missing"),
        ({"dtype": "float64"}, "dtype must be"),
        ({"clamp": 5.0}, "give normalize, too"),
        ({"batch_size": 10_000, "drop_last": True}, "larger than the selection"),
        ({"rank": 2, "ranks": 2}, "rank must be from 0 to 1"),
    ],
)
def test_what_cannot_be_streamed_is_said(change: dict, told: str, windows: xr.Dataset) -> None:
    with pytest.raises(UsageError, match=told):
        WindowStream(windows, **change)


@pytest.mark.parametrize("kind", [WindowStream, WindowDataset])
def test_every_option_of_rows_is_a_parameter_with_the_same_default(kind: type) -> None:
    parameters = inspect.signature(kind).parameters
    for option in fields(RowOptions):
        if option.name != "balance" or kind is WindowStream:  # a sampler's affair, beside a map-style dataset
            assert parameters[option.name].default == option.default, option.name
            assert parameters[option.name].annotation == option.type, option.name


def test_an_empty_selection_is_said(windows: xr.Dataset) -> None:
    with pytest.raises(UsageError, match="the selection is empty"):
        WindowStream(windows.isel(window=[]))
    with pytest.raises(UsageError, match=r"eegzarr.open_windows\(lake, recipe\)"):
        WindowStream("lake.zarr")


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 7), st.booleans(), st.sampled_from(["drop", "pad"]))
def test_ranks_share_out_the_batches_evenly(windows: int, size: int, ranks: int, drop_last: bool, uneven) -> None:
    batches = batch_count(windows, size, drop_last)
    shares = [rank_batches(batches, rank, ranks, uneven).tolist() for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    taken = sorted(number for share in shares for number in share)
    if uneven == "drop":
        assert taken == list(range(batches // ranks * ranks))
    elif batches:
        assert set(taken) == set(range(batches))
        assert len(taken) < batches + ranks


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(1, 50), st.integers(0, 3), st.integers(0, 3))
def test_orders_are_permutations_that_repeat(blocks: list[int], buffer: int, seed: int, epoch: int) -> None:
    block = np.repeat(np.arange(len(blocks)), blocks)
    for order in (block_order(block, seed, epoch, buffer), global_order(len(block), seed, epoch)):
        assert sorted(order.tolist()) == list(range(len(block)))
    assert block_order(block, seed, epoch, buffer).tolist() == block_order(block, seed, epoch, buffer).tolist()


@settings(max_examples=30)
@given(st.integers(0, 100))
def test_a_global_order_is_uniform(seed: int) -> None:
    first = np.array([global_order(5, seed, epoch)[0] for epoch in range(300)])
    assert np.bincount(first, minlength=5).min() > 20


def test_several_targets_or_a_function_of_the_labels(windows: xr.Dataset) -> None:
    y = drain(WindowStream(windows, 50, target=["target", "age"]))[1]
    np.testing.assert_array_equal(y, np.stack([windows["target"], windows["age"]], axis=1))
    y = drain(WindowStream(windows, 50, target=lambda labels: labels["target"] > 1.5))[1]
    np.testing.assert_array_equal(y, (windows["target"].values > 1.5).astype(np.float32))
    with pytest.raises(UsageError, match="must give a row for each"):
        WindowStream(windows, 50, target=lambda labels: [1.0])


def test_labels_come_beside_x_and_y(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 50, shuffle=True, with_labels=["subject", "age"])
    order = global_order(windows.sizes["window"], 0, 0)
    names = [name for _, _, labels in stream for name in labels["subject"]]
    assert names == windows["subject"].values[order].tolist()
    assert next(iter(stream))[2]["age"].dtype == torch.float32


def test_crops_are_random_in_training_and_central_in_evaluation(windows: xr.Dataset, signal: np.ndarray) -> None:
    central = drain(WindowStream(windows, 50, crop="1s"))[0]
    np.testing.assert_array_equal(central, signal[:, :, 50:150])
    stream = WindowStream(windows, 50, crop=1.0, random_crop=True, seed=4)
    first = drain(stream)[0]
    offsets = crop_offsets(len(signal), 100, 4, 0)
    for window, crop, offset in zip(signal, first, offsets, strict=True):
        np.testing.assert_array_equal(crop, window[:, offset : offset + 100])
    assert len(set(offsets.tolist())) > 50
    assert not np.array_equal(drain(stream)[0], first)  # the next epoch's
    stream.set_epoch(0)
    np.testing.assert_array_equal(drain(stream)[0], first)


@pytest.mark.parametrize("crop", ["3s", "0s", "long", -1])
def test_a_crop_that_cannot_be_is_said(crop: object, windows: xr.Dataset) -> None:
    with pytest.raises(UsageError, match=r"crop|duration"):
        WindowStream(windows, crop=crop)


def test_normalising_by_the_training_parts_channels(windows: xr.Dataset) -> None:
    train, valid, _ = eegzarr.split_by_subject(windows, (0.6, 0.2, 0.2))
    samples = train["eeg"].values.astype(float)
    mean, std = samples.mean(axis=(0, 2))[:, None], samples.std(axis=(0, 2))[:, None]
    std[std < 1e-5 * np.median(std)] = 1  # a flat channel, or what rounding leaves of one
    for part in (train, valid):
        x = drain(WindowStream(part, 50, normalize="channel", statistics=train))[0]
        np.testing.assert_allclose(x, (part["eeg"].values - mean) / std, rtol=1e-4, atol=1e-4)


def test_normalising_each_window(windows: xr.Dataset) -> None:
    x = drain(WindowStream(windows, 50, normalize="window"))[0]
    np.testing.assert_allclose(x.mean(axis=2), 0, atol=1e-4)
    np.testing.assert_allclose(x[:, :-1].std(axis=2), 1, rtol=1e-3)
    assert (x[:, -1] == 0).all()  # the reference stays zero


def test_rows_in_another_dtype(windows: xr.Dataset, signal: np.ndarray, sample_root: Path, tmp_path: Path) -> None:
    np.testing.assert_array_equal(drain(WindowStream(windows, 50, dtype="float16"))[0], signal.astype(np.float16))
    lake = tmp_path / "half.zarr"
    eegzarr.build_lake(sample_root, lake, recipe=CHALLENGE1, dtype="float16", workers=1)
    half = eegzarr.open_windows(lake, "challenge1")
    for dtype in ("float16", "float32"):
        x = drain(WindowStream(half, 50, dtype=dtype))[0]
        assert x.dtype == dtype
        np.testing.assert_array_equal(x, signal.astype(np.float16).astype(dtype))


def test_a_transform_is_applied_to_each_batch(windows: xr.Dataset, signal: np.ndarray) -> None:
    x = drain(WindowStream(windows, 50, transform=lambda x: x[:, ::2] * 2))[0]
    np.testing.assert_array_equal(x, signal[:, ::2] * 2)


def test_balanced_draws_give_each_subject_its_share(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 50, balance="subject", with_labels=["subject"])
    drawn = pd.Series([name for _, _, labels in stream for name in labels["subject"]]).value_counts()
    assert drawn.sum() == windows.sizes["window"]
    assert drawn.max() - drawn.min() <= 1
    assert len(drawn) == 6


def test_two_recipes_stream_together_if_their_shapes_agree(
    windows: xr.Dataset, signal: np.ndarray, sample_root: Path, sample_lake: Path, tmp_path: Path
) -> None:
    every = Recipe(
        name="rest", anchor="recording", span=WindowSpan(start=0, stop=2), stride=2, target="age", require=()
    )
    lake = tmp_path / "other.zarr"
    eegzarr.build_lake(sample_root, lake, recipe=every, workers=1)
    other = eegzarr.open_windows(lake, "rest")
    x, y = drain(WindowStream([windows, other], 64))
    np.testing.assert_array_equal(x[: len(signal)], signal)
    np.testing.assert_array_equal(x[len(signal) :], other["eeg"].values)
    np.testing.assert_array_equal(y[len(signal) :], other["age"].values)
    longer = Recipe(
        name="long", anchor="recording", span=WindowSpan(start=0, stop=4), stride=8, target="age", require=()
    )
    eegzarr.build_lake(sample_root, lake, recipe=longer, workers=1)
    with pytest.raises(UsageError, match="different shapes"):
        WindowStream([windows, eegzarr.open_windows(lake, "long")])


def test_block_shuffle_gives_every_window_once_from_whole_frames(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 32, shuffle="block", seed=1, memory=2 * 64 * 129 * 200 * 4)
    y = drain(stream)[1]
    assert sorted(y.tolist()) == sorted(windows["target"].values.tolist())
    quality = stream.shuffle_quality()
    assert 1 < quality.recordings <= quality.recordings_true + 1
    plain = WindowStream(windows, 32).shuffle_quality()
    assert plain.recordings < quality.recordings
    true = WindowStream(windows, 32, shuffle="global").shuffle_quality()
    assert true.recordings == pytest.approx(true.recordings_true, rel=0.1)
    assert abs(true.correlation) < 0.25


@pytest.mark.parametrize("shuffle", ["global", "block", False])
def test_beyond_memory_the_sequence_is_the_same(
    shuffle: bool | str, windows: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = WindowStream(windows, 16, shuffle=shuffle, seed=1)
    monkeypatch.setattr("eegzarr.stream.rows.machine_memory", lambda: 2**20)
    larger = WindowStream(windows, 16, shuffle=shuffle, seed=1)
    for epoch in range(2):
        fits.set_epoch(epoch)
        larger.set_epoch(epoch)
        for here, there in zip(drain(fits), drain(larger), strict=True):
            assert np.isfinite(here).all()
            np.testing.assert_array_equal(here, there)
    assert WindowStream(windows, 16, shuffle=True).shuffle == "block"


def test_the_shuffle_is_chosen_and_checked(windows: xr.Dataset) -> None:
    assert WindowStream(windows, shuffle=True).shuffle == "global"
    assert WindowStream(windows).shuffle is None
    with pytest.raises(UsageError, match="shuffle must be"):
        WindowStream(windows, shuffle="random")


def test_streams_that_share_subjects_are_refused_when_asked_to(windows: xr.Dataset) -> None:
    train, valid, _ = eegzarr.split_by_subject(windows, (0.6, 0.2, 0.2))
    stream = WindowStream(train, 16)
    assert WindowStream(valid, 16, disjoint_from=stream).n_windows > 0
    with pytest.raises(UsageError, match="also in the stream to train on"):
        WindowStream(windows, 16, disjoint_from=stream)


def test_leaving_an_epoch_early_begins_the_next_from_its_start(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 32, shuffle=True)
    whole = drain(stream)[1].tolist()
    stream.set_epoch(0)
    for number, _ in enumerate(stream):
        if number == 2:
            break
    assert drain(stream)[1].tolist() == whole


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_saved_stream_goes_on_on_another_number_of_ranks(ranks: int, windows: xr.Dataset) -> None:
    whole = [y.tolist() for _, y in WindowStream(windows, 16, shuffle=True, seed=2)]
    before = [WindowStream(windows, 16, shuffle=True, seed=2, rank=rank, ranks=2) for rank in range(2)]
    batches = [iter(stream) for stream in before]
    for _ in range(2):
        for iterator in batches:
            next(iterator)
    state = before[0].state_dict()
    assert state == before[1].state_dict()
    after: list[list[list[float]]] = []
    for rank in range(ranks):
        stream = WindowStream(windows, 16, shuffle=True, seed=2, rank=rank, ranks=ranks, uneven="pad")
        stream.load_state_dict(state)
        after.append([y.tolist() for _, y in stream])
    merged = [share[i] for i in range(max(map(len, after))) for share in after if i < len(share)]
    assert merged[: len(whole) - 4] == whole[4:]


@pytest.mark.parametrize("workers", [0, 2])
def test_torchdatas_stateful_loader_resumes_in_mid_epoch(workers: int, windows: xr.Dataset) -> None:
    def loader() -> StatefulDataLoader:
        return StatefulDataLoader(WindowStream(windows, 16, shuffle=True, seed=6), batch_size=None, num_workers=workers)

    whole = [y.tolist() for _, y in loader()]
    first = loader()
    batches = iter(first)
    seen = [next(batches)[1].tolist() for _ in range(5)]
    state = pickle.loads(pickle.dumps(first.state_dict()))
    again = loader()
    again.load_state_dict(state)
    assert seen + [y.tolist() for _, y in again] == whole


def one_rank(rank: int, rendezvous: str, lake: str, found) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    stream = WindowStream(eegzarr.open_windows(lake, "challenge1"), 16, shuffle=True, seed=9, uneven="pad")
    found.put((rank, [y.tolist() for _, y in stream]))
    torch.distributed.destroy_process_group()


def test_two_real_ranks_share_one_epoch(windows: xr.Dataset, sample_lake: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    ranks = [
        context.Process(target=one_rank, args=(rank, str(tmp_path / "rendezvous"), str(sample_lake), found))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    shares = dict(found.get(timeout=90) for _ in ranks)
    for process in ranks:
        process.join()
    whole = [y.tolist() for _, y in WindowStream(windows, 16, shuffle=True, seed=9)]
    assert len(shares[0]) == len(shares[1])
    merged = [share[i] for i in range(len(shares[0])) for share in (shares[0], shares[1])]
    assert merged[: len(whole)] == whole
