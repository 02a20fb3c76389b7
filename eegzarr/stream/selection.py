"""Which windows a stream reads: from xarray selections to addresses in shards."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.recipes.expression import labels_of
from eegzarr.store.layout import group_path
from eegzarr.store.open import LAKE, RECIPE_NAME
from eegzarr.store.table import label_table

_CORRECT = "correct"
Target = str | Sequence[str] | Callable[[pd.DataFrame], npt.ArrayLike]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Windows to stream, with their targets.

    Attributes
    ----------
    groups : tuple of (str, str)
        Lake and path of each group that windows lie in.
    group : array of int32, shape (window,)
        Which of `groups`.
    window : array of int64, shape (window,)
        Number of the window in its group.
    target : array of float32, shape (window,) or (window, target)
    recording : array of int32, shape (window,)
        Row of the window's recording in its group.
    labels : dict of str to array, shape (window,)
        Labels to give beside x and y.
    weighed : array or None, shape (window,)
        The label whose values are to be drawn equally often.
    without_target, invalid : int
        Windows of the xarray selection that were left out, and why.
    """

    groups: tuple[tuple[str, str], ...]
    group: npt.NDArray[np.int32]
    window: npt.NDArray[np.int64]
    target: npt.NDArray[np.float32]
    recording: npt.NDArray[np.int32]
    labels: dict[str, npt.NDArray]
    weighed: npt.NDArray | None
    without_target: int
    invalid: int

    def __len__(self) -> int:
        return len(self.window)


def select(
    windows: xr.Dataset, target: Target = "target", with_labels: Sequence[str] = (), balance: str | None = None
) -> Selection:
    """Find the windows of a selection in their lake by their ``release`` and ``window``.

    Raises
    ------
    UsageError
        If the Dataset doesn't say which lake it is from, or has no such target or label.
    """
    lake, recipe = windows.attrs.get(LAKE), windows.attrs.get(RECIPE_NAME)
    if not lake or not recipe:
        raise UsageError("these windows don't say where they are stored: open them with eegzarr.open_windows")
    values = _targets(windows, target)
    valid = windows["valid"].to_numpy().astype(bool)
    missing = valid & np.isnan(values if values.ndim == 1 else values.sum(axis=1))
    kept = valid & ~missing
    releases, group = _releases(windows)
    return Selection(
        groups=tuple((str(lake), group_path(str(recipe), release)) for release in releases),
        group=group[kept],
        window=windows["window"].to_numpy()[kept].astype(np.int64),
        target=np.ascontiguousarray(values[kept]),
        recording=windows["recording"].to_numpy()[kept],
        labels={name: _label(windows, name, "give")[kept] for name in with_labels},
        weighed=None if balance is None else _label(windows, balance, "balance by")[kept],
        without_target=int(missing.sum()),
        invalid=int((~valid).sum()),
    )


def concatenate(parts: Sequence[Selection]) -> Selection:
    """Join selections, of several recipes or lakes, in order."""
    if len(parts) == 1:
        return parts[0]
    groups: dict[tuple[str, str], int] = {}
    for part in parts:
        for group in part.groups:
            groups.setdefault(group, len(groups))
    renumbered = [np.array([groups[g] for g in part.groups], np.int32)[part.group] for part in parts]
    weighed = [part.weighed for part in parts if part.weighed is not None]
    return Selection(
        groups=tuple(groups),
        group=np.concatenate(renumbered),
        window=np.concatenate([part.window for part in parts]),
        target=np.concatenate([part.target for part in parts]),
        recording=np.concatenate([part.recording for part in parts]),
        labels={name: np.concatenate([part.labels[name] for part in parts]) for name in parts[0].labels},
        weighed=np.concatenate(weighed) if weighed else None,
        without_target=sum(part.without_target for part in parts),
        invalid=sum(part.invalid for part in parts),
    )


def _targets(windows: xr.Dataset, target: Target) -> npt.NDArray[np.float32]:
    """Return targets as float32, (window,) or (window, target)."""
    if isinstance(target, str):
        return _number(windows, target)
    if not callable(target):
        return np.stack([_number(windows, name) for name in target], axis=1)
    values = np.asarray(target(label_table(windows)), dtype=np.float32)
    if values.ndim not in (1, 2) or len(values) != windows.sizes["window"]:
        raise UsageError(
            f"the target function must give a row for each of {windows.sizes['window']} windows, it gave {values.shape}"
        )
    return values


def _number(windows: xr.Dataset, name: str) -> npt.NDArray[np.float32]:
    values = _label(windows, name, "predict")
    if values.dtype.kind not in "fiub":
        raise UsageError(f"the label {name!r} holds text, no number to predict")
    numbers = values.astype(np.float32)
    numbers[_unanswered(windows, name)] = np.nan
    return numbers


def _unanswered(windows: xr.Dataset, name: str) -> npt.NDArray[np.bool_]:
    """Tell where a label depends on whether a response was correct, and that isn't known.

    Lakes of version 1 have -1 there, which is no third kind of answer.
    """
    target = json.loads(windows.attrs.get("recipe") or "{}").get("target")
    sources = labels_of(target) if name == "target" and isinstance(target, str) else (name,)
    if _CORRECT not in sources or _CORRECT not in windows.coords:
        return np.zeros(windows.sizes["window"], bool)
    return np.asarray(windows[_CORRECT].to_numpy() == -1)


def _label(windows: xr.Dataset, name: str, purpose: str) -> npt.NDArray:
    if name not in windows.coords or windows[name].dims != ("window",):
        there = ", ".join(str(n) for n, label in windows.coords.items() if label.dims == ("window",))
        raise UsageError(f"windows have no label {name!r} to {purpose}; they have {there}")
    return windows[name].to_numpy()


def _releases(windows: xr.Dataset) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return the releases of a selection, and for each window which of them it is of."""
    only = windows.attrs.get("release")
    if only:  # one group: its windows' texts need not be read
        return [str(only)], np.zeros(windows.sizes["window"], np.int32)
    codes, releases = pd.factorize(windows["release"].to_numpy().astype(object))
    return [str(release) for release in releases], codes.astype(np.int32)
