"""Classes and several numbers beside one: what is learned is what the signals carry, and no more."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from sklearn import metrics as judge

from eegzarr.errors import UsageError
from eegzarr.exchange.write import GivenWindows, write_windows
from eegzarr.train.__main__ import describe
from eegzarr.train.__main__ import main as train
from eegzarr.train.ensemble import main as ensemble
from eegzarr.train.loop.fit import fit
from eegzarr.train.models.zoo import load_model
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.classes import ClassScore, score_classes
from eegzarr.train.scoring.metrics import class_interval
from eegzarr.train.scoring.numbers import NumberScore
from eegzarr.train.scoring.predict import Predictions

SUBJECTS, WINDOWS = 24, 24
QUICK = {"device": "cpu", "threads": 1, "batch_size": 16, "learning_rate": 1e-2, "fractions": (0.5, 0.25, 0.25)}
KNOWN = 0.9  # of the windows are labelled by what their signals say: no model can do better
SIDES = {"left": 0, "none": 2, "right": 5}  # the channel that a rhythm of 12 Hz is on


def imagery_lake(folder: Path) -> Path:
    """24 subjects of 24 windows; the channel that a rhythm stands out on tells which of three sides is meant.

    Labels: ``side``, which is wrong in a fraction of the windows; the same in random order, ``shuffled``; and two
    numbers, the rhythm's amplitude and frequency.
    """
    generator = np.random.default_rng(3)
    count = SUBJECTS * WINDOWS
    side = np.array(list(SIDES))[generator.integers(0, 3, count)]
    amplitude, frequency = generator.uniform(24, 48, count), generator.uniform(9, 14, count)
    time = np.arange(100) / 100
    rhythm = amplitude[:, None] * np.sin(2 * np.pi * frequency[:, None] * time + generator.uniform(0, 6.28, (count, 1)))
    signals = generator.normal(0, 20, (count, 6, 100))
    signals[np.arange(count), [SIDES[name] for name in side]] += rhythm
    is_wrong = generator.random(count) < 1 - KNOWN
    told = np.where(is_wrong, np.array(list(SIDES))[(np.argmax(side[:, None] == list(SIDES), 1) + 1) % 3], side)
    labels = pd.DataFrame(
        {
            "subject": np.repeat([f"S{number:02d}" for number in range(SUBJECTS)], WINDOWS),
            "recording": np.repeat(np.arange(SUBJECTS), WINDOWS),
            "task": "imagery",
            "target": amplitude,
            "frequency": frequency,
            "side": told,
            "shuffled": generator.permutation(told),
        }
    )

    def read(first: int, out: npt.NDArray[np.float32]) -> None:
        out[:] = signals[first : first + len(out)]

    channels = ("C3", "Cz", "Fz", "Pz", "Oz", "C4")
    windows = GivenWindows(
        source="a test",
        channels=channels,
        sfreq=100.0,
        start=0.0,
        n_times=100,
        labels=labels,
        fingerprint="",
        read=read,
    )
    write_windows(folder, "imagery", "all", windows)
    return folder


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imagery_lake(tmp_path_factory.mktemp("imagery") / "lake.zarr")


@pytest.fixture(scope="module")
def options(lake: Path) -> FitOptions:
    return FitOptions(lake=str(lake), recipe="imagery", target=("side",), epochs=8, **QUICK)


@pytest.fixture(scope="module")
def run(options: FitOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "side"
    fit(replace(options, epochs=12), folder, max_memory=1.0)
    return folder


def test_classes_that_signals_carry_are_told_apart(run: Path) -> None:
    scores = json.loads((run / "summary.json").read_text())["scores"]["test"]
    assert scores["balanced_accuracy"] == pytest.approx(KNOWN, abs=0.1)
    assert scores["logistic"] == pytest.approx(KNOWN, abs=0.1)
    assert scores["chance"] == pytest.approx(1 / 3)
    assert scores["classes"] == ["left", "none", "right"]
    rows = [row for row in csv.DictReader((run / "predictions.csv").open()) if row["part"] == "test"]
    true, guess = [row["target"] for row in rows], [row["prediction"] for row in rows]
    probability = np.array([[float(row[f"P({name})"]) for name in scores["classes"]] for row in rows])
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    assert scores["balanced_accuracy"] == pytest.approx(judge.balanced_accuracy_score(true, guess))
    assert scores["adjusted"] == pytest.approx(judge.balanced_accuracy_score(true, guess, adjusted=True))
    assert scores["roc_auc"] == pytest.approx(judge.roc_auc_score(true, probability, multi_class="ovr"), abs=1e-6)
    assert scores["confusion"] == judge.confusion_matrix(true, guess).tolist()
    card = (run / "model-card.md").read_text()
    assert f"| {scores['balanced_accuracy']:.3f} | no interval below 10 subjects | {scores['logistic']:.3f} |" in card
    assert "| test | as left | as none | as right |" in card
    assert (run / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_the_saved_model_gives_probabilities_and_knows_its_classes(run: Path) -> None:
    model = load_model(run)
    assert model.classes == ["left", "none", "right"]
    with torch.inference_mode():
        found = model(torch.randn(5, 6, 100) * 20)
    assert found.shape == (5, 3)
    torch.testing.assert_close(found.sum(1), torch.ones(5))


def test_shuffled_classes_are_predicted_by_chance(options: FitOptions, tmp_path: Path) -> None:
    summary = fit(replace(options, target=("shuffled",), epochs=2), tmp_path / "run", max_memory=1.0)
    score = summary.scores["test"]
    assert isinstance(score, ClassScore)
    assert 0.2 < score.balanced_accuracy < 0.47
    assert 0.2 < score.logistic < 0.47
    assert abs(score.kappa) < 0.2
    assert "chance 0.333" in describe(summary)


def test_a_network_over_the_logistic_regression_begins_where_that_is(options: FitOptions, tmp_path: Path) -> None:
    summary = fit(replace(options, residual=True, epochs=1, learning_rate=1e-5), tmp_path / "run", max_memory=1.0)
    score = summary.scores["test"]
    assert isinstance(score, ClassScore)
    assert score.logistic > 0.75
    assert score.balanced_accuracy == pytest.approx(score.logistic, abs=0.1)


def test_several_numbers_are_predicted_at_once(options: FitOptions, tmp_path: Path) -> None:
    several = replace(options, target=("target", "frequency"), epochs=3)
    summary = fit(several, tmp_path / "run", max_memory=1.0)
    score = summary.scores["test"]
    assert isinstance(score, NumberScore)
    assert list(score.agreement) == ["target", "frequency"]
    rows = [r for r in csv.DictReader((tmp_path / "run" / "predictions.csv").open()) if r["part"] == "test"]
    for name, agreement in score.agreement.items():
        true, guess = ([float(row[f"{kind} {name}"]) for row in rows] for kind in ("target", "prediction"))
        assert agreement.r2 == pytest.approx(judge.r2_score(true, guess), abs=1e-5)
        assert agreement.mae == pytest.approx(judge.mean_absolute_error(true, guess), rel=1e-4)
        assert agreement.pearson == pytest.approx(np.corrcoef(true, guess)[0, 1], abs=1e-5)
        assert agreement.nrmse == pytest.approx(judge.root_mean_squared_error(true, guess) / np.std(true), rel=1e-4)
    assert score.nrmse == pytest.approx(np.mean([one.nrmse for one in score.agreement.values()]))
    assert score.ridge < score.constant
    assert "frequency: NRMSE" in describe(summary)


def test_folds_and_ensembles_of_classes(lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--epochs", "1", "--batch-size", "16", "--device", "cpu", "--threads", "1", "--max-memory", "100%"]
    command = [str(lake), "--recipe", "imagery", "--target", "side", "--folds", "2", *quick]
    assert train([*command, "--out", str(tmp_path / "cv")]) == 0
    told = json.loads((tmp_path / "cv" / "cross-validation.json").read_text())
    assert told["metric"] == "balanced accuracy"
    assert told["value"] == pytest.approx(np.mean(told["folds"]), abs=0.1)
    capsys.readouterr()
    runs = [str(tmp_path / "cv" / f"fold-{fold}") for fold in range(2)]
    assert ensemble([*runs, "-o", str(tmp_path / "ensemble.csv")]) == 0
    assert "ensemble of 2: balanced accuracy" in capsys.readouterr().out
    assert {row["target"] for row in csv.DictReader((tmp_path / "ensemble.csv").open())} == set(SIDES)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loss": "mae"}, "is for numbers, and the target is a class"),
        ({"loss": "cross-entropy", "target": ("frequency",)}, "is for classes, and the target is a number"),
        ({"target": ("side", "shuffled")}, "several targets must all be numbers"),
        ({"target": ("sied",)}, "side"),
    ],
)
def test_a_target_that_does_not_fit_is_refused(changes: dict, told: str, options: FitOptions, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        fit(replace(options, **changes), tmp_path / "run", max_memory=1.0)
    assert not (tmp_path / "run").exists()


def test_scores_of_classes_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    target = generator.integers(0, 4, 400)
    probability = generator.dirichlet(np.ones(4), 400)
    probability[np.arange(400), target] += 0.4
    probability /= probability.sum(axis=1, keepdims=True)
    subject = np.repeat([f"S{number}" for number in range(20)], 20)
    made = Predictions(release=subject, window=np.arange(400), subject=subject, target=target, prediction=probability)
    score = score_classes(made, np.array([0.1, 0.2, 0.3, 0.4]), made, "abcd")
    guess = probability.argmax(axis=1)
    assert score.kappa == pytest.approx(judge.cohen_kappa_score(target, guess))
    assert score.macro_f1 == pytest.approx(judge.f1_score(target, guess, average="macro"))
    assert score.majority == pytest.approx(np.mean(target == 3))
    assert score.balanced_accuracy == score.logistic == pytest.approx(judge.balanced_accuracy_score(target, guess))
    assert score.interval is not None
    assert score.interval[0] < score.balanced_accuracy < score.interval[1]
    assert score.against_logistic == (0.0, 0.0)


@pytest.mark.parametrize("belongs_to_person", [False, True])
def test_an_interval_of_a_balanced_accuracy_holds_the_truth(belongs_to_person: bool) -> None:
    generator = np.random.default_rng(1)
    subject = np.repeat(np.arange(20), 20)
    held = made = 0
    for _ in range(300):
        target = generator.integers(0, 2, 20)[subject] if belongs_to_person else generator.integers(0, 2, 400)
        ease = generator.normal(0.7, 0.6, 20)[subject]  # P(ease + noise > 0) = Phi(0.7 / sqrt(1.36)) = 0.7258
        is_right = ease + generator.normal(size=400) > 0
        interval = class_interval(target, np.where(is_right, target, 1 - target), subject)
        made += interval is not None
        held += interval is not None and interval[0] <= 0.7258 <= interval[1]
    assert made > 290
    assert 0.915 < held / made < 0.99


def test_below_ten_subjects_a_balanced_accuracy_has_no_interval() -> None:
    subject = np.repeat(np.arange(9), 10)
    assert class_interval(np.arange(90) % 2, np.arange(90) % 3 % 2, subject) is None
