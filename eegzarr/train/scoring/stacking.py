"""Several cross-validations combined into one model.

The models' weights are fitted to predictions for subjects that each fold left out of its training.

References
----------
L. Breiman (1996), Stacked regressions, Machine Learning 24, 49-64: why the weights must not be negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from eegzarr.errors import UsageError
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.scoring.crossval import fold_folder
from eegzarr.train.scoring.predict import Predictions, joined
from eegzarr.train.scoring.table import read_predictions
from eegzarr.train.task import Task


@dataclass(frozen=True, kw_only=True)
class Stack:
    """How predictions of several models are added up.

    Attributes
    ----------
    centre : array of float, shape () or (target,)
        Mean target of the out-of-fold windows; 0 for the probabilities of classes.
    weights : array of float, shape (model,)
        None is negative. Of numbers, what they lack to 1 is the share of `centre`; of classes they sum to 1.
    """

    centre: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]

    @classmethod
    def fitted(cls, members: Sequence[Predictions], task: Task) -> Stack:
        """Return the weights with the least squared error on the same windows in the same order."""
        target = members[0].target
        if task.classes:
            wanted, centre = np.eye(len(task.classes))[target], np.zeros(())
        else:
            wanted = target.astype(np.float64)
            centre = wanted.mean(axis=0)
        spread = wanted.std(axis=0) if not task.classes else 1.0  # each target counts alike
        columns = [((one.prediction - centre) / spread).astype(np.float64).ravel() for one in members]
        weights, _ = nnls(np.column_stack(columns), ((wanted - centre) / spread).ravel())
        if task.classes:
            weights = weights / weights.sum() if weights.any() else np.full(len(members), 1 / len(members))
        return cls(centre=np.asarray(centre), weights=weights)

    def together(self, members: Sequence[Predictions]) -> Predictions:
        """Return the weighted predictions of the models for the same windows in the same order."""
        parts = [weight * (one.prediction - self.centre) for weight, one in zip(self.weights, members, strict=True)]
        return replace(members[0], prediction=(self.centre + np.sum(parts, axis=0)).astype(np.float32))


def folds_of(folder: str | Path) -> list[RunFolder]:
    """Return the runs of a finished cross-validation.

    Raises
    ------
    UsageError
        If there is none, or a fold isn't finished.
    """
    first = RunFolder(fold_folder(Path(folder), 0))
    if not first.is_begun:
        raise UsageError(f"{folder} holds no cross-validation: --stack takes folders of eegzarr.train --folds")
    runs = [RunFolder(fold_folder(Path(folder), fold)) for fold in range(first.options().folds)]
    for run in runs:
        if not run.is_finished:
            raise UsageError(f"{run.path} isn't finished: give the command of the cross-validation again")
    return runs


def out_of_fold(folders: Sequence[str | Path]) -> list[Predictions]:
    """Return each cross-validation's predictions of the windows that its folds left out, in the same order.

    Raises
    ------
    UsageError
        If they are of other windows or targets.
    """
    found = []
    for folder in folders:
        runs = folds_of(folder)
        task = runs[0].task()
        whole = joined([read_predictions(run.predictions, task, "valid") for run in runs])
        order = np.lexsort([whole.window, whole.release.astype(str)])
        found.append(Predictions(**{name: values[order] for name, values in vars(whole).items()}))
    first = found[0]
    for folder, one in zip(folders[1:], found[1:], strict=True):
        same = len(one.window) == len(first.window) and all(
            np.array_equal(getattr(one, name), getattr(first, name)) for name in ("release", "window", "target")
        )
        if not same:
            raise UsageError(
                f"{folder} is of other windows or another target than {folders[0]}: cross-validations that are stacked "
                "have the same lake, --target, --valid-where and --split-seed"
            )
    return found
