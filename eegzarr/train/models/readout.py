"""Linear read-outs of simple features, as models of their own, and what fits of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from eegzarr.train.models.predictor import LinearReadout, Predictor
from eegzarr.train.task import Given

_SAMPLED = 1024  # windows that features are scaled by
_QUARTILES = 1.349  # distance between the quartiles of a normal distribution, in its standard deviations


class Linear(torch.nn.Module):
    """A read-out as a model of its own: windows in uV to what the model beside it predicts."""

    def __init__(self, readout: LinearReadout, model: Predictor) -> None:
        super().__init__()
        self.readout, self.model = readout, model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return predictions, (batch, output), from the middle of windows, (batch, channel, time)."""
        return self.model.in_own_unit([self.readout(self.model.clamped(middle(x, self.model.n_times).float()))])


def middle(x: torch.Tensor, n_times: int) -> torch.Tensor:
    """Return the samples in the middle of windows."""
    start = (x.shape[-1] - n_times) // 2
    return x[..., start : start + n_times]


def features_of(readout: LinearReadout, x: torch.Tensor, model: Predictor) -> torch.Tensor:
    """Return features of the middle of windows in uV, without what no EEG is."""
    return readout.features(model.clamped(middle(x, model.n_times).to(model.channel_mean.device).float()))


def drawn(
    given: Given, train: xr.Dataset, describe: Callable[[torch.Tensor], npt.NDArray], most: int
) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """Return what describes some windows of a training part, their targets and their subjects, in random order.

    Parameters
    ----------
    describe : callable
        From windows in uV, (batch, channel, time), to an array with a row for each.
    most : int
        Windows after which no further batch is read.
    """
    stream = given.stream(train, 256, shuffle=True, with_labels=("subject",), rank=0, ranks=1)
    rows, targets, subjects, count = [], [], [], 0
    batches = iter(stream)
    for x, y, labels in batches:
        rows.append(describe(x))
        targets.append(y.numpy())
        subjects.append(np.asarray(labels["subject"], str))
        count += len(y)
        if count >= most:
            break
    batches.close()  # type: ignore[attr-defined]
    return np.concatenate(rows), np.concatenate(targets), np.concatenate(subjects)


def set_feature_scales(readout: LinearReadout, train: xr.Dataset, model: Predictor, given: Given) -> None:
    """Standardise features by median and quartiles of some windows: a few artefacts don't move these."""
    stream = given.stream(train, _SAMPLED // 4, shuffle=True, rank=0, ranks=1)
    batches = iter(stream)
    sampled = torch.cat([features_of(readout, x, model) for x, _ in islice(batches, 4)])
    batches.close()  # type: ignore[attr-defined]
    low, median, high = np.quantile(sampled.cpu().double().numpy(), [0.25, 0.5, 0.75], axis=0)
    std = (high - low) / _QUARTILES
    readout.feature_mean.copy_(torch.as_tensor(median))
    readout.feature_std.copy_(torch.as_tensor(np.where(std > 1e-6, std, 1.0)))


def set_weights(readout: LinearReadout, weight: npt.NDArray, bias: npt.NDArray) -> None:
    """Give a read-out its weights, (feature, output), and biases, (output,)."""
    readout.weight.copy_(torch.as_tensor(weight).reshape(readout.weight.shape))
    readout.bias.copy_(torch.as_tensor(bias).reshape(readout.bias.shape))


def mixed(subjects: Iterable[str]) -> list[str]:
    """Return subjects in an order that says nothing about them, always the same."""
    names = sorted(subjects)
    return [names[i] for i in np.random.default_rng(0).permutation(len(names))]
