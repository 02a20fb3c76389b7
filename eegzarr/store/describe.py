"""What is in a lake: its groups in figures, finished or not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from eegzarr.errors import EegzarrError
from eegzarr.recipes.classes import classes_of, names_of
from eegzarr.recipes.recipe import recipe_from_json
from eegzarr.recipes.windows import WITHOUT_A_PLACE
from eegzarr.store.engine import stored_type
from eegzarr.store.group import (
    finished_shards,
    left_out_counts,
    read_attributes,
    read_tables,
    stored_geometry,
    unreadable_windows,
)
from eegzarr.store.layout import BUILDING, COMPLETE, EEG, LABELS, SIGNALS, group_path, lake_url, open_array
from eegzarr.store.open import RECIPE_NAME, open_recordings, recipes
from eegzarr.store.provenance import lake_of, tables_at_hand
from eegzarr.store.quality import GoodWindows, faults
from eegzarr.store.reading.damage import damage_named

DAMAGED = "damaged"
_NO_STATISTICS = ("window", "recording", "start", "valid", "stimulus_onset", "response_onset")
_MOST_KINDS = 12  # values of a text label that are counted one by one


@dataclass(frozen=True, kw_only=True)
class NumberStatistics:
    """A label that is a number, over the windows that have it; `missing` windows don't."""

    missing: int
    mean: float
    std: float
    smallest: float
    median: float
    largest: float


@dataclass(frozen=True, kw_only=True)
class TextStatistics:
    """A label that is text: how many windows have each value, the commonest first."""

    missing: int
    kinds: int
    counts: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class GroupSummary:
    """A group of a lake in figures.

    Attributes
    ----------
    status : str
        ``complete``, ``building`` or ``damaged``; `note` says more of the latter two, and what a group was cut from.
    step : float
        Of integers, in uV; 0 for floats.
    subjects : int
        Subjects with a window.
    hours : float
        Length of all windows together, which counts what two windows share twice.
    recorded_hours : float
        Length of the recordings that windows come from, as far as known.
    nbytes, decoded_nbytes : int
        Of the shards, and of the signals in them before compression.
    skipped : dict of str to int
        Recordings by the reason why they gave no window, or not all.
    dropped : int
        Trials without a window because it would leave the recording, cross a gap or a join, or overlap a bad time.
    left_out : dict of str to int
        Trials that aren't what the recipe wants, by the reason.
    noun : {"trial", "event", "window"}
        What these are.
    labels : dict
        Statistics of each label, over the group's windows.
    """

    group: str
    status: str
    note: str = ""
    recipe: str = ""
    dtype: str = ""
    step: float = 0.0
    sampling_rate: float = float("nan")
    channels: int = 0
    windows: int = 0
    invalid: int = 0
    subjects: int = 0
    recordings: int = 0
    hours: float = 0.0
    recorded_hours: float = 0.0
    shards: int = 0
    nbytes: int = 0
    decoded_nbytes: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    noun: str = "trial"
    labels: dict[str, NumberStatistics | TextStatistics] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def stored_as(self) -> str:
        """Type of the samples, with the step of integers."""
        return f"{self.dtype} of {self.step:g} uV" if self.step else self.dtype

    @property
    def ratio(self) -> float:
        """How many times smaller the shards are than the signals in memory."""
        return self.decoded_nbytes / self.nbytes if self.nbytes else float("nan")


def describe_lake(lake: str | Path) -> list[GroupSummary]:
    """Return the groups of a lake in figures, without reading a signal.

    A group that is still being built, or damaged, is in the list as that.

    Raises
    ------
    LakeError
        If there is no lake.
    """
    lake = lake_url(lake)
    return [
        _describe(lake, group_path(recipe, release))
        for recipe, releases in recipes(lake).items()
        for release in releases
    ]


def _describe(lake: str, group: str) -> GroupSummary:
    try:
        with damage_named(f"{lake}/{group}", but=()):
            attributes = read_attributes(lake, group) or {}
            if attributes.get("status") == COMPLETE:
                return _complete(lake, group, attributes)
            if attributes.get("status") == BUILDING:
                return _building(lake, group, attributes)
    except EegzarrError as error:
        return GroupSummary(group=group, status=DAMAGED, note=str(error))
    return GroupSummary(group=group, status=DAMAGED, note=f"{lake}/{group} isn't a group of windows: it has no status")


def _building(lake: str, group: str, attributes: dict[str, Any]) -> GroupSummary:
    recipe = recipe_from_json(attributes["recipe"])
    if SIGNALS in attributes:
        note = f"being cut from {attributes[SIGNALS]}"
        return GroupSummary(group=group, status=BUILDING, note=note, recipe=recipe.name, attributes=attributes)
    done, total = finished_shards(lake, group)
    geometry = stored_geometry(lake, group)
    signals = open_array(lake, f"{group}/{EEG}")
    return GroupSummary(
        group=group,
        status=BUILDING,
        note=f"{done} of {total} shards",
        recipe=recipe.name,
        dtype=geometry.dtype if geometry else "",
        step=geometry.step if geometry else 0.0,
        sampling_rate=recipe.sfreq,
        channels=signals.shape[1],
        windows=signals.shape[0],
        hours=signals.shape[0] * recipe.n_times / recipe.sfreq / 3600,
        shards=total,
        attributes=attributes,
    )


def _complete(lake: str, group: str, attributes: dict[str, Any]) -> GroupSummary:
    dataset, recordings, shards = read_tables(lake, group)
    recipe = recipe_from_json(attributes["recipe"])
    built = recordings["windows"].to_numpy() > 0
    reasons = Counter(map(str, recordings["reason"].to_numpy().tolist()))
    dtype, step = _sample_type(lake, dataset)
    samples = dataset.sizes["window"] * dataset.sizes["channel"] * dataset.sizes["time"]
    return GroupSummary(
        group=group,
        status=COMPLETE,
        recipe=recipe.name,
        note=f"cut from {attributes[SIGNALS]}" if SIGNALS in attributes else "",
        dtype=dtype,
        step=step,
        sampling_rate=recipe.sfreq,
        channels=dataset.sizes["channel"],
        windows=dataset.sizes["window"],
        invalid=unreadable_windows(dataset),
        subjects=len(set(recordings["subject"].to_numpy()[built].tolist())),
        recordings=len(built),
        hours=dataset.sizes["window"] * recipe.n_times / recipe.sfreq / 3600,
        recorded_hours=float(np.nansum(recordings["duration"].to_numpy()[built])) / 3600,
        shards=shards.sizes["shard"],
        nbytes=int(shards["nbytes"].to_numpy().sum()),
        decoded_nbytes=samples * np.dtype(dtype).itemsize,
        skipped={reason: count for reason, count in reasons.most_common() if reason},
        dropped=int(recordings["dropped"].to_numpy().sum()),
        left_out=dict(left_out_counts(recordings).most_common()),
        noun=recipe.noun,
        labels=label_statistics(dataset),
        attributes=attributes,
    )


def _sample_type(lake: str, dataset: xr.Dataset) -> tuple[str, float]:
    """Return type and step that a group's samples are stored in, of a cut group those of the tiles."""
    if EEG in dataset:
        eeg = dataset[EEG]
        return str(stored_type(eeg.variable)), float(eeg.encoding.get("scale_factor", 0.0))
    geometry = stored_geometry(lake, str(dataset.attrs[SIGNALS]))
    return ("", 0.0) if geometry is None else (geometry.dtype, geometry.step)


def label_statistics(windows: xr.Dataset) -> dict[str, NumberStatistics | TextStatistics]:
    """Return statistics of each label that says something of subjects or trials.

    Parameters
    ----------
    windows : Dataset
        As `eegzarr.open_windows` or `xarray.open_zarr` gives it, or a selection of it.
    """
    names = [str(name) for name, variable in windows.variables.items() if variable.dims == ("window",)]
    known = [name for name in LABELS if name in names]
    ordered = [*known, *sorted(name for name in names if name not in LABELS)]
    return {name: _statistics_of(_with_classes(windows[name])) for name in ordered if name not in _NO_STATISTICS}


def _with_classes(label: xr.DataArray) -> np.ndarray:
    """Return the values of a label, names where they are codes of classes, NaN for an answer that is unknown."""
    classes = classes_of(label.attrs)
    if label.name == "correct":
        return label.where(label >= 0).to_numpy()
    return label.to_numpy() if classes is None else names_of(label.to_numpy(), classes)


def _statistics_of(values: np.ndarray) -> NumberStatistics | TextStatistics:
    if values.dtype.kind in "fiub":
        numbers = values.astype(np.float64)
        there = numbers[np.isfinite(numbers)]
        if not len(there):
            nothing = float("nan")
            return NumberStatistics(
                missing=len(numbers), mean=nothing, std=nothing, smallest=nothing, median=nothing, largest=nothing
            )
        return NumberStatistics(
            missing=len(numbers) - len(there),
            mean=float(there.mean()),
            std=float(there.std()),
            smallest=float(there.min()),
            median=float(np.median(there)),
            largest=float(there.max()),
        )
    counted = Counter(map(str, values.tolist()))
    by_count = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
    there_are = {kind: count for kind, count in by_count if kind}
    return TextStatistics(
        missing=len(values) - sum(there_are.values()),
        kinds=len(there_are),
        counts=dict(list(there_are.items())[:_MOST_KINDS]),
    )


def lost_windows(windows: xr.Dataset, wanted: GoodWindows | None = None) -> dict[str, int]:
    """Count the windows that an analysis loses, by reason.

    Trials whose window would leave its recording, where the table of recordings is at hand; windows
    without a target; and those that `wanted`, by default the default, leaves out. Each
    window counts once, under the first of its reasons.
    """
    tables = _tables(windows)
    counts = {} if tables is None else {WITHOUT_A_PLACE: _dropped_trials(windows, tables)}
    reasons = faults(windows, wanted or GoodWindows())
    if "target" in windows.coords:
        codes = windows["target"]
        missing = _with_classes(codes) == "" if classes_of(codes.attrs) else np.isnan(codes.to_numpy())
        reasons["no target"] = np.asarray(missing, bool)
    counted = np.zeros(windows.sizes["window"], bool)
    for reason, applies in reasons.items():
        counts[reason] = int((applies & ~counted).sum())
        counted |= applies
    return counts


def _tables(windows: xr.Dataset) -> dict[str, xr.Dataset] | None:
    """Return the tables of recordings of a selection's releases, None where they aren't known."""
    if RECIPE_NAME not in windows.attrs:
        return tables_at_hand(windows) or None
    names = sorted(set(windows["release"].to_numpy().astype(object).tolist()))
    return {name: open_recordings(lake_of(windows), windows.attrs[RECIPE_NAME], name) for name in names}


def _dropped_trials(windows: xr.Dataset, tables: dict[str, xr.Dataset]) -> int:
    """Trials without a window in the recordings that a selection's windows come from."""
    release, recording = windows["release"].to_numpy().astype(object), windows["recording"].to_numpy()
    return sum(
        int(table["dropped"].to_numpy()[np.unique(recording[release == name])].sum()) for name, table in tables.items()
    )
