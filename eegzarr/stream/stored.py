"""Splits that a lake keeps, opened by name: one paper, one challenge, one split.

A split is a group of Zarr without arrays, ``.splits/RECIPE/NAME``, whose attributes say which windows each part has, as
runs of window numbers in releases, and what these releases' windows were: how many, and a digest of whose and when they
are. So it holds in any copy of the lake and in one that is built again, as long as its windows are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from zarr.abc.store import Store

from eegzarr.errors import LakeError, UsageError
from eegzarr.names import safe_name
from eegzarr.store.checksums import is_sealed, sealed
from eegzarr.store.layout import METADATA, SPLITS, lake_url, open_store
from eegzarr.store.open import open_windows, recipes
from eegzarr.store.private import set_bytes
from eegzarr.store.reading.damage import damage_named
from eegzarr.store.staging import list_names
from eegzarr.store.verify import empty_group, store_has, stored_split
from eegzarr.suggest import did_you_mean
from eegzarr.urls import one_line_errors

_VERSION = 1
_UNQUESTIONED, _MOST_TIMES = 2**23, 100  # windows that a split may have: so many, or so many times the lake's
_WHO = ("subject", "session", "task", "run")


def store_split(
    lake: str | Path, recipe: str, name: str, parts: Mapping[str, xr.Dataset], *, overwrite: bool = False
) -> None:
    """Keep a split in the lake, for all who open it.

    Parameters
    ----------
    lake : path or URL
    recipe : str
        The recipe whose windows are split.
    name : str
        Of the split: letters, digits and what else a file's name can have.
    parts : mapping of str to Dataset
        By name, such as ``{"train": train, "valid": valid}``: selections along ``window`` of what
        `eegzarr.open_windows` gives. Their order and repeats are kept. A subject may be in several parts, as when
        sessions are split; a window may not.
    overwrite : bool
        Replace a split of this name that has other parts.

    Raises
    ------
    UsageError
        If there is such a split, the name can't be one, parts share a window, or have one that isn't in the lake.
    LakeError
        If the lake or the recipe isn't there.
    """
    if not isinstance(parts, Mapping) or not all(isinstance(part, xr.Dataset) for part in parts.values()):
        raise UsageError(
            "the parts of a split are Datasets by name: give a dict, such as {'train': train, 'valid': valid}"
        )
    if not parts:
        raise UsageError("a split needs at least one part")
    _check_name(name)
    url = lake_url(lake)
    content = _content(open_windows(url, recipe), recipe, parts)
    store = open_store(url)
    path = _path(recipe, name)
    there = _names(store, recipe)
    alike = [other for other in there if other != name and other.casefold() == name.casefold()]
    if alike:
        raise UsageError(f"there is a split {alike[0]!r}: some file systems take {name!r} for the same name")
    if name in there and not overwrite and stored_split(store, path) != content:
        raise UsageError(f"{url} has another split {name!r} of {recipe}: choose another name, or overwrite=True")
    node = {**json.loads(empty_group()), "attributes": content}
    try:
        with one_line_errors(url, LakeError):
            for folder in (SPLITS, f"{SPLITS}/{recipe}"):
                if not store_has(store, f"{folder}/{METADATA}"):
                    set_bytes(store, f"{folder}/{METADATA}", empty_group())
            set_bytes(store, path, json.dumps(node).encode())
    except OSError as error:
        raise LakeError(f"the split {name!r} can't be stored in {url}: {error.strerror or error}") from error


def open_split(lake: str | Path, recipe: str, name: str) -> dict[str, xr.Dataset]:
    """Open the parts of a split that is kept in the lake.

    Returns
    -------
    dict of str to Dataset
        By name, in the order in which they were given; lazy, as of `eegzarr.open_windows`.

    Raises
    ------
    LakeError
        If there is no such split, it is damaged, or the lake has other windows than those that were split.
    """
    url = lake_url(lake)
    store = open_store(url, read_only=True)
    there = _names(store, recipe) if recipe in recipes(url) else []
    if name not in there:
        raise LakeError(
            f"{url} has no split {name!r} of {recipe}; it has {', '.join(there) or 'none'}.{did_you_mean(name, there)}"
        )
    path = _path(recipe, name)
    content = stored_split(store, path)
    if not is_sealed(content):
        raise LakeError(f"{url}/{path} is damaged: store the split again, with overwrite=True")
    with damage_named(f"{url}/{path}", but=()):
        return _parts(url, recipe, name, content)


def _parts(url: str, recipe: str, name: str, content: dict[str, Any]) -> dict[str, xr.Dataset]:
    if content["version"] > _VERSION:
        raise LakeError(f"the split {name!r} was written by a later version of eegzarr: update eegzarr to open it")
    windows = open_windows(url, recipe, list(content["groups"]))
    groups = _groups(windows)
    changed = [_difference(f"{recipe}/{release}", was, groups[release]) for release, was in content["groups"].items()]
    if told := [difference for difference in changed if difference]:
        raise LakeError(
            f"the split {name!r} is of other windows than {url} has now: {'; '.join(told)}. "
            "Split what is there now and store it under another name, or open the lake that was split"
        )
    sizes = {release: group["windows"] for release, group in groups.items()}
    firsts = dict(zip(groups, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    runs = [run for part in content["parts"].values() for run in part]
    if outside := next((run for run in runs if not 0 <= run[1] < run[2] <= sizes[run[0]]), None):
        raise LakeError(f"the split {name!r} has the windows {outside}, which {url}/{recipe} doesn't have")
    # A split of 1 MB may name every window 50,000 times.
    if (count := sum(stop - first for _, first, stop in runs)) > max(_UNQUESTIONED, _MOST_TIMES * sum(sizes.values())):
        raise LakeError(f"the split {name!r} claims {count:,} windows, and {url}/{recipe} has {sum(sizes.values()):,}")
    return {part: windows.isel(window=_numbers(runs, firsts)) for part, runs in content["parts"].items()}


def list_splits(lake: str | Path, recipe: str) -> list[str]:
    """Return the names of the splits of a recipe that a lake keeps, in alphabetical order.

    Raises
    ------
    LakeError
        If there is no lake.
    """
    url = lake_url(lake)
    return _names(open_store(url, read_only=True), recipe) if recipe in recipes(url) else []


def splits_of(lake: str | Path) -> dict[str, dict[str, dict[str, int] | None]]:
    """Return by recipe and name the windows in each part of the splits that a lake keeps; None for a damaged split."""
    store = open_store(url := lake_url(lake), read_only=True)
    found: dict[str, dict[str, dict[str, int] | None]] = {}
    for recipe in recipes(url):
        for name in _names(store, recipe):
            content = stored_split(store, _path(recipe, name))
            parts = content["parts"].items() if is_sealed(content) else None
            counts = None if parts is None else {part: sum(b - a for _, a, b in runs) for part, runs in parts}
            found.setdefault(recipe, {})[name] = counts
    return found


def told_split(parts: dict[str, int] | None) -> str:
    """Return the parts of a split that a lake keeps, as `splits_of` gives them, for people."""
    if parts is None:
        return "damaged: store it again, with overwrite=True"
    return ", ".join(f"{part} {windows:,}" for part, windows in parts.items()) + " windows"


def _path(recipe: str, name: str) -> str:
    return f"{SPLITS}/{recipe}/{name}/{METADATA}"


def _names(store: Store, recipe: str) -> list[str]:
    folder = f"{SPLITS}/{recipe}"
    return [name for name in list_names(store, folder) if name != METADATA and store_has(store, _path(recipe, name))]


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not name or safe_name(name) != name:
        raise UsageError(f"a split can't be named {name!r}; {safe_name(str(name))!r} would do")


def _content(windows: xr.Dataset, recipe: str, parts: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Return what is written of a split."""
    release = windows["release"].to_numpy().astype(str)
    number: npt.NDArray[np.int64] = np.asarray(pd.Series(release).groupby(release, sort=False).cumcount(), np.int64)
    own = {str(name): _places(windows, part, str(name)) for name, part in parts.items()}
    taken = np.full(windows.sizes["window"], -1)
    for at, (name, places) in enumerate(own.items()):
        shared = taken[places] >= 0
        if shared.any():
            other = list(own)[taken[places][shared][0]]
            raise UsageError(f"{np.unique(places[shared]).size} windows are in the parts {other!r} and {name!r}")
        taken[places] = at
    groups = _groups(windows)
    used = dict.fromkeys(release[np.concatenate([*own.values(), np.zeros(0, int)])].tolist())
    return sealed(
        {
            "version": _VERSION,
            "recipe": recipe,
            "groups": {name: group for name, group in groups.items() if name in used} or groups,
            "parts": {name: _runs(release[places], number[places]) for name, places in own.items()},
        }
    )


def _places(windows: xr.Dataset, part: xr.Dataset, name: str) -> npt.NDArray[np.int64]:
    """Return where in the lake's windows those of a part are."""
    for columns in (["release", "recording", "start", "window"], ["release", "recording", "start"]):
        table, given = _table(windows, columns), _table(part, columns)
        if not table.is_unique:
            continue  # windows without times, say
        places = table.get_indexer(given)
        if (places >= 0).all():
            return places.astype(np.int64)
    missing = int((places < 0).sum())
    raise UsageError(f"{missing} of {len(given)} windows of the part {name!r} are not in the lake as they are labelled")


def _table(windows: xr.Dataset, columns: Iterable[str]) -> pd.MultiIndex:
    count = windows.sizes["window"]
    labels = [np.broadcast_to(_label(windows, name), count) for name in columns]
    return pd.MultiIndex.from_arrays(labels, names=list(columns))


def _label(windows: xr.Dataset, name: str) -> npt.NDArray:
    if name not in windows.coords:
        raise UsageError(f"windows have no coordinate {name!r}: store selections of what eegzarr.open_windows gives")
    values = windows[name].to_numpy()
    return values.astype(str) if name == "release" else np.round(np.nan_to_num(values.astype(float), nan=-1), 6)


def _runs(release: npt.NDArray, number: npt.NDArray[np.int64]) -> list[list[Any]]:
    """Return windows as runs of successive ones: [release, first, after the last]."""
    if not len(number):
        return []
    begins = np.flatnonzero(np.r_[True, (np.diff(number) != 1) | (release[1:] != release[:-1])])
    ends = np.r_[begins[1:], len(number)] - 1
    return [
        [str(name), first, last + 1]
        for name, first, last in zip(release[begins], number[begins].tolist(), number[ends].tolist(), strict=True)
    ]


def _numbers(runs: list[list[Any]], firsts: dict[str, int]) -> npt.NDArray[np.int64]:
    """Return the windows of runs, counted over releases that begin at `firsts`."""
    several = [np.arange(firsts[release] + first, firsts[release] + stop) for release, first, stop in runs]
    return np.concatenate([np.zeros(0, np.int64), *several])


def _groups(windows: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return of each release how many windows it has, of how many recordings and subjects, and whose and when."""
    release = windows["release"].to_numpy().astype(str)
    groups = {}
    for name in dict.fromkeys(release.tolist()):
        own = windows.isel(window=np.flatnonzero(release == name)).drop_vars("eeg")
        found = hashlib.sha256(own["start"].to_numpy().astype("<f8").tobytes())
        found.update(own["recording"].to_numpy().astype("<i8").tobytes())
        for label in _WHO:
            if label in own.coords:
                code, values = pd.factorize(own[label].to_numpy().astype(str))
                found.update(json.dumps([label, values.tolist()]).encode() + code.astype("<i8").tobytes())
        groups[name] = {
            "windows": own.sizes["window"],
            "recordings": len(np.unique(own["recording"])),
            "subjects": len(np.unique(own["subject"].to_numpy().astype(str))),
            "digest": found.hexdigest(),
        }
    return groups


def _difference(group: str, was: dict[str, Any], now: dict[str, Any] | None) -> str:
    """Return in what a group's windows differ from those that were split, "" where they don't."""
    if now is None:
        return f"{group} has none"
    if was["digest"] == now["digest"]:
        return ""
    counts = [f"{was[kind]} {kind}, now {now[kind]}" for kind in ("windows", "recordings", "subjects")]
    differs = [text for text, kind in zip(counts, was, strict=False) if was[kind] != now[kind]]
    return f"{group} had {' and '.join(differs)}" if differs else f"{group} has as many, of others or from other times"
