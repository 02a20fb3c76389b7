"""Recipes of well-known datasets, on small files of their structure: the windows and classes of independent tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset
from braindecode.preprocessing import create_fixed_length_windows, create_windows_from_events
from eegdash.hbn.preprocessing import hbn_ec_ec_reannotation
from small_studies import eeg_path, write_events, write_recording

import eegzarr
from eegzarr.bids.dataset import find_source
from eegzarr.build.inspect import inspect
from eegzarr.build.plan import Plan, make_plan
from eegzarr.build.target import TargetColumn, targets_of
from eegzarr.recipes.load import FILES, load_recipe
from eegzarr.recipes.recipe import recipe_from_json
from eegzarr.store.layout import Geometry


@dataclass(frozen=True)
class Cut:
    """Windows of a plan: where each begins, and what is to be predicted of it."""

    plan: Plan
    starts: list[int]
    target: TargetColumn

    @property
    def names(self) -> list[str]:
        """The class of each."""
        return [self.target.attributes["classes"][code] for code in self.target.values]


def cut(root: Path, name: str) -> Cut:
    """Plan a source's windows, as a build would, in this process."""
    recipe = load_recipe(name)
    source = find_source(root, recipe.tasks, recipe.runs)
    plan = make_plan(source, recipe, Geometry.of, lambda many: [inspect(source.root, one, recipe) for one in many])
    recording = plan.windows["recording"].to_numpy()
    columns = {str(column): plan.windows[column].to_numpy() for column in plan.windows}
    columns |= {label: values[recording] for label, values in plan.subjects.columns.items() if label not in columns}
    target = targets_of(recipe, columns, plan.subjects.given)["target"]
    return Cut(plan, plan.windows["start_sample"].tolist(), target)


def by_braindecode(path: Path, mapping: dict[str, int], samples: int, annotations=None) -> tuple[list[int], list[int]]:
    raw = mne.io.read_raw_edf(path, verbose=False)
    if annotations is not None:
        raw.set_annotations(annotations, verbose=False)
    windows = create_windows_from_events(
        BaseConcatDataset([RawDataset(raw, {})]),
        mapping=mapping,
        window_size_samples=samples,
        window_stride_samples=samples,
        drop_last_window=True,
        on_missing="ignore",
    ).get_metadata()
    return windows["i_start_in_trial"].tolist(), windows["target"].tolist()


@pytest.mark.parametrize("name", FILES)
def test_a_recipe_of_a_dataset_says_its_source(name: str) -> None:
    text = FILES[name].read_text()
    assert text.startswith("# ")
    assert "doi" in text or "https://" in text
    assert recipe_from_json(load_recipe(name).to_json()) == load_recipe(name)


def test_imagined_fists_of_physionet_are_those_of_braindecode(tmp_path: Path) -> None:
    cues = [(4.1 * k, 4.1, ("T0", "T1", "T0", "T2")[k % 4]) for k in range(12)]
    for run in ("03", "04", "06", "12"):
        path = eeg_path(tmp_path, "001", "motion", run)
        write_recording(path, seconds=50, sfreq=160, channels=("Fc5.", "C3..", "Cz.."), annotations=cues)
    found = cut(tmp_path, "physionet-mi")
    starts, codes = by_braindecode(eeg_path(tmp_path, "001", "motion", "04"), {"T1": 0, "T2": 1}, 480)
    assert found.starts == starts * 2  # of the runs 4 and 12
    assert found.names == [("left", "right")[code] for code in codes] * 2
    assert found.plan.channels == ("FC5", "C3", "Cz")


def test_stages_of_sleep_edf_are_those_of_braindecode(tmp_path: Path) -> None:
    stages = [(0, 90, "W"), (90, 30, "1"), (120, 120, "2"), (240, 60, "3"), (300, 30, "4"), (330, 30, "R")]
    stages += [(360, 30, "Movement time"), (390, 75, "2"), (465, 135, "?")]
    rows = [(float(o), float(d), s if " " in s else f"Sleep stage {s}") for o, d, s in stages]
    hypnogram = mne.Annotations(*zip(*rows, strict=True))
    psg = write_recording(eeg_path(tmp_path, "4001", "sleep"), seconds=600, channels=("EEG Fpz-Cz", "EEG Pz-Oz"))
    write_events(psg, {"onset": hypnogram.onset, "duration": hypnogram.duration, "trial_type": hypnogram.description})
    found = cut(tmp_path, "sleep-edf")
    mapping = dict(zip((f"Sleep stage {s}" for s in "W1234R"), (0, 1, 2, 3, 3, 4), strict=True))
    starts, codes = by_braindecode(psg, mapping, 3000, hypnogram)
    assert found.starts == starts
    assert found.names == [("W", "N1", "N2", "N3", "R")[code] for code in codes]
    assert found.plan.channels == ("Fpz-Cz", "Pz-Oz")


def test_seizures_of_chb_mit_are_the_mask_of_their_samples(tmp_path: Path) -> None:
    seizures = [(37.5, 21.0), (70.0, 2.0)]
    for run, rows in (("01", seizures), ("02", [])):
        path = write_recording(
            eeg_path(tmp_path, "01", "szMonitoring", run), seconds=90, sfreq=256, channels=("FP1-F7", "F7-T7")
        )
        told = [(onset, duration, "sz") for onset, duration in rows] or [(0.0, 90.0, "bckg")]
        columns = zip(*told, strict=True)
        write_events(path, dict(zip(("onset", "duration", "eventType"), columns, strict=True)))
    mask = np.zeros(2 * 90 * 256)
    for onset, duration in seizures:
        mask[int(onset * 256) : int((onset + duration) * 256)] = 1
    found = cut(tmp_path, "chb-mit")
    recording = found.plan.windows["recording"].to_numpy()
    shares = [mask[90 * 256 * r + start :][:1024].mean() for r, start in zip(recording, found.starts, strict=True)]
    assert len(found.starts) == 44
    assert found.names == ["seizure" if share >= 0.5 else "no_seizure" for share in shares]
    assert found.names.count("seizure") == 7


@pytest.mark.parametrize(
    ("name", "task", "class_of"),
    [
        ("erpcore-n170", "N170", lambda v: "face" if v <= 40 else "car" if v <= 80 else ""),
        ("erpcore-p3", "P3", lambda v: "" if v > 55 else "target" if v // 10 == v % 10 else "nontarget"),
    ],
)
def test_erp_core_is_that_of_mne(name: str, task: str, class_of, tmp_path: Path) -> None:
    path = write_recording(eeg_path(tmp_path, "001", task), seconds=40, sfreq=256)
    rng = np.random.default_rng(1)
    values = rng.integers(1, 181, 30) if task == "N170" else rng.integers(1, 6, 30) * 10 + rng.integers(1, 6, 30)
    values[5], values[9] = 201, 202
    onsets = np.round(np.cumsum(rng.uniform(0.9, 1.4, 30)), 4)
    write_events(
        path, {"onset": onsets, "duration": ["n/a"] * 30, "trial_type": ["stimulus"] * 30, "value": values.tolist()}
    )
    raw = mne.io.read_raw_edf(path, verbose=False)
    raw.set_annotations(mne.Annotations(onsets, 0, [class_of(v) or "other" for v in values]))
    events, codes = mne.events_from_annotations(raw, regexp="(face|car|target|nontarget)$", verbose=False)
    epochs = mne.Epochs(raw, events, codes, tmin=-0.2, tmax=0.796, baseline=None, verbose=False).drop_bad()
    found = cut(tmp_path, name)
    assert found.starts == (epochs.events[:, 0] + round(-0.2 * 256)).tolist()
    assert found.names == [{code: text for text, code in codes.items()}[code] for code in epochs.events[:, 2]]


def test_pathology_of_tuab_is_that_of_its_sessions(tmp_path: Path) -> None:
    recipe = load_recipe("tuab")
    kinds = {("aaa", "s001"): "normal", ("aaa", "s002"): "abnormal", ("bbb", "s001"): "normal"}
    old = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}
    names = [f"EEG {old.get(name, name).upper()}-REF" for name in recipe.channels]
    for subject, session in kinds:
        path = tmp_path / f"sub-{subject}/ses-{session}/eeg/sub-{subject}_ses-{session}_task-rest_eeg.edf"
        write_recording(path, seconds=35, sfreq=200, channels=[*names, "EEG A1-REF"])
    for subject in ("aaa", "bbb"):
        rows = [f"ses-{session}\t{kind}\n" for (who, session), kind in kinds.items() if who == subject]
        (tmp_path / f"sub-{subject}/sub-{subject}_sessions.tsv").write_text("session_id\tpathology\n" + "".join(rows))
    found = cut(tmp_path, "tuab")
    raws = [mne.io.read_raw_edf(path, verbose=False) for path in sorted(tmp_path.glob("sub-*/ses-*/eeg/*.edf"))]
    theirs = create_fixed_length_windows(
        BaseConcatDataset([RawDataset(raw, {}) for raw in raws]),
        window_size_samples=2000,
        window_stride_samples=2000,
        drop_last_window=True,
    ).get_metadata()
    assert found.starts == theirs["i_start_in_trial"].tolist()
    assert found.names == [kind for kind in kinds.values() for _ in range(3)]
    assert found.plan.channels == recipe.channels


def test_eyes_of_hbn_are_those_of_eegdash(tmp_path: Path) -> None:
    told = [(46.55, "Open"), (66.55, "Close"), (106.55, "Open"), (126.55, "Close"), (166.54, "Open"), (186.54, "Close")]
    path = write_recording(eeg_path(tmp_path, "X", "RestingState"), seconds=210)
    values = ["resting_start", *(f"instructed_to{which}Eyes" for _, which in told)]
    onsets = [0.0, *(onset for onset, _ in told)]
    write_events(path, {"onset": onsets, "duration": ["n/a"] * len(onsets), "value": values})
    raw = mne.io.read_raw_edf(path, verbose=False)
    raw.set_annotations(mne.Annotations(onsets, 0, values))
    raw = hbn_ec_ec_reannotation().transform(raw)
    events, codes = mne.events_from_annotations(raw, verbose=False)
    epochs = mne.Epochs(raw, events, codes, tmin=0, tmax=1.99, baseline=None, verbose=False).drop_bad()
    theirs = {code: name.removeprefix("eyes_") for name, code in codes.items()}
    found = cut(tmp_path, "hbn-eyes")
    assert found.starts == epochs.events[:, 0].tolist()
    assert found.names == [theirs[code] for code in epochs.events[:, 2]]


def test_commands_of_proteus_are_those_of_mne(tmp_path: Path) -> None:
    commands = {"mi": "motor_imagery", "sub": "subtraction", "word": "word"}
    cues = [(3.0 + 9.3 * k, ("word", "mi", "sub", "mi", "word")[k]) for k in range(5)]
    for task in ("OnlineRawBH", "BaselineOpen"):
        path = tmp_path / f"sub-01/ses-2/eeg/sub-01_ses-2_task-{task}_run-1_eeg.edf"
        write_recording(path, seconds=50, sfreq=500, channels=("C3", "Cz"))
        told = [(0.0, "baseline"), *((onset, cue) for onset, cue in cues if task == "OnlineRawBH"), (49.0, "end")]
        onsets, values = zip(*told, strict=True)
        write_events(path, {"onset": onsets, "duration": [8.0] * len(told), "trial_type": values})
    lake = tmp_path / "lake.zarr"
    eegzarr.build_lake(tmp_path, lake, recipe="proteus-commands", workers=1)
    windows = eegzarr.open_windows(lake, "proteus-commands").load()

    raw = mne.io.read_raw_edf(next(tmp_path.glob("**/*OnlineRawBH*.edf")), preload=True, verbose=False)
    raw.set_annotations(mne.Annotations(*zip(*((onset, 0, commands[cue]) for onset, cue in cues), strict=True)))
    raw.notch_filter([50, 60], verbose=False).filter(0.1, 75, verbose=False).resample(120, verbose=False)
    events, codes = mne.events_from_annotations(raw, verbose=False)
    epochs = mne.Epochs(raw, events, codes, tmin=1, tmax=5 - 1 / 120, baseline=None, preload=True, verbose=False)
    names = {code: name for name, code in codes.items()}
    assert [windows["target"].attrs["flag_meanings"].split()[c] for c in windows["target"].values.astype(int)] == [
        names[code] for code in epochs.events[:, 2]
    ]
    assert (windows["start"].values * 120).round().tolist() == (epochs.events[:, 0] + 120).tolist()
    np.testing.assert_allclose(windows["eeg"], epochs.get_data(units="uV"), atol=1e-3)
    assert set(windows["task"].values) == {"OnlineRawBH"}


def test_sleep_onset_of_muse_is_the_time_to_its_marker(tmp_path: Path) -> None:
    """As NeuralBench defines it: of windows that end at the onset or before, the seconds that are left."""
    onset = 712.3
    for session in ("01", "02"):
        path = tmp_path / f"sub-07/ses-{session}/eeg/sub-07_ses-{session}_task-sleeponset_eeg.edf"
        write_recording(path, seconds=1012, sfreq=128, channels=("TP9", "AF7", "AF8", "TP10"))
        write_events(path, {"onset": [onset], "duration": [0.0], "trial_type": ["n2_onset"]})
    (tmp_path / "sub-07/sub-07_sessions.tsv").write_text("session_id\tsplit\nses-01\ttrain\nses-02\ttest\n")
    found = cut(tmp_path, "muse-sleep-onset")
    assert found.starts == [640 * k for k in range(202)] * 2
    stops = 5.0 * np.arange(1, 203)
    theirs = np.where(stops <= onset, np.minimum(onset - stops, 600), np.nan)
    np.testing.assert_allclose(found.target.values, np.tile(theirs, 2), rtol=1e-6)
    assert found.plan.subjects.columns["split"].tolist() == ["train", "test"]
    assert found.plan.channels == ("TP9", "AF7", "AF8", "TP10")
