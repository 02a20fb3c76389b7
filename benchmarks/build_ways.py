"""How others get from recordings to stored windows, a way a command.

python -m benchmarks.build_ways SOURCE FOLDER WAY … [--jobs N]

Each way writes into FOLDER under its name. read-hub takes a window of each recording of what hub
wrote, as training does first.
"""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import lmdb
import mne
import numpy as np
import pandas as pd
from eegdash.hbn.windows import build_trial_table

from benchmarks.settings import RECORDINGS

warnings.filterwarnings("ignore")
from braindecode.datasets import BaseConcatDataset, RawDataset  # noqa: E402 - warns at import
from braindecode.preprocessing import Preprocessor, create_windows_from_events, preprocess  # noqa: E402


def braindecode_windows(recordings: list[tuple[Any, pd.DataFrame]], *, preload: bool = False, jobs: int = 1) -> Any:
    """Windows of 2 s from 0.5 s after each stimulus, as the challenge's start kit cuts them.

    Parameters
    ----------
    recordings : list of (RawDataset, DataFrame)
        As `annotated_recordings` gives them.
    """
    return create_windows_from_events(
        BaseConcatDataset([recording for recording, _ in recordings]),
        mapping={"stimulus_anchor": 0},
        trial_start_offset_samples=50,
        trial_stop_offset_samples=250,
        window_size_samples=200,
        window_stride_samples=100,
        preload=preload,
        on_overlapping_events="ignore",
        n_jobs=jobs,
    )


def annotated_recordings(source: Path, *, preload: bool | str = False) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Give each recording with its trials marked, and the table of these."""
    for path in sorted(source.glob("sub-*/eeg/*task-contrastChangeDetection*_eeg.bdf")):
        raw = mne.io.read_raw_bdf(path, preload=preload)
        trials = build_trial_table(pd.read_csv(str(path).replace("_eeg.bdf", "_events.tsv"), sep="\t"))
        if trials.empty:  # a run that was broken off: its table has no columns either
            continue
        trials = trials.dropna(subset=["stimulus_onset", "response_onset"])
        # Without this, create_windows_from_events raises for a stimulus too near the end.
        onset = np.round(trials["stimulus_onset"] * raw.info["sfreq"]).astype(int)
        trials = trials[onset + 250 <= raw.n_times]
        if len(trials):
            marks = mne.Annotations(trials["stimulus_onset"], np.zeros(len(trials)), ["stimulus_anchor"] * len(trials))
            raw.set_annotations(marks)
            yield RawDataset(raw, {"path": str(path)}), trials


def hdf5(source: Path, out: Path, jobs: int) -> None:
    """braindecode windows, preloaded, into one gzip HDF5: ``eeg`` (window, channel, time), ``labels`` (window,)."""
    parts, targets = [], []
    for recording, trials in annotated_recordings(source, preload=True):
        windows = braindecode_windows([(recording, trials)], preload=True)
        # Recordings are let go one by one: kept to the end they take five times the memory.
        parts.append(np.stack([windows[i][0] for i in range(len(windows))]).astype(np.float32))
        targets.append(trials["rt_from_stimulus"].to_numpy())
    with h5py.File(out, "w") as file:
        file.create_dataset("eeg", data=np.concatenate(parts), compression="gzip", compression_opts=4)
        file.create_dataset("labels", data=np.concatenate(targets).astype(np.float32))


def lmdb_pickles(source: Path, out: Path, jobs: int) -> None:
    """A pickle a window in LMDB, as CBraMod's preparation writes them, a transaction a recording."""
    environment = lmdb.open(str(out), map_size=2**40)
    count = 0
    for recording, trials in annotated_recordings(source, preload=True):
        windows = braindecode_windows([(recording, trials)], preload=True)
        with environment.begin(write=True) as transaction:
            for index, label in enumerate(trials["rt_from_stimulus"]):
                sample = {"sample": np.asarray(windows[index][0], np.float32), "label": float(label)}
                transaction.put(str(count).encode(), pickle.dumps(sample))
                count += 1
    environment.close()


def braindecode_cache(source: Path, out: Path, jobs: int) -> None:
    """What braindecode saves of windows, a FIF file a recording, by its own processes."""
    windows = braindecode_windows(list(annotated_recordings(source)), jobs=jobs)
    out.mkdir()
    preprocess(windows, [Preprocessor("pick", picks="all")], save_dir=str(out), overwrite=True, n_jobs=jobs)


def hub_zarr(source: Path, out: Path, jobs: int) -> None:
    """The Zarr format of braindecode's hub: what push_to_hub writes, without the hub."""
    braindecode_windows(list(annotated_recordings(source)))._convert_to_zarr_inline(out, "blosc", 5)


def read_hub(source: Path, out: Path, jobs: int) -> None:
    """The first read of the hub's Zarr, which expands it on disk."""
    for recording in stored_windows("hub", out.with_name("hub")).datasets:
        recording[0]


WAYS = {
    "hdf5": hdf5,
    "lmdb": lmdb_pickles,
    "braindecode": braindecode_cache,
    "hub": hub_zarr,
    "read-hub": read_hub,
}


def stored_windows(way: str, out: Path, *, preload: bool = False) -> Any:
    """Open what braindecode stored."""
    if way == "hub":
        return BaseConcatDataset._load_from_zarr_inline(out, preload=False)
    from braindecode.datautil import load_concat_dataset

    return load_concat_dataset(out, preload=preload)


def automatic_windows(folder: Path) -> Any:
    """Windows of some recordings, read when they are asked for out of MNE's cache of decoded recordings."""
    mne.set_log_level("error")
    (folder / "cache").mkdir(exist_ok=True)
    mne.set_cache_dir(str(folder / "cache"))
    recordings = annotated_recordings((folder / "source").resolve(), preload="auto")
    return braindecode_windows(list(islice(recordings, RECORDINGS)))


def main() -> None:
    """Store windows in each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("ways", nargs="+", choices=WAYS, metavar="WAY")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    mne.set_log_level("error")
    for way in arguments.ways:
        WAYS[way](arguments.source, arguments.folder / way, arguments.jobs)


if __name__ == "__main__":
    main()
