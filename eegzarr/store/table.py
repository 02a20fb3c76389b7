"""The labels of windows as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.suggest import did_you_mean

_EVEN = 1e-3  # relative: times are sums of rounded numbers


def label_table(windows: xr.Dataset) -> pd.DataFrame:
    """Return the labels of windows as a table, one row per window, without their signals.

    Parameters
    ----------
    windows : Dataset
        As `eegzarr.open_windows` returns it, or a selection of it.
    """
    names = [str(name) for name, variable in windows.coords.items() if variable.dims == ("window",)]
    loaded = windows[names].load()
    columns = {name: loaded[name].to_numpy() for name in names}
    return pd.DataFrame(
        {name: values.astype(object) if values.dtype.kind == "T" else values for name, values in columns.items()}
    )


def no_label(windows: xr.Dataset, name: str, purpose: str) -> UsageError:
    """Return the error for a label that windows don't have, with those that they have and the nearest of them."""
    there = [str(label) for label, values in windows.coords.items() if values.dims == ("window",)]
    return UsageError(
        f"windows have no label {name!r} to {purpose}; they have {', '.join(there)}.{did_you_mean(name, there)}"
    )


def sampling_rate(windows: xr.Dataset) -> float:
    """Return the sampling rate of windows in Hz: what their times say, where an attribute says something else.

    Raises
    ------
    UsageError
        If their times aren't evenly spaced, or nothing says a rate.
    """
    told = float(windows.attrs.get("sampling_rate", np.nan))
    times = windows["time"].to_numpy().astype(float) if "time" in windows.coords else np.empty(0)
    if len(times) < 2:
        if np.isnan(told):
            raise UsageError("nothing says the windows' sampling rate: set the attribute sampling_rate, in Hz")
        return told
    steps = np.diff(times)
    step = float(np.abs(steps).mean())
    if not step or np.abs(np.abs(steps) - step).max() > _EVEN * step:
        raise UsageError("the windows' times are not evenly spaced, so that they have no sampling rate")
    return told if abs(step * told - 1) < _EVEN else 1 / step
