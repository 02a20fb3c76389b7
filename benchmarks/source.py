"""What is built from: the sample generator's data, and a BIDS folder at other sizes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from eegzarr.sample import write_sample

# As many windows as the 60 recordings of HBN-EEG's mini Release 1 give, of as many channels and samples.
SUBJECTS, RUNS, TRIALS = 20, 3, 26
SMOKE_SUBJECTS, SMOKE_RUNS, SMOKE_TRIALS = 4, 2, 24  # more windows than a batch


def simulated_source(folder: Path, *, smoke: bool) -> Path:
    """Write a dataset with the sample generator, for those who have none at hand."""
    subjects, runs, trials = (SMOKE_SUBJECTS, SMOKE_RUNS, SMOKE_TRIALS) if smoke else (SUBJECTS, RUNS, TRIALS)
    return write_sample(folder, subjects=subjects, runs=runs, trials=trials)


def scaled_source(source: Path, out: Path, size: float) -> Path:
    """Make a BIDS folder with a part of a dataset's subjects, or with copies of all under other names.

    Files of recordings are links, so that it takes no disk.

    Parameters
    ----------
    source, out : Path
    size : float
        Below 1 the first so many of the subjects; from 1 on, a whole number of copies.
    """
    subjects = sorted(folder.name for folder in source.glob("sub-*") if folder.is_dir())
    out.mkdir(parents=True)
    for file in source.iterdir():
        if file.is_file():
            shutil.copyfile(file, out / file.name)
    people = pd.read_csv(source / "participants.tsv", sep="\t", dtype=str, keep_default_na=False)
    parts = []
    kept = subjects[: max(1, round(size * len(subjects)))]
    for copy in range(max(1, round(size))):
        # A copy's names sort far from the original's: side by side, gzip would store them as one.
        renamed = {name: f"sub-C{copy}{name.removeprefix('sub-')}" if copy else name for name in kept}
        for name, new in renamed.items():
            for file in (source / name).rglob("*"):
                if file.is_file():
                    link = out / str(file.relative_to(source)).replace(name, new)
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(file.resolve())
        rows = people[people["participant_id"].isin(renamed)]
        parts.append(rows.assign(participant_id=rows["participant_id"].map(renamed)))
    pd.concat(parts).to_csv(out / "participants.tsv", sep="\t", index=False)
    return out
