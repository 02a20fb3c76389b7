"""Ridge regression over a stream: the baseline beside every score, and what a residual network adds to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from eegzarr.train.models.predictor import LinearReadout, Predictor
from eegzarr.train.models.readout import features_of, mixed, set_feature_scales, set_weights
from eegzarr.train.task import AS_STORED, Given

_FOLDS = 4
_STRENGTHS = 10.0 ** np.arange(-1, 5)  # of the penalty, for standardised features, per window


class _Moments:
    """Sums over windows from which a ridge of any strength follows: bounded memory, one pass."""

    def __init__(self, features: int, targets: int) -> None:
        self.gram = np.zeros((features + 1, features + 1))
        self.products = np.zeros((features + 1, targets))
        self.squares = 0.0
        self.count = 0

    def add(self, features: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> None:
        """Add windows: features (window, feature), target (window, target)."""
        rows = np.column_stack([features, np.ones(len(features))])
        self.gram += rows.T @ rows
        self.products += rows.T @ target
        self.squares += float((target**2).sum())
        self.count += len(target)

    def __add__(self, other: _Moments) -> _Moments:
        total = _Moments(len(self.products) - 1, self.products.shape[1])
        total.gram, total.products = self.gram + other.gram, self.products + other.products
        total.squares, total.count = self.squares + other.squares, self.count + other.count
        return total


def fit_ridge(train: xr.Dataset, model: Predictor, batch_size: int = 256, given: Given = AS_STORED) -> LinearReadout:
    """Fit a linear read-out to a training part, with the penalty that predicts its own held-out subjects best.

    Parameters
    ----------
    train : Dataset
    model : Predictor
        Whose crop, input unit and target scale are used; its network isn't.
    given : Given
        How its windows are given to the model.
    """
    readout = LinearReadout(len(model.channel_mean), model.sfreq, model.feature_clamp, len(model.targets))
    readout.to(model.channel_mean.device)
    mean, std = (values.cpu().double().numpy() for values in (model.target_mean, model.target_std))
    if model.feature_clamp is not None:
        set_feature_scales(readout, train, model, given)
    # Not this process's share: what a ridge predicts doesn't depend on how many processes there are.
    stream = given.stream(train, batch_size, with_labels=("subject",), rank=0, ranks=1)
    fold_of = {name: number % _FOLDS for number, name in enumerate(mixed(stream.subjects))}
    count = len(readout.weight)
    folds = [_Moments(count, len(model.targets)) for _ in range(_FOLDS)]
    centre: npt.NDArray[np.float64] | None = None
    for x, y, labels in stream:
        features = readout.standardized(features_of(readout, x, model)).cpu().double().numpy()
        if centre is None:  # features of the first batch as an origin: sums of squares stay small
            centre = features.mean(0)
        fold = np.array([fold_of[name] for name in labels["subject"]])
        wanted = ((y.double().numpy() - mean) / std).reshape(len(y), -1)
        for number in np.unique(fold).tolist():
            folds[number].add((features - centre)[fold == number], wanted[fold == number])
    assert centre is not None
    total = sum(folds[1:], start=folds[0])
    shift = total.gram[-1, :-1] / total.count
    scale = np.sqrt(np.maximum(np.diag(total.gram)[:-1] / total.count - shift**2, 0))
    scale = np.where(scale > 1e-6, scale, 1.0)
    folds = [_standardised(fold, shift, scale) for fold in folds]
    total = sum(folds[1:], start=folds[0])
    errors = [sum(_held_out_error(total, fold, strength) for fold in folds) for strength in _STRENGTHS]
    weights = _solve(total, float(_STRENGTHS[int(np.argmin(errors))]))
    by_feature = weights[:-1] / scale[:, None]  # the moments' standardisation, on top of the read-out's own
    set_weights(readout, by_feature, weights[-1] - (centre + shift) @ by_feature)
    return readout.eval()


def _standardised(moments: _Moments, shift: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> _Moments:
    """Return the moments of ``(features - shift) / scale``."""
    sums, count = moments.gram[-1, :-1], moments.count
    changed = _Moments(len(shift), moments.products.shape[1])
    about = np.outer(shift, sums - count * shift / 2)
    changed.gram[:-1, :-1] = (moments.gram[:-1, :-1] - about - about.T) / np.outer(scale, scale)
    changed.gram[-1, :-1] = changed.gram[:-1, -1] = (sums - count * shift) / scale
    changed.gram[-1, -1] = count
    changed.products[:-1] = (moments.products[:-1] - shift[:, None] * moments.products[-1]) / scale[:, None]
    changed.products[-1] = moments.products[-1]
    changed.squares, changed.count = moments.squares, count
    return changed


def _solve(moments: _Moments, strength: float) -> npt.NDArray[np.float64]:
    penalty = np.full(len(moments.gram), strength * moments.count / 100)
    penalty[-1] = 1e-9  # the constant isn't penalised
    # PyTorch's Cholesky factor: NumPy's general solver takes four times as long.
    factor = torch.linalg.cholesky(torch.from_numpy(moments.gram + np.diag(penalty)))
    return torch.cholesky_solve(torch.from_numpy(moments.products), factor).numpy()


def _held_out_error(total: _Moments, fold: _Moments, strength: float) -> float:
    """Return the sum of squared errors on a fold of a ridge fitted to the others."""
    if not 0 < fold.count < total.count:
        return 0.0
    rest = _Moments(*np.subtract(total.products.shape, (1, 0)).tolist())
    rest.gram, rest.products = total.gram - fold.gram, total.products - fold.products
    rest.count = total.count - fold.count
    weights = _solve(rest, strength)
    return float(fold.squares - 2 * (weights * fold.products).sum() + (weights * (fold.gram @ weights)).sum())
