"""The main job on a replica of a whole release: EEGZARR_REPLICA=DIR python -m pytest -m replica."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from eegdash.hbn.windows import build_trial_table

import eegzarr
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.cut.api import cut_lake
from eegzarr.machine.memory import parse_bytes
from eegzarr.stream import WindowStream

pytestmark = [
    pytest.mark.replica,
    pytest.mark.skipif("EEGZARR_REPLICA" not in os.environ, reason="EEGZARR_REPLICA names no folder"),
]


@pytest.mark.timeout(900)
def test_labels_and_signals_of_every_recording(tmp_path: Path) -> None:
    root, out = Path(os.environ["EEGZARR_REPLICA"]), tmp_path / "lake.zarr"
    summary = eegzarr.build_lake(root, out, recipe=CHALLENGE1, memory_limit=parse_bytes("2GiB"))
    assert summary.peak_memory < parse_bytes("2GiB")
    assert not summary.reasons
    windows = xr.open_zarr(out, group="challenge1/R1").load()
    table = xr.open_zarr(out, group="challenge1/R1/recordings").load()
    compared = dropped = 0
    for row, path in enumerate(table["path"].values.tolist()):
        stem = str(root / path).removesuffix("_eeg.bdf")
        trials = build_trial_table(pd.read_csv(f"{stem}_events.tsv", sep="\t"))
        trials = trials.dropna(subset=["stimulus_onset", "response_onset"]).reset_index(drop=True)
        raw = mne.io.read_raw_bdf(root / path, verbose="error")
        fits = np.round(trials["stimulus_onset"].astype(float) * 100) + 250 <= raw.n_times
        trials = trials[fits].reset_index(drop=True)
        mine = windows.isel(window=windows["recording"].values == row)
        assert mine.sizes["window"] == len(trials), path
        for name in ("stimulus_onset", "response_onset", "rt_from_stimulus", "rt_from_trialstart"):
            np.testing.assert_array_equal(mine[name], trials[name].astype(float), err_msg=f"{path} {name}")
        assert mine["response_type"].values.tolist() == trials["response_type"].tolist(), path
        assert mine["correct"].values.tolist() == trials["correct"].map({True: 1, False: 0}).fillna(-1).tolist(), path
        starts = np.round(trials["stimulus_onset"].astype(float) * 100).astype(int) + 50
        expected = np.stack([raw.get_data(start=start, stop=start + 200) for start in starts]) * 1e6
        np.testing.assert_allclose(mine["eeg"], expected, atol=1e-3, err_msg=path)
        compared += len(trials)
        dropped += int((~fits).sum())
    assert compared == summary.windows
    assert dropped == summary.dropped
    print(f"{len(table['path'])} recordings, {compared} windows compared, {dropped} trials dropped; {summary}")


def largest_difference(wanted: xr.Dataset, found: xr.Dataset) -> float:
    """The largest uV by which samples of the same windows differ; labels must be equal."""
    of_samples = {"eeg", "peak_to_peak", "mean", "std", "flat_channels", "noisy_channels"}
    for name in set(wanted.variables) - (of_samples if "int16" in str(found.attrs["lake"]) else {"eeg"}):
        np.testing.assert_array_equal(wanted[name], found[name], err_msg=str(name))
    largest, compared = 0.0, 0
    for x, y in zip(*(WindowStream(ds, 256, target=None) for ds in (wanted, found)), strict=True):
        largest = max(largest, float((x - y).abs().max()))
        compared += len(x)
    assert compared == int(wanted.valid.sum())
    return largest


@pytest.mark.timeout(3600)
def test_windows_cut_from_all_recordings_are_those_of_a_build(tmp_path: Path) -> None:
    root, whole = Path(os.environ["EEGZARR_REPLICA"]), {}
    for dtype in ("float32", "int16"):
        whole[dtype] = tmp_path / f"{dtype}.zarr"
        eegzarr.build_lake(root, whole[dtype], recipe="continuous", dtype=dtype)  # type: ignore[arg-type]
    for recipe in ("challenge1", "challenge2"):
        direct = tmp_path / "direct.zarr"
        eegzarr.build_lake(root, direct, recipe=recipe)
        wanted = eegzarr.open_windows(direct, recipe)
        for dtype, most in (("float32", 0.0), ("int16", 0.025 + 2**-16)):  # half a step, and float32's own rounding
            began = time.perf_counter()
            cut_lake(whole[dtype], recipe)
            seconds = time.perf_counter() - began
            found = eegzarr.open_windows(whole[dtype], recipe)
            assert largest_difference(wanted, found) <= most
            print(f"{recipe} from {dtype}: {found.sizes['window']} windows, cut in {seconds:.1f} s")
        shutil.rmtree(direct)
