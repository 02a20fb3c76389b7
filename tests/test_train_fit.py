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
from eegzarr.train.fit import FitOptions, FitSummary, fit, load_model, predict
from eegzarr.train.metrics import nrmse, overall_nrmse
from eegzarr.train.models import make_network
from eegzarr.train.split import split_by_subject
from eegzarr.train.stream import WindowStream


@pytest.fixture(scope="module")
def run(sample_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FitSummary, list[EpochEnded]]:
    """A short run on the sample's six subjects."""
    epochs: list[EpochEnded] = []
    summary = fit(
        FitOptions(lake=str(sample_lake), epochs=14, batch_size=16, patience=14),
        tmp_path_factory.mktemp("runs") / "run",
        [lambda event: epochs.append(event) if isinstance(event, EpochEnded) else None],
    )
    return summary, epochs


def test_it_learns_to_predict_subjects_it_never_saw(run: tuple[FitSummary, list[EpochEnded]]) -> None:
    summary, epochs = run
    assert summary.valid_nrmse < 0.9
    assert epochs[-1].train_loss < 0.7 * epochs[0].train_loss


def test_the_run_folder_holds_scores_and_the_best_weights(run: tuple[FitSummary, list[EpochEnded]]) -> None:
    summary, epochs = run
    folder = Path(summary.run)
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert [float(row["valid_nrmse"]) for row in rows] == [e.valid_nrmse for e in epochs]
    assert min(float(row["valid_nrmse"]) for row in rows) == summary.valid_nrmse
    assert json.loads((folder / "summary.json").read_text())["best_epoch"] == summary.best_epoch
    assert json.loads((folder / "config.json").read_text())["seed"] == 2025
    assert torch.load(folder / "best.pt", weights_only=True)["epoch"] == summary.best_epoch


def test_the_saved_model_scores_as_the_run_did(run: tuple[FitSummary, list[EpochEnded]], sample_lake: Path) -> None:
    summary, _ = run
    windows = eegzarr.open_windows(sample_lake, "challenge1")
    _, valid, _ = split_by_subject(windows, FitOptions(lake="").fractions, seed=2025)
    model = load_model(summary.run)
    score = nrmse(*predict(model, WindowStream(valid, 16), torch.device("cpu")))
    assert score == pytest.approx(summary.valid_nrmse, abs=1e-5)


def test_labels_that_mean_nothing_cannot_be_predicted(sample_lake: Path, tmp_path: Path, monkeypatch) -> None:
    real = eegzarr.open_windows

    def shuffled(*arguments: object) -> object:
        windows = real(*arguments)
        rng = np.random.default_rng(0)
        return windows.assign_coords(target=("window", rng.permutation(windows["target"].values)))

    monkeypatch.setattr("eegzarr.train.fit.open_windows", shuffled)
    summary = fit(FitOptions(lake=str(sample_lake), epochs=4, batch_size=16), tmp_path / "run")
    assert summary.test_nrmse > 0.93


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
        make_network(name, n_chans=8, n_times=200, sfreq=100)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["{tmp}/nothing"], 1, "is no lake"),
        (["{lake}", "--recipe", "challenge2"], 1, "it has challenge1"),
        (["{lake}", "--model", "NoNet"], 2, "is none of braindecode's"),
        (["{lake}", "--model-arg", "F1"], 2, "must be KEY=VALUE"),
        (["{lake}", "--model-arg", "nonsense=3"], 2, "doesn't fit"),
        (["{lake}", "--epochs", "0"], 2, "--epochs must be at least 1"),
        (["{lake}", "--batch-size", "100000"], 2, "larger than the selection"),
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
