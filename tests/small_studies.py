"""Small BIDS datasets of EDF+ files, written as a test needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from edfio import Edf, EdfAnnotation, EdfSignal

Events = Sequence[tuple[float, float | None, str]]  # onset and duration in s, value


def write_recording(
    path: Path,
    *,
    seconds: int,
    sfreq: int = 100,
    channels: Sequence[str] = ("Fz", "Cz", "Pz"),
    annotations: Events = (),
    seed: int = 0,
) -> Path:
    """Write a recording of noise, whole microvolts, with its own annotations."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    signals = [
        EdfSignal(
            np.round(rng.normal(0, 20, seconds * sfreq)).clip(-200, 200),
            sfreq,
            label=name,
            physical_dimension="uV",
            physical_range=(-200, 200),
        )
        for name in channels
    ]
    own = [EdfAnnotation(onset, duration, text) for onset, duration, text in annotations]
    Edf(signals, annotations=own or None).write(path)
    return path


def write_events(recording: Path, columns: Mapping[str, Sequence[object]]) -> None:
    """Write the events.tsv of a recording."""
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    path = recording.with_name(recording.name.replace("_eeg.edf", "_events.tsv"))
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))


def eeg_path(root: Path, subject: str, task: str, run: str = "") -> Path:
    """Return where a recording lies in a dataset."""
    middle = f"_run-{run}" if run else ""
    return root / f"sub-{subject}" / "eeg" / f"sub-{subject}_task-{task}{middle}_eeg.edf"
