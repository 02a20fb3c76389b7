"""Open a lake: lazy, labelled xarray Datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from zarr.abc.store import Store

from eegzarr.errors import LakeError, UsageError, redacted
from eegzarr.store.complete import check_complete
from eegzarr.store.engine import signals
from eegzarr.store.layout import (
    EEG,
    LABELS,
    METADATA,
    QUARTILES,
    RECORDINGS,
    SIGNALS,
    group_path,
    lake_url,
    open_dataset,
    open_group,
    open_store,
)
from eegzarr.store.opening.at_once import for_all
from eegzarr.store.opening.lazy import Label, joined
from eegzarr.store.opening.meaning import described
from eegzarr.store.opening.together import (
    check_channels_option,
    check_joinable,
    check_same_channels,
    common_channels,
    of_channels,
)
from eegzarr.store.provenance import LAKE, lake_of
from eegzarr.store.quality import quality_labels
from eegzarr.store.reading.damage import damage_named
from eegzarr.store.receipt import Moments, table_moments
from eegzarr.store.staging import paths_below
from eegzarr.store.tiles.signals import cut_signals
from eegzarr.store.verify import groups_of
from eegzarr.store.whole import refuse_part
from eegzarr.suggest import did_you_mean
from eegzarr.urls import one_line_errors

# Attributes that name where a selection's windows are stored; `WindowStream` follows them.
RECIPE_NAME = "recipe_name"


def open_windows(
    lake: str | Path,
    recipe: str,
    releases: Sequence[str] | None = None,
    *,
    channels: Literal["common"] | None = None,
) -> xr.Dataset:
    """Open the windows of a recipe, lazily.

    Parameters
    ----------
    lake : path or URL
        The lake.
    recipe : str
        Name of the recipe, such as ``"challenge1"``.
    releases : sequence of str, optional
        Releases to join along ``window``, in this order; default all of the recipe.
    channels : "common", optional
        Join releases with different channels by those that all of them have, in the order of the first. Default:
        releases must have the same channels.

    Returns
    -------
    Dataset
        ``eeg`` (window, channel, time) in uV, a Dask array of one chunk per shard, and every
        label as a coordinate that is read when looked at, with what `eegzarr.store.quality`
        derives from them: the flat and noisy channels of a window's recording, and whether the
        start kit leaves its subject out. ``mean`` and ``std`` (channel) are over the valid windows of all the releases
        opened. Nothing but metadata is read.

    Raises
    ------
    LakeError
        If the lake or a release isn't there, is still being built, or releases differ in
        their recipe, rate or channels, or have no channel in common.
    """
    check_channels_option(channels)
    lake = lake_url(lake)
    groups = [group_path(recipe, release) for release in _releases(lake, recipe, releases)]
    opened = for_all(lake, partial(_open_group, lake), groups)
    first = opened[0]
    names = [f"{lake}/{group}" for group in groups]
    with damage_named(f"{lake}/{recipe}", but=()):
        for name, other in zip(names[1:], opened[1:], strict=True):
            check_joinable((names[0], name), (first.attrs, other.attrs))
        own = [group.channels for group in opened]
        if channels is None:
            check_same_channels(names, own)
        else:
            opened = [group.with_channels(common_channels(names, own)) for group in opened]
            first = opened[0]
        if len(opened) > 1:
            windows = _join(lake, groups, opened)
        else:
            windows = xr.Dataset({EEG: first.eeg}, coords=first.coordinates(), attrs=first.attrs)
    return described(windows).assign_attrs({LAKE: redacted(lake), RECIPE_NAME: recipe})


def open_recordings(lake: str | Path, recipe: str, release: str) -> xr.Dataset:
    """Open a release's table of recordings, with what was skipped and why."""
    lake = lake_url(lake)
    group = group_path(recipe, release)
    check_complete(lake, group)
    with damage_named(f"{lake}/{group}/{RECORDINGS}", but=()):
        return _recordings(open_store(lake, read_only=True), group).chunk()


def recipes(lake: str | Path) -> dict[str, list[str]]:
    """Return the releases of each recipe in a lake, finished or not.

    Raises
    ------
    LakeError
        If there is no lake.
    """
    lake = lake_url(lake)
    try:
        with damage_named(f"{lake}/{METADATA}"), one_line_errors(lake, LakeError, but=(FileNotFoundError,)):
            store = open_store(lake, read_only=True)
            refuse_part(lake, open_group(store))
            # By what is there: a damaged group doesn't keep readers from the others.
            found: dict[str, list[str]] = {}
            for group in groups_of(store):
                name, _, release = group.partition("/")
                found.setdefault(name, []).append(release)
            return found
    except FileNotFoundError as error:
        if paths_below(open_store(lake, read_only=True), "", most=1):
            raise LakeError(
                f"{lake} isn't a lake, or has lost its {METADATA}. If it has, python -m eegzarr.verify {lake} "
                f"--repair writes it again"
            ) from error
        raise LakeError(
            f"{lake} isn't a lake. Build one with\n  python -m eegzarr.build --source DIR --out {lake}"
        ) from error


def _releases(lake: str, recipe: str, releases: Sequence[str] | None) -> list[str]:
    check_releases(releases)
    there = recipes(lake)
    if recipe not in there or not there[recipe]:
        raise LakeError(
            f"{lake} has no windows of the recipe {recipe!r}; it has {', '.join(there) or 'none'}."
            f"{did_you_mean(recipe, there)}"
        )
    return chosen_releases(f"{lake}/{recipe}", there[recipe], releases)


def check_releases(releases: Sequence[str] | None) -> None:
    """Refuse one text where a list of names is wanted, before a lake is looked at.

    Raises
    ------
    UsageError
    """
    if isinstance(releases, str):
        raise UsageError(f"releases must be a list of names, such as [{releases!r}]")


def chosen_releases(place: str, there: list[str], releases: Sequence[str] | None) -> list[str]:
    """Return the releases that are asked for, all that are there by default.

    Raises
    ------
    LakeError
        If one isn't there, or none is named.
    """
    wanted = there if releases is None else list(releases)
    missing = [release for release in wanted if release not in there]
    if missing or not wanted:
        raise LakeError(
            f"{place} has no release {', '.join(missing) or '(none was named)'}; "
            f"it has {', '.join(there)}.{did_you_mean(missing[0], there) if missing else ''}"
        )
    return wanted


@dataclass(frozen=True)
class _OpenGroup:
    """A group's variables, none of them read: signals, labels along ``window``, and the axes' coordinates."""

    eeg: xr.Variable
    labels: dict[str, Label]
    others: dict[str, xr.Variable]
    attrs: dict[str, Any]

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.others["channel"].to_numpy().tolist())

    def with_channels(self, channels: tuple[str, ...]) -> _OpenGroup:
        """Return it with some of its channels, by their names."""
        if channels == self.channels:
            return self
        rows = [self.channels.index(name) for name in channels]
        others = {name: v.isel(channel=rows) if "channel" in v.dims else v for name, v in self.others.items()}
        return replace(self, eeg=self.eeg.isel(channel=rows), others=others)

    def coordinates(self) -> dict[str, xr.Variable]:
        return {name: label.variable() for name, label in self.labels.items()} | self.others


def _open_group(lake: str, group: str) -> _OpenGroup:
    digest = str(check_complete(lake, group).get("plan_digest", ""))
    with damage_named(f"{lake}/{group}", but=()):
        return _described(lake, group, digest, open_dataset(open_store(lake, read_only=True), group))


def _described(lake: str, group: str, digest: str, dataset: xr.Dataset) -> _OpenGroup:
    if SIGNALS in dataset.attrs:
        eeg = cut_signals(lake, group, dataset)
        shard = eeg.encoding["preferred_chunks"]["window"]
    else:
        eeg = signals(lake, group, dataset[EEG].variable, digest)
        shard = dataset[EEG].encoding["shards"][0]
    names = [
        *(name for name in LABELS if name in dataset.variables),
        *sorted(set(map(str, dataset.variables)) - set(LABELS)),
    ]
    variables = {str(name): dataset[name].variable for name in names if name != EEG}
    labels = {name: Label.stored(v) for name, v in variables.items() if v.dims == ("window",) and name != "window"}
    return _OpenGroup(
        eeg=eeg.chunk({"window": shard}),
        labels=labels | quality_labels(lake, group, labels["recording"], labels["subject"]),
        others={name: _texts_as_objects(v) for name, v in variables.items() if name not in labels},
        attrs=dict(dataset.attrs),
    )


def _texts_as_objects(variable: xr.Variable) -> xr.Variable:
    return variable.astype(object) if variable.dtype.kind == "T" else variable


def _join(lake: str, groups: list[str], opened: list[_OpenGroup]) -> xr.Dataset:
    first = opened[0]
    store = open_store(lake, read_only=True)
    statistics = pooled_statistics([of_channels(_recordings(store, group), first.channels) for group in groups])
    # A column of participants.tsv that only some releases have is left out.
    shared = [name for name in first.labels if all(name in group.labels for group in opened)]
    labels = {name: _joined(name, groups, opened).variable() for name in shared}
    pooled = {name: xr.Variable("channel", values, first.others[name].attrs) for name, values in statistics.items()}
    window = np.concatenate([group.others["window"].to_numpy() for group in opened])
    return xr.Dataset(
        {EEG: xr.Variable.concat([group.eeg for group in opened], "window")},
        coords=labels | first.others | pooled | {"window": ("window", window, first.others["window"].attrs)},
        attrs={name: value for name, value in first.attrs.items() if all(g.attrs.get(name) == value for g in opened)},
    )


def _joined(name: str, groups: list[str], opened: list[_OpenGroup]) -> Label:
    try:
        return joined([group.labels[name] for group in opened])
    except LakeError as error:
        raise LakeError(f"{', '.join(groups)}: the label {name} has {error}") from None


def _recordings(store: Store, group: str) -> xr.Dataset:
    return open_dataset(store, f"{group}/{RECORDINGS}")


def recording_subjects(lake: str, group: str) -> np.ndarray:
    """Return the subject of each recording of a group, (recording,)."""
    return _recordings(open_store(lake, read_only=True), group)["subject"].to_numpy().astype(object)


def selection_statistics(windows: xr.Dataset) -> dict[str, np.ndarray]:
    """Return mean and standard deviation in uV, (channel,), over the subjects of a selection, for its channels.

    From the tables of recordings, so that no signal is read: over all valid windows of
    every recording that has a window in the selection.
    """
    lake, recipe = lake_of(windows), windows.attrs[RECIPE_NAME]
    release = windows["release"].to_numpy()
    recording = windows["recording"].to_numpy()
    tables = []
    channels = tuple(map(str, np.atleast_1d(windows["channel"].to_numpy()).tolist()))
    with damage_named(f"{lake}/{recipe}", but=()):
        for name in sorted(set(release.tolist())):
            table = of_channels(_recordings(open_store(lake, read_only=True), group_path(recipe, name)), channels)
            tables.append(table.isel(recording=np.unique(recording[release == name])))
        return pooled_statistics(tables)


def pooled_statistics(tables: Sequence[xr.Dataset]) -> dict[str, np.ndarray]:
    """Return mean and standard deviation in uV, (channel,), over tables of recordings.

    Exact: each table holds the count, mean and sum of squares of each recording's windows.
    """
    total = reduce(add, [moments for table in tables for moments in table_moments(table)])
    mean, std = total.scales()
    return {"mean": mean, "std": std}


def recording_quartiles(lake: str, group: str, recordings: Sequence[int]) -> np.ndarray:
    """Return lower quartile, median and upper quartile of each of some recordings, (recording, 3, channel), in uV.

    NaN for channels that a recording lacks.

    Raises
    ------
    LakeError
        If the group doesn't have them.
    """
    with damage_named(f"{lake}/{group}/{RECORDINGS}", but=()):
        table = _recordings(open_store(lake, read_only=True), group).isel(recording=list(recordings))
        found = quartiles_in(table)
    if (np.isnan(found) & (table["count"].to_numpy() > 0)[:, None]).any():
        raise LakeError(
            f"{lake}/{group} has no medians and quartiles of its recordings: an older eegzarr made it. Build it again "
            f"(with --overwrite, where a build finds nothing to do), or give normalize='recording'"
        )
    return found


def quartiles_in(table: xr.Dataset) -> np.ndarray:
    """Return the quartiles of a table of recordings, (recording, 3, channel), in uV, NaN where it has none."""
    missing = np.full(table["count"].shape, np.nan)
    return np.stack([table[name].to_numpy() if name in table else missing for name in QUARTILES], axis=1)


def recording_moments(lake: str, group: str, recordings: Sequence[int]) -> list[Moments]:
    """Return count, mean and sum of squared deviations of each of some recordings of a group, per channel, in uV."""
    with damage_named(f"{lake}/{group}/{RECORDINGS}", but=()):
        table = _recordings(open_store(lake, read_only=True), group)
        return table_moments(table.isel(recording=list(recordings)))
