"""The mean prediction of several runs, on subjects that none of them has seen.

Runs of other seeds, other folds or other options; their predictions are averaged. It is scored on
subjects that none of them was trained or selected on, or on another lake.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch
import xarray as xr

from eegzarr.errors import LakeError, UsageError
from eegzarr.store.open import open_windows
from eegzarr.store.open import recipes as stored_recipes
from eegzarr.stream.splits import drop_start_kit_exclusions
from eegzarr.train.loop.parts import given_by, make_parts
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.loop.where import where_holds
from eegzarr.train.loop.who import told_apart, without_seen
from eegzarr.train.models.baseline import fit_baseline
from eegzarr.train.models.channels import channels_for
from eegzarr.train.models.predictor import Predictor
from eegzarr.train.models.readout import Linear
from eegzarr.train.models.zoo import load_model
from eegzarr.train.scoring.predict import EvaluationStream, Predictions, evaluation_stream, predict


def held_out_windows(
    runs: Sequence[RunFolder], lake: str | None = None, releases: Sequence[str] | None = None
) -> xr.Dataset:
    """Return windows of subjects that no run was trained or selected on.

    In the lake of the runs that is the test part that they share, where a release is their
    validation part, that one.

    Raises
    ------
    UsageError
        If the runs are of different recipes, targets or classes, or no subject is left.
    """
    options = [run.options() for run in runs]
    recipes = sorted({one.recipe for one in options})
    targets = sorted({" and ".join(one.target) or "the recipe's target" for one in options})
    if len(recipes) > 1:
        raise UsageError(f"runs of {' and '.join(recipes)} predict different things: give those of one recipe")
    if len(targets) > 1:
        raise UsageError(f"runs that predict {', '.join(targets)} can't be averaged: give those of one --target")
    classes = {run.task().classes: run for run in runs}
    if len(classes) > 1:
        told = "; ".join(f"{run.path} tells apart {', '.join(names) or 'none'}" for names, run in classes.items())
        raise UsageError(f"runs of other classes can't be averaged: {told}. Train them on the same releases")
    return unseen_windows(runs, recipes[0], lake or options[0].lake, releases or (() if lake else options[0].releases))


def unseen_windows(runs: Sequence[RunFolder], recipe: str, lake: str, releases: Sequence[str] = ()) -> xr.Dataset:
    """Return windows of a recipe, of subjects that no run was trained or selected on.

    Raises
    ------
    UsageError
        If no subject is left.
    LakeError
        If there are no such windows.
    """
    windows = open_windows(lake, recipe, list(releases) or None)
    options = [run.options() for run in runs]
    if not options[0].keep_start_kit_exclusions:
        windows, _ = drop_start_kit_exclusions(windows)
    conditions = {one.valid_where for one in options}
    if len(conditions) == 1 and options[0].recipe == recipe:  # another recipe's windows may not have its labels
        windows = where_holds(windows, conditions.pop(), "--valid-where", "test", [])
    parts = [run.read_json(run.subjects) for run in runs]
    # Without a test part the validation part is what is scored, as in the challenge.
    seen = {name for one in parts for part in ("train", *(("valid",) if one["test"] else ())) for name in one[part]}
    (left,) = told_apart(without_seen(windows, seen, stored_recipes(lake)[recipe]))
    if not left.sizes["window"]:
        raise UsageError(
            "every subject of these windows was trained or selected on by one of the runs: give runs with one "
            "--split-seed, whose test part is the same, or another --lake or --releases"
        )
    return left


def ensemble_predictions(
    runs: Sequence[RunFolder], windows: xr.Dataset, device: torch.device, views: int | None = None
) -> list[Predictions]:
    """Return each run's predictions for the same windows.

    Raises
    ------
    UsageError
        If the runs' windows are others.
    """
    models = [load_model(run.best, views=views) for run in runs]
    streams = [matching_stream(run, model, windows) for run, model in zip(runs, models, strict=True)]
    found = [predict(model.to(device), stream, device) for model, stream in zip(models, streams, strict=True)]
    for run, one in zip(runs, found, strict=True):
        if not (np.array_equal(one.window, found[0].window) and np.array_equal(one.release, found[0].release)):
            raise UsageError(
                f"{run.path} predicts {len(one.window):,} of these windows, {runs[0].path} {len(found[0].window):,}, "
                "as with --normalize recording where a recording has no scale: give runs of one --normalize"
            )
    return found


def matching_stream(run: RunFolder, model: Predictor, windows: xr.Dataset) -> EvaluationStream:
    """Return windows as a run's model takes them: its channels, by name, in its order.

    Raises
    ------
    UsageError
        If channels are missing, or the windows are of another rate or length.
    """
    trained_on: list[str] = []
    if model.channels is None:  # a run of early days: its lake knows
        with suppress(LakeError):
            own = open_windows(run.options().lake, run.options().recipe)
            trained_on = [str(name) for name in own["channel"].to_numpy()]
    channels = channels_for(model, windows, str(run.path), trained_on)
    options = run.options()
    return evaluation_stream(windows, options.batch_size, channels, given_by(options), model.classes)


def baseline_predictions(run: RunFolder, windows: xr.Dataset, device: torch.device) -> tuple[Predictions, Predictor]:
    """Return what a linear model of a run's training part predicts, and the run's model."""
    model = load_model(run.best)
    parts = make_parts(run.options())
    readout = model.readout or fit_baseline(parts.train, model, parts.given)
    stream = matching_stream(run, model, windows)
    return predict(Linear(readout, model).to(device), stream, device), model
