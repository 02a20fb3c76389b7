"""Pictures of single windows, and of how windows and targets lie in subjects and recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.pictures.canvas import COLOURS, FAINT, INK, PAPER, one_axes, style
from eegzarr.pictures.passes import channel_index
from eegzarr.recipes.classes import classes_of, names_of
from eegzarr.store.table import no_label, sampling_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_SUBJECTS = 40  # that are named, one a row; more are a curve
_MIDLINE = ("Fz", "Cz", "Pz", "Oz", "E11", "E55", "E62", "E75")
_RECORDING = ("release", "subject", "session", "task", "run")
_MOST_CLASSES = len(COLOURS)


def traces(windows: xr.Dataset, number: int = 4, channels: list[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw the signals of some windows side by side, with their labels.

    Parameters
    ----------
    windows : Dataset
        As `eegzarr.open_windows` returns it, or a selection of it.
    number : int
        Windows to draw, evenly spaced over the selection.
    channels : list of str, optional
        Default: channels of the midline, or six that are evenly spaced.

    Raises
    ------
    UsageError
        If there is no window, or no such channel.
    """
    if not windows.sizes["window"]:
        raise UsageError("there is no window to draw")
    names = [str(name) for name in windows["channel"].to_numpy().tolist()]
    shown = channels or [name for name in _MIDLINE if name in names] or names[:: -(-len(names) // 6)]
    places = [channel_index(windows, name) for name in shown]
    chosen = np.unique(np.linspace(0, windows.sizes["window"] - 1, number).round().astype(int))
    some = windows.isel(window=chosen)
    signal = some["eeg"].isel(channel=places).to_numpy()  # (window, channel, time)
    time = some["time"].to_numpy()
    centred = signal - np.nan_to_num(np.nanmean(signal, axis=2, keepdims=True))
    gap = 1.2 * float(np.nanpercentile(np.abs(centred), 99)) * 2 if np.isfinite(centred).any() else 1.0
    length = float(time[-1] - time[0])
    with style():
        ax = one_axes(ax, 9, 0.9 + 0.5 * len(shown))
        for place in range(len(chosen)):
            left = place * length * 1.08 - time[0]
            for row in range(len(shown)):
                colour = COLOURS[row % len(COLOURS)]
                ax.plot(time + left, centred[place, row] - row * gap, color=colour, linewidth=0.7)
            ax.text(time[0] + left, gap * 0.75, _told(some, place), fontsize=8, color=INK, va="bottom")
        ax.set_yticks([-row * gap for row in range(len(shown))], shown)
        middle = [place * length * 1.08 for place in range(len(chosen))]
        ax.set_xticks(
            [x + part for x in middle for part in (0, length)],
            [f"{time[0 if part == 0 else -1]:.3g}" for _ in middle for part in (0, 1)],
            fontsize=8,
        )
        for label, is_end in zip(ax.get_xticklabels(), [False, True] * len(middle), strict=True):
            label.set_horizontalalignment("right" if is_end else "left")
        ax.set_xlabel(f"{windows['time'].attrs.get('long_name', 'time')} (s); a row is {gap:.0f} uV high")
        ax.grid(visible=False)
        ax.margins(x=0.01)
    return ax


def _told(windows: xr.Dataset, place: int) -> str:
    """Return what a picture says of one window: whose it is, its target and its event."""
    lines = [str(windows["subject"].to_numpy()[place])] if "subject" in windows.coords else []
    if "target" in windows.coords:
        lines.append(f"target {_as_text(windows['target'], place)}")
    return "\n".join(lines)


def _as_text(label: xr.DataArray, place: int) -> str:
    if (classes := classes_of(label.attrs)) is not None:
        return str(names_of(label.to_numpy(), classes)[place]) or "missing"
    value = label.to_numpy()[place]
    if isinstance(value, float | np.floating):
        return "missing" if np.isnan(value) else f"{value:.3g} {label.attrs.get('units', '')}".strip()
    return str(value)


def windows_by_subject(windows: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw how many windows each subject has; a bar each, or for many subjects a curve."""
    found, counts = np.unique(windows["subject"].to_numpy().astype(object).astype(str), return_counts=True)
    order = np.argsort(counts, kind="stable")
    with style():
        ax = one_axes(ax, height=_height(len(found)))
        if len(found) <= _MOST_SUBJECTS:
            ax.barh([_short(name) for name in found[order]], counts[order], color=COLOURS[0], height=0.7)
            ax.grid(axis="y", visible=False)
            ax.set_xlabel("windows")
        else:
            ax.plot(np.arange(1, len(found) + 1), counts[order], color=COLOURS[0], linewidth=1.6)
            ax.fill_between(np.arange(1, len(found) + 1), counts[order], color=COLOURS[0], alpha=0.18, linewidth=0)
            ax.set_xlabel("subjects, from the fewest windows to the most")
            ax.set_ylabel("windows")
            ax.set_ylim(bottom=0)
        ax.set_title(f"Windows per subject: median {np.median(counts):,.0f}" if len(found) else "Windows per subject")
        ax.margins(x=0.02)
    return ax


def _height(subjects: int) -> float:
    """Return the height in inches of a picture with a row for each of some subjects, or a curve for many."""
    return min(max(3.2, 1.2 + 0.2 * subjects), 5) if subjects <= _MOST_SUBJECTS else 3.2


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


def target_by_subject(windows: xr.Dataset, label: str = "target", ax: Axes | None = None) -> Axes:
    """Draw a label in each subject: its median and quartiles if it is a number, else the share of each class.

    Raises
    ------
    UsageError
        If windows have no such label.
    """
    if label not in windows.coords:
        raise no_label(windows, label, "draw")
    subject = windows["subject"].to_numpy().astype(object).astype(str)
    names = np.unique(subject)
    values, classes = _label_values(windows[label])
    units = windows[label].attrs.get("units", "")
    with style():
        ax = one_axes(ax, height=_height(len(names)))
        if classes:
            _shares(ax, subject, names, values, classes)
        else:
            numbers = values.astype(float)
            boxes = [numbers[(subject == name) & np.isfinite(numbers)] for name in names]
            order = np.argsort([np.median(box) if len(box) else -np.inf for box in boxes], kind="stable")
            for row, place in enumerate(order):
                if len(boxes[place]):
                    low, middle, high = np.percentile(boxes[place], [25, 50, 75])
                    ax.plot([low, high], [row, row], color=COLOURS[0], linewidth=4, alpha=0.35, solid_capstyle="butt")
                    ax.plot(middle, row, "o", color=COLOURS[0], markersize=4)
            _name_rows(ax, [names[place] for place in order])
            ax.set_xlabel(f"{label} ({units})" if units else label)
        ax.set_title(f"{label} by subject" + ("" if classes else ": median and quartiles"))
        ax.margins(x=0.03)
    return ax


def _label_values(label: xr.DataArray) -> tuple[npt.NDArray, list[str]]:
    """Return the values of a label, and its classes, none for numbers."""
    values = label.to_numpy()
    if (codes := classes_of(label.attrs)) is not None:
        return np.asarray(names_of(values, codes), dtype=object), [*codes.values()]
    if values.dtype.kind in "fiub":
        return values, []
    texts = values.astype(object).astype(str)
    return texts, sorted(set(texts.tolist()) - {""})


def _shares(ax: Axes, subject: npt.NDArray, names: npt.NDArray, values: npt.NDArray, classes: list[str]) -> None:
    """Draw stacked bars: of each subject's windows, the share of each class."""
    left = np.zeros(len(names))
    total = np.array([max(1, int(((subject == name) & (values != "")).sum())) for name in names])
    for number, kind in enumerate(classes[:_MOST_CLASSES]):
        share = np.array([int(((subject == name) & (values == kind)).sum()) for name in names]) / total
        ax.barh(np.arange(len(names)), share, left=left, color=COLOURS[number], height=0.75, label=str(kind))
        left += share
    _name_rows(ax, list(names))
    ax.set_xlabel("share of windows")
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=min(4, len(classes)))


def _name_rows(ax: Axes, names: list[str]) -> None:
    if len(names) <= _MOST_SUBJECTS:
        ax.set_yticks(range(len(names)), [_short(str(name)) for name in names])
    else:
        ax.set_yticks([])
        ax.set_ylabel(f"{len(names):,} subjects")


def timeline(recipes: xr.Dataset | Mapping[str, xr.Dataset], seconds: float = 30.0, ax: Axes | None = None) -> Axes:
    """Draw where the windows of one or several recipes lie on the time line of one recording.

    Parameters
    ----------
    recipes : Dataset, or mapping of str to Dataset
        Windows, by the names to show. The recording is that of the first window.
    seconds : float
        How much of the recording to show, from a little before its first window.

    Raises
    ------
    UsageError
        If there is no window to draw.
    """
    shown = {"windows": recipes} if isinstance(recipes, xr.Dataset) else dict(recipes)
    first = next((one for one in shown.values() if one.sizes["window"]), None)
    if first is None:
        raise UsageError("there is no window to draw")
    wanted = {name: first[name].to_numpy()[0] for name in _RECORDING if name in first.coords}
    begins = max(0.0, float(first["start"].to_numpy()[0]) - 2)
    with style():
        ax = one_axes(ax, 9, 1.0 + 0.75 * len(shown))
        for row, windows in enumerate(shown.values()):
            same = np.ones(windows.sizes["window"], bool)
            for column, value in wanted.items():
                same &= windows[column].to_numpy() == value
            near = same & (windows["start"].to_numpy() < begins + seconds)
            _windows_in_row(ax, windows.isel(window=np.flatnonzero(near)), -row)
        ax.set_yticks([-row for row in range(len(shown))], list(shown))
        ax.set_xlim(begins, begins + seconds)
        ax.set_ylim(-len(shown) + 0.4, 0.6)
        ax.set_xlabel("time in the recording (s)")
        ax.set_title(" · ".join(str(value) for value in wanted.values() if str(value)))
        ax.grid(axis="y", visible=False)
    return ax


def _windows_in_row(ax: Axes, windows: xr.Dataset, row: int) -> None:
    """Draw windows as boxes, those that overlap one below another, with stimulus and response where there are."""
    length = float(windows["time"].to_numpy()[-1] - windows["time"].to_numpy()[0]) + 1 / sampling_rate(windows)
    ends: list[float] = []
    for place, start in enumerate(windows["start"].to_numpy().tolist()):
        lane = next((lane for lane, end in enumerate(ends) if end <= start + 1e-6), len(ends))
        ends[lane : lane + 1] = [start + length]
        y = row + 0.22 - 0.24 * (lane % 3)
        ax.barh(y, length, left=start, height=0.2, color=COLOURS[0], edgecolor=PAPER, linewidth=0.8)
        if "target" in windows.coords:
            told = _as_text(windows["target"], place)
            ax.text(start + length / 2, y, told, ha="center", va="center", fontsize=7, color=PAPER, clip_on=True)
    for name, colour in (("stimulus_onset", COLOURS[1]), ("response_onset", COLOURS[2])):
        if name in windows.coords and np.isfinite(times := windows[name].to_numpy()).any():
            ax.plot(times, np.full(len(times), row - 0.42), "^", color=colour, markersize=5, label=name, clip_on=True)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper right", ncols=2, bbox_to_anchor=(1, 1.28), labelcolor=FAINT)
