"""Windows that are cut from whole recordings are those of a direct build, wherever they are used."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import SMALL_SHARDS, decoding, run_command, tree_digests
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import eegzarr
from eegzarr.cut.api import cut_lake
from eegzarr.errors import LakeError, RecipeError
from eegzarr.recipes.recipe import Recipe, recipe_from_fields
from eegzarr.store.describe import describe_lake
from eegzarr.store.open import open_recordings
from eegzarr.store.reading.local import LocalReader
from eegzarr.store.tiles.gather import TileGatherer
from eegzarr.store.verify import verify_lake
from eegzarr.stream import MixedStream, WindowDataset, WindowStream
from eegzarr.train.loop.fit import fit
from eegzarr.train.options import FitOptions

TARGETS = recipe_from_fields(
    {
        "name": "targets",
        "anchor": "event",
        "target": "event",
        "span": {"start": -0.25, "stop": 0.55},
        "events": {"column": "value", "classes": {"left": ["left_target"], "right": ["right_target"]}},
        "channels": ["Cz", "E62", "E1"],
    }
)
RECIPES: dict[str, str | Recipe] = {"challenge1": "challenge1", "challenge2": "challenge2", "targets": TARGETS}


@pytest.fixture(scope="module")
def direct(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that was built recipe by recipe."""
    lake = tmp_path_factory.mktemp("direct") / "lake.zarr"
    for recipe in RECIPES.values():
        eegzarr.build_lake(sample_root, lake, recipe=recipe, workers=1)
    return lake


@pytest.fixture(scope="module")
def lake(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of whole recordings from which the same recipes were cut."""
    lake = tmp_path_factory.mktemp("cut") / "lake.zarr"
    eegzarr.build_lake(sample_root, lake, recipe="continuous", workers=1, shard_size=SMALL_SHARDS)
    for recipe in RECIPES.values():
        cut_lake(lake, recipe)
    return lake


@pytest.fixture(scope="module")
def integers(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of integers."""
    lake = tmp_path_factory.mktemp("integers") / "lake.zarr"
    eegzarr.build_lake(sample_root, lake, recipe="continuous", workers=1, dtype="int16", step="0.05uV")
    cut_lake(lake, "challenge1")
    return lake


def test_cut_windows_can_be_sent_to_other_processes(lake: Path) -> None:
    windows = eegzarr.open_windows(lake, "challenge1").isel(window=slice(3, 40, 9), channel=[7, 2])
    sent = pickle.loads(pickle.dumps(windows))
    np.testing.assert_array_equal(torch.cat([x for x, _ in WindowStream(sent, 2)]), windows["eeg"].values)


def assert_same(wanted: xr.Dataset, found: xr.Dataset) -> None:
    """All labels, axes and signals are the same to the bit, but for where windows were cut."""
    assert set(found.variables) - set(wanted.variables) == {"tile", "tile_offset"}
    for name in wanted.variables:
        one, other = wanted[name].to_numpy(), found[name].to_numpy()
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        np.testing.assert_array_equal(one, other, err_msg=str(name))


@pytest.mark.parametrize("name", RECIPES)
def test_cut_windows_are_those_of_a_build_bit_for_bit(name: str, direct: Path, lake: Path) -> None:
    wanted = eegzarr.open_windows(direct, name).load()
    assert wanted.sizes["window"] > 100
    assert_same(wanted, eegzarr.open_windows(lake, name).load())
    assert_same(wanted, eegzarr.cut(lake, RECIPES[name]).load())
    one, other = (open_recordings(place, name, "R1").load() for place in (direct, lake))
    assert set(other.variables) - set(one.variables) == {"first_tile"}
    for variable in one.variables:
        np.testing.assert_array_equal(one[variable], other[variable], err_msg=str(variable))
    part = {"window": [7, 3, 3, 90], "channel": [2, 0], "time": slice(None, None, -3)}
    np.testing.assert_array_equal(eegzarr.open_windows(lake, name).eeg.isel(part), wanted.eeg.isel(part))


@st.composite
def odd_pick(draw: st.DrawFn, size: int) -> slice | list[int] | np.ndarray:
    """Any way to pick along a dimension of a size: stepped, reversed, repeated, by numbers from its end or a mask."""
    number = st.integers(-size, size - 1)
    numbers = draw(st.lists(number, min_size=1, max_size=6))
    mask = np.zeros(size, bool)
    mask[numbers] = True
    step = draw(st.sampled_from([-7, -1, 1, 3]))
    first = draw(st.integers(0, size - 1))
    part = slice(first, None if step > 0 else max(0, first - 60) or None, step)
    return draw(st.sampled_from([part, numbers, np.array(numbers), mask]))


def picked_oddly(windows: xr.Dataset, data: st.DataObject) -> list[Callable[[xr.Dataset], xr.Dataset]]:
    """Draw selections that can be applied one after another."""
    steps: list[Callable[[xr.Dataset], xr.Dataset]] = []
    for _ in range(data.draw(st.integers(1, 3))):
        axes = data.draw(st.lists(st.sampled_from(["window", "channel", "time"]), min_size=1, max_size=3, unique=True))
        keys = {axis: data.draw(odd_pick(windows.sizes[axis])) for axis in axes}
        ways: list[Callable[[xr.Dataset], xr.Dataset]] = [
            lambda ds, keys=keys: ds.isel(keys),
            lambda ds, keys=keys: ds.isel(keys).transpose("time", "window", "channel"),
            lambda ds, names=windows["channel"].values[[0, -1]]: ds.sel(channel=names),
            lambda ds, keys=keys: xr.concat(
                [ds.isel(keys), ds.isel({**keys, "window": [0]})],
                "window",
                data_vars="minimal",
                coords="minimal",
                compat="override",
            ),
        ]
        if windows["channel"].to_index().has_duplicates:
            del ways[2]
        steps.append(data.draw(st.sampled_from(ways)))
        windows = steps[-1](windows)
    return steps


# Bare, then through DataLoader workers: 3 once are enough, since they take a while to start.
@pytest.mark.parametrize(("workers", "examples"), [(None, 12), (0, 3), (1, 1), (3, 1)])
def test_odd_selections_of_cut_windows_are_those_of_plain_xarray(
    workers: int | None, examples: int, direct: Path, lake: Path
) -> None:
    @settings(max_examples=examples, database=None)
    @given(st.data())
    def law(data: st.DataObject) -> None:
        name, kind = data.draw(st.sampled_from(list(RECIPES))), data.draw(st.sampled_from(["stream", "dataset", "mix"]))
        plain = xr.open_zarr(direct, group=f"{name}/R1", chunks=None)
        cut = eegzarr.open_windows(lake, name)
        some = {"window": slice(None, None, data.draw(st.integers(5, 9)))}
        steps = picked_oddly(plain.isel(some), data)
        for step in (lambda ds: ds.isel(some), *steps):
            plain, cut = step(plain), step(cut)
        wanted = plain["eeg"].transpose("window", "channel", "time").to_numpy()
        wanted = wanted[plain["valid"].to_numpy()]
        stream, dataset = WindowStream(cut, 7, target=None), WindowDataset(cut, target=None)
        if kind == "dataset":
            batches = [dataset[:]] if workers is None else list(DataLoader(dataset, 9, num_workers=workers))
        elif kind == "stream":
            read = stream if workers is None else DataLoader(stream, batch_size=None, num_workers=workers)
            batches = list(read)
        else:
            mixed = MixedStream({"a": stream, "b": WindowStream(cut, 5, target=None, shuffle="block")})
            read = mixed if workers is None else DataLoader(mixed, batch_size=None, num_workers=workers)
            batches = [x for of, x in read if of == "a"]
        np.testing.assert_array_equal(torch.cat(batches).numpy(), wanted)

    law()


def test_windows_cut_from_integers_are_within_half_a_step(direct: Path, integers: Path) -> None:
    wanted, found = (eegzarr.open_windows(place, "challenge1").load() for place in (direct, integers))
    assert found.eeg.dtype == np.float32
    assert float(np.abs(found.eeg.astype(float) - wanted.eeg).max()) <= 0.025 + 2**-16  # and float32's own
    for name in ("target", "start", "subject", "valid"):
        np.testing.assert_array_equal(wanted[name], found[name])
    for is_compiled in (True, False):
        with decoding(compiled=is_compiled):
            (x, _), *_ = WindowStream(eegzarr.open_windows(integers, "challenge1"), 64)
        np.testing.assert_array_equal(x, found.eeg[:64])


def test_plain_xarray_opens_the_labels_of_a_cut_group(lake: Path) -> None:
    ds = xr.open_zarr(lake, group="challenge1/R1")
    assert "eeg" not in ds
    assert (ds.attrs["signals"], ds.attrs["format_version"]) == ("continuous/R1", "2")
    tiles = xr.open_zarr(lake, group=ds.attrs["signals"])
    for window in (0, 100):
        tile, offset = int(ds.tile[window]), int(ds.tile_offset[window])
        samples = np.concatenate(tiles.eeg[tile : tile + 2].to_numpy(), axis=1)[:, offset : offset + 200]
        np.testing.assert_array_equal(samples, eegzarr.open_windows(lake, "challenge1").eeg[window])
    opened = xr.open_dataset(lake, engine="eegzarr", group="challenge1/R1")
    np.testing.assert_array_equal(opened.eeg[5:9], eegzarr.open_windows(lake, "challenge1").eeg[5:9])


def test_written_out_they_are_the_bytes_of_a_build(direct: Path, lake: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(lake, tmp_path / "lake.zarr")
    with pytest.raises(LakeError, match=r"was cut from continuous/R1.*--overwrite"):
        cut_lake(copy, "challenge1", store=True)
    cut_lake(copy, "challenge1", store=True, overwrite=True)
    assert tree_digests(copy / "challenge1") == tree_digests(direct / "challenge1")
    assert cut_lake(copy, "challenge1", store=True)[0].already
    with pytest.raises(LakeError, match="stored already"):
        cut_lake(copy, "challenge1")


STREAMS = st.fixed_dictionaries(
    {
        "shuffle": st.sampled_from([False, "global", "block"]),
        "crop": st.sampled_from([None, "0.5s"]),
        "normalize": st.sampled_from([None, "channel", "recording", "window"]),
        "dtype": st.sampled_from(["float32", "float16"]),
        "with_labels": st.sampled_from([(), ("subject", "start")]),
    }
)


@settings(max_examples=12)
@given(
    options=STREAMS,
    name=st.sampled_from(sorted(RECIPES)),
    channels=st.sampled_from([slice(None), [2, 0], slice(None, None, -1)]),
    times=st.sampled_from([slice(None), slice(5, 77), slice(None, None, 2), slice(60, 2, -1)]),
    is_compiled=st.booleans(),
)
def test_a_stream_of_cut_windows_gives_what_one_of_stored_windows_gives(
    direct: Path, lake: Path, options: dict[str, object], name: str, channels: object, times: object, is_compiled: bool
) -> None:
    streams = []
    for place in (direct, lake):
        ds = eegzarr.open_windows(place, name).isel(channel=channels, time=times, window=slice(3, 150))
        if options["crop"] and not np.allclose(np.diff(ds.time), 0.01):
            ds = ds.isel(time=slice(None, None, 1))
            options = {**options, "crop": None}
        streams.append(WindowStream(ds, 32, seed=3, memory=2**22, **options))  # type: ignore[arg-type]
    assert streams[0].shuffle == streams[1].shuffle
    with decoding(compiled=is_compiled):
        given = [list(stream) for stream in streams]
    if options["shuffle"] == "block":  # frames hold other windows: the order is another, the windows are the same
        given = [[sorted_rows(batches)] for batches in given]
    for one, other in zip(*given, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            if isinstance(mine, torch.Tensor):
                torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)
            else:
                assert {k: list(v) for k, v in mine.items()} == {k: list(v) for k, v in theirs.items()}


def sorted_rows(batches: list[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, ...]:
    """All rows of an epoch, in an order of their own; crops that an order draws are left out."""
    y = torch.cat([batch[1] for batch in batches])
    return (torch.sort(y).values,)


def test_datasets_splits_and_mne_take_cut_windows_like_stored_ones(direct: Path, lake: Path) -> None:
    stored, cut = (eegzarr.open_windows(place, "challenge1") for place in (direct, lake))
    one, other = WindowDataset(stored), WindowDataset(cut)
    for i in (0, 17, -1):
        torch.testing.assert_close(one[i], other[i], rtol=0, atol=0)
    memory = WindowDataset(eegzarr.cut(lake, "challenge1"))
    torch.testing.assert_close(one[[5, 2]], memory[[5, 2]], rtol=0, atol=0)
    for mine, theirs in zip(
        eegzarr.split_by_subject(stored, seed=1), eegzarr.split_by_subject(cut, seed=1), strict=True
    ):
        np.testing.assert_array_equal(mine.window, theirs.window)
    epochs = [eegzarr.to_mne(ds.isel(window=slice(0, 12))) for ds in (stored, cut)]
    np.testing.assert_array_equal(epochs[0].get_data(), epochs[1].get_data())
    np.testing.assert_array_equal(epochs[0].events, epochs[1].events)


@settings(max_examples=25)
@given(data=st.data(), is_compiled=st.booleans())
def test_windows_at_any_offset_are_what_plain_zarr_has(lake: Path, data: st.DataObject, is_compiled: bool) -> None:
    tiles = xr.open_zarr(lake, group="continuous/R1").eeg[:40].to_numpy()
    line = tiles.transpose(1, 0, 2).reshape(tiles.shape[1], -1)
    length = data.draw(st.integers(1, 900))
    begins = data.draw(st.lists(st.integers(0, line.shape[1] - length), max_size=9))
    channels = data.draw(st.lists(st.integers(0, 128), min_size=1, max_size=5))
    rows = np.empty((len(begins), len(channels), length), np.float32)
    gatherer = TileGatherer(LocalReader(str(lake), "continuous/R1"))
    with decoding(compiled=is_compiled):
        gatherer.gather(np.array(begins, np.int64), np.array(channels, np.int64), rows)
    for row, begin in zip(rows, begins, strict=True):
        np.testing.assert_array_equal(row, line[channels, begin : begin + length])


def test_a_lake_with_cut_groups_is_described_and_checked(lake: Path, tmp_path: Path) -> None:
    assert verify_lake(lake) == []
    told = {summary.group: (summary.status, summary.note, summary.dtype) for summary in describe_lake(lake)}
    assert told["challenge2/R1"] == ("complete", "cut from continuous/R1", "float32")
    copy = shutil.copytree(lake, tmp_path / "lake.zarr")
    file = copy / "challenge2/R1/tile/c/0"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert [fault.path for fault in verify_lake(copy)] == ["challenge2/R1/tile/c/0"]


def test_windows_of_signals_that_changed_are_refused(sample_root: Path, lake: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(lake, tmp_path / "lake.zarr")
    opened = eegzarr.open_windows(copy, "challenge1")
    assert cut_lake(copy, "challenge1")[0].already
    eegzarr.build_lake(
        sample_root, copy, recipe="continuous", workers=1, dtype="float16", overwrite=True, shard_size=SMALL_SHARDS
    )
    with pytest.raises(LakeError, match="open it again"):
        opened.eeg[:3].load()
    with pytest.raises(LakeError, match=r"have changed since.*\n.*eegzarr\.cut .* --recipe challenge1"):
        eegzarr.open_windows(copy, "challenge1")
    assert not cut_lake(copy, "challenge1")[0].already
    assert eegzarr.open_windows(copy, "challenge1").eeg.dtype == np.float16


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"sfreq": 250.0}, RecipeError, "wants 250 Hz, and .* has 100 Hz"),
        ({"preparation": {"l_freq": 1.0}}, RecipeError, "l_freq = 1.0, and .* with none"),
        ({"preparation": {"reference": "average"}}, RecipeError, "reference = average"),
        ({"channels": ["Cz", "Fp7"]}, LakeError, "no window.*no channel Fp7"),
        ({"tasks": ["sleep"]}, LakeError, "no recording of the task sleep; it has Resting"),
        ({"span": {"start": 0, "stop": 900}}, LakeError, "gives no window"),
    ],
)
def test_what_tiles_do_not_have_is_refused_with_its_reason(
    lake: Path, fields: dict[str, object], error: type[Exception], message: str
) -> None:
    usual = {"name": "other", "anchor": "recording", "span": {"start": 0, "stop": 2}, "stride": 2, "target": "age"}
    with pytest.raises(error, match=message):
        eegzarr.cut(lake, recipe_from_fields({**usual, **fields}))
    assert not (lake / "other").exists()


def test_a_lake_without_whole_recordings_says_how_to_get_them(direct: Path) -> None:
    told = run_command("eegzarr.cut", direct, "--recipe", "challenge1")
    assert told.returncode == 1
    assert "--recipe continuous" in told.stderr
    with pytest.raises(LakeError, match="holds windows, no whole recordings"):
        eegzarr.cut(direct, "challenge1", signals="challenge2")


def test_a_training_from_cut_windows_scores_as_one_from_stored_windows(
    direct: Path, lake: Path, tmp_path: Path
) -> None:
    scores = []
    for place in (direct, lake):
        options = FitOptions(lake=str(place), epochs=1, batch_size=32, device="cpu")
        scores.append(fit(options, tmp_path / place.parent.name, max_memory=1.0).scores["valid"].nrmse)
    assert scores[0] == scores[1]
