"""Ridge regression over a stream: the baseline beside every score, and what a residual network adds to."""

from __future__ import annotations

from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from eegzarr.stream.stream import WindowStream
from eegzarr.train.models.predictor import LinearReadout, Regressor

_FOLDS = 4
_SAMPLED = 1024  # windows that features are scaled by
_QUARTILES = 1.349  # distance between the quartiles of a normal distribution, in its standard deviations
_STRENGTHS = 10.0 ** np.arange(-1, 5)  # of the penalty, for standardised features, per window


class _Moments:
    """Sums over windows from which a ridge of any strength follows: bounded memory, one pass."""

    def __init__(self, features: int) -> None:
        self.gram = np.zeros((features + 1, features + 1))
        self.products = np.zeros(features + 1)
        self.squares = 0.0
        self.count = 0

    def add(self, features: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> None:
        """Add windows: features (window, feature), target (window,)."""
        rows = np.column_stack([features, np.ones(len(features))])
        self.gram += rows.T @ rows
        self.products += rows.T @ target
        self.squares += float(target @ target)
        self.count += len(target)

    def __add__(self, other: _Moments) -> _Moments:
        total = _Moments(len(self.products) - 1)
        total.gram, total.products = self.gram + other.gram, self.products + other.products
        total.squares, total.count = self.squares + other.squares, self.count + other.count
        return total


def fit_ridge(train: xr.Dataset, model: Regressor, batch_size: int = 256) -> LinearReadout:
    """Fit a linear read-out to a training part, with the penalty that predicts its own held-out subjects best.

    Parameters
    ----------
    train : Dataset
    model : Regressor
        Whose crop, input unit and target scale are used; its network isn't.
    """
    readout = LinearReadout(len(model.channel_mean), model.sfreq, model.feature_clamp).to(model.channel_mean.device)
    mean, std = float(model.target_mean), float(model.target_std)
    if model.feature_clamp is not None:
        _set_feature_scales(readout, train, model)
    # Not this process's share: what a ridge predicts doesn't depend on how many processes there are.
    stream = WindowStream(train, batch_size, with_labels=("subject",), rank=0, ranks=1)
    fold_of = {name: number % _FOLDS for number, name in enumerate(_mixed(stream.subjects))}
    count = len(readout.weight)
    folds = [_Moments(count) for _ in range(_FOLDS)]
    centre: npt.NDArray[np.float64] | None = None
    for x, y, labels in stream:
        features = readout.standardized(_features(readout, x, model)).cpu().double().numpy()
        if centre is None:  # features of the first batch as an origin: sums of squares stay small
            centre = features.mean(0)
        fold = np.array([fold_of[name] for name in labels["subject"]])
        wanted = (y.double().numpy() - mean) / std
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
    by_feature = weights[:-1] / scale  # the moments' standardisation, on top of the read-out's own
    readout.weight.copy_(torch.as_tensor(by_feature))
    readout.bias.copy_(torch.as_tensor(weights[-1] - by_feature @ (centre + shift)))
    return readout.eval()


def _features(readout: LinearReadout, x: torch.Tensor, model: Regressor) -> torch.Tensor:
    """Return features of the middle of windows in uV, without what no EEG is."""
    start = (x.shape[-1] - model.n_times) // 2
    return readout.features(model.clamped(x[..., start : start + model.n_times].to(model.channel_mean.device).float()))


def _set_feature_scales(readout: LinearReadout, train: xr.Dataset, model: Regressor) -> None:
    """Standardise features by median and quartiles of some windows: a few artefacts don't move these."""
    stream = WindowStream(train, _SAMPLED // 4, shuffle=True, rank=0, ranks=1)
    batches = iter(stream)
    drawn = torch.cat([_features(readout, x, model) for x, _ in islice(batches, 4)])
    batches.close()  # type: ignore[attr-defined]
    low, median, high = np.quantile(drawn.cpu().double().numpy(), [0.25, 0.5, 0.75], axis=0)
    std = (high - low) / _QUARTILES
    readout.feature_mean.copy_(torch.as_tensor(median))
    readout.feature_std.copy_(torch.as_tensor(np.where(std > 1e-6, std, 1.0)))


class Linear(torch.nn.Module):
    """A read-out as a model of its own: windows in uV to predictions in the target's unit."""

    def __init__(self, readout: LinearReadout, model: Regressor) -> None:
        super().__init__()
        self.readout, self.model = readout, model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return predictions, (batch, 1), from the middle of windows, (batch, channel, time)."""
        start = (x.shape[-1] - self.model.n_times) // 2
        clamped = self.model.clamped(x[..., start : start + self.model.n_times].float())
        return (self.readout(clamped) * self.model.target_std + self.model.target_mean)[:, None]


def _mixed(subjects: set[str]) -> list[str]:
    names = sorted(subjects)
    return [names[i] for i in np.random.default_rng(0).permutation(len(names))]


def _standardised(moments: _Moments, shift: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> _Moments:
    """Return the moments of ``(features - shift) / scale``."""
    sums, count = moments.gram[-1, :-1], moments.count
    changed = _Moments(len(shift))
    about = np.outer(shift, sums - count * shift / 2)
    changed.gram[:-1, :-1] = (moments.gram[:-1, :-1] - about - about.T) / np.outer(scale, scale)
    changed.gram[-1, :-1] = changed.gram[:-1, -1] = (sums - count * shift) / scale
    changed.gram[-1, -1] = count
    changed.products[:-1] = (moments.products[:-1] - shift * moments.products[-1]) / scale
    changed.products[-1] = moments.products[-1]
    changed.squares, changed.count = moments.squares, count
    return changed


def _solve(moments: _Moments, strength: float) -> npt.NDArray[np.float64]:
    penalty = np.full(len(moments.products), strength * moments.count / 100)
    penalty[-1] = 1e-9  # the constant isn't penalised
    # PyTorch's Cholesky factor: NumPy's general solver takes four times as long.
    factor = torch.linalg.cholesky(torch.from_numpy(moments.gram + np.diag(penalty)))
    return torch.cholesky_solve(torch.from_numpy(moments.products)[:, None], factor)[:, 0].numpy()


def _held_out_error(total: _Moments, fold: _Moments, strength: float) -> float:
    """Return the sum of squared errors on a fold of a ridge fitted to the others."""
    if not 0 < fold.count < total.count:
        return 0.0
    rest = _Moments(len(total.products) - 1)
    rest.gram, rest.products = total.gram - fold.gram, total.products - fold.products
    rest.count = total.count - fold.count
    weights = _solve(rest, strength)
    return float(fold.squares - 2 * weights @ fold.products + weights @ fold.gram @ weights)
