"""Windows by a condition on their labels: ``--where "peak_to_peak < 500"``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from eegzarr.errors import RecipeError, UsageError
from eegzarr.recipes.classes import classes_of, names_of
from eegzarr.recipes.events import texts
from eegzarr.recipes.expression import check_condition, holds
from eegzarr.stream.targets import label


def where_holds(windows: xr.Dataset, condition: str, option: str, part: str, notes: list[str]) -> xr.Dataset:
    """Return the windows of a part whose labels are known to fulfil a condition; all, if it is "".

    Parameters
    ----------
    condition : str
        See `eegzarr.recipes.expression.check_condition`.
    option, part : str
        Where the condition comes from, and what it chooses from, for messages.
    notes : list of str
        Gets how many windows were left out.

    Raises
    ------
    UsageError
        If it is none, names no label, or no window is left.
    """
    if not condition:
        return windows
    try:
        check_condition(condition)
        chosen = holds(
            condition,
            lambda name, as_texts: _column(windows, name, as_texts),
            lambda name: _has_numbers(windows, name),
            windows.sizes["window"],
        )
    except RecipeError as error:
        raise UsageError(f"{option}: {error}") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{option} {condition!r} can't be computed: {error}") from error
    left_out = int((~chosen).sum())
    if left_out == len(chosen):
        raise UsageError(f"{option} {condition!r} leaves none of the {left_out} windows of the {part} part")
    if left_out:
        notes.append(f"{left_out:,} of {len(chosen):,} windows of the {part} part left out by {option} {condition}")
    return windows.isel(window=np.flatnonzero(chosen))


def _has_numbers(windows: xr.Dataset, name: str) -> bool:
    values = label(windows, name, "choose windows by")
    return values.dtype != object and classes_of(windows[name].attrs) is None


def _column(windows: xr.Dataset, name: str, as_texts: bool) -> npt.NDArray:
    values = label(windows, name, "choose windows by")
    if as_texts and (known := classes_of(windows[name].attrs)) is not None:
        return names_of(values, known)
    if as_texts:
        return texts(values.tolist())
    if values.dtype == object:
        raise UsageError(f"the label {name!r} is text: compare it with a text in quotes, such as {values[0]!r}")
    return values.astype(np.float64)
