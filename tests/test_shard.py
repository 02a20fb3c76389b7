"""Shards written by hand, read by zarr-python, and the other way round."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr
from conftest import decoding
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import blosc

from eegzarr.errors import LakeError
from eegzarr.store.crc import crc32c
from eegzarr.store.frame import find_windows
from eegzarr.store.layout import COMPRESSIONS, DTYPES, Geometry, create_eeg
from eegzarr.store.reading.compiled import compile_loops, compiled_loops
from eegzarr.store.reading.local import LocalReader
from eegzarr.store.reading.mapped import MappedFile
from eegzarr.store.reading.read import WindowDecoder
from eegzarr.store.receipt import Moments, Receipt
from eegzarr.store.shard import encode_frame, encode_shard, put

STEP = 0.05  # uV


def noise(windows: int, channels: int = 5, times: int = 40) -> np.ndarray:
    return np.random.default_rng(windows).normal(0, 20, (windows, channels, times)).astype(np.float32)


def geometry_for(windows: np.ndarray, dtype: str, **choice: object) -> Geometry:
    n_channels, n_times = windows.shape[1:]
    return Geometry(
        n_channels=n_channels,
        n_times=n_times,
        dtype=dtype,
        windows_per_frame=8,
        windows_per_shard=24,
        step=STEP if dtype == "int16" else 0.0,
        **choice,
    )


def stored(windows: np.ndarray, dtype: str) -> np.ndarray:
    """Return samples in uV as a lake of a type holds them."""
    return np.rint(windows / np.float64(STEP)).astype(dtype) if dtype == "int16" else windows.astype(dtype)


def read_window(reader: LocalReader, index: int, row: np.ndarray) -> None:
    read_windows(reader, np.array([index]), row[None])


def read_windows(reader: LocalReader, order: np.ndarray, rows: np.ndarray) -> None:
    WindowDecoder([reader]).decode(np.zeros(len(order), np.int32), order, rows)


def write_group(lake: Path, windows: np.ndarray, geometry: Geometry) -> zarr.Array:
    group = zarr.open_group(lake, mode="w", zarr_format=3).create_group("r/R")
    array = create_eeg(group, len(windows), geometry)
    for shard, first in enumerate(range(0, len(windows), geometry.windows_per_shard)):
        encoded = encode_shard(windows[first : first + geometry.windows_per_shard], geometry)
        put(str(lake), f"r/R/eeg/{geometry.shard_key(shard)}", encoded)
    return array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 8, 24, 53])
def test_zarr_python_reads_what_we_write(count: int, dtype: str, tmp_path: Path) -> None:
    windows = noise(count)
    array = write_group(tmp_path, windows, geometry_for(windows, dtype))
    np.testing.assert_array_equal(array[:], stored(windows, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "codec",
    [
        {},
        {"cname": "zstd", "clevel": 5, "shuffle": "shuffle"},
        {"cname": "lz4", "clevel": 1, "shuffle": "noshuffle"},
        {"clevel": 0},
        {"cname": "blosclz", "shuffle": "shuffle"},
    ],
    ids=str,
)
def test_single_windows_read_as_written(codec: dict, dtype: str, tmp_path: Path) -> None:
    windows = noise(53)
    write_group(tmp_path, windows, geometry_for(windows, dtype, **codec))
    reader = LocalReader(str(tmp_path), "r/R")
    row = np.empty(windows.shape[1:], dtype)
    for index in np.random.default_rng(0).permutation(53).tolist():
        read_window(reader, index, row)
        np.testing.assert_array_equal(row, stored(windows[index], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_windows_gathered_from_frames_of_all_kinds_read_as_written(dtype: str, tmp_path: Path) -> None:
    windows = stored(noise(60, 16, 64), dtype)
    geometry = geometry_for(windows, dtype)
    group = zarr.open_group(tmp_path, mode="w", zarr_format=3).create_group("r/R")
    create_eeg(group, 60, geometry)[:] = windows  # Blosc's own blocks, by zarr-python
    ours = encode_shard(windows[24:48], geometry)
    put(str(tmp_path), f"r/R/eeg/{geometry.shard_key(1)}", ours)
    uncompressed = dataclasses.replace(geometry, clevel=0)
    put(str(tmp_path), f"r/R/eeg/{geometry.shard_key(2)}", encode_shard(windows[48:], uncompressed))
    reader = LocalReader(str(tmp_path), "r/R")
    order = np.random.default_rng(0).permutation(60)
    rows = np.empty_like(windows)
    read_windows(reader, order, rows)
    np.testing.assert_array_equal(rows, windows[order])


def test_we_read_what_zarr_python_writes(tmp_path: Path) -> None:
    windows = noise(53)
    group = zarr.open_group(tmp_path, mode="w", zarr_format=3).create_group("r/R")
    create_eeg(group, 53, geometry_for(windows, "float32"))[:] = windows
    reader = LocalReader(str(tmp_path), "r/R")
    row = np.empty(windows.shape[1:], np.float32)
    for index in range(53):
        read_window(reader, index, row)
        np.testing.assert_array_equal(row, windows[index])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("shape", [(2, 40), (19, 100), (129, 200), (257, 500)])
def test_each_window_of_a_frame_is_a_blosc_buffer_of_its_own(
    shape: tuple[int, int], compression: str, dtype: str
) -> None:
    windows = stored(noise(5, *shape), dtype)
    default = Geometry.of(*shape, dtype, compression=compression)
    geometry = dataclasses.replace(default, windows_per_frame=8, windows_per_shard=8)
    frame = encode_frame(windows, geometry)
    bounds = find_windows(memoryview(frame), geometry)
    assert bounds is not None
    assert len(bounds) == 9
    alone = blosc.decompress(frame[bounds[3] : bounds[4]])
    np.testing.assert_array_equal(np.frombuffer(alone, dtype), windows[3].reshape(-1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shuffle", ["noshuffle", "shuffle", "bitshuffle"])
def test_windows_that_do_not_compress_are_stored_as_they_are(shuffle: str, dtype: str, tmp_path: Path) -> None:
    windows = noise(24, 16, 64).astype(dtype)
    random = np.random.default_rng(0)
    for index in (0, 3, *range(16, 24)):  # random bits, but no NaN or infinity: a whole frame of them
        bits = random.integers(0, 2**15 if dtype == "float16" else 2**31, windows[index].shape)
        values = bits.astype(f"u{windows.itemsize}").view(dtype)
        windows[index] = np.where(np.isfinite(values), values, 0)
    geometry = geometry_for(windows, dtype, shuffle=shuffle)
    array = write_group(tmp_path, windows, geometry)
    np.testing.assert_array_equal(array[:], windows)
    reader = LocalReader(str(tmp_path), "r/R")
    assert reader.frame(2).bounds is not None
    row = np.empty(windows.shape[1:], dtype)
    for index in range(24):
        read_window(reader, index, row)
        np.testing.assert_array_equal(row, windows[index])


@given(st.integers(1, 300), st.integers(1, 2000), st.sampled_from(DTYPES), st.integers(1, 2**28))
def test_a_shard_is_whole_frames_and_no_larger_than_asked(channels: int, times: int, dtype: str, size: int) -> None:
    geometry = Geometry.of(channels, times, dtype, size)
    assert geometry.windows_per_shard % geometry.windows_per_frame == 0
    one_window = geometry.windows_per_shard == 1
    assert one_window or geometry.windows_per_shard * geometry.window_bytes <= size


@given(st.binary(max_size=5000))
def test_a_checksum_is_the_standard_s_and_google_s(content: bytes) -> None:
    assert crc32c(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283  # the check value of CRC catalogues
    assert crc32c(np.frombuffer(content, np.uint8)) == google_crc32c.value(content)


def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    windows = noise(24)
    write_group(tmp_path, windows, geometry_for(windows, "float32"))
    shard = tmp_path / "r/R/eeg/c/0/0/0"
    pristine = shard.read_bytes()
    row = np.empty(windows.shape[1:], np.float32)
    for position in np.random.default_rng(1).integers(0, len(pristine) * 8, 60).tolist():
        damaged = bytearray(pristine)
        damaged[position // 8] ^= 1 << (position % 8)
        shard.write_bytes(damaged)
        reader = LocalReader(str(tmp_path), "r/R")
        with pytest.raises(LakeError, match="c/0/0/0"):
            for index in range(24):
                read_window(reader, index, row)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    windows = noise(30)
    write_group(tmp_path, windows, geometry_for(windows, "float32"))
    (tmp_path / "r/R/eeg/c/1/0/0").unlink()
    reader = LocalReader(str(tmp_path), "r/R")
    with pytest.raises(LakeError, match="c/1/0/0 is missing"):
        read_window(reader, 29, np.empty(windows.shape[1:], np.float32))


@settings(max_examples=25)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.floats(-1e4, 1e4))
def test_moments_of_parts_add_up_to_those_of_the_whole(sizes: list[int], offset: float) -> None:
    windows = noise(max(1, sum(sizes)))[: sum(sizes)] + np.float32(offset)
    parts = np.split(windows, np.cumsum(sizes)[:-1])
    total = Moments.of(parts[0])
    for part in parts[1:]:
        total = total + Moments.of(part)
    assert total.count == windows.shape[0] * windows.shape[2]
    if total.count:
        samples = windows.astype(np.float64)
        np.testing.assert_allclose(total.mean, samples.mean(axis=(0, 2)), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(total.squares / total.count, samples.var(axis=(0, 2)), rtol=1e-6)


def test_a_receipt_survives_its_text() -> None:
    receipt = Receipt(
        shard=3,
        signals_digest="d",
        nbytes=10,
        content=2**64 - 1,
        crc32c=2**32 - 1,
        peak_to_peak=np.array([1.5, np.nan], np.float32),
        valid=np.array([True, False]),
        moments=(Moments.of(noise(4)),),
        reasons={7: "unreadable"},
    )
    again = Receipt.from_json(receipt.to_json())
    assert again.to_json() == receipt.to_json()
    np.testing.assert_array_equal(again.valid, receipt.valid)
    assert again.reasons == receipt.reasons


def test_put_leaves_no_partial_file(tmp_path: Path) -> None:
    put(str(tmp_path), "a/b", b"content")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["b"]


@pytest.fixture(params=[True, False], ids=["compiled", "in Python"])
def is_compiled(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the loop that decodes windows is compiled, which a test with this runs both with and without."""
    with decoding(compiled=request.param):
        yield request.param


@pytest.mark.usefixtures("is_compiled")
def test_windows_are_decoded_alike_by_compiled_code_and_by_python(tmp_path: Path) -> None:
    windows = noise(53)
    geometry = geometry_for(windows, "float32")
    write_group(tmp_path, windows, geometry)
    reader = LocalReader(str(tmp_path), "r/R")
    order = np.random.default_rng(0).permutation(53)
    rows = np.empty_like(windows)
    read_windows(reader, order, rows)
    np.testing.assert_array_equal(rows, windows[order])


@pytest.mark.usefixtures("is_compiled")
def test_beyond_memory_the_system_is_asked_for_shards_once_and_then_for_single_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = noise(53)
    geometry = geometry_for(windows, "float32")
    write_group(tmp_path, windows, geometry)
    wished: list[bytes] = []
    wish = MappedFile.wish

    def note(shard: MappedFile, offset: int, length: int) -> None:
        wished.append(shard.content[offset : offset + length].tobytes())
        wish(shard, offset, length)

    monkeypatch.setattr(MappedFile, "wish", note)
    reader = LocalReader(str(tmp_path), "r/R", beyond_memory=True)
    order = np.random.default_rng(0).permutation(53)
    rows = np.empty_like(windows)
    read_windows(reader, order, rows)
    shards = [path.stat().st_size for path in (tmp_path / "r/R/eeg/c").rglob("0") if path.is_file()]
    assert sum(map(len, wished)) == sum(shards)  # frames and indexes
    wished.clear()
    read_windows(reader, order, rows)
    own = [reader.buffer(int(window)) for window in order]
    assert b"".join(wished) == b"".join(buffer.tobytes() for buffer in own if buffer is not None)


def test_the_compiled_loop_names_the_buffer_that_it_cannot_decode() -> None:
    compile_loops()
    loops = compiled_loops()
    assert loops is not None
    sound = np.frombuffer(blosc.compress(np.arange(64, dtype="f4"), b"lz4", 5, 1, 0), np.uint8)
    broken = np.zeros_like(sound)
    rows = np.empty((3, 64), "f4")
    addresses = np.array([sound.ctypes.data, broken.ctypes.data, sound.ctypes.data])
    assert loops.decode(addresses, rows) == 1
    np.testing.assert_array_equal(rows[0], np.arange(64))
