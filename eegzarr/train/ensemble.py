"""Several runs as one model: ``python -m eegzarr.train.ensemble RUN1 RUN2``.

Runs of other seeds, other folds or other options; their predictions are averaged. It is scored on
subjects that none of them was trained or selected on, or on another lake.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from eegzarr.command import run_command
from eegzarr.errors import UsageError
from eegzarr.store.open import open_windows
from eegzarr.stream.splits import drop_start_kit_exclusions, without_subjects
from eegzarr.train.loop.parts import make_parts
from eegzarr.train.loop.run import RunFolder, write_csv
from eegzarr.train.models.ridge import Linear, fit_ridge
from eegzarr.train.models.zoo import load_model
from eegzarr.train.score.evaluate import prediction_rows, score_part
from eegzarr.train.score.predict import Predictions, evaluation_stream, mean_prediction, predict


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m eegzarr.train.ensemble",
        description="Score the mean prediction of several runs on subjects that none of them has seen.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--lake", help="to score on (default: that of the runs)")
    parser.add_argument("--releases", nargs="+", metavar="R", help="default: those of the first run, or all of --lake")
    parser.add_argument("--tta", type=int, metavar="N", help="views to average (default: as each run)")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE.csv", help="write the predictions")
    arguments = parser.parse_args(argv)
    return run_command("eegzarr.train.ensemble", lambda: _ensemble(arguments), again="")


def held_out_windows(
    runs: Sequence[RunFolder], lake: str | None = None, releases: Sequence[str] | None = None
) -> xr.Dataset:
    """Return windows of subjects that no run was trained or selected on.

    In the lake of the runs that is the test part that they share, where a release is their
    validation part, that one.

    Raises
    ------
    UsageError
        If the runs are of different recipes, or no subject is left.
    """
    options = [run.options() for run in runs]
    recipes = sorted({one.recipe for one in options})
    if len(recipes) > 1:
        raise UsageError(f"runs of {' and '.join(recipes)} predict different things: give those of one recipe")
    windows = open_windows(
        lake or options[0].lake, recipes[0], releases or (None if lake else list(options[0].releases) or None)
    )
    if not options[0].keep_start_kit_exclusions:
        windows, _ = drop_start_kit_exclusions(windows)
    parts = [run.read_json(run.subjects) for run in runs]
    # Without a test part the validation part is what is scored, as in the challenge.
    seen = {name for one in parts for part in ("train", *(("valid",) if one["test"] else ())) for name in one[part]}
    left, _ = without_subjects(windows, seen)
    if not left.sizes["window"]:
        raise UsageError(
            "every subject of these windows was trained or selected on by one of the runs: give runs with one "
            "--split-seed, whose test part is the same, or another --lake or --releases"
        )
    return left


def ensemble_predictions(
    runs: Sequence[RunFolder], windows: xr.Dataset, device: torch.device, views: int | None = None
) -> list[Predictions]:
    """Return each run's predictions for the same windows."""
    stream = evaluation_stream(windows, runs[0].options().batch_size)
    return [predict(load_model(run.best, views=views).to(device), stream, device) for run in runs]


def _ensemble(arguments: argparse.Namespace) -> int:
    if arguments.tta is not None and arguments.tta < 1:
        raise UsageError(f"--tta must be at least 1, got {arguments.tta}")
    runs = [RunFolder(path) for path in arguments.runs]
    windows = held_out_windows(runs, arguments.lake, arguments.releases)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    each = ensemble_predictions(runs, windows, device, arguments.tta)
    together = mean_prediction(each)
    ridge, constant = _baselines(runs[0], windows, device)
    score = score_part(together, constant, ridge)
    for run, one in zip(runs, each, strict=True):
        print(f"  {np.sqrt(np.mean((one.prediction - one.target) ** 2)) / one.target.std():.3f}  {run.path}")
    print(
        f"ensemble of {len(runs)}: {score.score} on {score.windows:,} windows of {score.subjects} unseen subjects; "
        f"{score.baselines}"
    )
    if arguments.out:
        write_csv(arguments.out, prediction_rows("ensemble", together, ridge))
    return 0


def _baselines(run: RunFolder, windows: xr.Dataset, device: torch.device) -> tuple[Predictions, float]:
    """Return what a ridge and a constant from a run's training part predict."""
    model = load_model(run.best)
    options = run.options()
    readout = model.readout or fit_ridge(make_parts(options).train, model)
    stream = evaluation_stream(windows, options.batch_size)
    return predict(Linear(readout, model).to(device), stream, device), float(model.target_mean)


if __name__ == "__main__":
    sys.exit(main())
