"""The mean prediction of several runs, on subjects that none of them has seen.

Runs of other seeds, other folds or other options; their predictions are averaged. It is scored on
subjects that none of them was trained or selected on, or on another lake.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.store.open import open_windows
from eegzarr.stream.splits import drop_start_kit_exclusions, without_subjects
from eegzarr.train.loop.parts import make_parts
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.models.ridge import Linear, fit_ridge
from eegzarr.train.models.zoo import load_model
from eegzarr.train.score.predict import Predictions, evaluation_stream, predict


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


def baselines(run: RunFolder, windows: xr.Dataset, device: torch.device) -> tuple[Predictions, float]:
    """Return what a ridge and a constant from a run's training part predict."""
    model = load_model(run.best)
    options = run.options()
    readout = model.readout or fit_ridge(make_parts(options).train, model)
    stream = evaluation_stream(windows, options.batch_size)
    return predict(Linear(readout, model).to(device), stream, device), float(model.target_mean)
