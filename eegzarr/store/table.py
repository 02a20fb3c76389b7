"""The labels of windows as a table."""

from __future__ import annotations

import pandas as pd
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.suggest import did_you_mean


def label_table(windows: xr.Dataset) -> pd.DataFrame:
    """Return the labels of windows as a table, one row a window, without their signals.

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
