"""What age and sex alone say of a person's target: a model of EEG that isn't ahead of this has learned little else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from eegzarr.challenge.score import scored_windows
from eegzarr.store.open import RECIPE_NAME
from eegzarr.stream.selection import select
from eegzarr.train.loop.parts import Parts
from eegzarr.train.scoring.metrics import balanced_accuracy, mean_nrmse
from eegzarr.train.task import Task

_FACTS = ("age", "sex")
_TARGET = "target "  # begins the name of a target's column


def age_and_sex_scores(parts: Parts, task: Task) -> dict[str, float]:
    """Return the score of each part, over its windows, of a linear model of age and sex fitted to training subjects.

    A ridge for numbers, a logistic regression of balanced classes for classes, with a row for each subject. A missing
    age is the median one, a missing sex a sex of its own.

    Returns
    -------
    dict of str to float
        By part; empty where the target differs within a training subject, or neither age nor sex is of use.
    """
    known = [name for name in _FACTS if _is_usable(parts.train, name) and name not in task.names]
    train = _windows(parts.train, parts, known, task)
    targets = [name for name in map(str, train) if name.startswith(_TARGET)]
    people = train.drop_duplicates("who")
    facts = [name for name in known if people[name].nunique() > 1]
    if not facts or (train.groupby("who")[targets].nunique() > 1).any(axis=None):
        return {}
    fitted = _model(facts, task).fit(people[facts], _values(people, targets))
    scores = {}
    for part, windows in {"valid": parts.valid, "test": parts.test}.items():
        if windows is not None:
            scored = _windows(scored_windows(windows, str(windows.attrs[RECIPE_NAME])), parts, known, task)
            true, guess = _values(scored, targets), fitted.predict(scored[facts])
            scores[part] = balanced_accuracy(true, guess) if task.classes else mean_nrmse(true, guess)
    return scores


def _is_usable(windows: xr.Dataset, name: str) -> bool:
    return name in windows.variables and (name != "age" or windows[name].dtype.kind in "fiu")


def _windows(windows: xr.Dataset, parts: Parts, facts: Sequence[str], task: Task) -> pd.DataFrame:
    """Return a row for each window that has a target: whose it is, age and sex, and the targets."""
    labels = ("release", "subject", *facts)
    chosen = select([windows], parts.given.target, classes=task.classes or None, with_labels=labels)
    columns = np.asarray(chosen.targets.values).reshape(len(chosen), -1).T
    table = pd.DataFrame({f"{_TARGET}{number}": column for number, column in enumerate(columns)})
    names = zip(chosen.labels["release"], chosen.labels["subject"], strict=True)
    table["who"] = [f"{release}/{subject}" for release, subject in names]
    for name in facts:
        values = chosen.labels[name]
        table[name] = values.astype(float) if values.dtype.kind in "fiu" else values.astype(str).astype(object)
    return table


def _values(table: pd.DataFrame, targets: Sequence[str]) -> npt.NDArray:
    values = table[list(targets)].to_numpy()
    return values[:, 0] if len(targets) == 1 else values


def _model(facts: Sequence[str], task: Task) -> Pipeline:
    """Return a linear model of age and sex."""
    numeric = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    one_of_each = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer(
        [
            ("age", numeric, [name for name in facts if name == "age"]),
            ("sex", one_of_each, [name for name in facts if name == "sex"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression(class_weight="balanced") if task.classes else Ridge())
