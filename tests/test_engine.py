"""xarray's engine eegzarr: the same Dataset, read faster."""

from __future__ import annotations

import pickle
import shutil
import tomllib
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import EntryPoint
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import eegzarr
from eegzarr.errors import LakeError
from eegzarr.store.engine import LakeEntrypoint

GROUP = "challenge1/R1"


def open_with_engine(lake: Path, **options: object) -> xr.Dataset:
    return xr.open_dataset(lake, engine=LakeEntrypoint, group=GROUP, **options)


@pytest.fixture(scope="module")
def plain(sample_lake: Path) -> xr.Dataset:
    return xr.open_zarr(sample_lake, group=GROUP, chunks=None)


def test_the_project_registers_it_under_its_name() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    named = project["entry-points"]["xarray.backends"]
    assert EntryPoint("eegzarr", named["eegzarr"], "xarray.backends").load() is LakeEntrypoint


def test_it_is_what_open_zarr_gives(sample_lake: Path, plain: xr.Dataset) -> None:
    found = open_with_engine(sample_lake)
    assert not found.variables["eeg"]._in_memory
    xr.testing.assert_identical(found.load(), plain.copy(deep=True).load())


@pytest.fixture(scope="module")
def numbers(plain: xr.Dataset) -> np.ndarray:
    return plain["eeg"].to_numpy()


@settings(max_examples=40)
@given(st.data())
def test_any_selection_gives_the_same_numbers(sample_lake: Path, numbers: np.ndarray, data: st.DataObject) -> None:
    eeg = open_with_engine(sample_lake)["eeg"]

    def part(size: int) -> object:
        number = st.integers(-size, size - 1)
        # xarray itself fails at an empty slice that runs backwards.
        slices = st.slices(size).filter(lambda chosen: len(range(*chosen.indices(size))) > 0)
        return data.draw(st.one_of(number, slices, st.lists(number, max_size=5), st.just(slice(None))))

    key = {name: part(size) for name, size in zip(eeg.dims, numbers.shape, strict=True)}
    # What a selection is, NumPy says: on an array that is in memory xarray leaves it to it.
    expected = xr.DataArray(numbers, dims=eeg.dims).isel(key)
    found = eeg.variable.isel(key)
    assert found.dims == expected.dims
    np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())


def _sum_of(array: xr.DataArray) -> float:
    return float(array.sum())


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_other_processes_read_it_too(start: str, sample_lake: Path, plain: xr.Dataset) -> None:
    eeg = open_with_engine(sample_lake)["eeg"]
    assert float(eeg[:3].sum()) == float(plain["eeg"][:3].sum())  # its reader is open when the process forks
    with ProcessPoolExecutor(1, mp_context=get_context(start)) as pool:
        assert pool.submit(_sum_of, eeg[30:70]).result(60) == float(plain["eeg"][30:70].sum())
    assert pickle.loads(pickle.dumps(eeg))[5, 4, 3].item() == plain["eeg"][5, 4, 3].item()


def test_dask_reads_a_chunk_a_shard(sample_lake: Path, plain: xr.Dataset) -> None:
    chunked = open_with_engine(sample_lake, chunks={})
    per_shard = eegzarr.open_windows(sample_lake, "challenge1")["eeg"].chunks[0][0]
    assert chunked["eeg"].chunks[0][0] == per_shard
    np.testing.assert_allclose(chunked["eeg"].mean("window"), plain["eeg"].mean("window"), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_opened_is_named(sample_lake: Path, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="is opened by group"):
        xr.open_dataset(sample_lake, engine=LakeEntrypoint)
    with pytest.raises(LakeError, match="has no group challenge1/R9"):
        xr.open_dataset(sample_lake, engine=LakeEntrypoint, group="challenge1/R9")
    lake = Path(shutil.copytree(sample_lake, tmp_path / "lake.zarr"))
    (lake / GROUP / "eeg/c/1/0/0").unlink()
    damaged = open_with_engine(lake)
    with pytest.raises(LakeError, match="c/1/0/0 is missing"):
        damaged["eeg"].load()
