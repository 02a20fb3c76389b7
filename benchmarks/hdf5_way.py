"""The usual way that eegzarr replaces: braindecode windows, preloaded, into one gzip HDF5.

python -m benchmarks.hdf5_way SOURCE OUT.h5
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import h5py
import mne
import numpy as np
import pandas as pd
from eegdash.hbn.windows import build_trial_table

warnings.filterwarnings("ignore")
from braindecode.datasets import BaseConcatDataset, RawDataset  # noqa: E402 - warns at import
from braindecode.preprocessing import create_windows_from_events  # noqa: E402


def main() -> None:
    """Write ``eeg`` (window, channel, time) and ``labels`` (window,)."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    mne.set_log_level("error")
    parts, targets = [], []
    for path in sorted(source.glob("sub-*/eeg/*task-contrastChangeDetection*_eeg.bdf")):
        raw = mne.io.read_raw_bdf(path, preload=True)
        trials = build_trial_table(pd.read_csv(str(path).replace("_eeg.bdf", "_events.tsv"), sep="\t"))
        trials = trials.dropna(subset=["stimulus_onset", "response_onset"])
        # Without this, create_windows_from_events raises for a stimulus too near the end.
        onset = np.round(trials["stimulus_onset"] * raw.info["sfreq"]).astype(int)
        trials = trials[onset + 250 <= raw.n_times]
        raw.set_annotations(
            mne.Annotations(trials["stimulus_onset"], np.zeros(len(trials)), ["stimulus_anchor"] * len(trials))
        )
        windows = create_windows_from_events(
            BaseConcatDataset([RawDataset(raw, {"path": str(path)})]),
            mapping={"stimulus_anchor": 0},
            trial_start_offset_samples=50,
            trial_stop_offset_samples=250,
            window_size_samples=200,
            window_stride_samples=100,
            preload=True,
            on_overlapping_events="ignore",
        )
        # Recordings are let go one by one: kept to the end they take five times the memory.
        parts.append(np.stack([windows[i][0] for i in range(len(windows))]).astype(np.float32))
        targets.append(trials["rt_from_stimulus"].to_numpy())
    eeg = np.concatenate(parts)
    with h5py.File(out, "w") as file:
        file.create_dataset("eeg", data=eeg, compression="gzip", compression_opts=4)
        file.create_dataset("labels", data=np.concatenate(targets).astype(np.float32))
    print(f"{len(eeg)} windows")


if __name__ == "__main__":
    main()
