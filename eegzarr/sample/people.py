"""Who is in the sample, and what they do: participants, recordings and events."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eegzarr.sample.size import SampleSize

RELEASE = "R1"
TASK = "contrastChangeDetection"

_TRIAL_SECONDS = 4.8
_LEAD_SECONDS = 6.0
_TAIL_SECONDS = 4.0
TASKS_AND_RUNS = (
    *("RestingState", "DespicableMe", "FunwithFractals", "ThePresent", "DiaryOfAWimpyKid"),
    *("contrastChangeDetection_1", "contrastChangeDetection_2", "contrastChangeDetection_3"),
    *("surroundSupp_1", "surroundSupp_2", "seqLearning6target", "seqLearning8target", "symbolSearch"),
)
_PARTICIPANT_COLUMNS = (
    *("participant_id", "release_number", "sex", "age", "ehq_total", "commercial_use", "full_pheno"),
    *("p_factor", "attention", "internalizing", "externalizing"),
    *TASKS_AND_RUNS,
)


@dataclass(frozen=True, kw_only=True)
class SampleRecording:
    """One recording to write: what happens in it, and how long it lasts in s."""

    stem: str
    subject: int
    task: str
    duration: float
    events: pd.DataFrame


def participants(size: SampleSize) -> pd.DataFrame:
    """Return participants.tsv, with HBN's columns; one factor is missing, one run wants caution."""
    rows = []
    for subject in range(size.subjects):
        rng = generator(size.seed, "participant", subject)
        factors = np.round(rng.normal(0, 0.9, 4), 3)
        # Alternating signs: a handful of subjects spans the score.
        factors[3] = round(float((-1) ** subject * rng.uniform(0.3, 1.6)), 3)
        row: dict[str, object] = dict.fromkeys(TASKS_AND_RUNS, "available")
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
    """Return a subject's name, like HBN's but invented."""
    return f"NDARSIM{subject:03d}{'ABCDEFGHJK'[subject % 10]}{'LMNPQRSTUV'[subject // 10 % 10]}"


def subject_recordings(subject: int, size: SampleSize) -> list[SampleRecording]:
    """Return a subject's recordings; the third subject has a run without events, the first a rest."""
    name = f"sub-{subject_name(subject)}"
    made = []
    for run in range(1, size.runs + 1):
        rng = generator(size.seed, "events", subject, run)
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


def generator(seed: int, *what: object) -> np.random.Generator:
    """A stream of random numbers of its own for each thing, so that no thing depends on the others."""
    return np.random.default_rng([seed, zlib.crc32(repr(what).encode())])
