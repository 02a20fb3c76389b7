"""Whether labels are those of the signals, and codes of classes still mean what the lake says, whatever joined them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.recipes.classes import classes_of, names_of
from eegzarr.recipes.montage import without_montage
from eegzarr.store.layout import METADATA, group_path, open_dataset, open_store
from eegzarr.store.open import RECIPE_NAME
from eegzarr.store.opening.at_once import for_all
from eegzarr.store.provenance import LAKE, Part, Places
from eegzarr.store.verify import store_has


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
        own = _stored_in(lake, group, places)
        table = open_dataset(open_store(lake, read_only=True), group, only=coded)
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


def _stored_in(lake: str, group: str, places: Places) -> npt.NDArray[np.bool_]:
    """Return which windows a group stores as they are, (window,)."""
    parts = [n for n, one in enumerate(places.parts) if one.cut is None and (one.lake, one.group) == (lake, group)]
    return np.isin(places.part, parts)


def stored_recordings(windows: xr.Dataset, places: Places) -> npt.NDArray[np.int64]:
    """Return each window's recording as the lake has it; compare the labels that name a window with it.

    Raises
    ------
    UsageError
        If they are those of other windows.
    """
    names = [name for name in ("recording", "start") if name in windows.coords and windows[name].dims == ("window",)]
    stored = {name: np.zeros(len(places.window)) for name in ("recording", *names)}
    for number, part in enumerate(places.parts):
        if part.cut is not None:
            own = places.part == number
            known = {"recording": part.cut.recording, "start": part.cut.start}
            for name, values in stored.items():
                values[own] = known[name](places.window[own])
    for lake, group in {(part.lake, part.group) for part in places.parts if part.cut is None}:
        own = _stored_in(lake, group, places)
        table = open_dataset(open_store(lake, read_only=True), group, only=stored)
        there = [name for name in stored if name in table]
        read = for_all(lake, xr.DataArray.to_numpy, [table[name] for name in there])
        for name, values in zip(there, read, strict=True):
            stored[name][own] = values[places.window[own]]
    for name in names:
        given = windows[name].to_numpy().astype(float)
        other = np.flatnonzero(~np.isclose(given, stored[name], rtol=0, atol=1e-6, equal_nan=True))
        if len(other):
            raise UsageError(
                f"labels and signals are of different windows: window {other[0]} of the selection has {name} "
                f"{given[other[0]]:g}, and its signal is stored with {stored[name][other[0]]:g}"
            )
    _check_releases(windows, places)
    return stored["recording"].astype(np.int64)


def _check_releases(windows: xr.Dataset, places: Places) -> None:
    """Refuse labels of one release with the signals of another; a release may have been given another name."""
    if "release" not in windows.coords:
        return
    given = np.broadcast_to(windows["release"].to_numpy().astype(str), len(places.window))
    of_part = [part.group if part.cut is None else part.cut.group for part in places.parts]
    for number, (part, group) in enumerate(zip(places.parts, of_part, strict=True)):
        recipe, _, own = group.rpartition("/")
        for name in sorted(set(given[places.part == number].tolist()) - {own, without_montage(own)}):
            if recipe and name and store_has(open_store(part.lake, read_only=True), f"{recipe}/{name}/{METADATA}"):
                raise UsageError(
                    f"labels and signals are of different windows: the release is {name!r}, and the signals are those "
                    f"of {group}. xarray joins Datasets by their numbers, which each release counts from 0"
                )


def named_recordings(windows: xr.Dataset) -> npt.NDArray[np.int64]:
    """Return which recording each window is of by its labels, (window,); each release counts from 0."""
    count = windows.sizes["window"]
    number = np.zeros(count, np.int64)
    for name in ("release", "recording") if "recording" in windows.variables else ():
        if name in windows.variables:
            code, values = pd.factorize(np.broadcast_to(windows[name].to_numpy().astype(object), count))
            number = number * (len(values) + 1) + code + 1
    return pd.factorize(number)[0].astype(np.int64)


def stored_texts(stored: Sequence[Part], parts: Sequence[xr.Dataset], name: str) -> set[str]:
    """Return the texts of a label in the groups that windows are of, or were of before they were loaded.

    Parameters
    ----------
    stored : sequence of Part
        What is read of groups.
    parts : sequence of Dataset
        Of those in memory it is known where they were opened; nothing if that is no local lake any longer.
    """
    groups = {(part.lake, part.group if part.cut is None else part.cut.group) for part in stored if part.lake}
    for windows in parts:
        lake, recipe = (str(windows.attrs.get(attribute, "")) for attribute in (LAKE, RECIPE_NAME))
        if lake and recipe and "release" in windows.coords:
            releases = set(np.ravel(windows["release"].to_numpy()).tolist())
            of_part = {(lake, group_path(recipe, str(release))) for release in releases}
            groups |= {(lake, group) for lake, group in of_part if (Path(lake) / group / METADATA).is_file()}
    found: set[str] = set()
    for lake, group in groups:
        if not group:  # cut, and in no lake: it has no labels but its own
            continue
        table = open_dataset(open_store(lake, read_only=True), group, only=[name])
        if name in table and table[name].dtype.kind in "TO":
            found |= {str(text) for text in table[name].to_numpy().tolist()}
    return found - {""}
