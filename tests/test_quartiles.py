"""Medians and quartiles of recordings: near NumPy's, cheap, and what `normalize="robust"` normalises by."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import eegzarr
from eegzarr.errors import LakeError, UsageError
from eegzarr.recordings.quartiles import LEVELS, merged, quartiles
from eegzarr.stream import MixedStream, WindowDataset, WindowStream

GROUP = "challenge1/R1"
NAMES = ("lower_quartile", "median", "upper_quartile")
SHAPES = ("normal", "laplace", "exponential", "uniform", "walk", "artefacts", "steps", "two modes", "few", "flat")


def signals(shape: str, seed: int, count: int = 20, channels: int = 9, times: int = 150) -> np.ndarray:
    """Windows whose samples are distributed in some way."""
    random = np.random.default_rng(seed)
    size = (2 if shape == "few" else count, channels, 30 if shape == "few" else times)
    normal = random.normal(3, 20, size)
    made = {
        "laplace": lambda: random.laplace(0, 15, size),
        "exponential": lambda: random.exponential(20, size),
        "uniform": lambda: random.uniform(-9, 9, size),
        "walk": lambda: np.cumsum(normal / 5, axis=2),
        "artefacts": lambda: np.where(random.random((count, 1, 1)) < 0.1, 2000, 1) * normal,
        "steps": lambda: np.round(normal / 4) * 4,
        "two modes": lambda: normal / 20 + np.where(random.random(size) < 0.5, 60, -60),
        "flat": lambda: np.zeros(size),
    }
    return made.get(shape, lambda: normal)().astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_quartiles_are_near_numpy_s(shape: str) -> None:
    for seed in range(4):
        windows = signals(shape, seed)
        exact = np.quantile(windows, LEVELS, axis=(0, 2))
        found = quartiles(windows)
        spread = exact[2] - exact[0]
        # Ties: a step, which NumPy interpolates across.
        step = 4.0 if shape == "steps" else 0.0
        assert (np.abs(found - exact) <= 0.05 * spread + step).all(), (seed, np.abs(found - exact).max() / spread.max())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(6, 30), min_size=2, max_size=4), st.integers(0, 99), st.floats(0.5, 3), st.floats(-20, 20))
def test_quartiles_of_parts_put_together_lie_between_them_and_near_those_of_the_whole(
    sizes: list[int], seed: int, louder: float, higher: float
) -> None:
    windows = signals("normal", seed, count=sum(sizes))
    windows[: sizes[0]] = windows[: sizes[0]] * np.float32(louder) + np.float32(higher)
    parts = np.split(windows, np.cumsum(sizes)[:-1])
    own = [quartiles(part) for part in parts]
    found = merged(own, [part.shape[0] * part.shape[2] for part in parts])
    assert (found >= np.min(own, axis=0) - 1e-4).all()
    assert (found <= np.max(own, axis=0) + 1e-4).all()
    exact = np.quantile(windows, LEVELS, axis=(0, 2))
    assert (np.abs(found - exact) <= 0.12 * (exact[2] - exact[0])).all()


def test_parts_without_a_channel_count_for_the_others_only() -> None:
    windows = signals("normal", 0)
    lacking = quartiles(windows[:5] * 9)
    lacking[:, 0] = np.nan
    both = merged([quartiles(windows), lacking], [3000, np.array([0, *[750] * 8])])
    np.testing.assert_allclose(both[:, 0], quartiles(windows)[:, 0], rtol=1e-5)
    assert np.isnan(merged([lacking, lacking], [750, 750])[:, 0]).all()
    assert np.isnan(quartiles(windows[:0])).all()


@pytest.fixture(scope="module")
def windows(sample_lake: Path) -> xr.Dataset:
    return eegzarr.open_windows(sample_lake, "challenge1")


def robust(windows: xr.Dataset) -> np.ndarray:
    """The law, by NumPy on all of each recording's samples."""
    signal, recording = windows["eeg"].values.astype(np.float64), windows["recording"].values
    expected = np.empty_like(signal)
    for one in np.unique(recording):
        own = signal[recording == one]
        lower, middle, upper = np.quantile(own, LEVELS, axis=(0, 2))[:, :, None]
        spread = (upper - lower) / 1.349
        expected[recording == one] = (own - middle) / np.where(spread > 0, spread, 1)
    return expected


def test_the_lake_has_the_quartiles_of_its_recordings(windows: xr.Dataset, sample_lake: Path) -> None:
    table = xr.open_zarr(sample_lake / GROUP / "recordings", consolidated=False)
    signal, recording = windows["eeg"].values, windows["recording"].values
    for one in np.unique(recording):
        exact = np.quantile(signal[recording == one], LEVELS, axis=(0, 2))
        found = np.stack([table[name].values[one] for name in NAMES])
        assert (np.abs(found - exact) <= 0.1 * (exact[2] - exact[0])).all()
    without = np.setdiff1d(table["recording"].values, recording)
    assert np.isnan(table["median"].values[without]).all()


def test_robust_normalising_is_by_each_recordings_median_and_quartiles(windows: xr.Dataset) -> None:
    expected = robust(windows)
    x = np.concatenate([x.numpy() for x, _ in WindowStream(windows, 64, normalize="robust")])
    assert np.abs(x - expected).max() < 0.1 * np.abs(expected).max()
    np.testing.assert_allclose(np.median(np.abs(x)), np.median(np.abs(expected)), rtol=0.03)
    clamped = np.concatenate([x.numpy() for x, _ in WindowStream(windows, 64, normalize="robust", clamp=2.0)])
    np.testing.assert_array_equal(clamped, np.clip(x, -2, 2))
    some = windows.sel(channel=["E62", "Cz"])
    rows = [windows["channel"].values.tolist().index(name) for name in ("E62", "Cz")]
    np.testing.assert_array_equal(WindowDataset(some, normalize="robust")[[7, 3]][0].numpy(), x[[7, 3]][:, rows])
    mixed = MixedStream({"a": WindowStream(some, 32, normalize="robust", clamp=20.0)})
    np.testing.assert_array_equal(next(iter(mixed))[1][0].numpy(), x[:32, rows])
    loaded = some.assign(eeg=some["eeg"].load() * 2)
    np.testing.assert_allclose(WindowDataset(loaded, normalize="robust")[:][0].numpy(), expected[:, rows], atol=1e-4)


def test_a_lake_that_lacks_them_is_refused_with_the_way_out(sample_lake: Path, tmp_path: Path) -> None:
    lake = Path(shutil.copytree(sample_lake, tmp_path / "lake.zarr"))
    shutil.rmtree(lake / GROUP / "recordings/median")
    old = eegzarr.open_windows(lake, "challenge1")
    with pytest.raises(LakeError, match=r"Build it again .*or give normalize='recording'"):
        WindowStream(old, normalize="robust")
    assert len(WindowStream(old, normalize="recording"))
    with pytest.raises(UsageError, match=r"'robust' or None"):
        WindowStream(old, normalize="rubust")
