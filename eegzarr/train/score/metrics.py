"""Scores of predictions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from eegzarr.challenge.rules import WEIGHTS
from eegzarr.errors import UsageError

FEWEST_SUBJECTS = 10  # with fewer no interval is honest: their spread itself is unknown


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


def subject_interval(
    target: npt.ArrayLike,
    prediction: npt.ArrayLike,
    subject: npt.ArrayLike,
    *,
    other: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Return a confidence interval of the NRMSE over subjects, None below `FEWEST_SUBJECTS` subjects.

    Windows of one subject are no independent evidence: the jackknife leaves out whole subjects. The
    interval is that of Student's t around the logarithm of the NRMSE. Simulated, an interval of 95 % holds
    the truth in 94 to 95 % at 10, 15, 30 and 100 subjects, and in 89 to 92 % for a skewed target of the
    person, where the percentiles of a bootstrap over subjects do in 70 to 94 %
    (``python -m benchmarks.coverage``).

    Parameters
    ----------
    target, prediction : array of float, shape (window,)
    subject : array of str, shape (window,)
    other : array of float, shape (window,), optional
        Predictions of another model: the interval is that of the difference to its NRMSE, where
        both leave out the same subject, so that subjects who are hard for both don't widen it.
    level : float
        How often such intervals hold the truth.

    References
    ----------
    B. Efron and C. Stein (1981), The jackknife estimate of variance, Annals of Statistics 9, 586-596.
    """
    true = np.asarray(target, np.float64)
    names, code = np.unique(np.asarray(subject, str), return_inverse=True)
    count = len(names)
    if count < FEWEST_SUBJECTS:
        return None
    centred = true - true.mean()  # exact sums of squares need small numbers

    def without_each(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sum over windows with all subjects, then without each of them."""
        by_subject = np.bincount(code, values, count)
        return by_subject.sum() - np.concatenate([[0.0], by_subject])

    windows, total, squares = (without_each(values) for values in (np.ones_like(true), centred, centred**2))
    variance = squares / windows - (total / windows) ** 2
    if variance.min() <= 1e-12 * max(1e-300, float(np.mean(centred**2))):
        return None  # the target varies in one subject alone

    def scores(guess: npt.ArrayLike) -> npt.NDArray[np.float64]:
        errors = without_each((true - np.asarray(guess, np.float64)) ** 2)
        return np.asarray(np.sqrt(np.maximum(errors, 0) / windows / variance))

    quantile = float(student.ppf((1 + level) / 2, count - 1))
    own = scores(prediction)
    if other is not None:
        difference = own - scores(other)
        reach = quantile * _jackknife_error(difference[1:])
        return float(difference[0] - reach), float(difference[0] + reach)
    if own.min() <= 0:
        return None  # predicted without any error
    factor = float(np.exp(quantile * _jackknife_error(np.log(own[1:]))))
    return float(own[0] / factor), float(own[0] * factor)


def interval_words(interval: tuple[float, float] | None, subjects: int, sign: str = "") -> str:
    """Return an interval in words, or why there is none.

    Parameters
    ----------
    interval : tuple of float or None
    subjects : int
    sign : str
        ``"+"`` for the interval of a difference.
    """
    if interval is not None:
        low, high = interval
        return f"{low:{sign}.3f} to {high:{sign}.3f}"
    if subjects < FEWEST_SUBJECTS:
        return f"no interval below {FEWEST_SUBJECTS} subjects"
    return "no interval: the target varies in too few subjects"


def _jackknife_error(left_out: npt.NDArray[np.float64]) -> float:
    """Return the standard error of an estimate, from those that leave out one subject each.

    A little larger than Efron and Stein's, by the square root of n / (n - 1): coverage at ten subjects
    is nearer to the level.
    """
    return float(np.sqrt(((left_out - left_out.mean()) ** 2).sum()))


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
