"""Which windows a stream reads: from an xarray selection to addresses in shards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.store.layout import group_path
from eegzarr.store.open import LAKE, RECIPE_NAME


@dataclass(frozen=True)
class Selection:
    """Windows to stream, with their targets.

    Attributes
    ----------
    lake : str
    groups : tuple of str
        Paths of the groups that the windows lie in.
    group : array of int32, shape (window,)
        Which of `groups`.
    window : array of int64, shape (window,)
        Number of the window in its group.
    target : array of float32, shape (window,)
    without_target, invalid : int
        Windows of the xarray selection that were left out, and why.
    """

    lake: str
    groups: tuple[str, ...]
    group: npt.NDArray[np.int32]
    window: npt.NDArray[np.int64]
    target: npt.NDArray[np.float32]
    without_target: int
    invalid: int

    def __len__(self) -> int:
        return len(self.window)


def select(windows: xr.Dataset, target: str) -> Selection:
    """Find the windows of a selection in their lake by their ``release`` and ``window``.

    Raises
    ------
    UsageError
        If the Dataset doesn't say which lake it is from, or has no such target.
    """
    lake, recipe = windows.attrs.get(LAKE), windows.attrs.get(RECIPE_NAME)
    if not lake or not recipe:
        raise UsageError("these windows don't say where they are stored: open them with eegzarr.open_windows")
    if target not in windows.coords or windows[target].dims != ("window",):
        raise UsageError(f"windows have no label {target!r} to predict; they have {', '.join(_label_names(windows))}")
    values = windows[target].to_numpy()
    if values.dtype.kind not in "fiub":
        raise UsageError(f"the label {target!r} holds text, no number to predict")
    values = values.astype(np.float32)
    valid = windows["valid"].to_numpy().astype(bool)
    missing = valid & np.isnan(values)
    kept = valid & ~missing
    releases, group = _releases(windows)
    return Selection(
        lake=str(lake),
        groups=tuple(group_path(str(recipe), release) for release in releases),
        group=group[kept],
        window=windows["window"].to_numpy()[kept].astype(np.int64),
        target=values[kept],
        without_target=int(missing.sum()),
        invalid=int((~valid).sum()),
    )


def _releases(windows: xr.Dataset) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return the releases of a selection, and for each window which of them it is of."""
    only = windows.attrs.get("release")
    if only:  # one group: its windows' texts need not be read
        return [str(only)], np.zeros(windows.sizes["window"], np.int32)
    names = windows["release"].to_numpy().astype(object)
    releases = sorted(set(names.tolist()))
    number = {release: i for i, release in enumerate(releases)}
    return releases, np.array([number[name] for name in names.tolist()], dtype=np.int32)


def _label_names(windows: xr.Dataset) -> list[str]:
    return [str(name) for name, label in windows.coords.items() if label.dims == ("window",)]
