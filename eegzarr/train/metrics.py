"""Scores of predictions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eegzarr.errors import UsageError

CHALLENGE_WEIGHTS = {"challenge1": 0.3, "challenge2": 0.7}


def nrmse(target: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Root mean squared error over the standard deviation of the target.

    The EEG Foundation Challenge's score: a constant prediction of the mean scores 1.

    Parameters
    ----------
    target, prediction : array of float, shape (window,)

    Raises
    ------
    UsageError
        If their shapes differ, or the target doesn't vary and so has no score.
    """
    true, guess = np.asarray(target, np.float64), np.asarray(prediction, np.float64)
    if true.shape != guess.shape:
        raise UsageError(f"{true.shape} targets can't be scored with {guess.shape} predictions")
    spread = float(true.std()) if true.size else 0.0
    if spread == 0:
        raise UsageError(f"the {true.size} targets to score don't vary: NRMSE divides by their standard deviation")
    return float(np.sqrt(np.mean((true - guess) ** 2)) / spread)


def overall_nrmse(scores: dict[str, float]) -> float:
    """Return 0.3 of challenge 1's score and 0.7 of challenge 2's, as the challenge ranks."""
    return sum(weight * scores[name] for name, weight in CHALLENGE_WEIGHTS.items())
