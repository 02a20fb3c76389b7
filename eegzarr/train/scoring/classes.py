"""How well classes were predicted, compared with chance and a logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score, roc_auc_score

from eegzarr.train.scoring.metrics import balanced_accuracy, class_interval, interval_words, subject_classes
from eegzarr.train.scoring.predict import Predictions


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How well the classes of one part were predicted.

    Attributes
    ----------
    balanced_accuracy : float
        Mean over classes of the share of their windows that are recognised (Brodersen et al. 2010).
    interval : tuple of float or None
        Its 95 % interval over subjects; None where there are too few, see `class_interval`.
    adjusted : float
        The same, scaled such that chance is 0 and all right is 1: ``adjusted=True`` of scikit-learn's
        ``balanced_accuracy_score``.
    accuracy, macro_f1 : float
        Share of windows that are right; mean over classes of F1, the harmonic mean of precision and recall
        (scikit-learn's ``f1_score``).
    kappa : float
        Cohen's kappa: agreement beyond that of guesses of the same frequencies (J. Cohen 1960, Educational and
        Psychological Measurement 20, 37-46; scikit-learn's ``cohen_kappa_score``).
    roc_auc : float
        Area under the receiver operating characteristic, of several classes the mean of each against the others
        (T. Fawcett 2006, Pattern Recognition Letters 27, 861-874; scikit-learn's ``roc_auc_score``).
    chance : float
        Balanced accuracy of any constant prediction.
    majority : float
        Accuracy of predicting the class that is most frequent in the training part.
    logistic : float
        Balanced accuracy of a logistic regression on time bins and band power.
    against_logistic : tuple of float or None
        95 % interval of the model's balanced accuracy less the logistic regression's: the model is ahead where both
        are above 0.
    by_subject : float or None
        Balanced accuracy of subjects' mean probabilities, where the class belongs to the person.
    classes : tuple of str
    confusion : tuple of tuple of int
        Windows of each class, a row, by the class that is predicted, a column.
    age_and_sex : float or None
        Balanced accuracy of a logistic regression on age and sex, where the class belongs to the person and these are
        known.
    tangent : float or None
        Balanced accuracy of a logistic regression on covariances in the tangent space, where there are few enough
        channels.
    """

    windows: int
    subjects: int
    balanced_accuracy: float
    interval: tuple[float, float] | None
    adjusted: float
    accuracy: float
    macro_f1: float
    roc_auc: float
    kappa: float
    chance: float
    majority: float
    logistic: float
    against_logistic: tuple[float, float] | None
    by_subject: float | None
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    age_and_sex: float | None = None
    tangent: float | None = None

    @property
    def value(self) -> float:
        """What models are compared by."""
        return self.balanced_accuracy

    @property
    def against(self) -> tuple[float, float] | None:
        """Interval of the difference to the linear baseline."""
        return self.against_logistic

    @property
    def of_subjects(self) -> float | None:
        """The value for subjects' means."""
        return self.by_subject

    @property
    def references(self) -> dict[str, float]:
        """The baselines' values of it, by name."""
        return {"logistic regression": self.logistic, "chance": self.chance}

    @property
    def score(self) -> str:
        """The score and its interval, in words."""
        return f"balanced accuracy {self.balanced_accuracy:.3f} ({interval_words(self.interval, self.subjects)})"

    @property
    def baselines(self) -> str:
        """The baselines' scores, in words."""
        told = ""
        if self.against_logistic is not None:
            told = f" (difference {interval_words(self.against_logistic, self.subjects, '+')})"
        return f"logistic regression {self.logistic:.3f}{told}, chance {self.chance:.3f}"

    @property
    def details(self) -> list[str]:
        """Further figures, in words."""
        lines = [
            f"adjusted for chance {self.adjusted:.3f}, accuracy {self.accuracy:.3f} (of the most frequent class "
            f"{self.majority:.3f}), macro F1 {self.macro_f1:.3f}, ROC AUC {self.roc_auc:.3f}, kappa {self.kappa:.3f}"
        ]
        if self.by_subject is not None:
            lines.append(f"{self.by_subject:.3f} for the subjects' mean probabilities")
        if self.tangent is not None:
            lines.append(f"{self.tangent:.3f} for a logistic regression on covariances in the tangent space")
        if self.age_and_sex is not None:
            lines.append(f"{self.age_and_sex:.3f} for a logistic regression on age and sex, without EEG")
        return lines


def score_classes(
    predictions: Predictions, shares: npt.NDArray, logistic: Predictions, classes: Sequence[str]
) -> ClassScore:
    """Score predictions of classes beside two baselines.

    Parameters
    ----------
    predictions, logistic : Predictions
        Of probabilities, (window, class).
    shares : array of float, shape (class,)
        How frequent the classes are in the training part.
    """
    target, probability, subject = predictions.target, predictions.prediction, predictions.subject
    guess, linear = probability.argmax(axis=1), logistic.prediction.argmax(axis=1)
    present = np.unique(target)
    balanced = balanced_accuracy(target, guess)
    chance = 1 / len(present)
    whole = subject_classes(target, probability, subject)
    confusion = confusion_matrix(target, guess, labels=range(len(classes)))
    return ClassScore(
        windows=len(target),
        subjects=len(set(subject.tolist())),
        balanced_accuracy=balanced,
        interval=class_interval(target, guess, subject),
        adjusted=(balanced - chance) / (1 - chance),
        accuracy=float((guess == target).mean()),
        macro_f1=float(f1_score(target, guess, labels=present, average="macro", zero_division=0)),
        roc_auc=_roc_auc(target, probability),
        kappa=float(cohen_kappa_score(target, guess)),
        chance=chance,
        majority=float((target == int(np.argmax(shares))).mean()),
        logistic=balanced_accuracy(target, linear),
        against_logistic=class_interval(target, guess, subject, other=linear),
        by_subject=None if whole is None else balanced_accuracy(*whole),
        classes=tuple(classes),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def _roc_auc(target: npt.NDArray, probability: npt.NDArray) -> float:
    present = np.unique(target)
    own = present[1:] if len(present) == 2 else present  # of two classes the other's curve is the mirror image
    return float(np.mean([roc_auc_score(target == code, probability[:, code]) for code in own]))
