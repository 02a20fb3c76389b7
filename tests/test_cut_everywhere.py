"""Cut groups wherever groups are taken: checked, repaired, reported, exported, mixed, resumed, by montage."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import SMALL_SHARDS, decoding, run_command, tree_digests
from hypothesis import given, settings
from hypothesis import strategies as st
from montages import NAMES, RECIPE, write_dataset

import eegzarr
from eegzarr.cut.api import cut_lake
from eegzarr.cut.repair import repair_lake
from eegzarr.errors import LakeError, UsageError
from eegzarr.recipes.recipe import WindowSpan
from eegzarr.recipes.windows import WITHOUT_A_PLACE
from eegzarr.report import report
from eegzarr.store.describe import lost_windows
from eegzarr.store.layout import Geometry
from eegzarr.store.open import open_recordings
from eegzarr.store.tiles.held import HeldTiles
from eegzarr.store.verify import verify_lake
from eegzarr.stream import MixedStream, WindowStream


@pytest.fixture(scope="module")
def lake(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole recordings, and challenge 1 cut from them."""
    lake = tmp_path_factory.mktemp("everywhere") / "lake.zarr"
    eegzarr.build_lake(sample_root, lake, recipe="continuous", workers=1, dtype="int16", shard_size=SMALL_SHARDS)
    cut_lake(lake, "challenge1")
    return lake


@pytest.fixture
def copy(lake: Path, tmp_path: Path) -> Path:
    return shutil.copytree(lake, tmp_path / "lake.zarr")


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 255
    path.write_bytes(bytes(content))


def test_repair_makes_what_is_damaged_of_a_cut_group_again_from_its_recordings(lake: Path, copy: Path) -> None:
    whole = tree_digests(lake)
    damaged = {
        f"challenge1/R1/{file}" for file in ("target/c/0", "recordings/mean/c/0/0", "shards/zarr.json", "zarr.json")
    }
    for file in damaged:
        flip(copy / file, at=5)
    (copy / "challenge1/R1/tile/c/0").unlink()
    (copy / "challenge1/R1/.DS_Store").write_bytes(b"x")
    flip(copy / "continuous/R1/eeg/c/1/0/0", at=1000)
    assert damaged < {fault.path for fault in verify_lake(copy)}
    repair_lake(copy, verify_lake(copy))
    assert tree_digests(copy) == whole
    (copy / "challenge1/R1/checksums/file/zarr.json").unlink()
    flip(copy / "challenge1/R1/target/c/0", at=5)  # seen once there are checksums again
    assert run_command("eegzarr.verify", copy, "--repair").returncode == 0
    assert tree_digests(copy) == whole


def test_a_cut_group_without_its_recordings_or_with_others_is_told_and_cut_again(copy: Path, sample_root: Path) -> None:
    before = eegzarr.open_windows(copy, "challenge1").load()
    eegzarr.build_lake(
        sample_root, copy, recipe="continuous", workers=1, dtype="float32", overwrite=True, shard_size=SMALL_SHARDS
    )
    (fault,) = verify_lake(copy)
    assert (fault.group, fault.kind) == ("challenge1/R1", "stale")
    assert "cut it again" in fault.reason
    repair_lake(copy, [fault])
    assert verify_lake(copy) == []
    after = eegzarr.open_windows(copy, "challenge1")
    assert after.eeg.dtype == np.float32
    assert float(np.abs(after.eeg - before.eeg).max()) <= 0.0251
    shutil.rmtree(copy / "continuous")
    faults = verify_lake(copy)
    assert any("continuous/R1, which can't be read" in fault.reason for fault in faults)
    with pytest.raises(LakeError, match="can't be repaired: it was cut from continuous/R1"):
        repair_lake(copy, faults)
    told = run_command("eegzarr.info", copy)
    assert told.returncode == 0, told.stderr


def test_a_report_draws_cut_windows(lake: Path) -> None:
    page = report(lake, check=True)
    assert "cut from continuous/R1" in page
    assert page.count("challenge1") > 3


def test_cut_windows_are_exported_and_described_like_any(lake: Path) -> None:
    ds = eegzarr.open_windows(lake, "challenge1").isel(window=slice(0, 40))
    loaded = ds.load()
    for made, wanted in (
        (ds.eegzarr.statistics(), loaded.eegzarr.statistics()),
        (ds.eegzarr.average("sex"), loaded.eegzarr.average("sex")),
    ):
        xr.testing.assert_allclose(made, wanted)
    assert len(ds.eegzarr.faults()) == 40
    assert ds.eegzarr.good().sizes["window"] > 0
    parts = eegzarr.to_braindecode(ds)
    np.testing.assert_allclose(parts[0][0] * 1e6, loaded.eeg[0], atol=1e-3)  # in V


def test_windows_that_were_cut_into_memory_know_their_recordings(lake: Path) -> None:
    stored, memory = eegzarr.open_windows(lake, "challenge1"), eegzarr.cut(lake, "challenge1")
    some = {"window": slice(20, 90), "channel": [7, 0]}
    assert lost_windows(memory) == lost_windows(stored)
    assert lost_windows(memory.isel(some)) == lost_windows(stored.isel(some))
    assert WITHOUT_A_PLACE not in lost_windows(memory.isel(some).load())  # nothing says where it was cut
    one, other = (torch.cat([x for x, _ in WindowStream(ds.isel(some), normalize="robust")]) for ds in (stored, memory))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_mixtures_and_saved_states_know_what_is_cropped(lake: Path) -> None:
    ds, tiles = eegzarr.open_windows(lake, "challenge1"), eegzarr.open_windows(lake, "continuous")
    free = {"crop": "1s", "anywhere": True, "target": None, "shuffle": True}
    streams = {"cut": WindowStream(ds, 32, **free), "whole": WindowStream(tiles, 32, **free)}
    mixed = MixedStream(streams, seed=0)
    names = set()
    for (name, x), _ in zip(mixed, range(12), strict=False):
        names.add(name)
        assert x.shape[1:] == (129, 100)
        assert torch.isfinite(x).all()
    assert names == {"cut", "whole"}

    whole = list(WindowStream(ds, 32, **free, views=2))
    begun = WindowStream(ds, 32, **free, views=2)
    given = iter(begun)
    next(given)
    state = begun.state_dict()
    resumed = WindowStream(ds, 32, **free, views=2)
    resumed.load_state_dict(state)
    for one, other in zip(whole[1:], resumed, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    for other, told in (
        ({**free, "views": 3}, "in 2 views, from anywhere in a recording, this one gives 100 samples in 3 views"),
        ({**free, "crop": "0.5s", "views": 2}, "this one gives 50 samples in 2 views"),
        ({"crop": "1s", "target": None, "shuffle": True, "views": 2}, "other windows|from the window"),
    ):
        with pytest.raises(UsageError, match=told):
            WindowStream(ds, 32, **other).load_state_dict(state)  # type: ignore[arg-type]


@pytest.mark.parametrize("memory", [2**21, 2**28])
def test_tiles_that_are_held_give_the_same_samples(lake: Path, memory: int) -> None:
    ds = eegzarr.cut(lake, "challenge2").isel(channel=[5, 0, 128])
    options = {"crop": "3s", "random_crop": False, "target": None, "with_labels": ["recording", "start"]}
    stream = WindowStream(ds, 32, shuffle="block", memory=memory, **options)  # type: ignore[arg-type]
    middle = ds.eeg.isel(time=slice(50, 350)).to_numpy()
    number = {key: at for at, key in enumerate(zip(ds.recording.to_numpy(), ds.start.to_numpy(), strict=True))}
    for is_compiled in (True, False):
        seen = 0
        with decoding(compiled=is_compiled):
            given = list(stream)
        for x, labels in given:
            keys = zip(labels["recording"].tolist(), labels["start"].tolist(), strict=True)
            np.testing.assert_array_equal(x, middle[[number[key] for key in keys]])
            seen += len(x)
        assert seen == int(ds.valid.sum())


@settings(max_examples=30)
@given(data=st.data(), slots=st.integers(1, 6))
def test_a_tile_is_decoded_in_one_slot_by_one_thread_and_stays_while_it_is_used(
    data: st.DataObject, slots: int
) -> None:
    geometry = Geometry.of(2, 4, "int16")
    held = HeldTiles(geometry, 12, slots * geometry.window_bytes)
    users: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(data.draw(st.integers(1, 12))):
        if users and data.draw(st.booleans()):
            _, own = users.pop(data.draw(st.integers(0, len(users) - 1)))
            held.give(own, are_decoded=data.draw(st.integers(0, 4)) > 0)
            continue
        tiles = np.array(data.draw(st.lists(st.integers(0, 11), min_size=1, max_size=5, unique=True)), np.int64)
        before = {int(slot): int(held.room[slot, 0, 0]) for _, own in users for slot in own[own >= 0]}
        own, is_there = held.take(tiles)
        assert (own[is_there] >= 0).all()
        for tile, slot, there in zip(tiles.tolist(), own.tolist(), is_there.tolist(), strict=True):
            if there:
                assert held.room[slot, 0, 0] == tile
            elif slot >= 0:
                assert slot not in before  # nobody else reads or writes it
                held.room[slot] = tile
        users.append((tiles, own))
        for tiles_of, own_of in users:
            for tile, slot in zip(tiles_of.tolist(), own_of.tolist(), strict=True):
                assert slot < 0 or held.room[slot, 0, 0] == tile


def test_written_out_as_integers_a_cut_is_as_built_and_is_there_when_it_is_asked_for_again(
    copy: Path, sample_root: Path, tmp_path: Path
) -> None:
    cut_lake(copy, "challenge2", store=True)
    eegzarr.build_lake(sample_root, tmp_path / "direct.zarr", recipe="challenge2", dtype="int16", workers=1)
    direct, stored = (eegzarr.open_windows(place, "challenge2").load() for place in (tmp_path / "direct.zarr", copy))
    cut = eegzarr.cut(copy, "challenge2").load()
    for name in direct.variables:  # statistics, too, whose last digits depend on shards
        np.testing.assert_array_equal(stored[name], direct[name], err_msg=str(name))
        np.testing.assert_array_equal(cut[name], direct[name], err_msg=str(name))
    whole = eegzarr.open_windows(copy, "continuous").attrs
    for told in (stored.attrs, cut.attrs):  # what the tiles have lost, their windows have
        assert told["largest_error_uV"] == whole["largest_error_uV"] > 0.0249
        assert told["lossless"] is False
    assert cut_lake(copy, "challenge2", store=True)[0].already
    (summary,) = cut_lake(copy, replace(eegzarr.load_recipe("challenge2"), target="age"), store=True)
    assert not summary.already
    again = eegzarr.open_windows(copy, "challenge2")
    np.testing.assert_array_equal(again.target, again.age)
    np.testing.assert_array_equal(again.eeg, stored.eeg)


@pytest.mark.parametrize(
    "fields", [{}, {"rename": "10-20", "channels": ("Cz", "Fp1"), "span": WindowSpan(start=1, stop=2)}]
)
def test_by_montage_each_group_is_cut_as_it_is_built(fields: dict[str, object], tmp_path: Path) -> None:
    root, direct, lake = tmp_path / "study", tmp_path / "direct.zarr", tmp_path / "lake.zarr"
    write_dataset(root)
    recipe = replace(RECIPE, **fields)  # type: ignore[arg-type]
    whole = replace(eegzarr.load_recipe("continuous"), rename=recipe.rename, sfreq=100.0)
    eegzarr.build_lake(root, lake, recipe=whole, by_montage=True, workers=1)
    eegzarr.build_lake(root, direct, recipe=recipe, by_montage=True, workers=1)
    made = {summary.group.partition("/")[2] for summary in cut_lake(lake, recipe)}
    groups = {path.name for path in (lake / "continuous").iterdir() if path.is_dir()}
    assert made == groups
    wanted = {path.name: recordings(direct, path.name) for path in (direct / "rest").iterdir() if path.is_dir()}
    found = {name: recordings(lake, name) for name in made}
    assert joined(wanted) == joined(found)
    if not fields:
        assert set(wanted) == made
    assert len(NAMES) > 2


def recordings(lake: Path, release: str) -> dict[tuple[str, float], xr.Dataset]:
    """The windows of each recording of a group, as they are."""
    group = xr.open_dataset(lake, engine="eegzarr", group=f"rest/{release}")
    rows = open_recordings(lake, "rest", release)
    rate = float(group.attrs["sampling_rate"])
    found = {}
    for row, path in enumerate(rows["path"].to_numpy().tolist()):
        own = np.flatnonzero(group["recording"].to_numpy() == row)
        if len(own):
            found[str(path), rate] = group.isel(window=own)
    return found


def joined(groups: dict[str, dict[tuple[str, float], xr.Dataset]]) -> dict[tuple[str, float], bytes]:
    return {
        key: ds.eeg.to_numpy().tobytes() + ds.start.to_numpy().tobytes() + ds.target.to_numpy().tobytes()
        for group in groups.values()
        for key, ds in group.items()
    }
