"""What is done with runs: submissions, ensembles, cross-validation, search, watching."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from conftest import run_command
from eegdash.hbn.windows import build_trial_table
from sklearn.metrics import root_mean_squared_error
from test_train_score import predicted, published_evaluation_of_challenge_2

import eegzarr
from eegzarr.challenge.submission import load_submission
from eegzarr.monitor import main as monitor
from eegzarr.train.__main__ import main as train
from eegzarr.train.ensemble import main as ensemble
from eegzarr.train.loop.fit import fit
from eegzarr.train.models.zoo import load_model
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.metrics import overall_nrmse
from eegzarr.train.search import main as search
from eegzarr.train.submission import main as submit
from eegzarr.watch.run import RunFiles

VIEWS = {"a": 3, "c": 5}  # of test-time augmentation
QUICK = ["--epochs", "1", "--batch-size", "32", "--device", "cpu", "--threads", "1", "--max-memory", "100%"]
QUICK += ["--model-arg", "F1=2"]  # a quarter of the usual filters


@pytest.fixture(scope="module")
def runs(sample_root: Path, sample_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two runs of challenge 1, with other seeds, one of challenge 2, and one that predicts the targets of both."""
    folder = tmp_path_factory.mktemp("runs")
    second = folder / "second.zarr"
    shutil.copytree(sample_lake, second)
    eegzarr.build_lake(sample_root, second, recipe=eegzarr.load_recipe("challenge2"), workers=1)
    small = {"model_arguments": {"F1": 2}, "device": "cpu", "threads": 1}
    one = FitOptions(lake=str(sample_lake), epochs=1, batch_size=32, epoch_windows=64, **small)
    two = replace(one, lake=str(second))
    each = {
        "a": replace(one, tta=VIEWS["a"]),
        "b": replace(one, seed=7),
        "c": replace(two, recipe="challenge2", tta=VIEWS["c"]),
        "d": replace(two, target=("externalizing", "rt_from_stimulus")),
    }
    for name, options in each.items():
        with RunFiles(folder / name, "a test") as files:
            fit(options, folder / name, [files], max_memory=1.0)
    return {name: folder / name for name in each}


def held_out_score(run: Path) -> float:
    return float(json.loads((run / "summary.json").read_text())["scores"]["test"]["nrmse"])


def overall_of(told: str) -> float:
    """Return the overall score that a command printed."""
    return float(told.split("overall: ")[1].split()[0])


def test_a_submission_scores_as_its_runs_do(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "submission.zip"
    assert submit([str(runs["a"]), str(runs["c"]), "-o", str(archive)]) == 0
    told = capsys.readouterr().out
    first, second = held_out_score(runs["a"]), held_out_score(runs["c"])
    for challenge, score in (("challenge1", first), ("challenge2", second)):
        printed = float(told.split(f"{challenge}: NRMSE ")[1].split()[0])
        assert printed == pytest.approx(score, abs=6e-5)
    assert overall_of(told) == pytest.approx(overall_nrmse({"challenge1": first, "challenge2": second}), abs=6e-5)
    assert sorted(zipfile.ZipFile(archive).namelist()) == [
        "submission.py",
        "weights_challenge_1_0.pt",
        "weights_challenge_2_0.pt",
    ]


def test_the_overall_score_of_an_archive_is_that_of_the_published_evaluation(
    runs: dict[str, Path], sample_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, folder = tmp_path / "submission.zip", tmp_path / "loaded"
    assert submit([str(runs["a"]), str(runs["c"]), "-o", str(archive)]) == 0
    folder.mkdir()
    submission = load_submission(archive, folder, 100.0, torch.device("cpu"))
    scores = []
    for run, evaluation, model in (
        ("a", published_evaluation_of_challenge_1, submission.get_model_challenge_1()),
        ("c", published_evaluation_of_challenge_2, submission.get_model_challenge_2()),
    ):
        subjects = json.loads((runs[run] / "subjects.json").read_text())["test"]
        anew = Shifted(load_model(runs[run], unit="V", views=1), VIEWS[run], model)
        target, prediction = evaluation(sample_root, subjects, anew)
        scores.append(root_mean_squared_error(target, prediction) / target.std())
        assert held_out_score(runs[run]) == pytest.approx(scores[-1], abs=5e-5)
    assert overall_of(capsys.readouterr().out) == pytest.approx(0.3 * scores[0] + 0.7 * scores[1], abs=1e-4)


class Shifted(torch.nn.Module):
    """Test-time augmentation anew: the mean over shifts by 20 ms each, the ends repeated; an archive's is the same."""

    def __init__(self, alone: torch.nn.Module, views: int, archived: torch.nn.Module) -> None:
        super().__init__()
        self.alone, self.archived, self.views = alone, archived, views

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shifts = 2 * (np.arange(self.views) - self.views // 2)
        seen = [x[..., np.clip(np.arange(200) + shift, 0, 199)] for shift in shifts]
        mean = torch.stack([self.alone(one) for one in seen]).mean(0)
        torch.testing.assert_close(self.archived(x), mean, rtol=1e-4, atol=1e-4)
        return mean


def test_a_network_of_two_heads_answers_both_challenges(
    runs: dict[str, Path], sample_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, folder = tmp_path / "submission.zip", tmp_path / "loaded"
    assert submit([str(runs["d"]), "-o", str(archive)]) == 0
    told = capsys.readouterr().out
    assert sorted(zipfile.ZipFile(archive).namelist()) == ["submission.py", "weights_challenge_1_0.pt"]
    assert {entry.date_time[:3] for entry in zipfile.ZipFile(archive).infolist()} == {(1980, 1, 1)}
    folder.mkdir()
    submission = load_submission(archive, folder, 100.0, torch.device("cpu"))
    parts = json.loads((runs["d"] / "subjects.json").read_text())
    people = pd.read_csv(sample_root / "participants.tsv", sep="\t").dropna(subset=["externalizing"])
    everyone = {name.removeprefix("sub-") for name in people["participant_id"]}
    unseen = sorted(everyone - set(parts["train"]) - set(parts["valid"]))
    first = published_evaluation_of_challenge_1(sample_root, parts["test"], submission.get_model_challenge_1())
    second = published_evaluation_of_challenge_2(sample_root, unseen, submission.get_model_challenge_2())
    scores = [root_mean_squared_error(*pair) / pair[0].std() for pair in (first, second)]
    agreement = json.loads((runs["d"] / "summary.json").read_text())["scores"]["test"]["agreement"]
    assert agreement["rt_from_stimulus"]["nrmse"] == pytest.approx(scores[0], abs=5e-5)
    assert overall_of(told) == pytest.approx(0.3 * scores[0] + 0.7 * scores[1], abs=1e-4)


def published_evaluation_of_challenge_1(
    root: Path, subjects: list[str], model: torch.nn.Module
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Targets and predictions by the start kit's rules: 2 s from 0.5 s after the stimulus, in volts."""
    targets: list[float] = []
    predictions: list[float] = []
    for subject in subjects:
        for file in sorted(root.rglob(f"sub-{subject}_task-contrastChangeDetection*_eeg.bdf")):
            signal = mne.io.read_raw_bdf(file, preload=True, verbose="error").get_data()
            events = pd.read_csv(file.with_name(file.name.replace("_eeg.bdf", "_events.tsv")), sep="\t")
            trials = build_trial_table(events).dropna(subset=["stimulus_onset", "rt_from_stimulus"])
            onsets, reactions = trials["stimulus_onset"].to_numpy(float), trials["rt_from_stimulus"].to_numpy(float)
            firsts = np.round((onsets + 0.5) * 100).astype(int)
            is_whole = firsts + 200 <= signal.shape[1]
            predictions += predicted(model, signal, firsts[is_whole].tolist())
            targets += reactions[is_whole].tolist()
    return np.array(targets), np.array(predictions)


_EVALUATOR = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("eegzarr", "zarr", "xarray", "dask"):
            raise ImportError(name + " is not there where submissions are evaluated")
sys.meta_path.insert(0, Refuse())
import torch
from submission import Submission
made = Submission(100, torch.device("cpu"))
first, second = made.get_model_challenge_1(), made.get_model_challenge_2()
with torch.inference_mode():
    windows = torch.zeros(3, 129, 200)
    print(tuple(first(windows).shape), tuple(second(windows).shape), first.training)
"""


def test_a_submission_needs_only_torch_and_braindecode(runs: dict[str, Path], tmp_path: Path) -> None:
    archive = tmp_path / "submission.zip"
    assert submit([str(runs["a"]), str(runs["b"]), str(runs["c"]), "-o", str(archive), "--no-score"]) == 0
    folder = tmp_path / "evaluator"
    zipfile.ZipFile(archive).extractall(folder)
    ran = subprocess.run([sys.executable, "-c", _EVALUATOR], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "(3, 1) (3, 1) False"


def test_what_is_no_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit([str(tmp_path), "-o", str(tmp_path / "s.zip")]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "s.zip").exists()


def test_an_ensemble_is_the_mean_of_its_runs(runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "ensemble.csv"
    assert ensemble([str(runs["a"]), str(runs["b"]), "-o", str(out)]) == 0

    def predictions(path: Path) -> dict[tuple[str, str], float]:
        rows = csv.DictReader(path.open())
        return {(r["release"], r["window"]): float(r["prediction"]) for r in rows if r["part"] != "valid"}

    mean, a, b = predictions(out), *(predictions(runs[name] / "predictions.csv") for name in "ab")
    assert mean.keys() == a.keys() == b.keys()
    keys = list(mean)
    expected = [(a[key] + b[key]) / 2 for key in keys]
    np.testing.assert_allclose([mean[key] for key in keys], expected, rtol=1e-4, atol=1e-5)


def test_runs_of_different_recipes_make_no_ensemble(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert ensemble([str(runs["a"]), str(runs["c"])]) == 2
    assert "predict different things" in capsys.readouterr().err


def test_folds_predict_every_subject_outside_the_test_part_once(
    sample_lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(sample_lake), "--out", str(tmp_path / "cv"), "--folds", "2", *QUICK]
    assert train(command) == 0
    parts = [json.loads((tmp_path / "cv" / f"fold-{fold}" / "subjects.json").read_text()) for fold in range(2)]
    assert parts[0]["test"] == parts[1]["test"]
    assert not set(parts[0]["valid"]) & set(parts[1]["valid"])
    for part in parts:
        assert not set(part["valid"]) & set(part["train"])
    everyone = set(parts[0]["train"]) | set(parts[0]["valid"])
    assert set(parts[0]["valid"]) | set(parts[1]["valid"]) == everyone
    result = json.loads((tmp_path / "cv" / "cross-validation.json").read_text())
    assert result["subjects"] == len(everyone)
    assert result["interval"] is None
    capsys.readouterr()
    assert train(command) == 0, "finished folds aren't trained again"
    assert f"NRMSE {result['value']:.3f}" in capsys.readouterr().out


def test_a_study_goes_on_where_it_was(sample_lake: Path, tmp_path: Path) -> None:
    command = [str(sample_lake), "--out", str(tmp_path / "study"), *QUICK]
    assert search([*command, "--trials", "1"]) == 0
    first = (tmp_path / "study" / "trial-000" / "summary.json").read_bytes()
    assert search([*command, "--trials", "2"]) == 0
    assert (tmp_path / "study" / "trial-000" / "summary.json").read_bytes() == first
    assert sorted(path.name for path in (tmp_path / "study").glob("trial-*")) == ["trial-000", "trial-001"]
    best = json.loads((tmp_path / "study" / "best.json").read_text())
    scores = [
        json.loads((tmp_path / "study" / f"trial-00{i}" / "summary.json").read_text())["scores"]["valid"]["nrmse"]
        for i in range(2)
    ]
    assert best["score"] == pytest.approx(min(scores))


def test_the_monitor_shows_a_training_and_a_build(
    runs: dict[str, Path], sample_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert monitor([str(runs["a"])]) == 0
    shown = capsys.readouterr().out
    assert "finished" in shown
    assert "windows/s" in shown
    lake = tmp_path / "lake.zarr"
    built = run_command("eegzarr.build", "--source", sample_root, "--out", lake, "--workers", 1)
    assert built.returncode == 0, built.stderr
    assert monitor([str(lake), "--once"]) == 0
    shown = capsys.readouterr().out
    assert "challenge1/R1" in shown
    assert "complete" in shown


def test_the_monitor_names_what_is_neither(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert monitor([str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err


def test_the_challenges_validation_release_is_validated_on(
    two_release_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("eegzarr.train.loop.parts.VALIDATION_RELEASE", "R2")
    run = tmp_path / "run"
    assert train([str(two_release_lake), "--out", str(run), *QUICK, "--epoch-windows", "64"]) == 0
    assert "validation subjects" in capsys.readouterr().out
    subjects = json.loads((run / "subjects.json").read_text())
    assert {name.startswith("NDAROTHER") for name in subjects["valid"]} == {True}
    assert {name.startswith("NDAROTHER") for name in subjects["train"]} == {False}
    assert subjects["test"] == []
    assert set(json.loads((run / "summary.json").read_text())["scores"]) == {"valid"}
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    assert {(row["release"], row["part"]) for row in rows} == {("R2", "valid")}
    assert train([str(two_release_lake), "--out", str(tmp_path / "x"), "--releases", "R1", "--split", "challenge"]) == 2
    assert "--split challenge validates on R2" in capsys.readouterr().err


def test_test_time_augmentation_averages_views(runs: dict[str, Path], sample_lake: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train([str(sample_lake), "--out", str(run), *QUICK, "--tta", "3", "--crop", "1.5"]) == 0
    model = load_model(run)
    windows = eegzarr.open_windows(sample_lake, "challenge1").isel(window=slice(4))
    x = torch.from_numpy(windows["eeg"].values)
    with torch.inference_mode():
        crops = [x[..., start : start + 150] for start in (0, 25, 50)]
        alone = [model.standardized(crop) * model.target_std + model.target_mean for crop in crops]
        torch.testing.assert_close(model(x)[:, 0], torch.stack(alone).mean(0))
    assert (alone[0] - alone[1]).abs().max() > 1e-4


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux isn't installed")
def test_a_run_in_tmux_has_its_monitor_beside_it(sample_lake: Path, tmp_path: Path) -> None:
    run = tmp_path / f"beside-{os.getpid()}"
    started = run_command("eegzarr.train", sample_lake, "--out", run, *QUICK, "--tmux")
    session = f"eegzarr-{run.name}"
    try:
        assert started.returncode == 0, started.stderr
        assert f"tmux attach -t {session}" in started.stdout
        panes = subprocess.run(["tmux", "list-panes", "-t", session], capture_output=True, text=True, check=True)
        assert len(panes.stdout.splitlines()) == 2
        again = run_command("eegzarr.train", sample_lake, "--out", run, *QUICK, "--tmux")
        assert again.returncode == 2
        assert "is there already" in again.stderr
        deadline = time.monotonic() + 100
        while not (run / "summary.json").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert (run / "summary.json").exists()
        while "finished" not in (seen := shown(session, 1)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert "challenge1" in seen
        assert "finished" in seen
    finally:
        subprocess.run(["tmux", "kill-session", "-t", session], check=False, capture_output=True)


def shown(session: str, pane: int) -> str:
    """Return the text of a pane of a tmux session."""
    command = ["tmux", "capture-pane", "-p", "-t", f"{session}:.{pane}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
