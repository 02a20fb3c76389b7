from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from conftest import run_command, tree_digests

from eegzarr.errors import UsageError
from eegzarr.sample import MARK, write_sample

SMALL = {"subjects": 3, "runs": 1, "trials": 12}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("small") / "sample", **SMALL)


def all_events(root: Path) -> pd.DataFrame:
    paths = sorted(root.glob("sub-*/eeg/*contrastChangeDetection*_events.tsv"))
    return pd.concat([pd.read_csv(p, sep="\t").assign(path=p.name) for p in paths], ignore_index=True)


def test_the_same_seed_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    assert tree_digests(write_sample(tmp_path / "again", **SMALL)) == tree_digests(small)
    other = tree_digests(write_sample(tmp_path / "other", **SMALL, seed=1))
    signals = [name for name in tree_digests(small) if name.endswith(".bdf")]
    assert signals
    assert all(other[name] != tree_digests(small)[name] for name in signals)


def test_more_subjects_leave_the_first_as_they_are(small: Path, tmp_path: Path) -> None:
    larger = tree_digests(write_sample(tmp_path / "larger", **{**SMALL, "subjects": 4}))
    recordings = {name: digest for name, digest in tree_digests(small).items() if name.startswith("sub-")}
    assert recordings.items() <= larger.items()


def test_recordings_are_hbns_format(small: Path) -> None:
    for path in small.glob("sub-*/eeg/*_eeg.bdf"):
        raw = mne.io.read_raw_bdf(path, preload=True, verbose="error")
        assert (raw.info["sfreq"], len(raw.ch_names)) == (100, 129)
        assert raw.ch_names[0] == "E1"
        microvolts = raw.get_data() * 1e6
        assert 8 < microvolts[:-1].std() < 40
        assert np.abs(microvolts[-1]).max() < 1e-3
        assert json.loads(Path(str(path).replace(".bdf", ".json")).read_text())["SamplingFrequency"] == 100


def test_events_hold_what_a_build_must_cope_with(sample_root: Path) -> None:
    events = all_events(sample_root)
    assert {"smiley_face", "sad_face", "non_target"} <= set(events["feedback"].dropna())
    value = events["value"].tolist()
    missed = [a.endswith("_target") and not b.endswith("Press") for a, b in pairwise(value)]
    early = [a == "contrastTrial_start" and b.endswith("Press") for a, b in pairwise(value)]
    assert any(missed)
    assert any(early)
    assert (events["sample"] == (events["onset"] * 500).round()).all()
    headers = [p for p in sample_root.glob("sub-*/eeg/*_events.tsv") if len(p.read_text().splitlines()) == 1]
    assert len(headers) == 1


def test_one_trial_is_too_close_to_the_end(sample_root: Path) -> None:
    room = []
    for path in sorted(sample_root.glob("sub-*/eeg/*contrastChangeDetection*_events.tsv")):
        events = pd.read_csv(path, sep="\t")
        targets = events["onset"][events["value"].str.endswith("_target")]
        sidecar = json.loads(path.with_name(path.name.replace("_events.tsv", "_eeg.json")).read_text())
        if len(targets):
            room.append(sidecar["RecordingDuration"] - targets.iloc[-1])
    assert sum(seconds < 2.5 for seconds in room) == 1


def test_a_stopped_run_is_finished_by_the_next(small: Path, tmp_path: Path) -> None:
    calls = []

    def stop(done: int, total: int) -> None:
        calls.append(done)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path / "sample", **SMALL, on_recording=stop)
    assert not (tmp_path / "sample" / MARK).exists()
    (tmp_path / "sample" / "participants.tsv.part").write_text("a killed write")
    assert tree_digests(write_sample(tmp_path / "sample", **SMALL)) == tree_digests(small)


def test_labels_are_in_the_signals(sample_root: Path) -> None:
    latencies, reactions = [], []
    alpha, score = [], []
    people = pd.read_csv(sample_root / "participants.tsv", sep="\t").set_index("participant_id")
    for path in sorted(sample_root.glob("sub-*/eeg/*contrastChangeDetection*_eeg.bdf")):
        raw = mne.io.read_raw_bdf(path, preload=True, verbose="error")
        spectrum = raw.compute_psd(fmin=2, fmax=30, verbose="error")
        power = spectrum.get_data()[:-1].mean(axis=0)
        near = np.abs(spectrum.freqs - 10) < 1.5
        alpha.append(np.log(power[near].mean() / power[~near].mean()))
        score.append(people.loc[path.name.split("_")[0], "externalizing"])
        events = pd.read_csv(str(path).replace("_eeg.bdf", "_events.tsv"), sep="\t")
        values = events["value"].tolist()
        answered = [
            (events["onset"][i], events["onset"][i + 1] - events["onset"][i])
            for i in range(len(values) - 1)
            if values[i].endswith("_target") and values[i + 1].endswith("Press")
        ]
        data = raw.get_data()[:-1] * 1e6
        trials = [data[:, round(t * 100) : round(t * 100) + 220] for t, _ in answered if t * 100 + 220 < raw.n_times]
        if not trials:
            continue
        erp = np.mean(trials, axis=0)
        topography = erp[:, np.abs(erp).mean(axis=0).argmax()]
        for trial, (_, reaction) in zip(trials, answered, strict=False):
            smooth = np.convolve(topography @ trial, np.hanning(31), "same")
            latencies.append(smooth.argmax() / 100)
            reactions.append(reaction)
    assert np.corrcoef(latencies, reactions)[0, 1] > 0.6
    assert np.corrcoef(alpha, score)[0, 1] > 0.8


@pytest.mark.parametrize("change", [{"subjects": 0}, {"trials": 0}, {"seed": -1}])
def test_impossible_sizes_are_refused(change: dict, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(change))} must"):
        write_sample(tmp_path / "x", **change)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    result = run_command("eegzarr.sample", tmp_path)
    assert result.returncode == 2
    assert "holds something else" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    result = run_command("eegzarr.sample", tmp_path / "s", "--subjects", 1, "--runs", 1, "--trials", 3)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"2 recordings of 1 subjects in {tmp_path / 's'}\n"
    again = run_command("eegzarr.sample", tmp_path / "s", "--subjects", 1, "--runs", 1, "--trials", 3)
    assert again.stdout == f"2 recordings of 1 subjects in {tmp_path / 's'}, as before\n"
