"""What was learnt: a model's score on unseen subjects, beside a constant's and a linear model's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import torch
import xarray as xr

from eegzarr.challenge.score import scored_windows
from eegzarr.errors import UsageError
from eegzarr.store.open import RECIPE_NAME
from eegzarr.stream.selection import select
from eegzarr.stream.targets import label
from eegzarr.train.loop.parts import Parts, spread_over_subjects
from eegzarr.train.models.baseline import fit_baseline
from eegzarr.train.models.predictor import LinearReadout, Predictor
from eegzarr.train.models.readout import Linear
from eegzarr.train.scoring.metrics import balanced_accuracy, class_interval, mean_nrmse, subject_interval
from eegzarr.train.scoring.numbers import NumberScore, score_numbers
from eegzarr.train.scoring.predict import EvaluationStream, Predictions, evaluation_stream, predict
from eegzarr.train.scoring.table import prediction_rows
from eegzarr.train.task import TARGET, Given, Task

if TYPE_CHECKING:
    from eegzarr.train.models.tangent import Guess
    from eegzarr.train.scoring.classes import ClassScore

PARTS = {"valid": "validation", "test": "test"}
_SHOWN = 5  # names in a message


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
        If there is no such label, or a part can't be scored: no window of it has a target, or all have the same.
    """
    target = parts.given.target
    names = [target] if isinstance(target, str) else [] if target is None or callable(target) else list(target)
    for name in names:
        if name != TARGET:  # which a recipe of several targets hasn't
            label(parts.train, name, "predict")
    there = {"valid": parts.valid} | ({} if parts.test is None else {"test": parts.test})
    return {part: _scorable(part, windows, batch_size, parts.given) for part, windows in there.items()}


def epoch_stream(
    parts: Parts,
    evaluated: dict[str, EvaluationStream],
    batch_size: int,
    count: int,
    *,
    rank: int = 0,
    ranks: int = 1,
) -> EvaluationStream:
    """Return what an epoch is scored on: the validation part, or some windows of it; of these a process's share.

    Raises
    ------
    UsageError
        If these can't be scored.
    """
    windows, whole = parts.valid, evaluated["valid"]
    if 0 < count < whole.n_windows:
        scored = scored_windows(windows, str(windows.attrs[RECIPE_NAME]))
        windows = spread_over_subjects(_with_target(scored, parts.given), count)
        whole = _scorable("valid", windows, batch_size, parts.given)
    return whole if ranks == 1 else evaluation_stream(windows, batch_size, given=parts.given, rank=rank, ranks=ranks)


def _with_target(windows: xr.Dataset, given: Given) -> xr.Dataset:
    """Return those of a part's windows that have a target."""
    names = ("release", "window")
    chosen = select([windows], given.target, with_labels=names).labels
    there = pd.MultiIndex.from_arrays([chosen[name] for name in names])
    own = pd.MultiIndex.from_arrays([label(windows, name, "name windows by") for name in names])
    return windows.isel(window=np.flatnonzero(own.isin(there)))


def notes_on_windows(parts: Parts, evaluated: dict[str, EvaluationStream]) -> tuple[str, ...]:
    """Return which windows of the parts are left out, and which classes can't be learned, in words.

    Raises
    ------
    UsageError
        If the training part has no class of a scored part, as where the target is the subject.
    """
    train = parts.given.stream(parts.train, 1, rank=0, ranks=1)
    notes = []
    for part, one in {"train": train, **{part: scored.stream for part, scored in evaluated.items()}}.items():
        name = PARTS.get(part, "training")
        notes += [
            f"{count:,} windows of the {name} part left out: {why}" for why, count in one.left_out.items() if count
        ]
    assert train.targets is not None  # a fit has a target
    if train.classes is None or train.targets.ndim > 1:
        return tuple(notes)
    for part, stream in evaluated.items():
        present = set(stream.targets.tolist())
        unseen = [train.classes[code] for code in sorted(present - set(np.unique(train.targets).tolist()))]
        named = ", ".join(unseen[:_SHOWN]) + (f" and {len(unseen) - _SHOWN} more" if len(unseen) > _SHOWN else "")
        if len(unseen) == len(present):
            raise UsageError(
                f"no class of the {PARTS[part]} part ({named}) is in the training part: nothing that is learned there "
                "can be scored. Predict another --target"
            )
        if unseen:
            notes.append(
                f"no window of the training part is of {named}, which the {PARTS[part]} part has: it is never predicted"
            )
    return tuple(notes)


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
        The predictions, a row per window.
    """
    from eegzarr.train.models.tangent import fit_tangent
    from eegzarr.train.scoring.people import age_and_sex_scores  # scikit-learn takes a second to load

    readout: LinearReadout | None = model.readout
    fitted = readout if readout is not None else fit_baseline(parts.train, model, parts.given)
    linear = Linear(fitted, model).to(device)
    task = Task(names=tuple(model.targets), classes=tuple(model.classes))
    of_people, tangent = age_and_sex_scores(parts, task), fit_tangent(parts, model)
    scores: dict[str, PartScore] = {}
    rows: list[dict[str, Any]] = []
    for part, stream in evaluated.items():
        predicted = predict(model, stream, device, precision=precision, between=between)
        beside = predict(linear, stream, device, between=between)
        scores[part] = replace(
            score_part(predicted, beside, model),
            age_and_sex=of_people.get(part),
            tangent=None if tangent is None else _tangent_score(tangent, stream, task),
        )
        rows += prediction_rows(part, predicted, beside, task)
    return scores, rows


def _tangent_score(guess: Guess, stream: EvaluationStream, task: Task) -> float:
    from eegzarr.train.models.tangent import guessed

    found = guessed(guess, stream)
    return balanced_accuracy(stream.targets, found) if task.classes else mean_nrmse(stream.targets, found)
