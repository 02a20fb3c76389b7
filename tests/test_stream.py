"""WindowStream: every window once, in a reproducible order, from any selection."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import eegzarr
from eegzarr.errors import LakeError, UsageError
from eegzarr.train import WindowStream
from eegzarr.train.order import batch_count, block_order, global_order, rank_batches


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
    workers = 3 if context == "fork" else 2
    loader = DataLoader(stream, batch_size=None, num_workers=workers, multiprocessing_context=context)
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


def test_a_batch_stays_as_it_is_until_enough_further_ones_are_asked_for(windows: xr.Dataset) -> None:
    kept = WindowStream(windows, 8, shuffle=True, keep=3, ahead=2)
    batches = iter(kept)
    held = next(batches)[0]
    before = held.clone()
    next(batches)
    next(batches)
    assert torch.equal(held, before)
    batches.close()
    copied = [x for x, _ in WindowStream(windows, 8, shuffle=True, copy=True)]
    assert len({x.data_ptr() for x in copied}) == len(copied)


def test_the_reader_is_never_ahead_of_its_bound(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 4, shuffle=False, ahead=2)
    read: list[int] = []
    stream._open_readers()
    reader = stream._readers[0]
    plain = reader.read_into
    reader.read_into = lambda window, row: (read.append(window), plain(window, row))[1]  # type: ignore[method-assign]
    batches = iter(stream)
    for taken in range(1, 6):
        next(batches)
        assert max(read) < (taken + 2) * 4
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
        ({"target": "subject"}, "holds text"),
        ({"batch_size": 10_000, "drop_last": True}, "larger than the selection"),
        ({"rank": 2, "ranks": 2}, "rank must be from 0 to 1"),
    ],
)
def test_what_cannot_be_streamed_is_said(change: dict, told: str, windows: xr.Dataset) -> None:
    with pytest.raises(UsageError, match=told):
        WindowStream(windows, **change)


def test_an_empty_selection_is_said(windows: xr.Dataset) -> None:
    with pytest.raises(UsageError, match="the selection is empty"):
        WindowStream(windows.isel(window=[]))
    with pytest.raises(UsageError, match="don't say where they are stored"):
        WindowStream(windows.drop_attrs())


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
