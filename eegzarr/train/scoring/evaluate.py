"""What was learnt: a model's score on unseen subjects, beside a constant's and a linear model's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.train.loop.parts import Parts
from eegzarr.train.models.baseline import fit_baseline
from eegzarr.train.models.predictor import LinearReadout, Predictor
from eegzarr.train.models.readout import Linear
from eegzarr.train.scoring.metrics import balanced_accuracy, class_interval, mean_nrmse, subject_interval
from eegzarr.train.scoring.numbers import NumberScore, score_numbers
from eegzarr.train.scoring.predict import EvaluationStream, Predictions, evaluation_stream, predict
from eegzarr.train.scoring.table import prediction_rows
from eegzarr.train.task import Given, Task

if TYPE_CHECKING:
    from eegzarr.train.scoring.classes import ClassScore

PARTS = {"valid": "validation", "test": "test"}


PartScore: TypeAlias = "NumberScore | ClassScore"


def metric_of(predictions: Predictions, task: Task) -> float:
    """Return what models are compared by: the NRMSE of numbers, the balanced accuracy of classes."""
    if task.classes:
        if not np.isfinite(predictions.prediction).all():
            return float("nan")
        return balanced_accuracy(predictions.target, predictions.prediction.argmax(axis=1))
    return mean_nrmse(predictions.target, predictions.prediction)


def interval_of(predictions: Predictions, task: Task) -> tuple[float, float] | None:
    """Return its 95 % interval over subjects, None where there are too few."""
    target, guess, subject = predictions.target, predictions.prediction, predictions.subject
    if task.classes:
        return class_interval(target, guess.argmax(axis=1), subject)
    return subject_interval(target, guess, subject)


def score_part(predictions: Predictions, baseline: Predictions, model: Predictor) -> PartScore:
    """Score the predictions of a part beside two baselines.

    Parameters
    ----------
    model : Predictor
        That predicted, or another one of the same training part: it knows what is most frequent there, or the mean.
    """
    if model.classes:
        from eegzarr.train.scoring.classes import score_classes  # scikit-learn takes a second to load

        return score_classes(predictions, model.class_shares.cpu().numpy(), baseline, model.classes)
    return score_numbers(predictions, model.target_mean.cpu().numpy(), baseline, model.targets)


def evaluated_streams(parts: Parts, batch_size: int) -> dict[str, EvaluationStream]:
    """Return what is scored of the validation part and, where there is one, of the test part.

    Raises
    ------
    UsageError
        If a part can't be scored: no window of it has a target, or all have the same.
    """
    there = {"valid": parts.valid} | ({} if parts.test is None else {"test": parts.test})
    return {part: _scorable(part, windows, batch_size, parts.given) for part, windows in there.items()}


def _scorable(part: str, windows: xr.Dataset, batch_size: int, given: Given) -> EvaluationStream:
    subjects = len(set(windows["subject"].to_numpy().tolist()))
    whose = f"the {subjects} subject{'s' * (subjects != 1)} of the {PARTS[part]} part"
    remedy = "give another --split-seed or other --fractions, so that other subjects are in it"
    try:
        stream = evaluation_stream(windows, batch_size, given=given)
    except UsageError as error:
        raise UsageError(f"{whose} can't be scored, {error}: {remedy}") from error
    first = np.atleast_1d(stream.targets[0])
    constant = np.flatnonzero(np.ptp(stream.targets.reshape(stream.n_windows, -1), axis=0) == 0)
    if len(constant):
        value = first[constant[0]]
        classes = stream.stream.classes
        told = f"{value:g}" if classes is None else repr(classes[int(value)])
        raise UsageError(f"{whose} all have the target {told}, which can't be scored: {remedy}")
    return stream


def evaluate(
    model: Predictor,
    parts: Parts,
    evaluated: dict[str, EvaluationStream],
    device: torch.device,
    precision: torch.dtype,
    between: Callable[[], None],
) -> tuple[dict[str, PartScore], list[dict[str, Any]]]:
    """Score a model on the parts that it wasn't trained on.

    Parameters
    ----------
    parts : Parts
        The training part is what the baseline is fitted to.
    evaluated : dict of str to EvaluationStream
        See `evaluated_streams`.

    Returns
    -------
    scores : dict of str to PartScore
        By part.
    rows : list of dict
        The predictions, a row a window.
    """
    readout: LinearReadout | None = model.readout
    fitted = readout if readout is not None else fit_baseline(parts.train, model, parts.given)
    linear = Linear(fitted, model).to(device)
    task = Task(names=tuple(model.targets), classes=tuple(model.classes))
    scores: dict[str, PartScore] = {}
    rows: list[dict[str, Any]] = []
    for part, stream in evaluated.items():
        predicted = predict(model, stream, device, precision=precision, between=between)
        beside = predict(linear, stream, device, between=between)
        scores[part] = score_part(predicted, beside, model)
        rows += prediction_rows(part, predicted, beside, task)
    return scores, rows
