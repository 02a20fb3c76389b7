"""Crops at any offset of whole recordings: every place that is one, no place that is none."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pytest
import torch
from conftest import SMALL_SHARDS
from test_continuous import bids, write_fif
from test_stretches import NAMES, RATE, interrupted, noise

import eegzarr
from eegzarr.cut.api import cut_lake
from eegzarr.errors import UsageError
from eegzarr.stream import WindowStream


@pytest.fixture(scope="module")
def lake(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole recordings and challenge 1 cut from them."""
    lake = tmp_path_factory.mktemp("anywhere") / "lake.zarr"
    eegzarr.build_lake(sample_root, lake, recipe="continuous", workers=1, shard_size=SMALL_SHARDS)
    cut_lake(lake, "challenge1")
    return lake


def lines(lake: Path, recipe: str = "continuous") -> dict[int, np.ndarray]:
    """The samples of each recording, (channel, time), as plain xarray has them."""
    tiles = eegzarr.open_windows(lake, recipe)
    recording = tiles.recording.to_numpy()
    return {
        row: np.concatenate(list(tiles.eeg[np.flatnonzero(recording == row)].to_numpy()), axis=1)
        for row in np.unique(recording).tolist()
    }


def place_of(x: np.ndarray, line: np.ndarray) -> int:
    """The sample of a recording at which a crop begins, by its first channel."""
    found = np.flatnonzero(line[0, : line.shape[1] - x.shape[1] + 1] == x[0, 0])
    return next(int(at) for at in found if np.array_equal(line[:, at : at + x.shape[1]], x))


@pytest.mark.parametrize("shuffle", [False, "global", "block"])
def test_crops_come_from_anywhere_in_their_recording(lake: Path, shuffle: bool | str) -> None:
    ds = eegzarr.open_windows(lake, "continuous").isel(channel=[5, 0, 128])
    stream = WindowStream(ds, 50, target=None, crop="3s", anywhere=True, shuffle=shuffle, with_labels=["recording"])
    known = {row: line[[5, 0, 128]] for row, line in lines(lake).items()}
    first, second = ([(x, labels["recording"].tolist()) for x, labels in stream] for _ in range(2))
    places: list[int] = []
    for x, rows in first:
        assert x.shape[1:] == (3, 300)
        places += [place_of(one.numpy(), known[row]) for one, row in zip(x, rows, strict=True)]
    assert len(places) == ds.sizes["window"]  # also of the last tiles, which aren't full
    assert len({place % 200 for place in places}) > 150  # not where tiles begin
    assert not torch.equal(first[0][0], second[0][0])  # another epoch, other crops
    again = WindowStream(ds, 50, target=None, crop="3s", anywhere=True, shuffle=shuffle)
    torch.testing.assert_close(next(iter(again)), first[0][0], rtol=0, atol=0)


def test_views_are_crops_of_one_recording(lake: Path) -> None:
    ds = eegzarr.open_windows(lake, "challenge1")
    stream = WindowStream(ds, 32, crop="0.5s", anywhere=True, views=2, with_labels=["recording"])
    table = eegzarr.open_windows(lake, "continuous")
    rows_of = {
        (subject, run): row
        for subject, task, run, row in zip(
            table.subject.to_numpy(),
            table.task.to_numpy(),
            table.run.to_numpy(),
            table.recording.to_numpy(),
            strict=True,
        )
        if task == "contrastChangeDetection"
    }
    known = lines(lake)
    x, y, _ = next(iter(stream))
    assert x.shape == (32, 2, 129, 50)
    for number in range(0, 32, 5):
        window = ds.isel(window=np.flatnonzero(np.isfinite(ds.target.to_numpy()))[number])
        line = known[rows_of[str(window.subject.item()), str(window.run.item())]]
        one, other = (place_of(view.numpy(), line) for view in x[number])
        assert one != other
        assert float(window.target) == pytest.approx(float(y[number]))
    with pytest.raises(UsageError, match="views of one recording are random crops"):
        WindowStream(ds, views=2)
    within = WindowStream(ds, 32, crop="0.5s", random_crop=True, views=3)
    (x, _), *_ = within
    whole = ds.eeg[np.flatnonzero(np.isfinite(ds.target.to_numpy()))[:32]].to_numpy()
    for number in (0, 31):
        assert all(0 <= place_of(view.numpy(), whole[number]) <= 150 for view in x[number])


def test_no_crop_crosses_a_gap_a_join_or_a_bad_time(tmp_path: Path) -> None:
    roots = {
        "gaps": bids(tmp_path / "gaps", lambda path: interrupted(path, [0.0, 1.0, 2.0, 6.5, 7.5])),
        "joins": bids(tmp_path / "joins", write_fif, ".fif"),
    }
    legal = {"gaps": {*range(101), *range(650, 651)}, "joins": {*range(101), *range(400, 2801), *range(3000, 4801)}}
    legal["gaps"] = {*range(101), 650}
    for name, root in roots.items():
        lake = tmp_path / f"{name}.zarr"
        eegzarr.build_lake(root, lake, recipe="continuous", workers=1)
        line = lines(lake)[0]
        ds = eegzarr.open_windows(lake, "continuous")
        assert (len(NAMES), RATE) == (line.shape[0], int(ds.attrs["sampling_rate"]))
        stream = WindowStream(ds, 8, target=None, crop="2s", anywhere=True, views=40)
        places = [place_of(view.numpy(), line) for x in stream for views in x for view in views]
        assert set(places) <= legal[name]
        assert len(set(places)) > 20


def test_what_cannot_be_taken_from_anywhere_is_refused(lake: Path, sample_lake: Path) -> None:
    ds = eegzarr.open_windows(lake, "continuous")
    with pytest.raises(UsageError, match="holds windows"):
        WindowStream(eegzarr.open_windows(sample_lake, "challenge1"), crop="1s", anywhere=True)
    with pytest.raises(UsageError, match="are in memory"):
        WindowStream(ds.isel(window=slice(4)).load(), target=None, anywhere=True)
    with pytest.raises(UsageError, match=r"no window to give: .* recording shorter than the crop"):
        WindowStream(ds, target=None, crop="900s", anywhere=True)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole recordings in tiles of 2 s, as int16: longer than a tile, shorter, with a bad time, beyond the range."""
    folder = tmp_path_factory.mktemp("uneven")
    samples = [noise(seconds, seed) for seed, seconds in enumerate([7.3, 1.3, 0.4, 1.5, 5.0, 1.3])]
    samples[4][1, 250] = samples[5][0, 60] = 70_000
    for number, signal in enumerate(samples):
        raw = mne.io.RawArray(signal * 1e-6, mne.create_info(list(NAMES), RATE, "eeg"), verbose="error")
        if number == 3:
            raw.set_annotations(mne.Annotations([0.5], [0.5], ["BAD_muscle"]))
        path = folder / f"bids/sub-{number}/eeg/sub-{number}_task-rest_eeg.fif"
        path.parent.mkdir(parents=True)
        raw.save(path, verbose="error")
    eegzarr.build_lake(folder / "bids", folder / "lake.zarr", recipe="continuous", dtype="int16", workers=1)
    return folder / "lake.zarr"


def test_recordings_shorter_than_a_tile_give_crops_and_what_gives_none_is_counted_by_its_reason(uneven: Path) -> None:
    ds = eegzarr.open_windows(uneven, "continuous")
    known = lines(uneven)
    assert ds.recording.to_numpy().tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 4, 4, 5]
    legal = {0: {*range(681)}, 1: {*range(81)}, 3: {0, 100}, 4: {*range(151)}}
    stream = WindowStream(ds, 4, target=None, crop="0.5s", anywhere=True, views=60, with_labels=["recording"])
    seen: dict[int, set[int]] = {row: set() for row in legal}
    for x, labels in stream:
        for views, row in zip(x, labels["recording"].tolist(), strict=True):
            assert torch.isfinite(views).all()
            seen[row] |= {place_of(view.numpy(), known[row]) for view in views}
    assert all(found and found <= legal[row] for row, found in seen.items())
    assert len(seen[1]) > 20
    assert stream.left_out == {
        "no target": 0,
        "signal not readable": 1,
        "recording shorter than the crop": 1,
    }
    longer = WindowStream(ds, 4, target=None, crop="1.2s", anywhere=True)
    assert (longer.n_windows, longer.left_out["no stretch of its recording as long as the crop"]) == (8, 1)


def test_crops_of_recordings_without_statistics_are_not_given_as_if_they_were_normalised(uneven: Path) -> None:
    ds = eegzarr.open_windows(uneven, "continuous")
    for normalize in ("recording", "robust"):
        stream = WindowStream(ds, 4, target=None, crop="0.5s", anywhere=True, normalize=normalize)
        assert stream.left_out["recording without statistics to normalise by"] == 2
        assert stream.n_windows == 7
    alone = WindowStream(ds, 4, target=None, crop="0.5s", anywhere=True, normalize="window")
    assert alone.n_windows == 9
    short = ds.isel(window=[4])
    with pytest.raises(UsageError, match="the statistics are over no window"):
        WindowStream(short, target=None, crop="0.5s", anywhere=True, normalize="channel")
    (x,) = WindowStream(short, target=None, crop="0.5s", anywhere=True, normalize="channel", statistics=ds)
    assert x.std() < 10
