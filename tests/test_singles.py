"""Checksums of single windows: a window is read and checked without the frame around it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from crc32c import crc32c

import eegzarr
from eegzarr.errors import LakeError
from eegzarr.store.reading.local import LocalReader
from eegzarr.store.reading.mapped import MappedFile
from eegzarr.store.reading.read import WindowDecoder
from eegzarr.store.verify import verify_lake

GROUP = "challenge1/R1"
NAMES = ("window_nbytes", "window_crc32c")


@pytest.fixture(scope="module")
def signal(sample_lake: Path) -> np.ndarray:
    return np.asarray(zarr.open_array(sample_lake / GROUP / "eeg", mode="r")[:])


@pytest.fixture
def lake(sample_lake: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_lake, tmp_path / "lake.zarr"))


def lengths(lake: Path) -> np.ndarray:
    return np.asarray(zarr.open_array(lake / GROUP / "shards/window_nbytes", mode="r")[:]).reshape(-1)


def read(reader: LocalReader, windows: np.ndarray) -> np.ndarray:
    geometry = reader.geometry
    rows = np.empty((len(windows), geometry.n_channels, geometry.n_times), geometry.dtype)
    WindowDecoder([reader]).decode(np.zeros(len(windows), np.int32), windows, rows)
    return rows


def test_a_first_epoch_in_random_order_checks_each_byte_that_it_needs_once(
    sample_lake: Path, signal: np.ndarray
) -> None:
    reader = LocalReader(str(sample_lake), GROUP)
    order = np.random.default_rng(0).permutation(reader.n_windows)
    for batch in np.array_split(order, 7):
        np.testing.assert_array_equal(read(reader, batch), signal[batch])
    assert reader.nbytes_checked == lengths(sample_lake).sum()
    read(reader, order)
    assert reader.nbytes_checked == lengths(sample_lake).sum()


def test_a_stream_has_the_system_read_each_window_once_and_ahead(
    sample_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eegzarr.stream import WindowStream

    wished: list[int] = []
    wish = MappedFile.wish

    def note(shard: MappedFile, offset: int, length: int) -> None:
        wished.append(length)
        wish(shard, offset, length)

    monkeypatch.setattr(MappedFile, "wish", note)
    stream = WindowStream(
        eegzarr.open_windows(sample_lake, "challenge1"), 32, target=None, shuffle="global", threads=1, ahead=1
    )
    given = iter(stream)
    next(given)
    array = zarr.open_array(sample_lake / GROUP / "eeg", mode="r")
    indexes = -(-array.shape[0] // array.shards[0]) * (16 * (array.shards[0] // array.chunks[0]) + 4)
    of_a_window = lengths(sample_lake).sum() / array.shape[0]
    assert sum(wished) - indexes > 1.5 * 32 * of_a_window  # of the batches that follow, too
    list(given)
    assert sum(wished) == lengths(sample_lake).sum() + indexes
    list(stream)
    assert sum(wished) == lengths(sample_lake).sum() + indexes


def test_one_window_has_its_own_bytes_checked_and_no_more(sample_lake: Path, signal: np.ndarray) -> None:
    for window in (0, 33, len(signal) - 1):
        reader = LocalReader(str(sample_lake), GROUP)
        np.testing.assert_array_equal(read(reader, np.array([window]))[0], signal[window])
        assert reader.nbytes_checked == lengths(sample_lake)[window] < signal[0].nbytes


def test_the_table_has_what_lies_in_the_shards(sample_lake: Path) -> None:
    table = xr.open_zarr(sample_lake / GROUP / "shards", consolidated=False)
    array = zarr.open_array(sample_lake / GROUP / "eeg", mode="r")
    per_frame, per_shard = array.chunks[0], array.shards[0]
    nbytes, crcs = (table[name].to_numpy().reshape(-1) for name in NAMES)
    assert table["window_nbytes"].dims == ("shard", "window_in_shard")
    assert (nbytes > 0).sum() == array.shape[0]
    for window in range(0, array.shape[0], 7):
        content = (sample_lake / GROUP / f"eeg/c/{window // per_shard}/0/0").read_bytes()
        index = np.frombuffer(content[-(16 * (per_shard // per_frame) + 4) : -4], "<u8").reshape(-1, 2)
        frame = int(index[window % per_shard // per_frame, 0])
        before = nbytes[window // per_frame * per_frame : window].sum()
        first = frame + 16 + 4 * per_frame + int(before)
        assert crc32c(content[first : first + int(nbytes[window])]) == crcs[window]


def test_damage_is_noticed_in_the_window_that_it_is_in(lake: Path, signal: np.ndarray) -> None:
    shard = lake / GROUP / "eeg/c/0/0/0"
    content = bytearray(shard.read_bytes())
    per_frame = zarr.open_array(lake / GROUP / "eeg", mode="r").chunks[0]
    content[16 + 4 * per_frame + int(lengths(lake)[:3].sum()) + 500] ^= 1
    shard.write_bytes(content)
    reader = LocalReader(str(lake), GROUP)
    others = np.array([0, 1, 2, 4])
    np.testing.assert_array_equal(read(reader, others), signal[others])
    with pytest.raises(LakeError, match=r"c/0/0/0, frame 0, is damaged"):
        read(reader, np.array([3]))


def test_a_shard_that_another_program_wrote_again_reads_by_its_frames(lake: Path, signal: np.ndarray) -> None:
    array = zarr.open_array(lake / GROUP / "eeg", mode="r+")
    array[: array.shards[0]] = -signal[: array.shards[0]]  # Blosc's own blocks; the table is as it was
    reader = LocalReader(str(lake), GROUP)
    some = np.array([3, array.shards[0] + 1, 0])
    expected = np.concatenate([-signal[[3]], signal[[array.shards[0] + 1]], -signal[[0]]])
    np.testing.assert_array_equal(read(reader, some), expected)


@pytest.mark.parametrize("loss", ["gone", "damaged", "of another size"])
def test_without_a_sound_table_frames_are_checked_as_ever(loss: str, lake: Path, signal: np.ndarray) -> None:
    for name in NAMES:
        folder = lake / GROUP / "shards" / name
        if loss == "gone":
            shutil.rmtree(folder)
        elif loss == "damaged":
            (folder / "c/0/0").write_bytes((folder / "c/0/0").read_bytes()[:-9] + b"something")
        else:
            values = zarr.open_array(folder, mode="r")[:]
            zarr.create_array(folder, data=values[:, 1:], overwrite=True)
    windows = eegzarr.open_windows(lake, "challenge1")
    np.testing.assert_array_equal(windows["eeg"].isel(window=[3, 90]).values, signal[[3, 90]])
    reader = LocalReader(str(lake), GROUP)
    np.testing.assert_array_equal(read(reader, np.array([5]))[0], signal[5])
    assert reader.nbytes_checked > 10 * lengths_of_one(signal)
    assert loss == "gone" or verify_lake(lake)


def lengths_of_one(signal: np.ndarray) -> int:
    """Bytes of a compressed window, at least."""
    return signal[0].nbytes // 2
