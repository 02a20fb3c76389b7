"""Writes the sample: a file at a time, so that a run that was stopped continues where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.challenge.presets import HBN_CHANNELS
from eegzarr.errors import EegzarrError, UsageError
from eegzarr.sample.people import TASKS_AND_RUNS, SampleRecording, participants, subject_recordings
from eegzarr.sample.signals import SFREQ, simulate
from eegzarr.sample.size import SampleSize

MARK = "dataset_description.json"  # written last: a dataset without it is unfinished
SIZE = "sample.json"


def write_sample(
    out: str | Path,
    *,
    subjects: int = 6,
    runs: int = 2,
    trials: int = 24,
    seed: int = 2025,
    on_recording: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the dataset, or what an earlier run that was stopped left to write.

    Parameters
    ----------
    out : path
        Root of the dataset; a new or empty folder.
    subjects, runs, trials : int
        Subjects, runs of the contrast change detection task for each, trials in a run.
    seed : int
        The same seed gives the same bytes; more subjects leave the first ones as they are.
    on_recording : callable
        Called with (done, total) after each recording.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    UsageError
        If `out` holds anything else, a number is less than 1, or the seed is negative.
    EegzarrError
        If `out` can't be written.
    """
    size = SampleSize(subjects=subjects, runs=runs, trials=trials, seed=seed)
    root = Path(out)
    try:
        if is_there(root, size):
            return root
        _write_text(root / SIZE, json.dumps(asdict(size)) + "\n")  # first: it says what to continue with
        people = participants(size)
        recordings = [r for subject in range(subjects) for r in subject_recordings(subject, size)]
        _write_text(root / "participants.tsv", _tsv(people))
        _write_text(root / "README", "A dataset simulated by eegzarr.sample; no person was recorded.\n")
        _write_text(root / "participants.json", json.dumps(_column_descriptions(), indent=2) + "\n")
        for done, recording in enumerate(recordings, 1):
            score = float(people["externalizing"].replace("n/a", 0.0).astype(float).iloc[recording.subject])
            _write_recording(root, recording, score, size)
            on_recording(done, len(recordings))
        _write_text(root / MARK, json.dumps(_description(size), indent=2) + "\n")
    except OSError as error:
        raise EegzarrError(f"{root} can't be written: {error.strerror or error}") from error
    return root


def _write_recording(root: Path, recording: SampleRecording, score: float, size: SampleSize) -> None:
    folder = root / recording.stem.split("_")[0] / "eeg"
    target = folder / f"{recording.stem}_eeg.bdf"
    if target.exists():
        return
    channels = pd.DataFrame({"name": HBN_CHANNELS, "type": "EEG", "units": "uV"})
    sidecar = {
        "TaskName": recording.task,
        "EEGReference": "Cz",
        "SamplingFrequency": SFREQ,
        "PowerLineFrequency": 60,
        "EEGChannelCount": len(HBN_CHANNELS),
        "RecordingDuration": recording.duration,
        "RecordingType": "continuous",
        "SoftwareFilters": "n/a",
    }
    _write_text(folder / f"{recording.stem}_channels.tsv", _tsv(channels))
    _write_text(folder / f"{recording.stem}_eeg.json", json.dumps(sidecar, indent=2) + "\n")
    _write_text(folder / f"{recording.stem}_events.tsv", _tsv(recording.events))
    part = target.with_name(f"{target.name}.part")  # not a name that a BIDS reader takes for a recording
    _write_bdf(part, simulate(recording, score, size.seed))
    part.replace(target)


def _write_bdf(path: Path, signal: npt.NDArray[np.float64]) -> None:
    from edfio import Bdf, BdfSignal

    whole_seconds = signal[:, : signal.shape[1] - signal.shape[1] % round(SFREQ)]
    reach = float(np.ceil(np.abs(signal).max())) + 1
    signals = [
        BdfSignal(samples, SFREQ, label=name, physical_dimension="uV", physical_range=(-reach, reach))
        for name, samples in zip(HBN_CHANNELS, np.ascontiguousarray(whole_seconds), strict=True)
    ]
    Bdf(signals).write(path)


def is_there(root: Path, size: SampleSize) -> bool:
    """Return whether the sample is finished; refuse a folder that holds something else."""
    if not root.exists() or (root.is_dir() and not any(path for path in root.iterdir() if path.suffix != ".part")):
        return False
    try:
        there = json.loads((root / SIZE).read_text())
    except (OSError, ValueError):
        there = None
    if there != asdict(size):
        kind = "another sample" if there else "something else"
        raise UsageError(f"{root} holds {kind}: give a new folder, or remove it")
    return (root / MARK).exists()


def _column_descriptions() -> dict[str, dict[str, str]]:
    """Return participants.json: what the simulated columns mean."""
    told = {
        "age": {"Description": "Age, drawn at random", "Units": "year"},
        "ehq_total": {"Description": "Handedness in the manner of the Edinburgh Handedness Questionnaire"},
        "externalizing": {"Description": "Simulated factor; alpha power follows it"},
    }
    told |= {factor: {"Description": "Simulated factor"} for factor in ("p_factor", "attention", "internalizing")}
    return told | {
        run: {"Description": "State of the recording: available, caution or unavailable"} for run in TASKS_AND_RUNS
    }


def _description(size: SampleSize) -> dict[str, object]:
    generator = {"Name": "eegzarr.sample", "Description": f"simulated: {json.dumps(asdict(size))}"}
    return {
        "Name": "eegzarr sample, simulated in the manner of HBN-EEG",
        "BIDSVersion": "1.9.0",
        "DatasetType": "raw",
        "License": "CC0",
        "GeneratedBy": [generator],
    }


def _tsv(table: pd.DataFrame) -> str:
    return table.to_csv(sep="\t", index=False, lineterminator="\n")


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf8")
    part.replace(path)
