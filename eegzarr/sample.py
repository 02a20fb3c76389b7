"""A small simulated BIDS dataset in the manner of HBN-EEG: ``python -m eegzarr.sample OUT``.

It has what a build must cope with: missed and wrong answers, presses before the target, a
trial too close to the end of its recording, a recording without events, another task,
missing factors. The labels can be learnt from the signals: a deflection after the target
that peaks later on slower trials, and an alpha rhythm that grows with the externalizing score.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.challenge.presets import HBN_CHANNELS
from eegzarr.command import run_command
from eegzarr.errors import EegzarrError, UsageError

SFREQ = 100.0
RELEASE = "R1"
MARK = "dataset_description.json"  # written last: a dataset without it is unfinished
SIZE = "sample.json"
TASK = "contrastChangeDetection"

_SOURCES = 24
_TRIAL_SECONDS = 4.8
_LEAD_SECONDS = 6.0
_TAIL_SECONDS = 4.0
_TASKS_AND_RUNS = (
    *("RestingState", "DespicableMe", "FunwithFractals", "ThePresent", "DiaryOfAWimpyKid"),
    *("contrastChangeDetection_1", "contrastChangeDetection_2", "contrastChangeDetection_3"),
    *("surroundSupp_1", "surroundSupp_2", "seqLearning6target", "seqLearning8target", "symbolSearch"),
)
_PARTICIPANT_COLUMNS = (
    *("participant_id", "release_number", "sex", "age", "ehq_total", "commercial_use", "full_pheno"),
    *("p_factor", "attention", "internalizing", "externalizing"),
    *_TASKS_AND_RUNS,
)


@dataclass(frozen=True, kw_only=True)
class SampleSize:
    """What determines a sample, to the byte."""

    subjects: int = 6
    runs: int = 2
    trials: int = 24
    seed: int = 2025

    def __post_init__(self) -> None:
        for name in ("subjects", "runs", "trials"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise UsageError(f"--seed must not be negative, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class SampleRecording:
    """One recording to write: what happens in it, and how long it lasts in s."""

    stem: str
    subject: int
    task: str
    duration: float
    events: pd.DataFrame


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
        _write_text(root / SIZE, json.dumps(asdict(size)) + "\n")  # first: it tells what to go on with
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


def participants(size: SampleSize) -> pd.DataFrame:
    """Return participants.tsv, with HBN's columns; one factor is missing, one run wants caution."""
    rows = []
    for subject in range(size.subjects):
        rng = _generator(size.seed, "participant", subject)
        factors = np.round(rng.normal(0, 0.9, 4), 3)
        # Alternating signs: a handful of subjects spans the score.
        factors[3] = round(float((-1) ** subject * rng.uniform(0.3, 1.6)), 3)
        row: dict[str, object] = dict.fromkeys(_TASKS_AND_RUNS, "available")
        row |= {
            "participant_id": f"sub-{subject_name(subject)}",
            "release_number": RELEASE,
            "sex": "MF"[int(rng.integers(2))],
            "age": round(float(rng.uniform(5.5, 17.5)), 4),
            "ehq_total": round(float(rng.uniform(-60, 100)), 2),
            "commercial_use": "Yes",
            "full_pheno": "Yes",
            "seqLearning6target": "unavailable",
        }
        row |= dict(zip(("p_factor", "attention", "internalizing", "externalizing"), factors, strict=True))
        if subject == 1:
            row |= {"attention": "n/a", "contrastChangeDetection_2": "caution"}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(_PARTICIPANT_COLUMNS))


def subject_name(subject: int) -> str:
    """Return a subject's name: HBN's manner, but nobody's."""
    return f"NDARSIM{subject:03d}{'ABCDEFGHJK'[subject % 10]}{'LMNPQRSTUV'[subject // 10 % 10]}"


def subject_recordings(subject: int, size: SampleSize) -> list[SampleRecording]:
    """Return a subject's recordings; the third subject has a run without events, the first a rest."""
    name = f"sub-{subject_name(subject)}"
    made = []
    for run in range(1, size.runs + 1):
        rng = _generator(size.seed, "events", subject, run)
        close = subject == 0 and run == 1
        events, duration = task_events(size.trials, rng, last_target_close_to_end=close)
        if subject == 2 and run == size.runs:
            events = events.iloc[:0]
        made.append(
            SampleRecording(
                stem=f"{name}_task-{TASK}_run-{run}", subject=subject, task=TASK, duration=duration, events=events
            )
        )
    if subject == 0:
        made.append(
            SampleRecording(
                stem=f"{name}_task-RestingState",
                subject=subject,
                task="RestingState",
                duration=40.0,
                events=_resting_events(),
            )
        )
    return made


def task_events(trials: int, rng: np.random.Generator, *, last_target_close_to_end: bool) -> tuple[pd.DataFrame, float]:
    """Return events.tsv of a run of contrast change detection, and the run's duration in s.

    Parameters
    ----------
    last_target_close_to_end : bool
        End the recording so soon after the last target that no 2 s window after it fits,
        although the trial has its response and its end.
    """
    rows: list[tuple[float, str, str, str]] = [(0.0, "break cnt", "break cnt", "n/a")]
    rows.append((_LEAD_SECONDS - 3, "contrastChangeB1_start", "94", "n/a"))
    onset = _LEAD_SECONDS
    for trial in range(trials):
        side = int(rng.integers(2))
        target = onset + 1.2 + 0.4 * float(rng.random())
        reaction = float(np.clip(rng.normal(1.6, 0.35), 0.8, 2.3))
        rows.append((onset, "contrastTrial_start", "5", "n/a"))
        if trial % 11 == 5:  # a press before there is anything to answer
            rows.append((onset + 0.5, *_press(side, "non_target")))
        rows.append((target, f"{('left', 'right')[side]}_target", str(8 + side), "n/a"))
        is_last = trial == trials - 1
        if trial % 7 == 3 and not is_last:  # wrong
            rows.append((target + reaction, *_press(1 - side, "sad_face")))
        elif trial % 9 != 7 or is_last:  # else missed
            rows.append((target + reaction, *_press(side, "smiley_face")))
        onset += _TRIAL_SECONDS
    if last_target_close_to_end:
        duration = float(np.ceil(target + reaction + 0.1))
        duration -= 1.0 if duration - target >= 2.5 else 0.0
        rows[-1] = (min(rows[-1][0], duration - 0.1), *rows[-1][1:])
        rows.append((duration - 0.02, "end_experiment", "99", "n/a"))
    else:
        rows.append((onset, "end_experiment", "99", "n/a"))
        duration = float(np.ceil(onset + _TAIL_SECONDS))
    table = pd.DataFrame(rows, columns=["onset", "value", "event_code", "feedback"])
    table["onset"] = (table["onset"] * 500).round() / 500  # the clock of HBN's amplifier
    return _with_bids_columns(table), duration


def _press(side: int, feedback: str) -> tuple[str, str, str]:
    return f"{('left', 'right')[side]}_buttonPress", str(12 + side), feedback


def _resting_events() -> pd.DataFrame:
    rows = [(0.0, "break cnt", "break cnt"), (1.288, "resting_start", "90")]
    rows += [(4.0, "instructed_toOpenEyes", "20"), (20.0, "instructed_toCloseEyes", "30")]
    return _with_bids_columns(pd.DataFrame(rows, columns=["onset", "value", "event_code"]))


def _with_bids_columns(table: pd.DataFrame) -> pd.DataFrame:
    table.insert(1, "duration", "n/a")
    # HBN's sample counts the original 500 Hz samples, also beside 100 Hz data.
    table.insert(2, "sample", (table["onset"] * 500).round().astype(int))
    return table


def simulate(recording: SampleRecording, score: float, seed: int) -> npt.NDArray[np.float64]:
    """Return a recording's signal in uV, (channel, time); the last channel, the reference, is zero.

    Parameters
    ----------
    score : float
        The subject's externalizing score, which alpha power follows.
    """
    n_times = round(recording.duration * SFREQ)
    rng = _generator(seed, "signal", recording.stem)
    head = _generator(seed, "head")  # the same for everybody
    mixing = head.standard_normal((len(HBN_CHANNELS), _SOURCES)) * head.exponential(0.4, (len(HBN_CHANNELS), _SOURCES))
    topography = head.standard_normal(len(HBN_CHANNELS))
    signal = mixing @ _sources(n_times, np.exp(0.6 * score), rng)
    signal *= 12 / signal.std()
    for onset, latency in _deflections(recording.events, rng):
        time = np.arange(n_times) / SFREQ - onset
        near = (time > -0.5) & (time < 3)
        signal[:, near] += np.outer(topography, 9 * np.exp(-0.5 * ((time[near] - latency) / 0.15) ** 2))
    signal += rng.standard_normal(signal.shape)
    signal[-1] = 0
    return signal


def _sources(n_times: int, alpha: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """1/f activity between 0.5 and 45 Hz; a third of the sources carries an alpha rhythm."""
    freqs = np.fft.rfftfreq(n_times, 1 / SFREQ)
    band = (freqs >= 0.5) & (freqs <= 45)
    spectrum = np.where(band, 1 / np.maximum(freqs, 0.5), 0.0)
    gain = np.zeros((_SOURCES, 1))
    gain[: _SOURCES // 3] = 2.0 * alpha
    peak = np.exp(-0.5 * ((freqs - 10) / 1.0) ** 2) * 0.2
    random = rng.standard_normal((_SOURCES, freqs.size)) + 1j * rng.standard_normal((_SOURCES, freqs.size))
    background = np.fft.irfft(spectrum * random, n_times, axis=1)
    rhythm = np.fft.irfft(peak * random, n_times, axis=1)
    scale = background.std()
    return (background + gain * rhythm) / scale


def _deflections(events: pd.DataFrame, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Return (onset of the target, latency of the deflection) in s for each answered target."""
    values = events["value"].astype(str).to_numpy(object) if len(events) else np.empty(0, object)
    onsets = events["onset"].to_numpy(float)
    pairs = []
    for i, value in enumerate(values):
        if value.endswith("_target") and i + 1 < len(values) and values[i + 1].endswith("_buttonPress"):
            reaction = onsets[i + 1] - onsets[i]
            pairs.append((float(onsets[i]), float(0.5 + 0.6 * reaction + 0.06 * rng.standard_normal())))
    return pairs


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
    part = target.with_name(f"{target.name}.part")  # no name that a BIDS reader takes for a recording
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
    """Tell whether the sample is finished; refuse a folder that holds something else."""
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
        run: {"Description": "State of the recording: available, caution or unavailable"} for run in _TASKS_AND_RUNS
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


def _generator(seed: int, *what: object) -> np.random.Generator:
    """A stream of random numbers of its own for each thing, so that no thing depends on the others."""
    return np.random.default_rng([seed, zlib.crc32(repr(what).encode())])


def _tsv(table: pd.DataFrame) -> str:
    return table.to_csv(sep="\t", index=False, lineterminator="\n")


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf8")
    part.replace(path)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m eegzarr.sample", description=__doc__.splitlines()[0])
    parser.add_argument("out", metavar="OUT", help="root of the dataset: a new or an empty folder")
    defaults = SampleSize()
    parser.add_argument("--subjects", type=int, default=defaults.subjects, help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=defaults.runs, help="of the task for each (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=defaults.trials, help="in a run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    return run_command("eegzarr.sample", lambda: _sample(arguments))


def _sample(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    size = SampleSize(subjects=arguments.subjects, runs=arguments.runs, trials=arguments.trials, seed=arguments.seed)
    finished = is_there(Path(arguments.out), size)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("recordings", total=None)
        root = write_sample(
            arguments.out,
            **asdict(size),
            on_recording=lambda done, total: bar.update(task, completed=done, total=total),
        )
    recordings = sum(1 for _ in root.glob("sub-*/eeg/*_eeg.bdf"))
    print(f"{recordings} recordings of {size.subjects} subjects in {root}{', as before' if finished else ''}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
