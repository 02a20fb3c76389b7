"""How well numbers were predicted, beside a constant and a ridge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eegzarr.train.scoring.metrics import (
    interval_words,
    mean_nrmse,
    nrmse,
    subject_interval,
    subject_means,
)
from eegzarr.train.scoring.predict import Predictions


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far predictions of one target agree with it.

    Attributes
    ----------
    nrmse : float
        Root mean squared error over the standard deviation of the target: the EEG Foundation Challenge's score.
    r2 : float
        Coefficient of determination, the share of the target's variance that is explained: 1 less the squared NRMSE
        (scikit-learn's ``r2_score``).
    pearson : float or None
        Pearson's correlation (NumPy's ``corrcoef``); None of a constant prediction.
    mae : float
        Mean absolute error, in the target's unit (scikit-learn's ``mean_absolute_error``).
    """

    nrmse: float
    r2: float
    pearson: float | None
    mae: float

    @classmethod
    def of(cls, target: npt.ArrayLike, prediction: npt.ArrayLike) -> Agreement:
        """Return that of predictions, (window,)."""
        true, guess = np.asarray(target, np.float64), np.asarray(prediction, np.float64)
        error = nrmse(true, guess)
        pearson = float(np.corrcoef(true, guess)[0, 1]) if np.ptp(guess) > 0 else None
        return cls(nrmse=error, r2=1 - error**2, pearson=pearson, mae=float(np.abs(true - guess).mean()))

    def __str__(self) -> str:
        pearson = "" if self.pearson is None else f"r {self.pearson:.3f}, "
        return f"R² {self.r2:.3f}, {pearson}MAE {self.mae:.3g}"


@dataclass(frozen=True, kw_only=True)
class NumberScore:
    """How well the numbers of one part were predicted.

    Attributes
    ----------
    nrmse : float
        Of the model, over all windows, as the challenge scores; of several targets the mean.
    interval : tuple of float or None
        Its 95 % interval over subjects; None where there are too few, see `subject_interval`.
    constant, ridge : float
        NRMSE of predicting the training part's mean, and of a ridge on time bins and band power.
    against_ridge : tuple of float or None
        95 % interval of the model's NRMSE less the ridge's: the model is ahead where both are below 0.
    nrmse_by_subject : float or None
        Of subjects' mean predictions, where the targets belong to the person.
    agreement : dict of str to Agreement
        Of each target, over windows.
    agreement_by_subject : dict of str to Agreement, or None
        Of each target, over subjects' mean predictions.
    age_and_sex : float or None
        NRMSE of a ridge on age and sex, where the targets belong to the person and these are known.
    tangent : float or None
        NRMSE of a ridge on covariances in the tangent space, where there are few enough channels.
    """

    windows: int
    subjects: int
    nrmse: float
    interval: tuple[float, float] | None
    constant: float
    ridge: float
    against_ridge: tuple[float, float] | None
    nrmse_by_subject: float | None
    agreement: dict[str, Agreement]
    agreement_by_subject: dict[str, Agreement] | None
    age_and_sex: float | None = None
    tangent: float | None = None

    @property
    def value(self) -> float:
        """What models are compared by."""
        return self.nrmse

    @property
    def against(self) -> tuple[float, float] | None:
        """Interval of the difference to the linear baseline."""
        return self.against_ridge

    @property
    def of_subjects(self) -> float | None:
        """The value for subjects' means."""
        return self.nrmse_by_subject

    @property
    def references(self) -> dict[str, float]:
        """The baselines' values of it, by name."""
        return {"ridge": self.ridge, "constant": self.constant}

    @property
    def score(self) -> str:
        """The score and its interval, in words."""
        return f"NRMSE {self.nrmse:.3f} ({interval_words(self.interval, self.subjects)})"

    @property
    def baselines(self) -> str:
        """The baselines' scores, in words."""
        told = ""
        if self.against_ridge is not None:
            told = f" (difference {interval_words(self.against_ridge, self.subjects, '+')})"
        return f"ridge {self.ridge:.3f}{told}, constant {self.constant:.3f}"

    @property
    def details(self) -> list[str]:
        """Further figures, in words."""
        several = len(self.agreement) > 1
        lines = [
            f"{name}: NRMSE {agreement.nrmse:.3f}, {agreement}" if several else str(agreement)
            for name, agreement in self.agreement.items()
        ]
        if self.nrmse_by_subject is not None:
            own = [] if several else map(str, (self.agreement_by_subject or {}).values())
            lines.append(", ".join([f"{self.nrmse_by_subject:.3f} for the subjects' mean predictions", *own]))
        if self.tangent is not None:
            lines.append(f"{self.tangent:.3f} for a ridge on covariances in the tangent space")
        if self.age_and_sex is not None:
            lines.append(f"{self.age_and_sex:.3f} for a ridge on age and sex, without EEG")
        return lines


def score_numbers(
    predictions: Predictions, constant: npt.NDArray, ridge: Predictions, names: Sequence[str]
) -> NumberScore:
    """Score predictions of numbers beside two baselines.

    Parameters
    ----------
    constant : array of float, shape () or (target,)
        The training part's mean.
    names : sequence of str
        Of the targets.
    """
    target, guess, subject = predictions.target, predictions.prediction, predictions.subject
    means = subject_means(target, guess, subject)
    return NumberScore(
        windows=len(target),
        subjects=len(set(subject.tolist())),
        nrmse=mean_nrmse(target, guess),
        interval=subject_interval(target, guess, subject),
        constant=mean_nrmse(target, np.broadcast_to(constant, target.shape)),
        ridge=mean_nrmse(target, ridge.prediction),
        against_ridge=subject_interval(target, guess, subject, other=ridge.prediction),
        nrmse_by_subject=None if means is None else mean_nrmse(*means),
        agreement=_agreements(target, guess, names),
        agreement_by_subject=None if means is None else _agreements(*means, names),
    )


def _agreements(target: npt.NDArray, prediction: npt.NDArray, names: Sequence[str]) -> dict[str, Agreement]:
    columns = (values.reshape(len(values), -1).T for values in (target, prediction))
    return {name: Agreement.of(true, guess) for name, true, guess in zip(names, *columns, strict=True)}
