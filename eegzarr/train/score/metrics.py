"""Scores of predictions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eegzarr.challenge.rules import WEIGHTS
from eegzarr.errors import UsageError


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
    return sum(weight * scores[name] for name, weight in WEIGHTS.items())


def bootstrap_interval(
    target: npt.ArrayLike,
    prediction: npt.ArrayLike,
    subject: npt.ArrayLike,
    *,
    other: npt.ArrayLike | None = None,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a percentile interval of the NRMSE over resampled subjects.

    Windows of one subject are no independent evidence: whole subjects are drawn.

    Parameters
    ----------
    target, prediction : array of float, shape (window,)
    subject : array of str, shape (window,)
    other : array of float, shape (window,), optional
        Predictions of another model: the interval is that of the difference to its NRMSE, both
        scored on the same draws, so that subjects who are hard for both don't widen it.
    draws : int
        Samples with as many subjects as there are, with replacement.
    level : float
        Share of the samples inside the interval.

    Returns
    -------
    tuple of float
        NaN both where no sample has a spread, such as with one subject of one target.
    """
    true = np.asarray(target, np.float64)
    names, code = np.unique(np.asarray(subject, str), return_inverse=True)
    centred = true - true.mean()  # exact sums of squares need small numbers

    def by_subject(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.bincount(code, values, len(names)).astype(np.float64)

    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    count, total, squares = (times @ by_subject(values) for values in (np.ones_like(true), centred, centred**2))
    variance = squares / count - (total / count) ** 2
    varies = variance > 1e-12 * max(1e-300, float(np.mean(centred**2)))
    if not varies.any():
        return float("nan"), float("nan")

    def scores(guess: npt.ArrayLike) -> npt.NDArray[np.float64]:
        errors = times @ by_subject((true - np.asarray(guess, np.float64)) ** 2)
        drawn: npt.NDArray[np.float64] = np.sqrt(errors[varies] / count[varies] / variance[varies])
        return drawn

    drawn = scores(prediction) if other is None else scores(prediction) - scores(other)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def subject_nrmse(target: npt.ArrayLike, prediction: npt.ArrayLike, subject: npt.ArrayLike) -> float | None:
    """Return the NRMSE of subjects' mean predictions, None where a subject's windows differ in target.

    For targets that belong to a person, as challenge 2's: each subject counts once.
    """
    true, guess = np.asarray(target, np.float64), np.asarray(prediction, np.float64)
    names, first, code = np.unique(np.asarray(subject, str), return_index=True, return_inverse=True)
    if (true != true[first][code]).any() or len(set(true[first].tolist())) < 2:
        return None
    means = np.bincount(code, guess, len(names)) / np.bincount(code, minlength=len(names))
    return nrmse(true[first], means)
