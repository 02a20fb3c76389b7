"""Logistic regression over a stream: the baseline beside every score of classes."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from eegzarr.train.models.predictor import LinearReadout, Predictor
from eegzarr.train.models.readout import drawn, features_of, mixed, set_feature_scales, set_weights
from eegzarr.train.scoring.metrics import balanced_accuracy
from eegzarr.train.task import AS_STORED, Given

_MOST_WINDOWS = 8192  # of HBN's 129 channels 55 MB of features; more change a linear model little
_HELD_OUT = 4  # one in this many subjects decides about the penalty
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # scikit-learn's C: the smaller, the stronger the penalty
_STEPS = 200
_NEVER = -30.0  # logit of a class that no window of the training part has


def fit_logistic(train: xr.Dataset, model: Predictor, given: Given = AS_STORED) -> LinearReadout:
    """Fit a read-out of classes to a training part, with the penalty that predicts its own held-out subjects best.

    Classes are weighted by the inverse of their frequency. From a larger part, memory decides how many are drawn.

    Parameters
    ----------
    train : Dataset
    model : Predictor
        Whose crop, input unit and classes are used; its network isn't.
    given : Given
        How its windows are given to the model.
    """
    readout = LinearReadout(len(model.channel_mean), model.sfreq, model.feature_clamp, len(model.classes))
    readout.to(model.channel_mean.device)
    set_feature_scales(readout, train, model, given)

    def described(x: torch.Tensor) -> npt.NDArray:
        return readout.standardized(features_of(readout, x, model)).cpu().numpy()

    features, code, subject = drawn(given, train, described, _MOST_WINDOWS)
    mean, std = features.mean(0), features.std(0)
    std = np.where(std > 1e-6, std, np.float32(1))
    features = (features - mean) / std
    names = mixed(set(subject.tolist()))
    is_held_out = np.isin(subject, names[: len(names) // _HELD_OUT])
    fitted = _fit(features, code, _best_strength(features, code, is_held_out))
    weight = np.zeros((features.shape[1], len(model.classes)))
    bias = np.full(len(model.classes), _NEVER)
    weight[:, fitted.classes_] = _by_class(fitted.coef_).T / std[:, None]
    bias[fitted.classes_] = _by_class(fitted.intercept_[:, None])[:, 0] - mean @ weight[:, fitted.classes_]
    set_weights(readout, weight, bias)
    return readout.eval()


def _best_strength(
    features: npt.NDArray[np.float32], code: npt.NDArray[np.int64], is_held_out: npt.NDArray[np.bool_]
) -> float:
    if not is_held_out.any() or len(set(code[~is_held_out].tolist())) < 2:
        return _STRENGTHS[len(_STRENGTHS) // 2]
    rest = features[~is_held_out], code[~is_held_out]
    guesses = [_fit(*rest, strength).predict(features[is_held_out]) for strength in _STRENGTHS]
    scores = [balanced_accuracy(code[is_held_out], guess) for guess in guesses]
    return _STRENGTHS[int(np.argmax(scores))]


def _fit(features: npt.NDArray[np.float32], code: npt.NDArray[np.int64], strength: float) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline that is nearly there is one
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # few windows, many classes
        return LogisticRegression(C=strength, class_weight="balanced", max_iter=_STEPS).fit(features, code)


def _by_class(coefficients: npt.NDArray) -> npt.NDArray:
    """Return a row per class: of two, scikit-learn gives that of the second alone."""
    return np.concatenate([np.zeros_like(coefficients), coefficients]) if len(coefficients) == 1 else coefficients
