"""What was learnt: a model's score on unseen subjects, beside a constant's and a ridge's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from eegzarr.train.loop.parts import Parts
from eegzarr.train.models.predictor import LinearReadout, Regressor
from eegzarr.train.models.ridge import Linear, fit_ridge
from eegzarr.train.score.metrics import bootstrap_interval, nrmse, subject_nrmse
from eegzarr.train.score.predict import Predictions, evaluation_stream, predict


@dataclass(frozen=True, kw_only=True)
class PartScore:
    """How well one part was predicted.

    Attributes
    ----------
    nrmse : float
        Of the model, over all windows, as the challenge scores.
    low, high : float
        Its 95 % interval by bootstrap over subjects.
    constant, ridge : float
        NRMSE of predicting the training part's mean, and of a ridge on time bins and band power.
    against_ridge : tuple of float
        95 % interval of the model's NRMSE less the ridge's, by bootstrap over subjects: the model
        is ahead where both are below 0.
    nrmse_by_subject : float or None
        Of subjects' mean predictions, where the target belongs to the person.
    """

    windows: int
    subjects: int
    nrmse: float
    low: float
    high: float
    constant: float
    ridge: float
    against_ridge: tuple[float, float]
    nrmse_by_subject: float | None

    @property
    def baselines(self) -> str:
        """The baselines' scores, in words."""
        low, high = self.against_ridge
        return f"ridge {self.ridge:.3f} (difference {low:+.3f} to {high:+.3f}), constant {self.constant:.3f}"


def score_part(predictions: Predictions, constant: float, ridge: Predictions) -> PartScore:
    """Score the predictions of a part beside two baselines."""
    target, subject = predictions.target, predictions.subject
    low, high = bootstrap_interval(target, predictions.prediction, subject)
    return PartScore(
        windows=len(target),
        subjects=len(set(subject.tolist())),
        nrmse=nrmse(target, predictions.prediction),
        low=low,
        high=high,
        constant=nrmse(target, np.full(len(target), constant)),
        ridge=nrmse(target, ridge.prediction),
        against_ridge=bootstrap_interval(target, predictions.prediction, subject, other=ridge.prediction),
        nrmse_by_subject=subject_nrmse(target, predictions.prediction, subject),
    )


def evaluate(
    model: Regressor,
    parts: Parts,
    batch_size: int,
    device: torch.device,
    precision: torch.dtype,
    between: Callable[[], None],
) -> tuple[dict[str, PartScore], list[dict[str, Any]]]:
    """Score a model on the validation and the test part.

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
    evaluated: dict[str, xr.Dataset | None] = {"valid": parts.valid, "test": parts.test}
    for part, windows in evaluated.items():
        if windows is None:
            continue
        stream = evaluation_stream(windows, batch_size)
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
