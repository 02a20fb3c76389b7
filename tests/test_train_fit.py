"""Training end to end on the sample: it learns, keeps its best, and says what is wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_command

import eegzarr
from eegzarr.errors import UsageError
from eegzarr.events import EpochEnded
from eegzarr.train.__main__ import describe
from eegzarr.train.loop.fit import fit
from eegzarr.train.loop.parts import make_parts
from eegzarr.train.models.zoo import load_model, make_model
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.metrics import nrmse, overall_nrmse, subject_interval
from eegzarr.train.scoring.predict import evaluation_stream, predict
from eegzarr.train.scoring.summary import FitSummary

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(sample_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FitSummary, list[EpochEnded]]:
    """A short run on the sample's six subjects."""
    epochs: list[EpochEnded] = []
    summary = fit(
        FitOptions(lake=str(sample_lake), epochs=10, batch_size=16, patience=14, device="cpu"),
        tmp_path_factory.mktemp("runs") / "run",
        [lambda event: epochs.append(event) if isinstance(event, EpochEnded) else None],
        max_memory=1.0,
    )
    return summary, epochs


def test_it_learns_to_predict_subjects_it_never_saw(run: tuple[FitSummary, list[EpochEnded]]) -> None:
    summary, epochs = run
    assert summary.scores["valid"].nrmse < 0.9
    assert epochs[-1].train_loss < 0.7 * epochs[0].train_loss


def test_the_run_folder_holds_all_that_a_reader_needs(
    run: tuple[FitSummary, list[EpochEnded]], sample_lake: Path
) -> None:
    summary, epochs = run
    folder = Path(summary.run)
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert [float(row["valid_score"]) for row in rows] == [e.valid_score for e in epochs]
    assert min(float(row["valid_score"]) for row in rows) == pytest.approx(summary.scores["valid"].nrmse)
    assert json.loads((folder / "summary.json").read_text())["best_epoch"] == summary.best_epoch
    assert torch.load(folder / "best.pt", weights_only=True)["epoch"] == summary.best_epoch
    assert json.loads((folder / "environment.json").read_text())["versions"]["torch"] == torch.__version__.split("+")[0]
    for name in ("curves.png", "scatter.png", "residuals.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert f"{summary.scores['test'].nrmse:.3f}" in (folder / "model-card.md").read_text()


def test_predictions_are_of_the_windows_that_were_held_out(
    run: tuple[FitSummary, list[EpochEnded]], sample_lake: Path
) -> None:
    summary, _ = run
    folder = Path(summary.run)
    subjects = json.loads((folder / "subjects.json").read_text())
    windows = eegzarr.open_windows(sample_lake, "challenge1").set_index(window="window")
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    assert {row["part"] for row in rows} == {"valid", "test"}
    for row in rows:
        assert row["subject"] in subjects[row["part"]]
        assert row["subject"] not in subjects["train"]
    for row in rows[:: max(1, len(rows) // 20)]:
        stored = windows.sel(window=int(row["window"]))
        assert str(stored["subject"].values) == row["subject"]
        assert float(stored["target"]) == pytest.approx(float(row["target"]))
    test = [row for row in rows if row["part"] == "test"]
    score = nrmse([float(r["target"]) for r in test], [float(r["prediction"]) for r in test])
    assert score == pytest.approx(summary.score)
    scores = summary.scores["test"]
    assert nrmse([float(r["target"]) for r in test], [float(r["ridge"]) for r in test]) == pytest.approx(scores.ridge)
    assert scores.interval is None
    assert scores.against_ridge is None
    told = f"NRMSE {scores.nrmse:.3f} (no interval below 10 subjects) on {scores.windows} windows of 1 test subject;"
    assert told in describe(summary)
    assert "| no interval below 10 subjects |" in (folder / "model-card.md").read_text()


@pytest.mark.parametrize(("unit", "scale"), [("uV", 1.0), ("V", 1e-6)])
def test_the_saved_model_scores_as_the_run_did_in_the_unit_it_is_told(
    run: tuple[FitSummary, list[EpochEnded]], unit: str, scale: float
) -> None:
    summary, _ = run
    parts = make_parts(FitOptions(**json.loads((Path(summary.run) / "config.json").read_text())["options"]))
    model = load_model(summary.run, unit=unit)
    predicted = predict(model, evaluation_stream(parts.valid, 16), CPU, scale=scale)
    assert nrmse(predicted.target, predicted.prediction) == pytest.approx(summary.scores["valid"].nrmse, abs=1e-5)


def test_the_configuration_repeats_the_run(sample_lake: Path, tmp_path: Path) -> None:
    small = FitOptions(
        lake=str(sample_lake),
        epochs=2,
        batch_size=16,
        device="cpu",
        model_arguments={"F1": 2},
        augment=("noise", "shift:1"),
    )
    fit(small, tmp_path / "first", max_memory=1.0)
    result = run_command(
        *("eegzarr.train", "--config", tmp_path / "first" / "config.json", "--max-memory", "100%"),
        *("--out", tmp_path / "again"),
    )
    assert result.returncode == 0, result.stderr
    assert "NRMSE" in result.stdout
    assert len(result.stderr.splitlines()) == 3  # no bar where there is no terminal: a line to begin, one an epoch
    first, again = ((tmp_path / name / "predictions.csv").read_text() for name in ("first", "again"))
    assert first == again


def test_labels_that_mean_nothing_cannot_be_predicted(sample_lake: Path, tmp_path: Path, monkeypatch) -> None:
    real = eegzarr.open_windows

    def shuffled(*arguments: object) -> object:
        windows = real(*arguments)
        rng = np.random.default_rng(0)
        return windows.assign_coords(target=("window", rng.permutation(windows["target"].values)))

    monkeypatch.setattr("eegzarr.train.loop.parts.open_windows", shuffled)
    options = FitOptions(lake=str(sample_lake), epochs=4, batch_size=16, device="cpu")
    summary = fit(options, tmp_path / "run", max_memory=1.0)
    score = summary.scores["test"]
    assert 0.93 < score.nrmse < 1.2
    assert score.ridge > 0.93


def test_a_difference_is_judged_on_the_same_subjects() -> None:
    generator = np.random.default_rng(0)
    subject = np.repeat(np.arange(20), 30)
    hard = generator.normal(0, 2, 20)[subject]  # what neither model knows of a subject
    target = hard + generator.normal(size=600)
    better = target - hard + generator.normal(0, 0.5, 600)
    worse = better + generator.normal(0, 0.8, 600)
    difference, alone = (
        subject_interval(target, better, subject, other=worse),
        subject_interval(target, better, subject),
    )
    assert difference is not None
    assert alone is not None
    assert difference[0] < nrmse(target, better) - nrmse(target, worse) < difference[1] < 0
    assert difference[1] - difference[0] < alone[1] - alone[0]
    assert subject_interval(target, better, subject, other=better) == (0.0, 0.0)


def test_nrmse_of_the_mean_is_one() -> None:
    target = np.array([1.0, 2.0, 4.0])
    assert nrmse(target, np.full(3, target.mean())) == pytest.approx(1)
    assert nrmse(target, target) == 0
    assert overall_nrmse({"challenge1": 0.887, "challenge2": 0.978}) == pytest.approx(0.9507)
    with pytest.raises(UsageError, match="don't vary"):
        nrmse([1, 1], [1, 2])
    with pytest.raises(UsageError, match="can't be scored"):
        nrmse([1, 2], [1])


@pytest.mark.parametrize("name", ["NoNet", "EEGModuleMixin"])
def test_an_unknown_model_names_the_known(name: str) -> None:
    with pytest.raises(UsageError, match="EEGNeX"):
        make_model(
            {
                "network": name,
                "arguments": {},
                "n_chans": 8,
                "n_times": 200,
                "sfreq": 100.0,
                "residual": False,
                "views": 1,
                "unit": "uV",
            }
        )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["{tmp}/nothing"], 1, "isn't a lake"),
        (["{lake}", "--recipe", "nosuch"], 1, "it has challenge1"),
        (["{lake}", "--model", "NoNet"], 2, "isn't one of braindecode's"),
        (["{lake}", "--model-arg", "F1"], 2, "must be KEY=VALUE"),
        (["{lake}", "--model-arg", "nonsense=3"], 2, "doesn't fit"),
        (["{lake}", "--epochs", "0"], 2, "--epochs must be at least 1"),
        (["{lake}", "--batch-size", "100000"], 2, "larger than the selection"),
        (["{lake}", "--augment", "noise:2"], 2, "from 0 to 1"),
        (["{lake}", "--augment", "sparkles"], 2, "there is no 'sparkles'"),
        (["{lake}", "--split", "challenge"], 2, "validates on R5"),
        (["{lake}", "--max-memory", "lots"], 2, "isn't a share"),
        (["{lake}", "--resume", "{tmp}/none"], 2, "leave out LAKE"),
        (["--config", "{tmp}/none/config.json"], 2, "holds no run"),
        ([], 2, "name the lake"),
    ],
)
def test_bad_options_are_one_line(
    arguments: list[str], code: int, told: str, sample_lake: Path, tmp_path: Path
) -> None:
    filled = [text.format(tmp=tmp_path, lake=sample_lake) for text in arguments]
    result = run_command("eegzarr.train", *filled, "--out", tmp_path / "run")
    assert result.returncode == code, result.stderr
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()
