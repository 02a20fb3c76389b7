"""The same windows in every format that `benchmarks.readers` reads.

python -m benchmarks.formats SOURCE FOLDER
"""

from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path

import h5py
import hdf5plugin
import lmdb
import mne
import numpy as np
import pandas as pd
import zarr

import eegzarr
from benchmarks.readers import GROUP
from eegzarr.recipe import CHALLENGE1

BRAINDECODE_RECORDINGS = 40  # preloaded they take 60 MB each


def write_formats(source: Path, folder: Path) -> None:
    """Write lakes from the source, everything else from the float32 lake."""
    folder.mkdir(parents=True, exist_ok=True)
    for dtype in ("float32", "float16"):
        eegzarr.build_lake(source, folder / f"{dtype}.zarr", recipe=CHALLENGE1, dtype=dtype)
    windows = np.asarray(zarr.open_array(folder / "float32.zarr" / GROUP / "eeg", mode="r")[:])
    np.save(folder / "memmap.npy", windows)
    environment = lmdb.open(str(folder / "lmdb"), map_size=4 * windows.nbytes)
    with environment.begin(write=True) as transaction:
        for index, window in enumerate(windows):
            transaction.put(str(index).encode(), pickle.dumps({"sample": window, "label": 0.0}))
    environment.close()
    alone = (1, *windows.shape[1:])
    for name, options in {
        "gzip.h5": {"compression": "gzip", "compression_opts": 4},  # chunks as h5py guesses them
        "one.h5": {"compression": "gzip", "compression_opts": 4, "chunks": alone},
        "blosc.h5": {**hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=2), "chunks": alone},
    }.items():
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("eeg", data=windows, **options)
    _write_braindecode(source, folder)


def _write_braindecode(source: Path, folder: Path) -> None:
    """Windows of some recordings as braindecode saves them, and as its hub's Zarr, expanded by one epoch."""
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_windows_from_events
    from eegdash.hbn.windows import build_trial_table

    parts = []
    for path in sorted(source.glob("sub-*/eeg/*task-contrastChangeDetection*_eeg.bdf"))[:BRAINDECODE_RECORDINGS]:
        raw = mne.io.read_raw_bdf(path)
        trials = build_trial_table(pd.read_csv(str(path).replace("_eeg.bdf", "_events.tsv"), sep="\t"))
        onset = trials.dropna(subset=["stimulus_onset", "response_onset"])["stimulus_onset"]
        onset = onset[np.round(onset * raw.info["sfreq"]) + 250 <= raw.n_times]
        if len(onset):
            raw.set_annotations(mne.Annotations(onset, np.zeros(len(onset)), ["stimulus_anchor"] * len(onset)))
            parts.append(RawDataset(raw, {"path": str(path)}))
    windows = create_windows_from_events(
        BaseConcatDataset(parts),
        mapping={"stimulus_anchor": 0},
        trial_start_offset_samples=50,
        trial_stop_offset_samples=250,
        window_size_samples=200,
        window_stride_samples=100,
        on_overlapping_events="ignore",
    )
    (folder / "braindecode").mkdir()
    windows.save(str(folder / "braindecode"))
    # What push_to_hub and pull_from_hub do, without the hub.
    windows._convert_to_zarr_inline(folder / "hub.zarr", "blosc", 5)
    expanded = BaseConcatDataset._load_from_zarr_inline(folder / "hub.zarr", preload=False)
    for index in range(len(expanded)):
        expanded[index]


def main() -> None:
    """Write them."""
    warnings.filterwarnings("ignore")
    mne.set_log_level("error")
    write_formats(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
