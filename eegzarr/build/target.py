"""What a recipe predicts: its value for each window, and mistakes in it that are found before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecipeError
from eegzarr.names import label_names
from eegzarr.recipes.classes import MISSING, coded, flags
from eegzarr.recipes.expression import evaluate, labels_of
from eegzarr.recipes.labels import IntervalLabel
from eegzarr.recipes.recipe import Recipe
from eegzarr.recipes.windows import EVENT
from eegzarr.suggest import did_you_mean

TARGET = "target"
_MOST_CLASSES = 1000  # more are names, or numbers that are written as text


@dataclass(frozen=True)
class TargetColumn:
    """One target of each window.

    Attributes
    ----------
    values : array, shape (window,)
        float32, NaN where missing; or int16 codes, -1 where missing.
    attributes : dict
        Of classes: what the codes mean.
    """

    values: npt.NDArray
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        """Which windows have none."""
        return np.asarray(self.values == MISSING if self.attributes else np.isnan(self.values))


def target_names(recipe: Recipe) -> dict[str, str]:
    """Return the label that holds each target of a recipe: ``target``, or one for each of several."""
    if isinstance(recipe.target, str):
        return {recipe.target: TARGET} if recipe.target else {}
    names = label_names([f"{TARGET}_{one}" for one in recipe.target], (), TARGET)
    return {one: names[f"{TARGET}_{one}"] for one in recipe.target}


def targets_of(recipe: Recipe, columns: Mapping[str, npt.NDArray], given: Mapping[str, str]) -> dict[str, TargetColumn]:
    """Return what a recipe predicts, by the labels that hold it.

    Parameters
    ----------
    columns : mapping of str to array, shape (window,)
        Labels, by their names in the lake.
    given : mapping of str to str
        Labels by the names that they have in their file, where these differ.

    Raises
    ------
    RecipeError
        If a target can't be computed, or has too many classes.
    """
    return {name: _target(recipe, one, columns, given) for one, name in target_names(recipe).items()}


def _target(recipe: Recipe, target: str, columns: Mapping[str, npt.NDArray], given: Mapping[str, str]) -> TargetColumn:
    label = target if target in columns else given.get(target, target)
    if label not in columns:
        return TargetColumn(evaluate(target, _known(recipe, columns, given)))
    values = columns[label]
    for one in recipe.labels:
        if one.name == target and isinstance(one, IntervalLabel):
            return TargetColumn(values.astype(np.int16), flags(values, one.meanings))
    if values.dtype.kind not in "OUT" or all(text == "" for text in values.tolist()):
        return TargetColumn(evaluate(label, _known(recipe, {label: _numbers_if_empty(values)}, {})))
    if target == EVENT and recipe.events.classes:
        class_of = recipe.events.class_of
        values = np.array([class_of.get(value, "") for value in values.tolist()], object)
        classes = [name for name, _ in recipe.events.classes]
    else:
        classes = sorted(set(values.tolist()) - {""})
    if len(classes) > _MOST_CLASSES:
        raise RecipeError(
            f"recipe {recipe.name}: the target {target!r} is text with {len(classes)} different values, such as "
            f"{', '.join(map(repr, classes[:3]))}: too many for classes"
        )
    codes = coded(values, classes)
    return TargetColumn(codes, flags(codes, classes))


def _known(recipe: Recipe, columns: Mapping[str, npt.NDArray], given: Mapping[str, str]) -> dict[str, npt.NDArray]:
    """Return labels as an expression may name them, with what isn't known missing: a lake has -1 for it."""
    known = dict(columns) | {old: columns[new] for old, new in given.items() if old not in columns and new in columns}
    for name in {"correct", *(one.name for one in recipe.labels if isinstance(one, IntervalLabel))} & known.keys():
        truth = known[name].astype(np.float32)
        known[name] = np.where(truth < 0, np.float32(np.nan), truth)
    return known


def check_names(recipe: Recipe, known: Collection[str]) -> None:
    """Refuse a target that names an unknown label, or none at all.

    Raises
    ------
    RecipeError
    """
    for target in target_names(recipe):
        names = (target,) if target in known else labels_of(target)
        if not names:
            raise RecipeError(
                f"recipe {recipe.name}: the target {target!r} names no label: there is nothing to predict. The labels "
                f"are {', '.join(known)}"
            )
        for name in names:
            if name == EVENT and name not in known:
                raise RecipeError(
                    f"recipe {recipe.name}: the target 'event' is of windows around events: take the anchor 'event' "
                    f"or 'interval', or name one of {', '.join(known)}"
                )
            if name not in known:
                raise RecipeError(
                    f"recipe {recipe.name}: the target {name!r} is none of {', '.join(known)}."
                    f"{did_you_mean(name, known)}"
                )


def check_values(recipe: Recipe, columns: Mapping[str, npt.NDArray], given: Mapping[str, str]) -> None:
    """Refuse a target that no window has, or that can't be computed.

    Parameters
    ----------
    columns, given
        As for `targets_of`.

    Raises
    ------
    RecipeError
    """
    # A column without any value has no type: it may be numbers or texts.
    columns = {name: _numbers_if_empty(values) for name, values in columns.items()}
    for target, column in zip(target_names(recipe), targets_of(recipe, columns, given).values(), strict=True):
        if len(column.values) and column.missing.all():
            raise RecipeError(
                f"recipe {recipe.name}: the target {target!r} is missing for all {len(column.values)} windows, so "
                f"there is nothing to predict; labels with values are {', '.join(_with_values(columns)) or 'none'}"
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
