"""WindowDataset and MixedStream: windows by number, and streams in turns."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from fork_server import preloaded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset, WeightedRandomSampler, random_split
from torchdata.stateful_dataloader import StatefulDataLoader

import eegzarr
from eegzarr.errors import UsageError
from eegzarr.stream import MixedStream, WindowDataset, WindowStream


@pytest.fixture(scope="module")
def windows(sample_lake: Path) -> xr.Dataset:
    return eegzarr.open_windows(sample_lake, "challenge1").isel(window=slice(None, None, -2), channel=[7, 3, 128])


@pytest.fixture(scope="module")
def signal(windows: xr.Dataset) -> np.ndarray:
    return windows["eeg"].values


@settings(max_examples=30)
@given(st.data())
def test_windows_by_number_are_those_of_numpy(windows: xr.Dataset, signal: np.ndarray, data: st.DataObject) -> None:
    dataset = WindowDataset(windows)
    count = len(dataset)
    assert count == len(signal)
    number = st.integers(-count, count - 1)
    key = data.draw(st.one_of(number, st.lists(number, max_size=9), st.slices(count)))
    kind = (
        data.draw(st.sampled_from([lambda key: key, np.asarray, torch.tensor])) if not isinstance(key, slice) else None
    )
    x, y = dataset[kind(key) if kind and key != [] else key]
    key = np.array(key, int) if isinstance(key, list) else key
    np.testing.assert_array_equal(x, signal[key])
    np.testing.assert_array_equal(y, windows["target"].values[key])


def test_a_plain_loop_ends_and_wrong_keys_are_said(windows: xr.Dataset) -> None:
    dataset = WindowDataset(windows.isel(window=slice(5)))
    assert len([x for x, _ in dataset]) == 5  # by __getitem__ alone
    np.testing.assert_array_equal(dataset[np.array([True, False, True, False, False])][0], dataset[[0, 2]][0])
    with pytest.raises(IndexError, match="no window 5: the dataset has 5"):
        dataset[5]
    for key in ("first", 1.5, [1.5]):
        with pytest.raises(UsageError, match="windows are taken by"):
            dataset[key]


@pytest.mark.parametrize(("workers", "context"), [(0, None), (2, "fork"), (1, "spawn"), (1, "forkserver")])
def test_pytorchs_samplers_subsets_and_splits_work(
    workers: int, context: str | None, windows: xr.Dataset, signal: np.ndarray
) -> None:
    dataset = WindowDataset(windows, with_labels=["subject"])
    np.testing.assert_array_equal(dataset[3][0], signal[3])  # it is open when workers fork
    options = {"num_workers": workers, "multiprocessing_context": context}
    with preloaded("eegzarr.stream.stream"):
        x = torch.cat([x for x, _, _ in DataLoader(Subset(dataset, [5, 2, 9]), 2, **options)])
    np.testing.assert_array_equal(x, signal[[5, 2, 9]])
    if workers < 2:
        return
    shuffled = [y for _, y, _ in DataLoader(dataset, 32, shuffle=True, **options)]
    assert sorted(torch.cat(shuffled).tolist()) == sorted(windows["target"].values.tolist())
    halves = random_split(dataset, [0.5, 0.5], torch.Generator().manual_seed(0))
    seen = [y for half in halves for _, y, _ in DataLoader(half, 32, **options)]
    assert sorted(torch.cat(seen).tolist()) == sorted(windows["target"].values.tolist())
    weights = (windows["subject"].values == windows["subject"].values[0]).astype(float)
    sampler = WeightedRandomSampler(weights.tolist(), 20)
    drawn = {name for _, _, labels in DataLoader(dataset, 5, sampler=sampler, **options) for name in labels["subject"]}
    assert drawn == {windows["subject"].values[0]}


def test_a_dataset_is_small_to_send(windows: xr.Dataset) -> None:
    assert len(pickle.dumps(WindowDataset(windows))) < 4_000 + 40 * windows.sizes["window"]


def test_skorch_and_braindecode_fit_it(windows: xr.Dataset) -> None:
    from braindecode import EEGClassifier, EEGRegressor
    from skorch.helper import predefined_split

    few = windows.isel(window=slice(24))
    sides = few.assign_coords(side=("window", np.where(few["target"] > 1.5, "slow", "fast")))
    dataset = WindowDataset(sides, target="side", normalize="window")
    assert dataset.classes == ("fast", "slow")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(600, 2))
    held_out = predefined_split(dataset)
    classifier = EEGClassifier(net, max_epochs=1, batch_size=8, train_split=held_out, classes=[0, 1], verbose=0)
    classifier.fit(dataset, y=None)
    assert classifier.predict(dataset).shape == (24,)
    regressor = EEGRegressor(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(600, 1), torch.nn.Flatten(0)),
        max_epochs=1,
        batch_size=8,
        train_split=None,
        verbose=0,
    )
    regressor.fit(WindowDataset(few), y=None)
    assert np.isfinite(regressor.predict(WindowDataset(few))).all()


def mixture(windows: xr.Dataset, **options: object) -> MixedStream:
    first = WindowStream(windows.isel(window=slice(40)), 8, shuffle=True, seed=1)
    second = WindowStream(windows.isel(window=slice(40, 110), channel=[0], time=slice(50)), 10, target=None, seed=2)
    return MixedStream({"a": first, "b": second}, **options)  # type: ignore[arg-type]


def test_a_mixture_gives_each_window_once_and_each_batch_of_one_stream(windows: xr.Dataset) -> None:
    mixed = mixture(windows, seed=3)
    batches = list(mixed)
    assert Counter(name for name, _ in batches) == {"a": 5, "b": 7}
    assert len(mixed) == 12
    own = WindowStream(windows.isel(window=slice(40)), 8, shuffle=True, seed=1)
    for (x, y), (_, (x_mixed, y_mixed)) in zip(own, [one for one in batches if one[0] == "a"], strict=True):
        assert torch.equal(x, x_mixed)
        assert torch.equal(y, y_mixed)
    plain = torch.cat([batch for name, batch in batches if name == "b"]).numpy()
    np.testing.assert_array_equal(plain, windows["eeg"].isel(window=slice(40, 110), channel=[0], time=slice(50)).values)
    second = [name for name, _ in mixed]
    assert second != [name for name, _ in batches]
    assert [name for name, _ in mixture(windows, seed=3)] == [name for name, _ in batches]


def test_weights_are_kept_and_all_windows_come_in_the_long_run(windows: xr.Dataset) -> None:
    mixed = mixture(windows, weights={"a": 2, "b": 1})
    epochs = [list(mixed) for _ in range(7)]
    assert Counter(name for name, _ in epochs[0]) == {"a": 8, "b": 4}
    drawn = [batch[:, 0, 0].tolist() for epoch in epochs for name, batch in epoch if name == "b"]
    seen = Counter(value for values in drawn for value in values)
    assert set(seen.values()) == {4}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mixture_resumes_in_mid_epoch(workers: int, windows: xr.Dataset) -> None:
    def loader() -> StatefulDataLoader:
        return StatefulDataLoader(mixture(windows, seed=5), batch_size=None, num_workers=workers)

    def told(batch: tuple) -> tuple[str, float]:
        name, given = batch
        return name, float((given[0] if name == "a" else given)[0, 0, 0])

    whole = [told(batch) for batch in loader()]
    first = loader()
    batches = iter(first)
    seen = [told(next(batches)) for _ in range(5)]
    state = pickle.loads(pickle.dumps(first.state_dict()))
    again = loader()
    again.load_state_dict(state)
    assert seen + [told(batch) for batch in again] == whole


def test_padded_batches_have_a_mask_and_names(windows: xr.Dataset) -> None:
    for name, batch in mixture(windows, collate="pad"):
        assert batch.x.shape[1:] == (3, 200)
        channels, times = (3, 200) if name == "a" else (1, 50)
        assert batch.mask.sum() == channels * times
        assert not batch.x[:, ~batch.mask].any()
        assert batch.channels == tuple(windows["channel"].values[:channels])
        assert batch.positions[:channels].isfinite().all()
        assert batch.positions[channels:].isnan().all()


def test_mixtures_that_make_no_sense_are_said(windows: xr.Dataset) -> None:
    with pytest.raises(UsageError, match="at least one stream"):
        MixedStream({})
    with pytest.raises(UsageError, match="weights are for a; the streams are a, b"):
        mixture(windows, weights={"a": 1})
    with pytest.raises(UsageError, match="must be above 0"):
        mixture(windows, weights={"a": 1, "b": 0})
    saved = mixture(windows, seed=1).state_dict()
    with pytest.raises(UsageError, match="had other seed"):
        mixture(windows, seed=2).load_state_dict(saved)


TORCH_ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"mne", "braindecode", "numba", "llvmlite", "matplotlib", "skorch", "torchaudio"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import eegzarr
from eegzarr.stream import MixedStream, WindowDataset, WindowStream
windows = eegzarr.open_windows(sys.argv[1], "challenge1")
stream = WindowStream(windows, 32, shuffle=True, normalize="channel")
assert sum(len(y) for _, y in stream) == len(WindowDataset(windows))
assert "distributed" not in sys.modules
"""


def test_streaming_needs_torch_alone(sample_lake: Path) -> None:
    subprocess.run([sys.executable, "-c", TORCH_ALONE, str(sample_lake)], check=True, timeout=120)
