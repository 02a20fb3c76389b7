"""What was learnt: a model's score on unseen subjects, beside a constant's and a ridge's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.train.loop.parts import Parts
from eegzarr.train.models.predictor import LinearReadout, Regressor
from eegzarr.train.models.ridge import Linear, fit_ridge
from eegzarr.train.score.metrics import interval_words, nrmse, subject_interval, subject_nrmse
from eegzarr.train.score.predict import EvaluationStream, Predictions, evaluation_stream, predict

PARTS = {"valid": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class PartScore:
    """How well one part was predicted.

    Attributes
    ----------
    nrmse : float
        Of the model, over all windows, as the challenge scores.
    interval : tuple of float or None
        Its 95 % interval over subjects; None where there are too few, see `subject_interval`.
    constant, ridge : float
        NRMSE of predicting the training part's mean, and of a ridge on time bins and band power.
    against_ridge : tuple of float or None
        95 % interval of the model's NRMSE less the ridge's: the model is ahead where both are below 0.
    nrmse_by_subject : float or None
        Of subjects' mean predictions, where the target belongs to the person.
    """

    windows: int
    subjects: int
    nrmse: float
    interval: tuple[float, float] | None
    constant: float
    ridge: float
    against_ridge: tuple[float, float] | None
    nrmse_by_subject: float | None

    @property
    def score(self) -> str:
        """The score and its interval, in words."""
        return f"NRMSE {self.nrmse:.3f} ({interval_words(self.interval, self.subjects)})"

    @property
    def baselines(self) -> str:
        """The baselines' scores, in words."""
        told = ""
        if self.against_ridge is not None:
            told = f" (difference {interval_words(self.against_ridge, self.subjects, '+')})"
        return f"ridge {self.ridge:.3f}{told}, constant {self.constant:.3f}"


def score_part(predictions: Predictions, constant: float, ridge: Predictions) -> PartScore:
    """Score the predictions of a part beside two baselines."""
    target, subject = predictions.target, predictions.subject
    return PartScore(
        windows=len(target),
        subjects=len(set(subject.tolist())),
        nrmse=nrmse(target, predictions.prediction),
        interval=subject_interval(target, predictions.prediction, subject),
        constant=nrmse(target, np.full(len(target), constant)),
        ridge=nrmse(target, ridge.prediction),
        against_ridge=subject_interval(target, predictions.prediction, subject, other=ridge.prediction),
        nrmse_by_subject=subject_nrmse(target, predictions.prediction, subject),
    )


def evaluated_streams(parts: Parts, batch_size: int) -> dict[str, EvaluationStream]:
    """Return what is scored of the validation part and, where there is one, of the test part.

    Raises
    ------
    UsageError
        If a part can't be scored: no window of it has a target, or all have the same.
    """
    there = {"valid": parts.valid} | ({} if parts.test is None else {"test": parts.test})
    return {part: _scorable(part, windows, batch_size) for part, windows in there.items()}


def _scorable(part: str, windows: xr.Dataset, batch_size: int) -> EvaluationStream:
    subjects = len(set(windows["subject"].to_numpy().tolist()))
    whose = f"the {subjects} subject{'s' * (subjects != 1)} of the {PARTS[part]} part"
    remedy = "give another --split-seed or other --fractions, so that other subjects are in it"
    try:
        stream = evaluation_stream(windows, batch_size)
    except UsageError as error:
        raise UsageError(f"{whose} can't be scored, {error}: {remedy}") from error
    if np.ptp(stream.targets) == 0:
        raise UsageError(f"{whose} all have the target {stream.targets[0]:g}, which can't be scored: {remedy}")
    return stream


def evaluate(
    model: Regressor,
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
        The training part is what the ridge is fitted to.
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
    ridge = Linear(readout if readout is not None else fit_ridge(parts.train, model), model).to(device)
    scores: dict[str, PartScore] = {}
    rows: list[dict[str, Any]] = []
    for part, stream in evaluated.items():
        predicted = predict(model, stream, device, precision=precision, between=between)
        by_ridge = predict(ridge, stream, device, between=between)
        scores[part] = score_part(predicted, float(model.target_mean), by_ridge)
        rows += prediction_rows(part, predicted, by_ridge)
    return scores, rows


def prediction_rows(part: str, predictions: Predictions, ridge: Predictions) -> list[dict[str, Any]]:
    """Return predictions, and the ridge's beside them, as rows of ``predictions.csv``."""
    columns = (
        predictions.release.tolist(),
        predictions.window.tolist(),
        predictions.subject.tolist(),
        predictions.target.tolist(),
        predictions.prediction.tolist(),
        ridge.prediction.tolist(),
    )
    return [
        {"release": r, "window": w, "subject": s, "target": t, "prediction": p, "ridge": linear, "part": part}
        for r, w, s, t, p, linear in zip(*columns, strict=True)
    ]
