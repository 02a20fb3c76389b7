"""A running mean of weights over steps: often better than the last ones."""

from __future__ import annotations

import copy

import torch

from eegzarr.train.models.predictor import Predictor


class WeightAverage:
    """The exponential moving average of a model's weights and statistics.

    Parameters
    ----------
    model : Predictor
        Whose weights now are the first mean.
    decay : float
        Share of the mean that a step keeps, from 0 to below 1. The first steps keep less: ``(1 + step) / (10 + step)``.
    """

    def __init__(self, model: Predictor, decay: float) -> None:
        self.model: Predictor = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def take(self, model: Predictor, step: int) -> None:
        """Take the weights after step number `step`, from 0."""
        kept = min(self.decay, (1 + step) / (10 + step))
        for mean, now in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - kept)
            else:  # a count of batches
                mean.copy_(now)
