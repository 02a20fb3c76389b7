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

    The EEG Foundation Challenge's score (``local_scoring.py`` of https://github.com/eeg2025/startkit): a constant
    prediction of the mean scores 1. Its square is 1 less the coefficient of determination.

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
    """Return 0.3 of challenge 1's score and 0.7 of challenge 2's, as the challenge ranks (https://eeg2025.github.io)."""
    return sum(weight * scores[name] for name, weight in WEIGHTS.items())


def subject_interval(
    target: npt.ArrayLike,
    prediction: npt.ArrayLike,
    subject: npt.ArrayLike,
    *,
    other: npt.ArrayLike | None = None,
    level: float = 0.95,
    fewest: int = FEWEST_SUBJECTS,
) -> tuple[float, float] | None:
    """Return a confidence interval of the NRMSE over subjects, None below `fewest` subjects.

    Windows of one subject aren't independent evidence: the jackknife leaves out whole subjects. The
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
    fewest : int
        Simulations alone have a reason to go below the default.

    References
    ----------
    B. Efron and C. Stein (1981), The jackknife estimate of variance, Annals of Statistics 9, 586-596.
    """
    true = np.asarray(target, np.float64)
    code, count = _coded(subject)
    if count < fewest:
        return None
    own = _nrmse_without_each(true, prediction, code, count)
    if own is None:
        return None  # the target varies in one subject alone
    if other is not None:
        beside = _nrmse_without_each(true, other, code, count)
        assert beside is not None  # the target varies
        return _around(own - beside, level)
    if own.min() <= 0:
        return None  # predicted without any error
    low, high = _around(np.log(own), level)
    return float(np.exp(low)), float(np.exp(high))


def _nrmse_without_each(
    true: npt.NDArray[np.float64], prediction: npt.ArrayLike, code: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.float64] | None:
    """Return the NRMSE of all subjects, then without each of them; None where the target doesn't vary then.

    Of several targets, (window, target), the mean.
    """
    guess = np.asarray(prediction, np.float64)
    if true.ndim == 2:
        each = [_nrmse_without_each(*pair, code, count) for pair in zip(true.T, guess.T, strict=True)]
        there = [one for one in each if one is not None]
        return np.asarray(np.mean(there, axis=0)) if len(there) == len(each) else None
    centred = true - true.mean()  # exact sums of squares need small numbers

    def without_each(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sum over windows with all subjects, then without each of them."""
        by_subject = np.bincount(code, values, count)
        return by_subject.sum() - np.concatenate([[0.0], by_subject])

    windows, total, squares = (without_each(values) for values in (np.ones_like(true), centred, centred**2))
    variance = squares / windows - (total / windows) ** 2
    if variance.min() <= 1e-12 * max(1e-300, float(np.mean(centred**2))):
        return None
    errors = without_each((true - guess) ** 2)
    return np.asarray(np.sqrt(np.maximum(errors, 0) / windows / variance))


def class_interval(
    target: npt.ArrayLike,
    predicted: npt.ArrayLike,
    subject: npt.ArrayLike,
    *,
    other: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Return a confidence interval of the balanced accuracy over subjects, as `subject_interval` does of the NRMSE.

    Student's t around the logit of the balanced accuracy, with the jackknife's error over subjects. None also where
    a class is of one subject alone, or all windows are right.

    Parameters
    ----------
    target, predicted : array of int, shape (window,)
        Codes of classes.
    other : array of int, shape (window,), optional
        Predictions of another model: the interval is that of the difference to its balanced accuracy.

    References
    ----------
    B. Efron and C. Stein (1981), The jackknife estimate of variance, Annals of Statistics 9, 586-596.
    """
    code, count = _coded(subject)
    if count < FEWEST_SUBJECTS:
        return None
    own = _recalls_without_each(target, predicted, code, count)
    if own is None:
        return None
    if other is not None:
        beside = _recalls_without_each(target, other, code, count)
        assert beside is not None  # the classes are the same
        return _around(own - beside, level)
    if own.min() <= 0 or own.max() >= 1:
        return None
    low, high = _around(np.log(own / (1 - own)), level)
    return float(1 / (1 + np.exp(-low))), float(1 / (1 + np.exp(-high)))


def _recalls_without_each(
    target: npt.ArrayLike, predicted: npt.ArrayLike, code: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.float64] | None:
    """Return the balanced accuracy of all subjects, then without each; None where a class is of one alone."""
    classes, true = np.unique(np.asarray(target), return_inverse=True)
    is_right = np.asarray(target) == np.asarray(predicted)
    windows, right = (np.zeros((count, len(classes))) for _ in range(2))
    np.add.at(windows, (code, true), 1)
    np.add.at(right, (code, true), is_right)
    windows, right = (one.sum(0) - np.concatenate([np.zeros((1, len(classes))), one]) for one in (windows, right))
    return None if windows.min() == 0 else np.asarray((right / windows).mean(axis=1))


def _around(estimates: npt.NDArray[np.float64], level: float) -> tuple[float, float]:
    """Return Student's interval around an estimate, from it and those that leave out one subject each."""
    quantile = float(student.ppf((1 + level) / 2, len(estimates) - 2))
    reach = quantile * _jackknife_error(estimates[1:])
    return float(estimates[0] - reach), float(estimates[0] + reach)


def _coded(subject: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], int]:
    names, code = np.unique(np.asarray(subject, str), return_inverse=True)
    return code, len(names)


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


def subject_means(
    target: npt.NDArray, prediction: npt.NDArray, subject: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Return each subject's target and mean prediction, None where a subject's windows differ in target.

    For targets that belong to a person, as challenge 2's: each subject counts once. The challenge scores windows.
    """
    true, guess = np.asarray(target, np.float64), np.asarray(prediction, np.float64)
    names, first, code = np.unique(np.asarray(subject, str), return_index=True, return_inverse=True)
    if (true != true[first][code]).any() or np.any(np.ptp(true[first], axis=0) == 0):
        return None
    means = np.zeros((len(names), *guess.shape[1:]))
    np.add.at(means, code, guess)
    counts = np.bincount(code, minlength=len(names)).reshape(-1, *[1] * (guess.ndim - 1))
    return true[first], means / counts


def subject_classes(
    target: npt.NDArray, probability: npt.NDArray, subject: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Return each subject's class and that of their mean probabilities, None where classes aren't the person's."""
    means = subject_means(target, probability, subject)
    return None if means is None else (means[0].astype(np.int64), means[1].argmax(axis=1))


def mean_nrmse(target: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Return the NRMSE; of several targets, (window, target), the mean of theirs. See `nrmse`."""
    columns = (np.asarray(values).reshape(len(np.asarray(values)), -1).T for values in (target, prediction))
    return float(np.mean([nrmse(true, guess) for true, guess in zip(*columns, strict=True)]))


def balanced_accuracy(target: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Return the mean over the classes of `target` of the share of their windows that are recognised.

    The same as scikit-learn's ``balanced_accuracy_score``.

    Parameters
    ----------
    target, predicted : array of int, shape (window,)
        Codes of classes.

    References
    ----------
    K. H. Brodersen et al. (2010), The balanced accuracy and its posterior distribution, ICPR, 3121-3124.
    """
    true, guess = np.asarray(target), np.asarray(predicted)
    return float(np.mean([(guess[true == code] == code).mean() for code in np.unique(true)]))
