"""What a target is, and the order in which labels are shown."""

from __future__ import annotations

import xarray as xr

from eegzarr.recipes.recipe import recipe_from_json
from eegzarr.store.layout import DERIVED, LABELS

_TARGET = "target"


def described(windows: xr.Dataset) -> xr.Dataset:
    """Return windows whose target says what it predicts, in which unit; a dataset's own columns come last.

    A lake stores a target without its unit, since any label can be one.
    """
    if "recipe" in windows.attrs and _TARGET in windows.coords:
        told = recipe_from_json(str(windows.attrs["recipe"])).target
        attributes = windows[_TARGET].attrs
        if isinstance(told, str) and told and "flag_values" not in attributes:
            of_label = windows[told].attrs if told in windows.coords and told != _TARGET else {}
            attributes["long_name"] = f"{told}: {of_label['long_name']}" if "long_name" in of_label else told
            if "units" in of_label:
                attributes.setdefault("units", of_label["units"])
    known = {"window", *LABELS, *DERIVED}
    axes = [name for name in windows.coords if windows[name].dims != ("window",)]
    ours = [name for name in windows.coords if name in known or str(name).startswith(_TARGET)]
    first = [*ours, *(name for name in axes if name not in ours)]
    order = [*first, *(name for name in windows.coords if name not in first)]
    return xr.Dataset(
        {name: variable.variable for name, variable in windows.data_vars.items()},
        coords={name: windows[name].variable for name in order},
        attrs=windows.attrs,
    )
