"""Who the windows of a run are of: a site's 00 isn't another's."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from eegzarr.recipes.montage import without_montage


def told_apart(*parts: xr.Dataset) -> tuple[xr.Dataset, ...]:
    """Return windows whose ``subject`` names one person: RELEASE/SUBJECT, where releases share names of subjects."""
    everybody = set[tuple[str, str]]().union(*map(people, parts))
    if len(everybody) == len({name for _, name in everybody}):
        return parts
    return tuple(part.assign_coords(subject=("window", _full_names(_table(part)))) for part in parts)


def without_seen(windows: xr.Dataset, seen: Iterable[str], releases: Iterable[str]) -> xr.Dataset:
    """Return windows, as they are stored, without those of people whom runs have seen, as `told_apart` names these.

    Where a run saw a subject of a release that isn't among `releases`, all that the lake has, a subject of that name
    counts as the same.
    """
    names, table = set(seen), _table(windows)
    here = {without_montage(name) for name in releases}
    elsewhere = {name.partition("/")[2] for name in names if name.partition("/")[0] not in here}
    is_seen = table["subject"].isin(names | elsewhere) | pd.Series(_full_names(table)).isin(names)
    return windows.isel(window=np.flatnonzero(~is_seen.to_numpy()))


def people(windows: xr.Dataset) -> set[tuple[str, str]]:
    """Return whom windows are of, by release and subject; groups of other montages are of the same people."""
    return set(_table(windows).drop_duplicates().itertuples(index=False, name=None))


def _table(windows: xr.Dataset) -> pd.DataFrame:
    columns = (windows[name].to_numpy().astype(str) for name in ("release", "subject"))
    release, subject = (pd.Series(values, dtype=object) for values in columns)
    groups = {name: without_montage(name) for name in release.unique().tolist()}
    return pd.DataFrame({"release": release.map(groups), "subject": subject})


def _full_names(table: pd.DataFrame) -> np.ndarray:
    return (table["release"] + "/" + table["subject"]).to_numpy(object)
