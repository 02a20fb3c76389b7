"""What a recipe predicts: its value for each window, and mistakes in it that are found before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecipeError
from eegzarr.recipes.expression import evaluate, labels_of
from eegzarr.suggest import did_you_mean

_MOST_VALUES = 4  # that a message lists


def target_of(target: str, columns: Mapping[str, np.ndarray], given: Mapping[str, str]) -> npt.NDArray[np.float32]:
    """Return what a recipe predicts, for each window: NaN where it isn't known.

    Parameters
    ----------
    target : str
        A label, by its name in the lake or in the file that it comes from; or an expression of labels.
    columns : mapping of str to array, shape (window,)
    given : mapping of str to str
        Labels by the names that they have in their file, where these differ.
    """
    known = dict(columns)
    if "correct" in known:  # -1 is how a lake stores "unknown"
        correct = known["correct"].astype(np.float32)
        known["correct"] = np.where(correct < 0, np.float32(np.nan), correct)
    return evaluate(given.get(target, target), known)


def check_names(recipe: str, target: str, known: Collection[str]) -> None:
    """Refuse a target that names a label that there isn't, or none at all.

    Raises
    ------
    RecipeError
    """
    if target in known:
        return
    names = labels_of(target)
    if not names:
        raise RecipeError(
            f"recipe {recipe}: the target {target!r} names no label: there is nothing to predict. The labels are "
            f"{', '.join(known)}"
        )
    for name in names:
        if name not in known:
            raise RecipeError(
                f"recipe {recipe}: the target {name!r} is none of {', '.join(known)}.{did_you_mean(name, known)}"
            )


def check_values(recipe: str, target: str, columns: Mapping[str, npt.NDArray], given: Mapping[str, str]) -> None:
    """Refuse a target that is text, or that no window has.

    Parameters
    ----------
    columns, given
        As for `target_of`.

    Raises
    ------
    RecipeError
    """
    # A column without any value has no type: none is a number as well as a text.
    columns = {name: _numbers_if_empty(values) for name, values in columns.items()}
    label = given.get(target, target)
    texts = columns[label] if label in columns else np.empty(0)
    if texts.dtype.kind in "OUT":
        counts = Counter(str(text) for text in texts if text != "")
        if counts:
            listed = ", ".join(f"{text!r} ({count})" for text, count in counts.most_common(_MOST_VALUES))
            raise RecipeError(
                f"recipe {recipe}: the target {target!r} is text: {listed}. A number is wanted, such as the "
                f"expression {label} == {counts.most_common(1)[0][0]!r}"
            )
    values = target_of(target, columns, given)
    if len(values) and np.isnan(values).all():
        raise RecipeError(
            f"recipe {recipe}: the target {target!r} is missing for all {len(values)} windows, so there is nothing "
            f"to predict; labels with values are {', '.join(_with_values(columns)) or 'none'}"
        )


def _numbers_if_empty(values: npt.NDArray) -> npt.NDArray:
    if values.dtype.kind in "OUT" and len(values) and all(text == "" for text in values.tolist()):
        return np.full(len(values), np.nan)
    return values


def _with_values(columns: Mapping[str, npt.NDArray]) -> list[str]:
    return [
        name
        for name, values in columns.items()
        if values.dtype.kind in "fiub" and np.isfinite(values.astype(float)).any() and len(np.unique(values)) > 1
    ]
