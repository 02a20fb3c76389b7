"""Cross-validation over subjects: a run per fold, each of which can be stopped and resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from eegzarr.train.loop.resuming import check_begun_alike
from eegzarr.train.loop.run import RunFolder, write_json
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.evaluate import interval_of, metric_of
from eegzarr.train.scoring.metrics import interval_words
from eegzarr.train.scoring.predict import joined
from eegzarr.train.scoring.summary import FitSummary
from eegzarr.train.scoring.table import read_predictions

SCORES = "cross-validation.json"


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """How a cross-validation ended.

    Attributes
    ----------
    folds : tuple of float
        Validation score of each fold.
    metric : str
        "NRMSE" or "balanced accuracy".
    value, interval : float, tuple of float or None
        Over all out-of-fold predictions, with its 95 % interval over subjects. Each fold's best
        epoch was chosen on the same subjects, so it is a little too good; the test part, which is
        in no fold, is not.
    runs : tuple of str
        Folders of the folds, for `eegzarr.train.ensemble`.
    """

    folds: tuple[float, ...]
    metric: str
    value: float
    interval: tuple[float, float] | None
    subjects: int
    runs: tuple[str, ...]

    @property
    def score(self) -> str:
        """The score and its interval, in words."""
        return f"{self.metric} {self.value:.3f} ({interval_words(self.interval, self.subjects)})"


def fold_folder(folder: Path, fold: int) -> Path:
    """Return the folder of a fold's run."""
    return folder / f"fold-{fold}"


def cross_validate(
    options: FitOptions, folder: str | Path, fit_or_resume: Callable[[FitOptions, Path], FitSummary]
) -> CrossValidation:
    """Train every fold that isn't finished, then score all out-of-fold predictions together.

    Parameters
    ----------
    options : FitOptions
        With `folds`.
    folder : path
        Gets a run per fold and ``cross-validation.json``.
    fit_or_resume : callable
        Trains a fold in its folder, or resumes it.

    Raises
    ------
    UsageError
        If the folder holds folds of other options.
    """
    folder = Path(folder)
    runs = [RunFolder(fold_folder(folder, fold)) for fold in range(options.folds)]
    wanted = [replace(options, fold=fold) for fold in range(options.folds)]
    check_begun_alike(runs, wanted)
    for own, run in zip(wanted, runs, strict=True):
        if not run.is_finished:
            fit_or_resume(own, run.path)
    task = runs[0].task()
    held_out = joined([read_predictions(run.predictions, task, "valid") for run in runs])
    result = CrossValidation(
        folds=tuple(run.read_json(run.summary)["scores"]["valid"][task.metric_key] for run in runs),
        metric=task.metric,
        value=metric_of(held_out, task),
        interval=interval_of(held_out, task),
        subjects=len(np.unique(held_out.subject.astype(str))),
        runs=tuple(str(run.path) for run in runs),
    )
    write_json(folder / SCORES, asdict(result))
    return result
