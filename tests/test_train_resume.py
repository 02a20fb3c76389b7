"""A run that was stopped, however, goes on as if it had not been."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import run_command

from eegzarr.errors import FitInterrupted, FitStopped, UsageError
from eegzarr.events import BatchEnded, EpochEnded, Event, Noticed
from eegzarr.train.__main__ import main as train
from eegzarr.train.loop.fit import fit, resume
from eegzarr.train.loop.stop import MemoryGuard
from eegzarr.train.options import FitOptions

EPOCHS = 3
SCORES = ("epoch", "train_loss", "valid_score", "best_score", "learning_rate")


@pytest.fixture(scope="module")
def options(sample_lake: Path) -> FitOptions:
    """A fit of seconds that uses every source of chance: shuffling, dropout, augmentation."""
    return FitOptions(
        lake=str(sample_lake),
        model_arguments={"F1": 2, "drop_prob": 0.3},
        epochs=EPOCHS,
        batch_size=16,
        epoch_windows=96,
        augment=("noise:0.7", "shift:0.5", "channels"),
        device="cpu",
        threads=2,
    )


@pytest.fixture(scope="module")
def uninterrupted(options: FitOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    fit(options, run, max_memory=1.0)
    return run


def same(run: Path, other: Path) -> None:
    """Hold two finished runs equal, bit for bit, in weights, optimizer, scores and predictions."""
    for name in ("last.pt", "best.pt"):
        ours, theirs = (torch.load(folder / name, weights_only=True) for folder in (run, other))
        for key, tensor in ours["model"].items():
            assert torch.equal(tensor, theirs["model"][key]), (name, key)
    moments = [torch.load(folder / "last.pt", weights_only=True)["optimizer"]["state"] for folder in (run, other)]
    for ours, theirs in zip(*(list(m.values()) for m in moments), strict=True):
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    rows = [list(csv.DictReader((folder / "metrics.csv").open())) for folder in (run, other)]
    assert [[row[name] for name in SCORES] for row in rows[0]] == [[row[name] for name in SCORES] for row in rows[1]]
    assert (run / "predictions.csv").read_text() == (other / "predictions.csv").read_text()
    scores = [json.loads((folder / "summary.json").read_text())["scores"] for folder in (run, other)]
    assert scores[0] == scores[1]


def at(kind: type[Event], count: int, act: Callable[[], None]) -> Callable[[Event], None]:
    """Return a listener that acts at the n-th event of a kind."""
    seen = 0

    def listen(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, kind)
        if isinstance(event, kind) and seen == count:
            act()

    return listen


def raise_signal(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_equals_uninterrupted(
    number: signal.Signals, options: FitOptions, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eegzarr.train.loop.telling._INTERVAL", 0.0)
    run = tmp_path / "run"
    with pytest.raises(FitInterrupted, match="--resume") as stopped:
        fit(options, run, [at(BatchEnded, 9, raise_signal(number))], max_memory=1.0)
    assert stopped.value.exit_code == 130
    saved = torch.load(run / "last.pt", weights_only=True)
    assert (saved["epoch"], saved["batch"]) == (1, 3)  # in mid-epoch: nothing is lost
    with pytest.raises(FitInterrupted):
        resume(run, [at(EpochEnded, 1, raise_signal(number))], max_memory=1.0)
    resume(run, max_memory=1.0)
    same(run, uninterrupted)


def test_a_run_stopped_while_it_scores_an_epoch_repeats_no_step(
    options: FitOptions, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eegzarr.train.loop.telling._INTERVAL", 0.0)
    run = tmp_path / "run"
    with pytest.raises(FitInterrupted):
        fit(options, run, [at(BatchEnded, 6, raise_signal(signal.SIGTERM))], max_memory=1.0)
    saved = torch.load(run / "last.pt", weights_only=True)
    assert (saved["epoch"], saved["batch"], saved["history"]) == (0, 6, [])
    resume(run, max_memory=1.0)
    same(run, uninterrupted)


def test_a_killed_run_loses_at_most_the_interval(
    options: FitOptions, uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = uninterrupted / "config.json", tmp_path / "run"
    command = ["eegzarr.train", "--config", config, "--out", run, "--max-memory", "100%"]
    settings = ["--checkpoint-interval", "0.001"]
    with subprocess.Popen(
        [sys.executable, "-m", *map(str, command), *settings], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        while not (run / "last.pt").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    saved = torch.load(run / "last.pt", weights_only=True)  # whole, however it was killed
    assert not (run / "summary.json").exists()
    assert saved["epoch"] * 6 + saved["batch"] >= 1
    resumed = run_command("eegzarr.train", "--resume", run, "--max-memory", "100%")
    assert resumed.returncode == 0, resumed.stderr
    same(run, uninterrupted)
    assert train(["--resume", str(run)]) == 2
    assert "is finished" in capsys.readouterr().err


def test_short_memory_shrinks_look_ahead_then_saves_and_stops(
    options: FitOptions, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryGuard, "is_exceeded", property(lambda self: True))
    noticed: list[Event] = []
    run = tmp_path / "run"
    with pytest.raises(FitStopped, match="--max-memory") as stopped:
        fit(options, run, [noticed.append])
    assert stopped.value.exit_code == 75
    assert any(isinstance(event, Noticed) and "one batch is decoded ahead" in event.message for event in noticed)
    assert torch.load(run / "last.pt", weights_only=True)["batch"] == 2
    monkeypatch.undo()
    resume(run, max_memory=1.0)
    same(run, uninterrupted)


def test_the_guard_acts_on_a_real_shortage_only() -> None:
    with MemoryGuard(limit=1.0, interval=0.01) as roomy, MemoryGuard(limit=1e-6, interval=0.01) as tight:
        deadline = time.monotonic() + 20
        while not tight.is_exceeded and time.monotonic() < deadline:
            time.sleep(0.01)
        assert tight.is_exceeded
        assert not roomy.is_exceeded
        assert roomy.peak > 0
        tight.begin_again()


def test_a_run_refuses_a_second_beginning_and_a_changed_lake(
    options: FitOptions, uninterrupted: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="holds a run"):
        fit(options, uninterrupted)
    changed = tmp_path / "run"
    changed.mkdir()
    for name in ("last.pt", "best.pt"):
        (changed / name).write_bytes((uninterrupted / name).read_bytes())
    config: dict[str, Any] = json.loads((uninterrupted / "config.json").read_text())
    config["plan_digests"] = {"R1": "another"}
    (changed / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="was rebuilt"):
        resume(changed, max_memory=1.0)
    (changed / "config.json").write_text("{")
    with pytest.raises(UsageError, match="configuration of a run"):
        resume(changed)
