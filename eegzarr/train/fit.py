"""Fit a model to a lake: the loop that trains, scores, keeps the best and stops in time."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import nn

import eegzarr
from eegzarr.errors import EegzarrError, UsageError
from eegzarr.events import BatchEnded, EpochEnded, Listener, tell
from eegzarr.store.open import open_windows, selection_statistics
from eegzarr.train.metrics import nrmse
from eegzarr.train.models import Regressor, default_model, make_network
from eegzarr.train.split import drop_start_kit_exclusions, split_by_subject
from eegzarr.train.stream import WindowStream

BEST, CONFIG, METRICS, SUMMARY = "best.pt", "config.json", "metrics.csv", "summary.json"


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What a run is determined by; stored with it.

    Parameters
    ----------
    lake, recipe : str
        What to train on.
    releases : tuple of str
        Empty for all of the recipe.
    model : str
        A class of ``braindecode.models``; "" for `default_model`.
    model_arguments : dict
        Further arguments of that class.
    epochs, patience : int
        Train so long, but stop after `patience` epochs without a better validation score.
    batch_size : int
    learning_rate, weight_decay : float
        Of AdamW; the rate falls to zero along a cosine over `epochs`.
    fractions : tuple of float
        Shares of the subjects for training, validation and test.
    seed : int
        Of split, shuffling and initial weights.
    keep_start_kit_exclusions : bool
        Train also on the nine subjects that the challenge's start kit leaves out.
    """

    lake: str
    recipe: str = "challenge1"
    releases: tuple[str, ...] = ()
    model: str = ""
    model_arguments: dict[str, Any] = field(default_factory=dict)
    epochs: int = 30
    patience: int = 8
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 2025
    keep_start_kit_exclusions: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} must be at least 0, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class FitSummary:
    """How a run ended: the best epoch, and its score on the test subjects."""

    run: str
    model: str
    train_windows: int
    valid_windows: int
    test_windows: int
    excluded_subjects: int
    best_epoch: int
    valid_nrmse: float
    test_nrmse: float
    seconds: float


def fit(options: FitOptions, run: str | Path, listeners: Iterable[Listener] = ()) -> FitSummary:
    """Train a model on subjects, keep the epoch that predicts unseen subjects best.

    Writes into the folder `run`: ``config.json``, ``metrics.csv`` (a row an epoch),
    ``best.pt`` (weights of the best epoch, scaling included) and ``summary.json``.

    Raises
    ------
    UsageError
        If an option or the lake's windows don't allow it; nothing is written then.
    LakeError
        If the lake can't be read.
    """
    began = time.monotonic()
    watchers = tuple(listeners)
    run = Path(run)
    if (run / CONFIG).exists():
        raise UsageError(f"--out {run} holds a run: give another folder, or remove it")
    windows = open_windows(options.lake, options.recipe, list(options.releases) or None)
    windows, excluded = (windows, 0) if options.keep_start_kit_exclusions else drop_start_kit_exclusions(windows)
    train, valid, test = split_by_subject(windows, options.fractions, seed=options.seed)
    stream = WindowStream(train, options.batch_size, shuffle=True, seed=options.seed, drop_last=True)
    valid_stream, test_stream = (WindowStream(part, options.batch_size) for part in (valid, test))
    torch.manual_seed(options.seed)
    name = options.model or default_model()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _make_model(name, options, train, stream.targets).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * len(stream))
    _begin_run(run, options, name)

    best, best_epoch = float("inf"), -1
    for epoch in range(options.epochs):
        epoch_began = time.monotonic()
        stream.set_epoch(epoch)
        loss, waited = _train_epoch(model, stream, optimizer, schedule, device, epoch, watchers)
        trained = time.monotonic() - epoch_began
        score = nrmse(*predict(model, valid_stream, device))
        if score < best:
            best, best_epoch = score, epoch
            save_atomically({"model": model.state_dict(), "epoch": epoch, "valid_nrmse": score}, run / BEST)
        ended = EpochEnded(
            epoch=epoch,
            epochs=options.epochs,
            train_loss=loss,
            valid_nrmse=score,
            best_nrmse=best,
            windows_per_second=len(stream) * options.batch_size / trained,
            share_waiting=waited / trained,
            seconds=time.monotonic() - began,
        )
        _append_metrics(run / METRICS, ended)
        tell(watchers, ended)
        if epoch - best_epoch >= options.patience:
            break

    model.load_state_dict(torch.load(run / BEST, map_location=device, weights_only=True)["model"])
    summary = FitSummary(
        run=str(run),
        model=name,
        train_windows=stream.n_windows,
        valid_windows=valid_stream.n_windows,
        test_windows=test_stream.n_windows,
        excluded_subjects=excluded,
        best_epoch=best_epoch,
        valid_nrmse=best,
        test_nrmse=nrmse(*predict(model, test_stream, device)),
        seconds=time.monotonic() - began,
    )
    (run / SUMMARY).write_text(json.dumps(asdict(summary), indent=2) + "\n")
    return summary


def _train_epoch(
    model: Regressor,
    stream: WindowStream,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    device: torch.device,
    epoch: int,
    watchers: tuple[Listener, ...],
) -> tuple[float, float]:
    """Return the mean loss of the epoch, and the seconds that it waited for data."""
    model.train()
    total, waited, asked = 0.0, 0.0, time.monotonic()
    for number, (x, y) in enumerate(stream):
        waited += time.monotonic() - asked
        x, y = x.to(device), y.to(device)
        wanted = (y - model.target_mean) / model.target_std
        loss = nn.functional.mse_loss(model.standardized(x), wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        tell(watchers, BatchEnded(epoch=epoch, batch=number + 1, batches=len(stream), loss=loss.item(), windows=len(y)))
        asked = time.monotonic()
    return total / len(stream), waited


def predict(
    model: nn.Module, stream: WindowStream, device: torch.device
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return targets and predictions, (window,) each, in the order of the stream."""
    model.eval()
    targets, predictions = [], []
    with torch.inference_mode():
        for x, y in stream:
            targets.append(y.numpy())
            predictions.append(model(x.to(device)).cpu().numpy())
    return np.concatenate(targets), np.concatenate(predictions)


def load_model(run: str | Path) -> Regressor:
    """Return the best model of a run, ready to predict from windows in uV.

    Raises
    ------
    UsageError
        If the folder holds no run.
    """
    run = Path(run)
    try:
        config = json.loads((run / CONFIG).read_text())
        weights = torch.load(run / BEST, map_location="cpu", weights_only=True)["model"]
    except FileNotFoundError as error:
        raise UsageError(f"{run} holds no finished epoch of a run: {error.filename} is missing") from error
    n_chans = len(weights["channel_mean"])
    network = make_network(
        config["model"],
        n_chans=n_chans,
        n_times=config["n_times"],
        sfreq=config["sfreq"],
        arguments=config["model_arguments"],
    )
    model = Regressor(network, np.zeros(n_chans), np.ones(n_chans), 0.0, 1.0)
    model.load_state_dict(weights)
    return model.eval()


def _make_model(name: str, options: FitOptions, train: xr.Dataset, targets: npt.NDArray[np.float32]) -> Regressor:
    network = make_network(
        name,
        n_chans=train.sizes["channel"],
        n_times=train.sizes["time"],
        sfreq=float(train.attrs["sampling_rate"]),
        arguments=options.model_arguments,
    )
    if targets.std() == 0:
        raise UsageError("the targets of the training subjects don't vary: there is nothing to learn")
    statistics = selection_statistics(train)
    return Regressor(network, statistics["mean"], statistics["std"], float(targets.mean()), float(targets.std()))


def _begin_run(run: Path, options: FitOptions, model: str) -> None:
    windows = open_windows(options.lake, options.recipe, list(options.releases) or None)
    config = asdict(options) | {
        "model": model,
        "n_times": windows.sizes["time"],
        "sfreq": float(windows.attrs["sampling_rate"]),
        "versions": {"eegzarr": eegzarr.__version__, "torch": torch.__version__},
    }
    try:
        run.mkdir(parents=True, exist_ok=True)
        (run / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    except OSError as error:
        raise EegzarrError(f"--out {run} can't be written: {error.strerror or error}") from error


def _append_metrics(path: Path, ended: EpochEnded) -> None:
    row = asdict(ended)
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """Save a checkpoint whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.partial")
    torch.save(content, part)
    part.replace(path)
