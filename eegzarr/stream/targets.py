"""What a stream gives as y: numbers, classes, several of either, what a function returns, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.names import label_names
from eegzarr.recipes.classes import MISSING, classes_of, names_of
from eegzarr.recipes.expression import labels_of
from eegzarr.store.table import label_table, no_label

Target = str | Sequence[str] | Callable[[pd.DataFrame], npt.ArrayLike] | None
_CORRECT = "correct"
_MOST_LOST = 0.01  # of a target's standard deviation, by rounding to float32
TARGET = "target"
NOT_READABLE = "signal not readable"


@dataclass(frozen=True)
class Column:
    """One target of each window: numbers, or classes by their names.

    Attributes
    ----------
    values : array, shape (window,)
        float32, NaN where missing; or names as objects, "" where missing.
    classes : tuple of str or None
        In the order of their codes; None for numbers.
    label : str or None
        The label of texts that they are of: the lake may have others of its kind.
    """

    values: npt.NDArray
    classes: tuple[str, ...] | None = None
    label: str | None = None


@dataclass(frozen=True)
class Targets:
    """Targets of windows.

    Attributes
    ----------
    values : array or None, shape (window,) or (window, target)
        float32; or int64, places in `classes`, `MISSING` where there is none. Numbers and classes together are
        float32, with NaN where there is none.
    classes : tuple of str, tuple of them (None for numbers) for each target, or None
    """

    values: npt.NDArray | None
    classes: Any = None

    def missing(self, count: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return which windows have no target, and which an infinite one, (window,) each."""
        if self.values is None:
            return np.zeros(count, bool), np.zeros(count, bool)
        columns = self.values if self.values.ndim == 2 else self.values[:, None]
        if columns.dtype.kind == "i":
            return (columns == MISSING).any(axis=1), np.zeros(count, bool)
        missing = np.isnan(columns).any(axis=1)
        return missing, ~missing & np.isinf(columns).any(axis=1)


def targets_of(
    parts: Sequence[xr.Dataset],
    target: Target,
    classes: Sequence[str] | None,
    stored_texts: Callable[[str], set[str]],
) -> list[Targets]:
    """Return the targets of the windows of each Dataset, classes coded alike in all.

    Parameters
    ----------
    stored_texts : callable
        Returns all texts of a label in the groups that the windows are of. They are the classes of such a label:
        so both sides of a split have the same, also where one lacks some.
    classes : sequence of str, optional
        Names of the classes in the order of their codes; a window of another class is refused.

    Raises
    ------
    UsageError
        If there is no such label, or it can't be predicted.
    """
    target = recipe_target(parts[0], target)
    if target is None:
        if classes is not None:
            raise UsageError("classes name those of a target, and target is None")
        return [Targets(None) for _ in parts]
    columns = [_columns(part, target) for part in parts]
    several = columns[0][1]
    count = len(columns[0][0])
    if any(len(found) != count for found, _ in columns):
        raise UsageError("the target function gives other numbers of columns for different Datasets")
    together = [_coded([found[i] for found, _ in columns], classes, stored_texts) for i in range(count)]
    are_classes = [names is not None for _, names in together]
    names = tuple(names for _, names in together) if any(are_classes) else None
    if any(are_classes) and not all(are_classes):
        together = [([_as_numbers(one) for one in coded], names) for coded, names in together]
    values = [[coded[number] for coded, _ in together] for number in range(len(parts))]
    if several:
        return [Targets(np.stack(own, axis=1), names) for own in values]
    return [Targets(own[0], names and names[0]) for own in values]


def recipe_target(windows: xr.Dataset, target: Target) -> Target:
    """Return what the target that isn't named is: the label ``target``, or what the recipe predicts instead.

    That is nothing, where the recipe's target is "", or the labels of several targets.
    """
    if not isinstance(target, str) or target != TARGET or TARGET in windows.variables:
        return target
    told = json.loads(windows.attrs.get("recipe") or "{}").get("target")
    several = [f"{TARGET}_{one}" for one in told] if isinstance(told, list) else []
    if told == "":
        return None
    return list(label_names(several, (), TARGET).values()) or target


def _as_numbers(codes: npt.NDArray) -> npt.NDArray[np.float32]:
    if codes.dtype.kind != "i":
        return codes
    return np.where(codes == MISSING, np.float32(np.nan), codes.astype(np.float32))


def label(windows: xr.Dataset, name: str, purpose: str) -> npt.NDArray:
    """Return a label along ``window``.

    Raises
    ------
    UsageError
        If there is none of this name; `purpose` says what it was wanted for.
    """
    if not isinstance(name, str):
        raise UsageError(f"a label to {purpose} is given by its name, got {name!r:.60}")
    if name not in windows.variables or windows[name].dims != ("window",):
        raise no_label(windows, name, purpose)
    values = windows[name].to_numpy()
    return values.astype(object) if values.dtype.kind in "TUS" else values


def _columns(windows: xr.Dataset, target: Target) -> tuple[list[Column], bool]:
    """Return the columns of a target, and whether y has a dimension for them."""
    if isinstance(target, str):
        return [_named(windows, target)], False
    if not callable(target):
        if not isinstance(target, Iterable) or isinstance(target, Set):  # a set has no order of columns
            raise UsageError(f"target must be a label, a list of labels, a function or None, got {target!r:.60}")
        names = list(target)
        if not names:
            raise UsageError("target is an empty sequence: name at least one label, or give None for x alone")
        return [_named(windows, name) for name in names], True
    table = label_table(windows)
    rows = table.index.copy()
    found = _in_order(target(table), rows)
    if isinstance(found, pd.Series) and isinstance(found.dtype, pd.CategoricalDtype):
        values = np.array(
            ["" if missing else str(name) for name, missing in zip(found, found.isna(), strict=True)], object
        )
        return [Column(values, tuple(map(str, found.cat.categories)))], False
    values = np.asarray(found)
    if values.ndim not in (1, 2) or len(values) != windows.sizes["window"] or not values[:1].size:
        raise UsageError(
            f"the target function must give a row for each of {windows.sizes['window']} windows, it gave {values.shape}"
        )
    if values.ndim == 1:
        return [_column(values, "what the target function gave")], False
    return [_column(values[:, i], "what the target function gave") for i in range(values.shape[1])], True


def _in_order(found: Any, rows: pd.Index) -> Any:
    """Return what a function gave, its rows in the windows' order if their numbers show that it sorted them."""
    if isinstance(found, pd.Categorical):
        found = pd.Series(found)
    if not isinstance(found, pd.Series | pd.DataFrame) or not found.index.is_unique or found.index.equals(rows):
        return found
    return found.loc[rows] if len(found) == len(rows) and found.index.isin(rows).all() else found


def _named(windows: xr.Dataset, name: str) -> Column:
    values, attributes = label(windows, name, "predict"), windows[name].attrs
    if (known := classes_of(attributes)) is not None:
        return Column(names_of(values, known), tuple(known.values()))
    column = _column(values, f"the label {name!r}")
    if column.classes is None:
        column.values[_unanswered(windows, name)] = np.nan
    return replace(column, label=name)


def _unanswered(windows: xr.Dataset, name: str) -> npt.NDArray[np.bool_]:
    """Return where a label depends on whether a response was correct, and that isn't known.

    Lakes of version 1 have -1 there, which isn't a third kind of answer.
    """
    target = json.loads(windows.attrs.get("recipe") or "{}").get("target")
    sources = labels_of(target) if name == "target" and isinstance(target, str) else (name,)
    if _CORRECT not in sources or _CORRECT not in windows.coords:
        return np.zeros(windows.sizes["window"], bool)
    return np.asarray(windows[_CORRECT].to_numpy() == -1)


def _column(values: npt.NDArray, name: str) -> Column:
    if values.dtype.kind in "fiub":
        return Column(_in_float32(values, name))
    if values.dtype.kind not in "OTUS":
        raise UsageError(f"{name} is of the type {values.dtype}, no numbers and no classes: give a function of it")
    missing = pd.isna(values)
    there = values[~missing].tolist()
    if there and all(isinstance(value, int | float | np.number) for value in there):
        return Column(_in_float32(np.where(missing, np.nan, values).astype(np.float64), name))
    names = np.array([str(value) for value in np.where(missing, "", values).tolist()], object)
    return Column(names, tuple(sorted(set(names.tolist()) - {""})))


def _in_float32(values: npt.NDArray, name: str) -> npt.NDArray[np.float32]:
    """Return numbers as float32, unless what they differ by is lost: as of times of day that count from 1970.

    Raises
    ------
    UsageError
    """
    rounded = values.astype(np.float32)
    if values.dtype.kind == "b" or values.dtype.itemsize < 4:
        return rounded
    known = values[np.isfinite(values) & np.isfinite(rounded)].astype(np.float64)
    spread = float(known.std()) if known.size else 0.0
    lost = float(np.abs(rounded[np.isfinite(values) & np.isfinite(rounded)] - known).max(initial=0.0))
    if lost > _MOST_LOST * spread and spread > 0:
        raise UsageError(
            f"{name} has values around {known.mean():.6g} that differ by {spread:.3g}; as float32 they are off by "
            f"up to {lost:.3g}: predict their difference to a fixed value, by a label or a function"
        )
    return rounded


def _coded(
    columns: list[Column], classes: Sequence[str] | None, stored_texts: Callable[[str], set[str]]
) -> tuple[list[npt.NDArray], tuple[str, ...] | None]:
    """Return a target of several Datasets as numbers, and its classes if it has some."""
    if all(column.classes is None for column in columns):
        if classes is not None:
            raise UsageError("classes are for targets that are names, this one is a number")
        return [column.values for column in columns], None
    if any(column.classes is None for column in columns):
        raise UsageError("the target holds numbers in one Dataset and names in another")
    if classes is not None:
        names = _class_names(classes)
    elif len({column.classes for column in columns}) == 1 and columns[0].label is None:
        names = columns[0].classes or ()
    else:
        own = {name for column in columns for name in column.classes or ()}
        stored = set().union(*(stored_texts(one.label) for one in columns if one.label is not None))
        names = tuple(sorted(stored if own <= stored else own))  # else the label has been given other values since
    code = {name: number for number, name in enumerate(names)} | {"": MISSING}
    present = {value for column in columns for value in column.values.tolist()}
    if unknown := sorted(present - set(code)):
        raise UsageError(f"windows are of the class {unknown[0]!r}, and classes are {', '.join(names)}")
    return [np.array([code[value] for value in column.values.tolist()], np.int64) for column in columns], names


def _class_names(classes: object) -> tuple[str, ...]:
    if isinstance(classes, str | Set) or not isinstance(classes, Iterable):
        raise UsageError(f"classes must be a list of names, such as ['left', 'right'], got {classes!r:.60}")
    names = tuple(map(str, classes))
    if len(set(names)) < len(names) or "" in names:
        raise UsageError(f"classes must be different names, got {', '.join(map(repr, names))}")
    return names


def given_labels(parts: Sequence[xr.Dataset], name: str) -> list[npt.NDArray]:
    """Return a label of several Datasets.

    Raises
    ------
    UsageError
        If one lacks it, or its codes mean other classes in another.
    """
    values = [label(part, name, "give") for part in parts]
    meanings = [classes_of(part[name].attrs) for part in parts]
    if any(one != meanings[0] for one in meanings[1:]):
        raise UsageError(f"the codes of the label {name!r} mean different classes in the Datasets: give it as target=")
    return values


def weighed(part: xr.Dataset, name: str) -> npt.NDArray:
    """Return a label to balance by, classes by their names, "" or NaN where it is missing."""
    values = label(part, name, "balance by")
    known = classes_of(part[name].attrs)
    return values if known is None else names_of(values, known)


def given_windows(
    parts: Sequence[xr.Dataset], targets: Sequence[Targets], balance: str | None, *, are_read: bool
) -> tuple[list[npt.NDArray[np.bool_]], dict[str, int]]:
    """Return which windows can be given, and how many can't, by reason.

    Parameters
    ----------
    are_read : bool
        Whether the windows' own samples are given: then those that could not be read can't be.
    """
    kept = []
    counts = {"no target": 0, NOT_READABLE: 0, "target not finite": 0, f"no {balance}": 0}
    for part, target in zip(parts, targets, strict=True):
        count = part.sizes["window"]
        told = part["valid"].to_numpy().astype(bool) if are_read and "valid" in part.variables else True
        valid = np.broadcast_to(told, count)
        missing, infinite = target.missing(count)
        alone = np.zeros(count, bool)
        if balance is not None:
            values = weighed(part, balance)
            alone = pd.isna(values) | (values == "")
        reasons = {
            NOT_READABLE: ~valid,
            "no target": valid & missing,
            "target not finite": valid & infinite,
        }
        beside = f"no {balance}"  # which is the first of these where the target itself is balanced by
        reasons[beside] = reasons.get(beside, False) | (valid & ~missing & ~infinite & alone)
        for reason, applies in reasons.items():
            counts[reason] += int(applies.sum())
        kept.append(~np.logical_or.reduce(list(reasons.values())))
    usual = ("no target", NOT_READABLE)
    return kept, {reason: number for reason, number in counts.items() if number or reason in usual}
