"""A linear model of covariances in the tangent space: a strong baseline for rhythms, such as of motor imagery.

A window's covariance between channels is a point of a curved space. Around the mean of the training part it is
flattened by a logarithm, and a linear model is fitted to the result.

References
----------
A. Barachant, S. Bonnet, M. Congedo and C. Jutten (2012), Multiclass brain-computer interface classification by
Riemannian geometry, IEEE Transactions on Biomedical Engineering 59, 920-928.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from eegzarr.train.loop.parts import Parts
from eegzarr.train.models.predictor import Predictor
from eegzarr.train.models.readout import drawn, middle

MOST_CHANNELS = 32  # 528 features; a window of more takes longer than a network's
_MOST_WINDOWS = 4096  # of the training part
_SHRUNK = 1e-3  # share of the mean variance that is added to each: a flat channel's covariance has an inverse
_FOLDS = 3
_CLASS_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # scikit-learn's C
_NUMBER_STRENGTHS = (1.0, 1e1, 1e2, 1e3, 1e4)  # scikit-learn's alpha

Guess = Callable[[torch.Tensor], npt.NDArray]


def fit_tangent(parts: Parts, model: Predictor) -> Guess | None:
    """Fit covariances of a training part to its targets, with the penalty that predicts held-out subjects best.

    Parameters
    ----------
    parts : Parts
    model : Predictor
        Whose crop, scales and classes are used; its network isn't.

    Returns
    -------
    callable or None
        From windows in uV, (batch, channel, time), to numbers in the target's unit or codes of classes; None where
        there are more than `MOST_CHANNELS` channels, or too few subjects.
    """
    if len(model.channel_mean) > MOST_CHANNELS:
        return None
    described = drawn(parts.given, parts.train, lambda x: covariances(x, model), _MOST_WINDOWS)
    covariance, target, subject = described
    if len(set(subject.tolist())) < 2 or (model.classes and len(set(target.tolist())) < 2):
        return None
    mean = covariance.mean(axis=0)
    fitted = _fitted(tangent_vectors(covariance, mean), target, subject, bool(model.classes))
    return lambda x: np.asarray(fitted.predict(tangent_vectors(covariances(x, model), mean)))


def _fitted(
    vectors: npt.NDArray[np.float64], target: npt.NDArray, subject: npt.NDArray, are_classes: bool
) -> GridSearchCV | Pipeline:
    """Return a linear model of vectors, with the penalty that predicts held-out subjects best."""
    linear = LogisticRegression(class_weight="balanced", C=0.01, max_iter=200) if are_classes else Ridge(alpha=100.0)
    model = make_pipeline(StandardScaler(), linear)
    splits = GroupKFold(min(_FOLDS, len(set(subject.tolist())))).split(vectors, target, subject)
    # Where classes belong to the person, the others may all have one.
    usable = [(rest, left) for rest, left in splits if not are_classes or len(set(target[rest].tolist())) > 1]
    grid = {"logisticregression__C": _CLASS_STRENGTHS} if are_classes else {"ridge__alpha": _NUMBER_STRENGTHS}
    scoring = "balanced_accuracy" if are_classes else "neg_mean_squared_error"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline that is nearly there is one
        warnings.simplefilter("ignore", UserWarning)  # a fold may lack a class, or have many
        return (GridSearchCV(model, grid, cv=usable, scoring=scoring) if usable else model).fit(vectors, target)


def covariances(x: torch.Tensor, model: Predictor) -> npt.NDArray[np.float64]:
    """Return the covariances, (window, channel, channel), of the middle of windows in uV, scaled as the model does."""
    seen = model.scaled(middle(x, model.n_times).to(model.channel_mean.device).float()).cpu().double().numpy()
    seen = seen - seen.mean(axis=-1, keepdims=True)
    found = seen @ seen.swapaxes(1, 2) / seen.shape[-1]
    size = found.shape[-1]
    shrunk = _SHRUNK * np.trace(found, axis1=1, axis2=2) / size
    return np.asarray(found + np.maximum(shrunk, 1e-12)[:, None, None] * np.eye(size))


def tangent_vectors(covariance: npt.NDArray[np.float64], mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return covariances, (window, channel, channel), as vectors in the tangent space at `mean`.

    They are the upper triangles of the logarithm of ``mean^-1/2 @ covariance @ mean^-1/2``, times the square root of 2
    off the diagonal: so lengths stay as they are.
    """
    values, vectors = np.linalg.eigh(mean)
    whitening = (vectors / np.sqrt(values)) @ vectors.T
    values, vectors = np.linalg.eigh(whitening @ covariance @ whitening)
    logarithm = (vectors * np.log(np.maximum(values, 1e-12))[:, None, :]) @ vectors.swapaxes(1, 2)
    row, column = np.triu_indices(len(mean))
    return np.asarray(logarithm[:, row, column] * np.where(row == column, 1.0, np.sqrt(2)))


def guessed(guess: Guess, windows: Iterable[tuple[torch.Tensor, torch.Tensor, object]]) -> npt.NDArray:
    """Return what a fitted model says of the windows of a part."""
    return np.concatenate([guess(x) for x, _, _ in windows])
