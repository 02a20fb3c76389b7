"""From a recipe and recordings to windows, shards and tasks: what a build will do.

A plan is a pure function of the recipe, of the source's files and of the geometry, never of
the machine: any number of workers makes the same bytes. Its digest says whether a group that
was begun earlier is the same one.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.bids.buckets import at_hand, fingerprint_of
from eegzarr.bids.dataset import Recording, Source, read_events
from eegzarr.errors import LakeError, RecordingError
from eegzarr.recipes.recipe import Recipe
from eegzarr.recipes.trials import trial_columns
from eegzarr.recordings.header import Header
from eegzarr.recordings.mixing import check_mixing
from eegzarr.recordings.preparation import check_preparation
from eegzarr.recordings.reader import read_header
from eegzarr.store.layout import Geometry

# Trial columns that every group has, also one whose windows aren't cut around events.
NO_TRIAL = {
    "stimulus_onset": np.nan,
    "response_onset": np.nan,
    "rt_from_stimulus": np.nan,
    "rt_from_trialstart": np.nan,
    "response_type": "",
    "correct": np.int8(-1),
}
_ANCHOR_COLUMN = {"stimulus": "stimulus_onset", "response": "response_onset", "trial_start": "trial_start"}


def trial_labels() -> tuple[str, ...]:
    """Return the trial columns that label a window."""
    return tuple(NO_TRIAL)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What one recording offers to a recipe.

    Attributes
    ----------
    windows : dict of str to array
        An item a window: ``start_sample`` and the trial's columns. Nothing with a `reason`, and
        in a `Plan`, which has them in one table.
    n_windows : int
        Their number.
    trials : int
        Trials found, with or without a window.
    dropped : int
        Trials that gave no window because it would leave the recording.
    reason : str
        Why there are no windows, or "".
    fingerprint : str
        Changes when the recording or its events change.
    """

    recording: Recording
    header: Header | None
    windows: Mapping[str, npt.NDArray] = field(default_factory=dict)
    n_windows: int = 0
    trials: int = 0
    dropped: int = 0
    reason: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The part of one shard that comes from one recording.

    Attributes
    ----------
    recording : int
        Row in the plan's recordings.
    path : str
        Relative to the source's root.
    starts : array of int64
        First sample of each window, in the shard's order.
    fingerprint : str
        Of the recording when the plan was made.
    as_it_stands : bool
        Whether windows are read as they stand in the recording; else it is prepared as a whole.
    header : Header, optional
        Of the recording; None for windows that were cut elsewhere.
    """

    recording: int
    path: str
    starts: npt.NDArray[np.int64]
    fingerprint: str
    as_it_stands: bool
    header: Header | None


@dataclass(frozen=True)
class Plan:
    """Every window of a group, in order, and where its signal comes from.

    Attributes
    ----------
    inspections : tuple of Inspection
        Of all the source's recordings; their windows stand in `windows`.
    windows : DataFrame
        One row a window: ``recording`` (row in `inspections`), ``start_sample``, labels.
    """

    recipe: Recipe
    source: Source
    geometry: Geometry
    channels: tuple[str, ...]
    inspections: tuple[Inspection, ...]
    windows: pd.DataFrame

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
            path=inspection.recording.path,
            starts=starts,
            fingerprint=inspection.fingerprint,
            as_it_stands=(
                self.recipe.preparation.leaves_signals_alone
                and header is not None
                and header.has_rate(self.recipe.sfreq)
            ),
            header=header,
        )

    def shards_of_recordings(self) -> dict[int, list[int]]:
        """Return the shards that each recording lies in, for those that lie in more than one."""
        recording = self.windows["recording"].to_numpy()
        shards: dict[int, list[int]] = {}
        for shard in range(self.n_shards):
            own = self.shard_slice(shard)
            for row in {int(recording[own.start]), int(recording[own.stop - 1])}:
                shards.setdefault(row, []).append(shard)
        return {row: own for row, own in shards.items() if len(own) > 1}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all that the group's bytes depend on."""
        sha = hashlib.sha256()
        sha.update(self.recipe.to_json().encode())
        sha.update(json.dumps([asdict(self.geometry), self.channels]).encode())
        for inspection in self.inspections:
            sha.update(f"{inspection.recording.path}\0{inspection.fingerprint}\0{inspection.reason}\n".encode())
        sha.update(self.windows["start_sample"].to_numpy("<i8").tobytes())
        sha.update(self.source.participants.to_csv().encode())
        return sha.hexdigest()


def inspect(root: str, recording: Recording, recipe: Recipe) -> Inspection:
    """Find the windows of one recording from its header and its events; read no signal."""
    header, fingerprint = None, ""
    try:
        fingerprint = fingerprint_of(root, recording.path)
        with at_hand(root, recording.path, header_only=True) as path:
            header = read_header(path)
            _check_header(header, recipe)
            windows, trials, dropped = _cut(path, recipe, header.at(recipe.sfreq))
    except RecordingError as error:
        return Inspection(recording=recording, header=header, reason=str(error), fingerprint=fingerprint)
    n_windows = len(windows["start_sample"])
    reason = "" if n_windows else _why_none(recipe, header, trials, dropped)
    return Inspection(
        recording=recording,
        header=header,
        windows=windows,
        n_windows=n_windows,
        trials=trials,
        dropped=dropped,
        reason=reason,
        fingerprint=fingerprint,
    )


def _check_header(header: Header, recipe: Recipe) -> None:
    check_preparation(header, recipe.preparation, recipe.sfreq)
    check_mixing(header, recipe.preparation)
    header.check(recipe.channels)


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
    LakeError
        If no recording gives a window.
    """
    inspections = tuple(_without_ambiguous(source, i) for i in inspect_all(source.recordings))
    channels = recipe.channels or _usual_channels(inspections)
    inspections = tuple(
        _with_channels(inspection, channels, chosen=bool(recipe.channels)) for inspection in inspections
    )
    if not any(inspection.n_windows for inspection in inspections):
        reasons = Counter(inspection.reason for inspection in inspections)
        listed = "; ".join(f"{reason} ({n})" for reason, n in reasons.most_common(3))
        raise LakeError(f"source {source.root} gives no window for the recipe {recipe.name}: {listed}")
    geometry = geometry_for(len(channels), recipe.n_times)
    slimmed = tuple(replace(i, windows={}) for i in with_shared_channels(inspections))
    return Plan(recipe, source, geometry, channels, slimmed, _joined(inspections))


def _joined(inspections: tuple[Inspection, ...]) -> pd.DataFrame:
    """Return the windows of all recordings in one table, each with its recording's row."""
    counts = [inspection.n_windows for inspection in inspections]
    parts = [inspection.windows for inspection in inspections if inspection.n_windows]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return pd.DataFrame({**columns, "recording": np.repeat(np.arange(len(counts), dtype=np.int32), counts)})


def with_shared_channels(inspections: Iterable[Inspection]) -> Iterator[Inspection]:
    """Yield inspections whose headers have one tuple of channel names between them: 7 kB a recording."""
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for inspection in inspections:
        header = inspection.header
        if header is not None:
            header = replace(header, channels=known.setdefault(header.channels, header.channels))
        yield replace(inspection, header=header)


def _cut(path: Path, recipe: Recipe, header: Header) -> tuple[dict[str, npt.NDArray], int, int]:
    """Return a recording's windows, its trials, and the trials too near an end of it."""
    length = recipe.n_times
    offset = recipe.span.first_sample(recipe.sfreq)
    if recipe.anchor == "recording":
        assert recipe.stride is not None
        stride = max(1, round(recipe.stride * recipe.sfreq))
        grid = np.arange(offset, header.n_times - length + 1, stride, dtype=np.int64)
        whole = header.holds(grid, length)
        starts = grid[whole]
        unknown = {
            name: np.full(len(starts), value, object if isinstance(value, str) else np.asarray(value).dtype)
            for name, value in NO_TRIAL.items()
        }
        return {"start_sample": starts, **unknown}, 0, int((~whole).sum())
    trials = trial_columns(read_events(path), recipe.events)
    onset = trials[_ANCHOR_COLUMN[recipe.anchor]]
    asked = np.logical_and.reduce([~pd.isna(trials[name]) for name in recipe.require] + [~np.isnan(onset)])
    # MNE rounds onsets to samples with np.round; so does the start kit through it.
    starts = np.round(onset[asked] * header.sfreq).astype(np.int64) + offset
    fits = header.holds(starts, length)
    labels = {name: trials[name][asked][fits] for name in NO_TRIAL}
    return {"start_sample": starts[fits], **labels}, len(onset), int((~fits).sum())


def _why_none(recipe: Recipe, header: Header, trials: int, dropped: int) -> str:
    if recipe.anchor == "recording":
        return f"shorter than a window ({header.duration:g} s)"
    if not trials:
        return "no trials in events.tsv"
    too_near = f" ({dropped} too near an end of the recording)" if dropped else ""
    return f"none of {trials} trials has a window{too_near}"


def _usual_channels(inspections: tuple[Inspection, ...]) -> tuple[str, ...]:
    counts = Counter(i.header.channels for i in inspections if i.header is not None and i.n_windows)
    return max(counts, key=lambda names: (counts[names], names)) if counts else ()


def _with_channels(inspection: Inspection, channels: tuple[str, ...], *, chosen: bool) -> Inspection:
    header = inspection.header
    if header is None or inspection.reason:
        return inspection
    if header.channels != channels and not chosen:
        return _skipped(inspection, _channel_difference(header.channels, channels))
    try:
        header.check(channels)
    except RecordingError as error:
        return _skipped(inspection, str(error))
    return inspection


def _without_ambiguous(source: Source, inspection: Inspection) -> Inspection:
    if inspection.recording.subject not in source.ambiguous or inspection.reason:
        return inspection
    return _skipped(inspection, "participants.tsv has different rows for this subject")


def _skipped(inspection: Inspection, reason: str) -> Inspection:
    return replace(inspection, windows={}, n_windows=0, trials=0, dropped=0, reason=reason)


def _channel_difference(got: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    if set(got) == set(wanted):
        return f"the {len(wanted)} channels are in another order"
    if len(got) != len(wanted):
        return f"has {len(got)} EEG channels, the others {len(wanted)}"
    return f"has other channels: {', '.join([name for name in got if name not in wanted][:3])} …"
