"""Whether codes of classes still mean what the lake says, after releases were joined by other means than ours."""

from __future__ import annotations

import numpy as np
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.recipes.classes import classes_of, names_of
from eegzarr.store.layout import open_dataset, open_store
from eegzarr.store.provenance import Places


def check_meanings(windows: xr.Dataset, places: Places) -> None:
    """Refuse codes that `xarray.concat` has joined: it takes the classes of the first Dataset for those of all.

    Each release counts the classes that it has: 0 is F in one with F and M, and M in one with M alone.

    Raises
    ------
    UsageError
    """
    groups = sorted({(part.lake, part.group) for part in places.parts if part.cut is None and part.lake})
    coded = {str(name): told for name, one in windows.coords.items() if (told := classes_of(one.attrs)) is not None}
    if len(groups) < 2 or not coded:
        return
    for lake, group in groups:
        numbers = [n for n, part in enumerate(places.parts) if (part.lake, part.group) == (lake, group)]
        own = np.isin(places.part, numbers)
        table = open_dataset(open_store(lake, read_only=True), group)
        for name, told in coded.items():
            stored = classes_of(table[name].attrs) if name in table else None
            if stored is None or stored == told:
                continue
            given, codes = windows[name].to_numpy()[own], table[name].to_numpy()[places.window[own]]
            if np.array_equal(given, codes) and (names_of(given, told) != names_of(codes, stored)).any():
                raise UsageError(
                    f"the codes of {name} mean {', '.join(stored.values())} in {group} and {', '.join(told.values())} "
                    f"in this Dataset: open the releases together with eegzarr.open_windows, or give the stream a "
                    f"Dataset of each, as in WindowStream([one, other])"
                )
