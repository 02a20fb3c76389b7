"""The main job on a replica of a whole release: EEGZARR_REPLICA=DIR python -m pytest -m replica."""

from __future__ import annotations

import os
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from eegdash.hbn.windows import build_trial_table

import eegzarr
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.machine.memory import parse_bytes

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
