"""Options of a training: which windows, how scaled, whose network, begun where, averaged, seeded, told to whom."""

from __future__ import annotations

import csv
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_train_tasks import QUICK, WINDOWS, imagery_lake

import eegzarr
from eegzarr.errors import FitInterrupted, UsageError
from eegzarr.events import EpochEnded, Noticed
from eegzarr.train import load_model, predict, score
from eegzarr.train.__main__ import main as train
from eegzarr.train.loop.average import WeightAverage
from eegzarr.train.loop.fit import fit, resume
from eegzarr.train.loop.parts import make_parts
from eegzarr.train.models.checkpoint import read_checkpoint
from eegzarr.train.models.zoo import make_model
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.metrics import nrmse
from eegzarr.watch.trackers import Tracker

SPEC = {"arguments": {}, "n_chans": 6, "n_times": 100, "sfreq": 100.0, "residual": False, "views": 1, "unit": "uV"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imagery_lake(tmp_path_factory.mktemp("imagery") / "lake.zarr")


@pytest.fixture(scope="module")
def options(lake: Path) -> FitOptions:
    return FitOptions(lake=str(lake), recipe="imagery", epochs=1, **QUICK)


@pytest.fixture(scope="module")
def run(options: FitOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    fit(options, folder, max_memory=1.0)
    return folder


def test_conditions_choose_windows_to_train_on_and_to_score(options: FitOptions) -> None:
    everything = make_parts(options)
    parts = make_parts(replace(options, where="side != 'none' and target > 30", valid_where="frequency < 12"))
    assert parts.test is not None
    train = everything.train
    wanted = (train.side != "none") & (train.target > 30)
    np.testing.assert_array_equal(parts.train.window, train.window[wanted])
    for chosen, whole in ((parts.valid, everything.valid), (parts.test, everything.test)):
        np.testing.assert_array_equal(chosen.window, whole.window[whole.frequency < 12])
    assert any("left out by --where side != 'none' and target > 30" in note for note in parts.notes)


def test_a_split_that_the_lake_keeps_is_trained_on_as_it_is(options: FitOptions) -> None:
    windows = eegzarr.open_windows(options.lake, options.recipe)
    train, valid = eegzarr.split_by_subject(windows, (0.7, 0.3), seed=7)
    shuffled = train.isel(window=np.random.default_rng(0).permutation(train.sizes["window"]))
    eegzarr.store_split(options.lake, options.recipe, "paper", {"train": shuffled, "valid": valid})
    eegzarr.store_split(options.lake, options.recipe, "halves", {"a": train, "b": valid})
    days = {"train": windows.isel(window=slice(0, None, 2)), "valid": windows.isel(window=slice(1, None, 2))}
    eegzarr.store_split(options.lake, options.recipe, "days", days)
    kept = replace(options, split="paper", fractions=FitOptions.fractions)
    parts = make_parts(kept)
    np.testing.assert_array_equal(parts.train.window, shuffled.window)
    np.testing.assert_array_equal(parts.valid.window, valid.window)
    assert parts.test is None
    assert list(parts.plan_digests) == np.unique(windows.release).tolist()
    assert (
        "24 subjects of the validation part are in the training part, too"
        in make_parts(replace(kept, split="days")).notes
    )
    for split, told in {
        "papre": r"--split must be one of auto, fractions, challenge, or a split that .* \(days, halves, paper\), got "
        r"'papre'\. Did you mean paper\?",
        "chalenge": r"Did you mean challenge\?",  # codespell: misspelt
        "halves": "has windows in the parts a, b; training needs train and valid",
    }.items():
        with pytest.raises(UsageError, match=told):
            make_parts(replace(kept, split=split))
    with pytest.raises(UsageError, match="--split paper says which windows each part has: leave out --folds"):
        replace(kept, folds=3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"where": "sied == 'left'"}, "sied"),
        ({"where": "target > 1000"}, "--where 'target > 1000' leaves none of the 288 windows of the training part"),
        ({"valid_where": "side > 3"}, "side"),
        ({"where": "target >"}, "--where"),
        ({"where": "side == 'left' and side < 3"}, "--where: .* side is text, 3 is a number"),
        ({"model": "nowhere:Net"}, "there is no module nowhere"),
        ({"model": "json:JSONDecoder"}, "a subclass of torch.nn.Module"),
        ({"ema": 1.0}, "--ema is a share"),
        ({"init_from": "nowhere"}, "holds no finished epoch"),
        ({"accumulate": 40}, "--accumulate 40"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    changes: dict, told: str, options: FitOptions, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        fit(replace(options, **changes), tmp_path / "run", max_memory=1.0)
    assert not (tmp_path / "run").exists()


def test_windows_are_scaled_by_themselves(options: FitOptions) -> None:
    model = make_model(SPEC | {"network": "EEGNet", "normalize": "window", "clamp": 2.0})
    x = torch.randn(4, 6, 100) * torch.rand(4, 6, 1) * 100 + 50
    x[0, 0] = 7.0
    found, values = model.scaled(x).numpy(), x.numpy()
    std = values.std(axis=2, keepdims=True)
    std[std == 0] = 1
    wanted = np.clip((values - values.mean(axis=2, keepdims=True)) / std, -2, 2)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_recordings_are_scaled_by_their_own_moments(options: FitOptions, tmp_path: Path) -> None:
    parts = make_parts(replace(options, normalize="recording"))
    x, _ = next(iter(parts.given.stream(parts.train, WINDOWS, rank=0, ranks=1)))
    torch.testing.assert_close(x.std((0, 2), correction=0), torch.ones(6), rtol=1e-3, atol=1e-3)
    fit(replace(options, normalize="recording"), tmp_path / "run", max_memory=1.0)
    stored = csv.DictReader((tmp_path / "run" / "predictions.csv").open())
    wanted = {int(row["window"]): float(row["prediction"]) for row in stored}
    windows = eegzarr.open_windows(options.lake, "imagery").isel(window=sorted(wanted))
    found = predict(tmp_path / "run", windows)
    np.testing.assert_allclose(found["prediction"], [wanted[one] for one in found["window"]], rtol=1e-4)


def test_a_network_of_ones_own_gets_what_its_signature_names(
    options: FitOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_networks_23.py").write_text(
        "from torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self, n_chans, n_times, n_outputs, chs_info, width=1):\n"
        "        super().__init__()\n"
        "        self.names, self.places = [c['ch_name'] for c in chs_info], [c['loc'][:3] for c in chs_info]\n"
        "        self.head = nn.Linear(n_chans * n_times, n_outputs)\n"
        "    def forward(self, x):\n"
        "        return self.head(x.flatten(1))\n"
        "class Mean(nn.Module):\n"
        "    def __init__(self, n_chans):\n"
        "        super().__init__()\n"
        "    def forward(self, x):\n"
        "        return x.mean((1, 2))[:, None].expand(-1, 3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    fit(replace(options, model="own_networks_23:Own", target=("side",)), tmp_path / "run", max_memory=1.0)
    network = load_model(tmp_path / "run").network
    assert network.names == ["C3", "Cz", "Fz", "Pz", "Oz", "C4"]
    windows = eegzarr.open_windows(options.lake, "imagery")
    np.testing.assert_allclose(network.places, np.stack([windows[a] for a in "xyz"], axis=1), atol=1e-6)
    assert network.head.weight.shape == (3, 600)
    with pytest.raises(UsageError, match="own_networks_23:Mean has no weights that can be trained"):
        fit(replace(options, model="own_networks_23:Mean", target=("side",)), tmp_path / "mean", max_memory=1.0)
    with pytest.raises(UsageError, match="give --model own_networks_23:Own"):
        fit(replace(options, init_from=str(tmp_path / "run")), tmp_path / "tuned", max_memory=1.0)
    sys.modules.pop("own_networks_23")


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "last.pt")
    with pytest.raises(UsageError, match=r"last\.pt is damaged \(it holds a list, not what a run saves\): copy"):
        read_checkpoint(tmp_path / "last.pt", "copy it")
    with pytest.raises(UsageError, match=r"best\.pt isn't there: .* holds no finished epoch of a run"):
        load_model(tmp_path)


def test_a_run_begins_with_the_weights_of_another(options: FitOptions, run: Path, tmp_path: Path) -> None:
    told: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, Noticed):
            told.append(event.message)

    tuned = replace(options, init_from=str(run), target=("side",), learning_rate=1e-9)
    fit(tuned, tmp_path / "run", [listen], max_memory=1.0)
    assert any("weights are those of" in line and "final_layer" in line and "anew" in line for line in told)
    before, after = load_model(run).network.state_dict(), load_model(tmp_path / "run").network.state_dict()
    torch.testing.assert_close(after["conv_temporal.weight"], before["conv_temporal.weight"], atol=1e-5, rtol=0)
    with pytest.raises(UsageError, match="holds a EEGNet, this run trains a ShallowFBCSPNet"):
        fit(replace(tuned, model="ShallowFBCSPNet"), tmp_path / "other", max_memory=1.0)


def test_a_fine_tuning_resumes_and_says_whom_the_pretraining_saw(
    options: FitOptions, run: Path, tmp_path: Path
) -> None:
    def stop(event: object) -> None:
        if isinstance(event, EpochEnded) and event.epoch == 0:
            signal.raise_signal(signal.SIGTERM)

    tuned = replace(options, init_from=str(run), target=("side",), split_seed=7, epochs=2)
    whole = fit(tuned, tmp_path / "whole", max_memory=1.0)
    with pytest.raises(FitInterrupted):
        fit(tuned, tmp_path / "stopped", [stop], max_memory=1.0)
    resumed = resume(tmp_path / "stopped", max_memory=1.0)
    ours, theirs = (load_model(tmp_path / name).state_dict() for name in ("stopped", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    before, now = (json.loads((folder / "subjects.json").read_text()) for folder in (run, tmp_path / "whole"))
    scored = {*now["valid"], *now["test"]}
    seen = len(scored & set(before["train"]))
    assert f"{run} was trained on {seen} of the {len(scored)} subjects that are scored here" in resumed.notes[-1]
    assert resumed.notes == whole.notes


def test_accumulated_batches_take_the_step_of_one_large_batch(options: FitOptions, tmp_path: Path) -> None:
    # Without dropout and batch statistics the steps are the same but for rounding.
    linear = replace(options, optimizer="sgd", learning_rate=1e-2, model="torch_linear_23:Flat", epoch_windows=64)
    (tmp_path / "torch_linear_23.py").write_text(
        "from torch import nn\n"
        "class Flat(nn.Sequential):\n"
        "    def __init__(self, n_chans, n_times, n_outputs):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(n_chans * n_times, n_outputs))\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        fit(replace(linear, batch_size=32), tmp_path / "one", max_memory=1.0)
        fit(replace(linear, batch_size=8, accumulate=4), tmp_path / "four", max_memory=1.0)
        one, four = (load_model(tmp_path / name).state_dict() for name in ("one", "four"))
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("torch_linear_23")
    for name, value in one.items():
        torch.testing.assert_close(four[name], value, rtol=1e-4, atol=1e-5)


def test_the_mean_of_weights_forgets_as_it_should() -> None:
    model = make_model(SPEC | {"network": "EEGNet"})
    average = WeightAverage(model, 0.5)
    weights = next(model.network.parameters())
    with torch.no_grad():
        weights.zero_()
    mean = next(average.model.network.parameters()).clone()
    for step in range(100, 103):  # far from the beginning each step keeps half
        average.take(model, step)
    torch.testing.assert_close(next(average.model.network.parameters()), mean / 8)


def test_seeds_report_their_spread(lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--epochs", "1", "--batch-size", "48", "--device", "cpu", "--threads", "1", "--max-memory", "100%"]
    command = [str(lake), "--recipe", "imagery", "--out", str(tmp_path / "seeds"), "--seeds", "2", *quick]
    assert train([*command, "--ema", "0.9", "--balance", "side", "--precision", "bf16"]) == 0
    told = json.loads((tmp_path / "seeds" / "seeds.json").read_text())
    scores = []
    for seed in (2025, 2026):
        with (tmp_path / "seeds" / f"seed-{seed}" / "predictions.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["part"] == "test"]
        scores.append(nrmse([float(r["target"]) for r in rows], [float(r["prediction"]) for r in rows]))
    assert told["scores"]["test"] == pytest.approx(scores, rel=1e-5)
    assert f"± {np.std(scores, ddof=1):.3f} (SD of 2 seeds" in capsys.readouterr().out
    assert f"NRMSE {np.mean(scores):.3f}" in (tmp_path / "seeds" / "model-card.md").read_text()


def test_a_tracker_that_is_not_installed_says_how_to_install_it(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert train([str(lake), "--recipe", "imagery", "--out", str(tmp_path / "run"), "--log", "mlflow"]) != 0
    assert "pip install mlflow" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_trackers_get_the_scores_of_epochs_and_those_of_the_best_model(options: FitOptions, tmp_path: Path) -> None:
    sent: list[tuple[dict[str, float], int]] = []
    tracker = Tracker(lambda: lambda numbers, step: sent.append((numbers, step)), tmp_path / "run")
    summary = fit(replace(options, epochs=2), tmp_path / "run", [tracker], max_memory=1.0)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = [float(row["valid_score"]) for row in csv.DictReader(file)]
    steps = {step: numbers["valid/nrmse"] for numbers, step in sent if "valid/nrmse" in numbers}
    assert list(steps.values()) == rows
    last, step = sent[-1]
    assert step == max(steps) == 2 * min(steps)
    assert last["best/test_nrmse"] == summary.scores["test"].value
    assert last["best/valid_ridge"] == summary.scores["valid"].references["ridge"]


def test_predictions_and_scores_from_python_are_those_of_the_run(run: Path, lake: Path) -> None:
    subjects = json.loads((run / "subjects.json").read_text())["test"]
    windows = eegzarr.open_windows(lake, "imagery")
    test = windows.isel(window=np.isin(windows.subject.to_numpy().astype(str), subjects))
    written = [row for row in csv.DictReader((run / "predictions.csv").open()) if row["part"] == "test"]
    found = predict(run, test.isel(channel=slice(None, None, -1)))  # channels in another order
    np.testing.assert_allclose(found["prediction"], [float(row["prediction"]) for row in written], rtol=1e-4)
    assert found["subject"].tolist() == [row["subject"] for row in written]
    reported = json.loads((run / "summary.json").read_text())["scores"]["test"]
    again = score(run, test)
    assert again.value == pytest.approx(reported["nrmse"], rel=1e-5)
    assert again.references["ridge"] == pytest.approx(reported["ridge"], rel=1e-5)
