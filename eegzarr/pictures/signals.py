"""Pictures of the signals: averages, single trials, scalp maps, spectra, amplitudes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.pictures.canvas import COLOURS, FAINT, ON_A_MAP, LogLocator, figure_of, one_axes, style
from eegzarr.pictures.passes import Averages, SortedImage, Spectrum, SubjectAverages, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Over the parietal midline, where a decision shows best: of the HydroCel net, and of the 10-20 system.
_PARIETAL = ("E62", "Pz", "PZ")


def usual_channel(windows: xr.Dataset) -> str:
    """Return the channel to show where none is asked for: parietal, or the one that varies most."""
    names = [str(name) for name in windows["channel"].to_numpy().tolist()]
    for name in _PARIETAL:
        if name in names:
            return name
    std = windows["std"].to_numpy() if "std" in windows.coords else np.zeros(len(names))
    return names[int(np.nanargmax(std))] if np.isfinite(std).any() else names[0]


def usual_condition(windows: xr.Dataset) -> str | None:
    """Return the label that defines conditions by default, None if no label has only a few values."""
    for name in ("response_type", "correct", "task", "sex"):
        if name in windows.coords:
            values = set(windows[name].to_numpy().tolist()) - {"", -1}
            if 2 <= len(values) <= 6:
                return name
    return None


def erp(windows: xr.Dataset, by: str | None = None, channel: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the event-related potential of each condition, with the 95 % confidence band over subjects.

    Parameters
    ----------
    windows : Dataset
        As `eegzarr.open_windows` returns it, or a selection of it.
    by : str, optional
        Label that defines the conditions; a number with many values is halved at its median.
    channel : str, optional
        Default: over the parietal midline.
    """
    averages = SubjectAverages(windows, channel or usual_channel(windows), by)
    read(windows, averages)
    return draw_erp(windows, averages, ax)


def draw_erp(windows: xr.Dataset, averages: SubjectAverages, ax: Axes | None = None) -> Axes:
    """Draw averages that were read before; see `erp`."""
    time = windows["time"].to_numpy()
    with style():
        ax = one_axes(ax)
        for condition, name in enumerate(averages.conditions.names):
            mean, half, n_subjects, n_windows = averages.curve(condition)
            colour = COLOURS[condition % len(COLOURS)]
            ax.fill_between(time, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)
            ax.plot(time, mean, color=colour, linewidth=1.6, label=f"{name} ({n_windows:,}, {n_subjects} subjects)")
        ax.axhline(0, color=FAINT, linewidth=0.8)
        ax.set_title(f"Average at {averages.channel}, 95 % band over subjects")
        ax.set_xlabel(_time_label(windows))
        ax.set_ylabel("uV")
        ax.margins(x=0)
        ax.legend(loc="best")
    return ax


def erp_image(
    windows: xr.Dataset, channel: str | None = None, sort_by: str = "rt_from_stimulus", ax: Axes | None = None
) -> Axes:
    """Draw single trials at a channel as an image, sorted by a label: by default the reaction time.

    Neighbours are averaged where there are more trials than rows. A label in seconds from
    the anchor is drawn over the image.
    """
    image = SortedImage(windows, channel or usual_channel(windows), sort_by)
    read(windows, image)
    return draw_erp_image(windows, image, ax)


def draw_erp_image(windows: xr.Dataset, image: SortedImage, ax: Axes | None = None) -> Axes:
    """Draw an image that was read before; see `erp_image`."""
    time = windows["time"].to_numpy()
    values = image.image
    limit = float(np.nanpercentile(np.abs(values), 99)) if np.isfinite(values).any() else 1.0
    step = float(time[1] - time[0]) if len(time) > 1 else 1.0
    with style():
        ax = one_axes(ax)
        drawn = ax.imshow(
            values,
            aspect="auto",
            origin="lower",
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
            interpolation="nearest",
            extent=(float(time[0]) - step / 2, float(time[-1]) + step / 2, 0, float(image.count.sum())),
        )
        if windows[image.sort_by].attrs.get("units") == "s":
            height = np.cumsum(image.count) - image.count / 2
            inside = (image.sorted_values >= time[0]) & (image.sorted_values <= time[-1])
            ax.plot(image.sorted_values[inside], height[inside], color=ON_A_MAP, linewidth=1.3, label=image.sort_by)
            ax.legend(loc="upper left", labelcolor=ON_A_MAP)
        figure_of(ax).colorbar(drawn, ax=ax, label="uV", pad=0.015)
        ax.grid(visible=False)
        ax.set_title(f"Trials at {image.channel}, sorted by {image.sort_by}")
        ax.set_xlabel(_time_label(windows))
        ax.set_ylabel("trials")
    return ax


def topomap(windows: xr.Dataset, time: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw the average over the scalp at a time, with MNE.

    Parameters
    ----------
    time : float, optional
        In s from the anchor; default: where the average differs most between electrodes.

    Raises
    ------
    UsageError
        If electrode positions aren't known, or the time is outside of the windows.
    """
    averages = Averages(windows)
    read(windows, averages)
    return draw_topomap(windows, averages, time, ax)


def has_positions(windows: xr.Dataset) -> bool:
    """Return whether the positions of all electrodes are known."""
    return all(axis in windows.coords and np.isfinite(windows[axis].to_numpy()).all() for axis in "xyz")


def draw_topomap(windows: xr.Dataset, averages: Averages, time: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw the average of all windows that was read before; see `topomap`."""
    import mne

    from eegzarr.exchange.export import mne_info

    if not has_positions(windows):
        raise UsageError("a scalp map needs the positions of all electrodes, and the lake doesn't know them")
    times = windows["time"].to_numpy()
    if time is not None and not times[0] - 1e-9 <= time <= times[-1] + 1e-9:
        raise UsageError(f"{time:g} s is outside of the windows, {times[0]:g} to {times[-1]:g} s")
    mean = np.nansum(averages.mean * averages.count[:, None, None], axis=0) / max(1, averages.count.sum())
    at = int(np.argmax(mean.std(axis=0))) if time is None else int(np.argmin(np.abs(times - time)))
    with style():
        ax = one_axes(ax, 4.2, 3.6)
        drawn, _ = mne.viz.plot_topomap(
            mean[:, at], mne_info(windows), axes=ax, show=False, sensors=True, contours=6, cmap="RdBu_r"
        )
        for outline in ax.lines:  # of the head, beside the map
            outline.set_color(FAINT)
        figure_of(ax).colorbar(drawn, ax=ax, label="uV", shrink=0.75)
        ax.set_title(f"Average at {times[at]:g} s")
    return ax


def psd(windows: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the power spectral density: the median channel, and where 50 and 90 % of channels lie."""
    spectrum = Spectrum(windows)
    read(windows, spectrum)
    return draw_psd(spectrum, ax)


def draw_psd(spectrum: Spectrum, ax: Axes | None = None) -> Axes:
    """Draw a spectrum that was read before; see `psd`."""
    density = spectrum.density
    lively = density[density[:, 1:].sum(axis=1) > 0]  # the reference has no power
    with style():
        ax = one_axes(ax)
        if len(lively):
            shown, levels = spectrum.frequencies[1:], np.percentile(lively[:, 1:], [5, 25, 50, 75, 95], axis=0)
            ax.fill_between(shown, levels[0], levels[4], color=COLOURS[0], alpha=0.12, linewidth=0, label="90 %")
            ax.fill_between(shown, levels[1], levels[3], color=COLOURS[0], alpha=0.25, linewidth=0, label="50 %")
            ax.plot(shown, levels[2], color=COLOURS[0], linewidth=1.6, label="median channel")
            ax.set_yscale("log")
            ax.legend()
        ax.margins(x=0)
        ax.set_title("Power spectral density")
        ax.set_xlabel("Hz")
        ax.set_ylabel("uV²/Hz")
    return ax


def amplitudes(windows: xr.Dataset, threshold: float = 500.0, ax: Axes | None = None) -> Axes:
    """Draw the windows by their peak-to-peak amplitude, and how many a threshold in uV rejects.

    From the label ``peak_to_peak``: no signal is read.
    """
    values = windows["peak_to_peak"].to_numpy()
    there = values[np.isfinite(values) & (values > 0)]
    rejected = int((there > threshold).sum())
    with style():
        ax = one_axes(ax)
        if len(there):
            ax.hist(there, bins=_log_bins(there, threshold), color=COLOURS[0])
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_formatter("")
        ax.axvline(threshold, color=COLOURS[1], linewidth=1.4)
        ax.annotate(
            f"{threshold:g} uV rejects {rejected:,} of {len(there):,} ({rejected / max(1, len(there)):.1%})",
            (threshold, 0.94),
            xycoords=("data", "axes fraction"),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            color=COLOURS[1],
        )
        ax.set_title("Largest peak-to-peak amplitude")
        ax.set_xlabel("uV")
        ax.set_ylabel("windows")
    return ax


def _log_bins(values: npt.NDArray, threshold: float) -> list[float]:
    first, last = np.log10([values.min(), max(values.max(), threshold)])
    return np.logspace(first, last + 1e-6, 70).tolist()


def _time_label(windows: xr.Dataset) -> str:
    return f"{windows['time'].attrs.get('long_name', 'time')} (s)"
