"""Loops that LLVM compiles give what NumPy gives, bit for bit: every layout, type, step, selection and offset."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from conftest import decoding
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import blosc

from eegzarr.store.integers import FILL, to_microvolts
from eegzarr.store.layout import Geometry, create_eeg
from eegzarr.store.private import blosc_address
from eegzarr.store.reading.addresses import addresses_of
from eegzarr.store.reading.compiled import compile_loops, compiled_loops
from eegzarr.store.reading.integers import IntegerDecoder, Picked
from eegzarr.store.reading.local import LocalReader
from eegzarr.store.reading.loops import Loops
from eegzarr.store.reading.read import WindowDecoder
from eegzarr.store.shard import encode_shard, put
from eegzarr.store.tiles.gather import Needed, TileGatherer

LOOPS = Loops(blosc_address())
STEPS = st.one_of(st.sampled_from([0.05, 0.02, 0.03125, 1 / 3, 0.1]), st.floats(1e-4, 10))
TYPES = ("float32", "float16", "int16")


def samples(geometry: Geometry, count: int, seed: int) -> np.ndarray:
    """Windows of any bits, with samples that are no number among them."""
    random = np.random.default_rng(seed)
    shape = (count, geometry.n_channels, geometry.n_times)
    if geometry.dtype == "int16":
        values = random.integers(-(2**15), 2**15, shape).astype(np.int16)
        values[random.random(shape) < 0.1] = FILL
        return values
    values = random.normal(0, 50, shape).astype(geometry.dtype)
    values[random.random(shape) < 0.1] = np.nan
    return values


def geometries(draw: st.DrawFn) -> Geometry:
    dtype = draw(st.sampled_from(TYPES))
    return Geometry(
        n_channels=draw(st.integers(1, 5)),
        n_times=draw(st.sampled_from([1, 2, 7, 15, 16, 17, 31, 32, 33, 50, 128, 200])),
        dtype=dtype,
        windows_per_frame=4,
        windows_per_shard=8,
        shuffle=draw(st.sampled_from(["shuffle", "bitshuffle"])),
        clevel=draw(st.sampled_from([0, 5])),
        step=draw(STEPS) if dtype == "int16" else 0.0,
    )


geometry_of_any_kind = st.composite(geometries)()


def written(folder: Path, geometry: Geometry, windows: np.ndarray) -> LocalReader:
    """Write windows as a lake with signals alone, and open them."""
    group = zarr.open_group(folder, mode="w").require_group("r/R")
    create_eeg(group, len(windows), geometry)
    for number, first in enumerate(range(0, len(windows), geometry.windows_per_shard)):
        shard = windows[first : first + geometry.windows_per_shard]
        put(str(folder), f"r/R/eeg/{geometry.shard_key(number)}", encode_shard(shard, geometry))
    return LocalReader(str(folder), "r/R")


def same_bits(one: np.ndarray, other: np.ndarray) -> None:
    word = f"u{one.itemsize}"
    np.testing.assert_array_equal(np.ascontiguousarray(one).view(word), np.ascontiguousarray(other).view(word))


@settings(max_examples=40)
@given(data=st.data(), geometry=geometry_of_any_kind, as_stored=st.booleans())
def test_windows_out_of_tiles_have_the_bits_of_the_line_of_samples(
    data: st.DataObject, geometry: Geometry, as_stored: bool
) -> None:
    n_tiles = data.draw(st.integers(1, 12))
    tiles = samples(geometry, n_tiles, data.draw(st.integers(0, 99)))
    line = tiles.transpose(1, 0, 2).reshape(geometry.n_channels, -1)
    buffers = [np.frombuffer(blosc.compress(tile, b"lz4", 5, geometry.shuffle_code), np.uint8) for tile in tiles]
    length = data.draw(st.integers(1, line.shape[1]))
    begins = np.array(data.draw(st.lists(st.integers(0, line.shape[1] - length), min_size=1, max_size=9)), np.int64)
    channels = np.array(data.draw(st.lists(st.integers(0, geometry.n_channels - 1), min_size=1, max_size=6)), np.int64)
    needed = Needed.of(begins, length, geometry.n_times)
    rooms = np.empty((len(needed.tiles), geometry.n_channels, geometry.n_times), geometry.dtype)
    places = addresses_of(rooms)[np.arange(len(rooms)) % needed.most]  # tiles that no window shares share a room
    addresses = np.array([buffers[tile].ctypes.data for tile in needed.tiles], np.int64)
    is_scaled = geometry.dtype == "int16" and not as_stored
    rows = np.full((len(begins), len(channels), length), 7, np.float32 if is_scaled else geometry.dtype)
    assert LOOPS.gather(geometry, (addresses, places), needed.in_order, channels, rows) == -1
    wanted = np.stack([line[channels, begin : begin + length] for begin in begins])
    same_bits(rows, to_microvolts(wanted, geometry.step) if is_scaled else wanted)


@settings(max_examples=15)
@given(data=st.data(), geometry=geometry_of_any_kind, held=st.sampled_from([0, 3]), compiled=st.booleans())
def test_a_gatherer_gives_the_same_with_and_without_compiled_code_and_held_tiles(
    data: st.DataObject, geometry: Geometry, held: int, compiled: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tiles = samples(geometry, 13, data.draw(st.integers(0, 99)))
    gatherer = TileGatherer(
        written(tmp_path_factory.mktemp("tiles"), geometry, tiles), held=held * geometry.window_bytes
    )
    line = tiles.transpose(1, 0, 2).reshape(geometry.n_channels, -1)
    line = to_microvolts(line, geometry.step) if geometry.step else line.astype(np.float32)
    channels = np.arange(geometry.n_channels)[:: data.draw(st.sampled_from([1, -1]))].copy()
    with decoding(compiled=compiled):
        for _ in range(3):
            length = data.draw(st.integers(1, 3 * geometry.n_times))
            begins = np.array(data.draw(st.lists(st.integers(0, line.shape[1] - length), max_size=5)), np.int64)
            rows = np.empty((len(begins), len(channels), length), np.float32)
            gatherer.gather(begins, channels, rows)
            for row, begin in zip(rows, begins, strict=True):
                np.testing.assert_array_equal(row, line[channels, begin : begin + length])


@settings(max_examples=15)
@given(data=st.data(), times=st.sampled_from([1, 15, 16, 17, 40, 200]), compiled=st.booleans())
def test_integers_of_groups_with_their_own_steps_are_picked_and_scaled_as_numpy_does(
    data: st.DataObject, times: int, compiled: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    readers, stored = [], []
    for _ in range(data.draw(st.integers(1, 3))):
        geometry = Geometry(
            n_channels=5, n_times=times, dtype="int16", windows_per_frame=4, windows_per_shard=8, step=data.draw(STEPS)
        )
        stored.append(samples(geometry, 11, data.draw(st.integers(0, 99))))
        readers.append(written(tmp_path_factory.mktemp("integers"), geometry, stored[-1]))
    some = st.lists(st.integers(0, times - 1), min_size=1, max_size=9).map(np.array)
    steps = st.sampled_from([slice(0, times, 1), slice(times // 2, times, 1), slice(0, times, 3)])
    reverse = np.arange(times)[::-1]
    picked_times = data.draw(st.one_of(steps, some, st.just(reverse)))
    picked_channels = data.draw(st.sampled_from([slice(0, 5, 1), slice(1, 5, 2), np.array([4, 0, 0])]))
    every, channels = np.arange(times)[picked_times], np.arange(5)[picked_channels]
    length = data.draw(st.integers(1, len(every)))
    named = data.draw(
        st.lists(
            st.tuples(st.integers(0, len(readers) - 1), st.integers(0, 10), st.integers(0, len(every) - length)),
            min_size=1,
            max_size=12,
        )
    )
    groups, windows, offsets = (np.array(column, np.int64) for column in zip(*named, strict=True))
    rows = np.empty((len(named), len(channels), length), np.float32)
    decoder = IntegerDecoder(WindowDecoder(readers))
    with decoding(compiled=compiled):
        decoder.decode(groups.astype(np.int32), windows, Picked.of(picked_channels, picked_times), offsets, rows)
    for row, (group, window, offset) in zip(rows, named, strict=True):
        counts = stored[group][window][channels][:, every[offset : offset + length]]
        same_bits(row, to_microvolts(counts, readers[group].geometry.step))


@settings(max_examples=20)
@given(STEPS)
def test_every_integer_is_scaled_as_numpy_does(step: float) -> None:
    every = np.arange(-(2**15), 2**15).astype(np.int16).reshape(1, 256, 256)
    encoded = np.frombuffer(blosc.compress(every, b"lz4", 5, blosc.BITSHUFFLE), np.uint8)
    geometry = Geometry(n_channels=256, n_times=256, dtype="int16", windows_per_frame=1, windows_per_shard=1, step=step)
    rows, room = np.empty(every.shape, np.float32), np.empty_like(every)
    nothing, one = np.zeros(1, np.int64), np.array([encoded.ctypes.data])
    tiles = one, addresses_of(room)
    assert LOOPS.gather(geometry, tiles, (nothing, nothing, nothing), np.arange(256), rows) == -1
    same_bits(rows, to_microvolts(every, step))


def test_a_buffer_that_cannot_be_decoded_is_named_and_what_is_decoded_already_is_not_again() -> None:
    geometry = Geometry(n_channels=2, n_times=8, dtype="float32", windows_per_frame=1, windows_per_shard=1)
    tiles = samples(geometry, 3, 0)
    buffers = [np.frombuffer(blosc.compress(tile, b"lz4", 5, 1), np.uint8).copy() for tile in tiles]
    rooms = tiles.copy()
    rows = np.zeros((3, 2, 8), np.float32)
    in_order = tuple(np.array(numbers, np.int64) for numbers in ([2, 0, 1], [0, 1, 2], [0, 0, 0]))
    addresses = np.array([buffer.ctypes.data for buffer in buffers], np.int64)
    buffers[1][:] = 0
    assert LOOPS.gather(geometry, (addresses, addresses_of(rooms)), in_order, np.arange(2), rows) == 1
    same_bits(rows[2], tiles[0])
    addresses[1] = 0  # decoded already, in its room
    assert LOOPS.gather(geometry, (addresses, addresses_of(rooms)), in_order, np.arange(2), rows) == -1
    same_bits(rows, tiles[[1, 2, 0]])


def test_what_is_not_as_it_has_to_be_in_memory_is_not_given_to_compiled_code() -> None:
    rows = np.zeros((4, 2, 8), np.float32)
    for addresses in (np.zeros(4, np.int32), np.zeros(8, np.int64)[::2]):
        with pytest.raises(TypeError, match="compiled code was given"):
            LOOPS.decode(addresses, rows)
    with pytest.raises(TypeError, match="compiled code was given"):
        LOOPS.decode(np.zeros(4, np.int64), rows.transpose(0, 2, 1))


def test_loops_are_made_once_and_at_once_where_many_windows_are_read() -> None:
    code = (
        "import sys\n"
        "from eegzarr.store.reading.compiled import compile_for, compiled_loops\n"
        "compile_for(500); assert compiled_loops() is None and 'llvmlite' not in sys.modules\n"
        "compile_for(500); made = compiled_loops(); assert made is not None\n"
        "compile_for(500); assert compiled_loops() is made and 'numba' not in sys.modules\n"
        "sys.modules['llvmlite'] = None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    compile_loops()
    assert compiled_loops() is not None
