"""From a recipe and recordings to windows, shards and tasks: what a build will do.

A plan is a pure function of the recipe, of the source's files and of the geometry, never of
the machine: any number of workers makes the same bytes. Its digests (`eegzarr.build.digest`) say whether a
group that was begun earlier is the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.bids.dataset import Source
from eegzarr.bids.recordings import Recording
from eegzarr.build.inspect import Inspection, channel_difference, with_shared_channels
from eegzarr.build.labels import SubjectLabels, subject_labels, window_labels
from eegzarr.build.montages.grouping import of_montage, usual_channels
from eegzarr.build.target import check_values
from eegzarr.build.task import Piece
from eegzarr.errors import NothingToBuild, RecordingError
from eegzarr.recipes.recipe import Recipe
from eegzarr.recipes.unused import unnamed_notes, unused_notes
from eegzarr.recordings.header import Header
from eegzarr.recordings.memory import preparation_memory
from eegzarr.store.layout import Geometry


@dataclass(frozen=True)
class Plan:
    """Every window of a group, in order, and where its signal comes from.

    Attributes
    ----------
    inspections : tuple of Inspection
        Of all the source's recordings; their windows are in `windows`.
    windows : DataFrame
        One row per window: ``recording`` (row in `inspections`), ``start_sample``, labels.
    subjects : SubjectLabels
        Labels of each recording's subject and session, by the names that they get.
    """

    recipe: Recipe
    source: Source
    geometry: Geometry
    channels: tuple[str, ...]
    inspections: tuple[Inspection, ...]
    windows: pd.DataFrame
    subjects: SubjectLabels = field(default_factory=SubjectLabels)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What of the source couldn't be read, was assumed or renamed; and what of the recipe no recording has."""
        found: Counter[str] = sum((one.found for one in self.inspections), Counter())
        unnamed: tuple[str, ...] = ()
        if self.recipe.rename or self.recipe.types:  # else the channels of thousands of recordings need no look
            unnamed = unnamed_notes(self.recipe, *channel_names(one.header for one in self.inspections))
        return (*self.source.notes, *self.subjects.notes, *unused_notes(self.recipe, found), *unnamed)

    @property
    def n_windows(self) -> int:
        """Windows in the group."""
        return len(self.windows)

    @property
    def n_shards(self) -> int:
        """Shards of the group: files, tasks, checksums."""
        return -(-self.n_windows // self.geometry.windows_per_shard)

    def shard_slice(self, shard: int) -> slice:
        """Return the windows that a shard holds."""
        first = shard * self.geometry.windows_per_shard
        return slice(first, min(first + self.geometry.windows_per_shard, self.n_windows))

    def pieces(self, shard: int) -> tuple[Piece, ...]:
        """Return the recordings of a shard, in order, with the windows that it takes of each."""
        rows = self.windows.iloc[self.shard_slice(shard)]
        recording = rows["recording"].to_numpy()
        starts = rows["start_sample"].to_numpy(np.int64)
        edges = np.flatnonzero(np.diff(recording)) + 1
        return tuple(
            self._piece(int(group[0]), own)
            for group, own in zip(np.split(recording, edges), np.split(starts, edges), strict=True)
        )

    def _piece(self, row: int, starts: npt.NDArray[np.int64]) -> Piece:
        inspection = self.inspections[row]
        header = inspection.header
        return Piece(
            recording=row,
            source=inspection.recording,
            starts=starts,
            fingerprint=inspection.fingerprint,
            as_it_stands=header is not None and self._reads_as_it_stands(header),
            header=header,
        )

    @property
    def located_header(self) -> Header:
        """The header of the first recording with windows that knows where its electrodes are, or of the first."""
        built = [i.header for i in self.inspections if i.n_windows and i.header is not None]
        return next((header for header in built if header.positions is not None), built[0])

    @cached_property
    def largest_reading(self) -> tuple[str, int]:
        """The recording that takes the most memory to read or prepare, beside its windows, and the bytes."""
        most = ("", 0)
        for inspection in self.inspections:
            header = inspection.header
            if not inspection.n_windows or header is None:
                continue
            nbytes = header.memory
            if not self._reads_as_it_stands(header):
                channels = len({*self.channels, *header.channels})
                nbytes = preparation_memory(header, channels, self.recipe.preparation, self.recipe.sfreq)
            most = max(most, (inspection.recording.path, nbytes), key=lambda one: one[1])
        return most

    def _reads_as_it_stands(self, header: Header) -> bool:
        return self.recipe.preparation.leaves_signals_alone and header.has_rate(self.recipe.sfreq)

    def shards_of_recordings(self) -> dict[int, list[int]]:
        """Return the shards that each recording lies in, for those that lie in more than one."""
        recording = self.windows["recording"].to_numpy()
        shards: dict[int, list[int]] = {}
        for shard in range(self.n_shards):
            own = self.shard_slice(shard)
            for row in {int(recording[own.start]), int(recording[own.stop - 1])}:
                shards.setdefault(row, []).append(shard)
        return {row: own for row, own in shards.items() if len(own) > 1}


def channel_names(headers: Iterable[Header | None]) -> tuple[set[str], set[str]]:
    """Return the names of all channels of recordings, as their files have them and as they are called."""
    before: set[str] = set()
    after: set[str] = set()
    for header in headers:
        if header is not None:
            called = (*header.channels, *(name for name, _ in header.others))
            after.update(called)
            before.update(header.in_file(called))
    return before, after


def make_plan(
    source: Source,
    recipe: Recipe,
    geometry_for: Callable[[int, int], Geometry],
    inspect_all: Callable[[Iterable[Recording]], Iterable[Inspection]],
) -> Plan:
    """Plan a group.

    Parameters
    ----------
    geometry_for : callable
        Gives the geometry for a number of channels and of samples in a window.
    inspect_all : callable
        Maps recordings to their inspections, in order: ``map``, or a cluster's.

    Raises
    ------
    NothingToBuild
        If no recording gives a window.
    RecipeError
        If what the recipe predicts is missing for all windows.
    """
    inspections = tuple(_with_labels(source, i) for i in inspect_all(source.recordings))
    if source.montage:
        inspections, channels = of_montage(inspections, recipe, source.montage)
    else:
        channels = recipe.channels or usual_channels(inspections)
    inspections = tuple(_with_channels(inspection, channels, recipe) for inspection in inspections)
    if not any(inspection.n_windows for inspection in inspections):
        reasons = Counter(inspection.reason for inspection in inspections)
        listed = "; ".join(f"{reason} ({n})" for reason, n in reasons.most_common(3))
        of_table = "".join(f"; {note}" for note in source.notes if source.windows and note.startswith(source.windows))
        raise NothingToBuild(
            f"source {source.root} gives no window for the recipe {recipe.name}: {listed}{of_table}",
            tuple((inspection.recording.path, inspection.reason) for inspection in inspections),
        )
    geometry = geometry_for(len(channels), recipe.n_times)
    windows = joined_windows(inspections, recipe)
    subjects = subject_labels(source, [inspection.recording for inspection in inspections], recipe)
    if not source.montage:  # a few recordings may all lack what others have
        check_values(recipe, target_columns(windows, subjects), subjects.given)
    slimmed = tuple(replace(i, windows={}) for i in with_shared_channels(inspections))
    return Plan(recipe, source, geometry, channels, slimmed, windows, subjects)


def target_columns(windows: pd.DataFrame, subjects: SubjectLabels) -> dict[str, npt.NDArray]:
    """Return the labels that a target may name, for each window."""
    recording = windows["recording"].to_numpy()
    own = {str(name): windows[name].to_numpy() for name in windows if name not in ("recording", "start_sample")}
    return own | {name: values[recording] for name, values in subjects.columns.items() if name not in own}


def joined_windows(inspections: tuple[Inspection, ...], recipe: Recipe) -> pd.DataFrame:
    """Return the windows of all recordings in one table, each with its recording's row."""
    counts = [inspection.n_windows for inspection in inspections]
    parts = [inspection.windows for inspection in inspections if inspection.n_windows]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns = window_labels(columns, recipe)
    return pd.DataFrame({**columns, "recording": np.repeat(np.arange(len(counts), dtype=np.int32), counts)})


def _with_channels(inspection: Inspection, channels: tuple[str, ...], recipe: Recipe) -> Inspection:
    header = inspection.header
    if header is None or inspection.reason:
        return inspection
    if header.channels != channels and not recipe.channels:
        return _skipped(inspection, channel_difference(header.channels, channels))
    try:
        header.check(channels, missing=recipe.missing)
    except RecordingError as error:
        return _skipped(inspection, str(error))
    return inspection


def _with_labels(source: Source, inspection: Inspection) -> Inspection:
    """Skip a recording whose subject has several rows in participants.tsv."""
    why = source.why_missing.get(inspection.recording.subject)
    return inspection if why is None or inspection.reason else _skipped(inspection, why)


def _skipped(inspection: Inspection, reason: str) -> Inspection:
    return replace(
        inspection,
        windows={},
        n_windows=0,
        trials=0,
        dropped=0,
        left_out=Counter(),
        found=Counter(),
        reason=reason,
    )
