"""What xarray has selected is what comes: held against plain xarray, whatever was selected, and however it is read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import eegzarr
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import LakeError, UsageError
from eegzarr.exchange.write import GivenWindows, write_windows
from eegzarr.stream.dataset import WindowDataset
from eegzarr.stream.order import global_order
from eegzarr.stream.stream import WindowStream


@pytest.fixture(scope="module")
def lake(two_release_lake: Path, sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Releases whose shards, frames and types differ: R1 and R2 of float32, others of float16 and int16."""
    lake = Path(shutil.copytree(two_release_lake, tmp_path_factory.mktemp("lakes") / "lake.zarr"))
    options = {"recipe": CHALLENGE1, "workers": 1}
    eegzarr.build_lake(sample_root, lake, name="half", dtype="float16", shard_size=2**18, **options)
    eegzarr.build_lake(sample_root, lake, name="integers", dtype="int16", step=0.1, shard_size=2**20, **options)
    eegzarr.build_lake(sample_root, lake, name="small", shard_size=2**19, **options)
    return lake


@pytest.fixture(scope="module")
def plain(lake: Path) -> dict[str, xr.Dataset]:
    """Each release by plain xarray, in memory."""
    return {
        name: xr.open_zarr(lake, group=f"challenge1/{name}", chunks=None).load()
        for name in ("R1", "R2", "half", "integers", "small")
    }


def axis(size: int) -> st.SearchStrategy:
    number = st.integers(-size, size - 1)
    slices = st.slices(size).filter(lambda part: len(range(*part.indices(size))) > 0)
    return st.one_of(st.just(slice(None)), slices, st.lists(number, min_size=1, max_size=9))


@settings(max_examples=25)
@given(st.data())
def test_any_selection_is_streamed_as_plain_xarray_has_it(
    lake: Path, plain: dict[str, xr.Dataset], data: st.DataObject
) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(plain)), min_size=1, max_size=3))
    channel, time = data.draw(axis(129)), data.draw(axis(200))
    parts, expected = [], []
    for name in names:
        opened = eegzarr.open_windows(lake, "challenge1", [name])
        window = data.draw(axis(opened.sizes["window"]))
        parts.append(opened.isel(window=window, channel=channel, time=time))
        expected.append(plain[name].isel(window=window, channel=channel, time=time))
    eeg = np.concatenate([part["eeg"].values.astype(np.float32) for part in expected])
    target = np.concatenate([part["target"].values for part in expected])
    joined = data.draw(st.sampled_from(["datasets", "concat"]))
    windows: xr.Dataset | list[xr.Dataset] = parts
    if joined == "concat" and len({opened.eeg.dtype for opened in parts}) == 1:
        windows = xr.concat(parts, "window", data_vars="minimal", coords="minimal", compat="override", join="override")
        windows = windows.assign_coords(window=np.arange(len(eeg))[::-1])
    shuffle, seed = data.draw(st.booleans()), data.draw(st.integers(0, 9))
    stream = WindowStream(windows, data.draw(st.integers(1, 70)), shuffle="global" if shuffle else False, seed=seed)
    batches = list(stream)
    order = global_order(len(eeg), seed, 0) if shuffle else np.arange(len(eeg))
    np.testing.assert_array_equal(torch.cat([x for x, _ in batches]).numpy(), eeg[order])
    np.testing.assert_array_equal(torch.cat([y for _, y in batches]).numpy(), target[order])


@settings(max_examples=8)
@given(st.data())
def test_options_hold_for_any_selection(lake: Path, plain: dict[str, xr.Dataset], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["R1", "half", "integers"]))
    channel = data.draw(st.permutations(range(129)).map(lambda numbers: sorted(numbers[:3]) + numbers[3:5]))
    crop = data.draw(st.sampled_from([None, 0.5]))
    normalize = data.draw(st.sampled_from([None, "channel", "window", "recording"]))
    dtype = data.draw(st.sampled_from(["float32", "float16"]))
    chosen = eegzarr.open_windows(lake, "challenge1", [name]).isel(window=slice(20, 60), channel=channel)
    x = torch.cat(
        [x for x, _ in WindowStream(chosen, 16, crop=crop, normalize=normalize, dtype=dtype)]  # type: ignore[arg-type]
    ).numpy()
    stored = plain[name].isel(channel=channel)
    eeg = stored["eeg"].values.astype(np.float64)
    recording = stored["recording"].values
    own, rows = eeg[20:60], recording[20:60]
    if normalize == "window":
        cropped = own[..., 75:125] if crop else own
        mean, std = cropped.mean(axis=2, keepdims=True), cropped.std(axis=2, keepdims=True)
    elif normalize == "recording":
        mean = np.stack([eeg[recording == row].mean(axis=(0, 2)) for row in rows])[..., None]
        std = np.stack([eeg[recording == row].std(axis=(0, 2)) for row in rows])[..., None]
    else:
        pooled = eeg[np.isin(recording, rows)]
        mean, std = pooled.mean(axis=(0, 2))[:, None], pooled.std(axis=(0, 2))[:, None]
    expected = own[..., 75:125] if crop else own
    if normalize:
        expected = (expected - mean) / np.where(std > 1e-4, std, 1)  # Cz is flat but for rounding
    tolerance = 2e-3 if dtype == "float16" else 2e-4
    np.testing.assert_allclose(x, expected, rtol=tolerance, atol=tolerance * (1 if normalize else 50))


def test_signals_that_were_changed_come_as_they_are_or_not_at_all(lake: Path) -> None:
    windows = eegzarr.open_windows(lake, "challenge1", ["R1"]).isel(window=slice(30))
    changed = windows.assign(eeg=windows["eeg"] - windows["eeg"].mean("channel"))
    for one in (
        changed,
        windows.assign(eeg=windows["eeg"].clip(-5, 5)),
        windows.assign(eeg=windows["eeg"].shift(time=3)),
    ):
        with pytest.raises(UsageError, match=r"changed or given other dimensions after they were opened.*\.load\(\)"):
            WindowStream(one, 8)
        loaded = one.assign(eeg=one["eeg"].compute())
        x = torch.cat([x for x, _ in WindowStream(loaded.isel(channel=[5, 3]), 8)]).numpy()
        np.testing.assert_array_equal(x, loaded["eeg"].isel(channel=[5, 3]).values)
    mean, std = changed["eeg"].values.mean(axis=(0, 2)), changed["eeg"].values.std(axis=(0, 2))
    x = torch.cat([x for x, _ in WindowStream(changed.load(), 8, normalize="channel", clamp=1.5)]).numpy()
    expected = (changed["eeg"].values - mean[:, None]) / std[:, None]
    np.testing.assert_allclose(x, np.clip(expected, -1.5, 1.5), rtol=1e-3, atol=1e-3)


def test_numbers_given_anew_to_filtered_windows_change_no_window(lake: Path) -> None:
    windows = eegzarr.open_windows(lake, "challenge1", ["R1"])
    fast = windows.sel(window=windows["rt_from_stimulus"] < 1.2)
    renumbered = fast.assign_coords(window=np.arange(fast.sizes["window"]))
    x = torch.cat([x for x, _ in WindowStream(renumbered, 16)]).numpy()
    np.testing.assert_array_equal(x, fast["eeg"].values)
    labels = {name: ("window", np.roll(windows[name].values, 1)) for name in ("recording", "start", "target")}
    with pytest.raises(UsageError, match="labels and signals are of different windows"):
        WindowStream(windows.assign_coords(labels), 16)


def test_a_dimension_that_is_gone_is_said(lake: Path) -> None:
    windows = eegzarr.open_windows(lake, "challenge1", ["R1"])
    for gone in ({"window": 3}, {"channel": 0}, {"time": 5}):
        with pytest.raises(UsageError, match=r"select with lists, such as \.isel\(window=\[3\]\)"):
            WindowStream(windows.isel(gone), 16)


def test_datasets_are_aligned_by_the_names_of_their_channels_or_refused(
    lake: Path, plain: dict[str, xr.Dataset]
) -> None:
    first = eegzarr.open_windows(lake, "challenge1", ["R1"]).isel(window=slice(40))
    second = eegzarr.open_windows(lake, "challenge1", ["R2"])
    backwards = second.isel(channel=slice(None, None, -1))
    x = torch.cat([x for x, _ in WindowStream([first, backwards], 16, normalize="channel")]).numpy()
    for part, own in ((first, x[:40]), (second, x[40:])):
        samples = plain[str(part["release"].values[0])]
        eeg = samples["eeg"].values[np.isin(samples["recording"].values, part["recording"].values)].astype(float)
        mean, std = eeg.mean(axis=(0, 2))[:, None], eeg.std(axis=(0, 2))[:, None]
        expected = (part["eeg"].values - mean) / np.where(std > 1e-4, std, 1)
        np.testing.assert_allclose(own, expected, rtol=1e-3, atol=1e-3)
    with pytest.raises(UsageError, match="different channels"):
        WindowStream([first, second.isel(channel=slice(128))], 16)
    with pytest.raises(UsageError, match="different shapes"):
        WindowStream([first, second.isel(time=slice(100))], 16)
    with pytest.raises(UsageError, match="100 Hz and at 50 Hz"):
        WindowStream([first.isel(time=slice(100)), second.isel(time=slice(None, None, 2))], 16)


def test_what_float16_cannot_hold_is_refused(lake: Path) -> None:
    windows = eegzarr.open_windows(lake, "challenge1", ["R1"]).isel(window=slice(40)).load()
    windows["eeg"][7] += 70_000
    assert np.isfinite(torch.cat([x for x, _ in WindowStream(windows, 16)]).numpy()).all()
    with pytest.raises(UsageError, match=r"window 7 of .*float16 can't hold"):
        list(WindowStream(windows, 16, dtype="float16"))


def test_infinite_targets_are_left_out_and_counted(lake: Path) -> None:
    windows = eegzarr.open_windows(lake, "challenge1", ["R1"])
    target = windows["target"].values.copy()
    target[[3, 8]] = np.inf
    stream = WindowStream(windows.assign_coords(target=("window", target)), 16)
    assert stream.left_out == {"no target": 0, "signal not readable": 0, "target not finite": 2}


@pytest.fixture
def copied(sample_lake: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_lake, tmp_path / "lake.zarr"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_lake_that_was_built_anew_while_it_was_open_is_refused(workers: int, copied: Path) -> None:
    windows = eegzarr.open_windows(copied, "challenge1")
    stream = WindowStream(windows, 32)
    loader = DataLoader(stream, batch_size=None, num_workers=workers)
    assert len(list(loader)) == len(stream)
    metadata = copied / "challenge1/R1/zarr.json"
    changed = json.loads(metadata.read_text())
    changed["attributes"]["plan_digest"] = "0" * 64
    metadata.write_text(json.dumps(changed))
    for again in (loader, WindowStream(windows, 32)):
        with pytest.raises(LakeError, match="was rebuilt while it was open"):
            list(again)
    with pytest.raises(LakeError, match="was rebuilt while it was open"):
        windows["eeg"][:3].values  # noqa: B018  # reading is what fails


def test_a_shard_that_is_written_to_between_epochs_is_refused(copied: Path) -> None:
    stream = WindowStream(eegzarr.open_windows(copied, "challenge1"), 32)
    list(stream)
    shards = [copied / f"challenge1/R1/eeg/c/{number}/0/0" for number in (1, 2)]
    shutil.copyfile(shards[0], shards[1])  # in place, and sound in itself
    with pytest.raises(LakeError, match="c/2/0/0 was written to"):
        list(stream)


@pytest.mark.parametrize("kind", ["truncated", "copied over"])
def test_xarray_refuses_a_shard_that_has_changed_since_it_was_read(kind: str, copied: Path) -> None:
    windows = eegzarr.open_windows(copied, "challenge1", ["R1"])
    windows["eeg"][:3].load()
    shard = copied / "challenge1/R1/eeg/c/0/0/0"
    content = shard.read_bytes()
    shard.write_bytes(content[:5000] if kind == "truncated" else content[::-1])
    with pytest.raises(LakeError, match="was written to while it was read"):
        windows["eeg"][:3].load()
    assert windows["eeg"][-3:].load().notnull().all()  # of another shard


def test_a_truncated_shard_is_named(copied: Path) -> None:
    shard = copied / "challenge1/R1/eeg/c/1/0/0"
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(LakeError, match="c/1/0/0 is damaged"):
        list(WindowStream(eegzarr.open_windows(copied, "challenge1"), 32))
    shard.write_bytes(b"")
    with pytest.raises(LakeError, match="c/1/0/0 can't be read: it is empty"):
        list(WindowStream(eegzarr.open_windows(copied, "challenge1"), 32))


def write_numbered(lake: Path, count: int, shard_size: int) -> None:
    """Write tiny windows, (window, 2, 8): all samples of window n are n + 0.5."""

    def read(first: int, out: np.ndarray) -> None:
        out[:] = (first + np.arange(len(out)) + 0.5)[:, None, None]

    number = np.arange(count)
    labels = pd.DataFrame({"recording": number // 100, "subject": "01", "target": number.astype(float)})
    numbered = GivenWindows(
        source="test",
        channels=("Cz", "Pz"),
        sfreq=100.0,
        start=0.0,
        n_times=8,
        labels=labels,
        fingerprint="1",
        read=read,
    )
    write_windows(lake, "many", "R", numbered, shard_size=shard_size)


@pytest.mark.parametrize("kind", ["truncated", "copied over"])
def test_a_shard_that_changes_in_mid_epoch_is_named_before_its_next_frame_is_read(kind: str, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    write_numbered(lake, 5000, shard_size=2**17)  # two frames of 1,024 windows a shard
    dataset = WindowDataset(eegzarr.open_windows(lake, "many"))
    assert dataset[0][0][0, 0] == 0.5  # the shard is mapped, and its first frame read
    shards = [lake / f"many/R/eeg/c/{number}/0/0" for number in (0, 1)]
    if kind == "truncated":
        os.truncate(shards[0], 100)
    else:
        shutil.copyfile(shards[1], shards[0])
    with pytest.raises(LakeError, match="c/0/0/0 was written to while it was read: open the lake again"):
        dataset[1500]


MANY_SHARDS = """
import sys, numpy as np, torch, eegzarr
from torch.utils.data import DataLoader
from eegzarr.stream import WindowDataset, WindowStream
windows = eegzarr.open_windows(sys.argv[1], "many")
assert len(windows.eeg.chunks[0]) == 1100
expected = (np.arange(1100) + 0.5)[:, None, None] + np.zeros((2, 8))
for seed, workers in ((0, 0), (1, 1)):
    stream = WindowStream(windows, 50, shuffle="global", seed=seed, threads=2)
    batches = list(DataLoader(stream, batch_size=None, num_workers=workers))
    x, y = (torch.cat(parts).numpy() for parts in zip(*batches))
    assert sorted(y.tolist()) == list(range(1100))
    np.testing.assert_array_equal(x, expected[y.astype(int)])
np.testing.assert_array_equal(WindowDataset(windows)[:][0].numpy(), expected)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no ulimit")
def test_1100_shards_stream_under_256_file_descriptors(tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    write_numbered(lake, 1100, shard_size=64)  # a window a shard
    limited = ["sh", "-c", 'ulimit -n 256 && exec "$0" "$@"']
    subprocess.run([*limited, sys.executable, "-c", MANY_SHARDS, str(lake)], check=True, timeout=120)
