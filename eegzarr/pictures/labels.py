"""What the labels hold: distributions, subjects, and what was lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from eegzarr.amounts import counted
from eegzarr.errors import UsageError
from eegzarr.pictures.canvas import COLOURS, INK, PAPER, MaxNLocator, new_axes, one_axes, style
from eegzarr.recipes.classes import classes_of, names_of
from eegzarr.recipes.recipe import recipe_from_json
from eegzarr.recipes.windows import WITHOUT_A_PLACE
from eegzarr.store.describe import lost_windows
from eegzarr.store.table import no_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_USUAL = (
    *("target", "event", "rt_from_stimulus", "correct", "response_type", "age", "sex", "p_factor", "attention"),
    *("internalizing", "externalizing", "ehq_total", "peak_to_peak", "task", "availability"),
)
_COLUMNS = 3
_MOST_BARS = 8


def label_distributions(windows: xr.Dataset, labels: Sequence[str] | None = None) -> npt.NDArray[np.object_]:
    """Draw how each label is distributed over the windows.

    Parameters
    ----------
    windows : Dataset
        As `eegzarr.open_windows` returns it, or a selection of it.
    labels : sequence of str, optional
        Default: the target, and the usual labels of trials and subjects that hold anything.

    Returns
    -------
    array of Axes, shape (label,)

    Raises
    ------
    UsageError
        If there is no such label, or none that holds anything.
    """
    names = labels_worth_drawing(windows) if labels is None else list(labels)
    missing = [name for name in names if name not in windows.coords]
    if missing:
        raise no_label(windows, missing[0], "draw")
    if not names:
        raise UsageError("no label holds anything to draw")
    columns = min(_COLUMNS, len(names))
    with style():
        axes = new_axes(3.7, 2.5, columns, -(-len(names) // columns)).ravel()
        for ax in axes[len(names) :]:
            ax.remove()
        for ax, name in zip(axes, names, strict=False):
            _distribution(ax, windows, name)
    return axes[: len(names)]


def labels_worth_drawing(windows: xr.Dataset) -> list[str]:
    """Return the target, and the usual labels of trials and subjects that hold anything."""
    predicted = recipe_from_json(windows.attrs["recipe"]).target if "recipe" in windows.attrs else ""
    # The target's own column would be the same picture again.
    names = [name for name in _USUAL if name in windows.coords and name != predicted]
    return [name for name in names if _holds_anything(windows[name].to_numpy())]


def _holds_anything(values: npt.NDArray) -> bool:
    if values.dtype.kind == "f":
        return bool(np.isfinite(values).any())
    return len(set(values.tolist()) - {""}) > 1


def _distribution(ax: Axes, windows: xr.Dataset, name: str) -> None:
    values = windows[name].to_numpy()
    if (classes := classes_of(windows[name].attrs)) is not None:
        values = names_of(values, classes)
    units = windows[name].attrs.get("units", "")
    title = name
    if name == "target" and "recipe" in windows.attrs:
        title = f"target: {recipe_from_json(windows.attrs['recipe']).target}"
    ax.set_title(title)
    if values.dtype.kind == "f":
        there = values[np.isfinite(values)]
        ax.hist(there, bins=min(60, max(8, int(np.sqrt(len(there))))), color=COLOURS[0])
        if len(there):
            ax.axvline(float(np.median(there)), color=INK, linewidth=1, linestyle=(0, (4, 3)))
        missing = f"{len(values) - len(there):,} missing" if len(there) < len(values) else ""
        ax.set_xlabel("; ".join(filter(None, [units, missing])))
    else:
        counts = (
            pd.Series([str(value) for value in values.tolist()]).replace("", "missing").value_counts().iloc[:_MOST_BARS]
        )
        ax.barh(counts.index[::-1], counts.to_numpy()[::-1], color=COLOURS[0], height=0.7)
        ax.grid(axis="y", visible=False)
    ax.margins(x=0.02)
    ax.locator_params(axis="x", nbins=5)


def subjects(windows: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw how many subjects there are of each age, by sex and, if there are several, by release.

    Subjects without an age are counted in the title.
    """
    columns = ["subject", "release", "age", "sex"]
    table = pd.DataFrame({name: windows[name].to_numpy() for name in columns}).drop_duplicates("subject")
    release = table["release"].astype(str)
    kinds = table["sex"].astype(str).replace("", "sex unknown")
    if release.nunique() > 1:
        kinds = release + ", " + kinds
    known = np.isfinite(table["age"].to_numpy(float))
    ages = table["age"].to_numpy(float)
    with style():
        ax = one_axes(ax)
        names = sorted(set(kinds[known]))
        if names:
            edges = np.arange(np.floor(ages[known].min()), np.floor(ages[known].max()) + 2)
            ax.hist(
                [ages[known & (kinds == name).to_numpy()] for name in names],
                bins=edges.tolist(),
                stacked=True,
                label=[f"{name} ({int((kinds == name).sum())})" for name in names],
                color=[COLOURS[i % len(COLOURS)] for i in range(len(names))],
                edgecolor=PAPER,
                linewidth=0.5,
            )
            ax.legend(ncols=1 + len(names) // 8)
            ax.yaxis.set_major_locator(MaxNLocator(integer=True))  # no half subjects
            ax.margins(y=0.3)
        without = f", {int((~known).sum())} without an age" if not known.all() else ""
        ax.set_title(f"{counted(len(table), 'subject')}{without}")
        ax.set_xlabel("age (years)")
        ax.set_ylabel("subjects")
    return ax


def lost_of_all(windows: xr.Dataset) -> tuple[dict[str, int], int]:
    """Return how many windows are lost for each reason that applies, and how many there would be without losses."""
    counts = lost_windows(windows)
    total = windows.sizes["window"] + counts.get(WITHOUT_A_PLACE, 0)
    return {reason: count for reason, count in counts.items() if count}, total


def losses(windows: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw how many windows are lost, by reason, each counted once; see `eegzarr.store.describe.lost_windows`."""
    lost, total = lost_of_all(windows)
    with style():
        ax = one_axes(ax, height=1.4 + sum(0.25 + 0.17 * len(fill(reason, 42).splitlines()) for reason in lost))
        ax.set_title(f"{sum(lost.values()):,} of {counted(total, 'window')} lost")
        if not lost:
            ax.set_axis_off()
            return ax
        reasons = list(lost)[::-1]
        values = [lost[reason] for reason in reasons]
        bars = ax.barh([fill(reason, 42) for reason in reasons], values, color=COLOURS[1], height=0.65)
        ax.bar_label(bars, [f" {n:,} ({n / max(1, total):.1%})" for n in values], fontsize=9, color=INK)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("windows")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        ax.margins(x=0.25)
    return ax
