"""What a build made, and what it would make: values for people and for the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from eegzarr.recipes.classes import classes_of, names_of
from eegzarr.recipes.recipe import recipe_from_json
from eegzarr.store.engine import stored_type
from eegzarr.store.group import left_out_counts, read_tables, unreadable_windows
from eegzarr.store.reading.damage import damage_named

if TYPE_CHECKING:
    from eegzarr.build.foreseen.lines import Explanation

RELABEL = "write labels again"


@dataclass(frozen=True, kw_only=True)
class BuildSummary:
    """What a build made.

    Attributes
    ----------
    reasons : Counter
        Recordings by the reason why they gave no windows, or not all that they should.
    dropped : int
        Trials without a window because it would leave the recording, or has no place in it.
    left_out : Counter
        Trials that aren't what the recipe wants, by the reason.
    noun : {"trial", "event", "window"}
        What is left out.
    classes : dict of str to dict of str to int
        Windows of each class, by the label of the target; "" for those without one.
    notes : tuple of str
        What of the source's tables was renamed, assumed or couldn't be read.
    nbytes, decoded_nbytes : int
        Size of the shards, and of the signals in them before compression.
    peak_memory, memory_limit : int
        Bytes of the whole process tree, as proportional set size.
    already : bool
        The group was complete before.
    relabelled : bool
        It was complete except for its labels; only these were written again.
    smallest_step : float
        uV: the step that would hold the windows that int16 didn't; 0 where it held all.
    others : tuple of BuildSummary
        Of the further groups that were built, one for each other montage.
    """

    group: str
    windows: int
    invalid: int
    subjects: int
    recordings: int
    built: int
    dropped: int
    reasons: Counter[str]
    nbytes: int
    decoded_nbytes: int
    left_out: Counter[str] = field(default_factory=Counter)
    noun: str = "trial"
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    peak_memory: int = 0
    memory_limit: int = 0
    already: bool = False
    relabelled: bool = False
    smallest_step: float = 0.0
    others: tuple[BuildSummary, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a build would make, and what it would take.

    Attributes
    ----------
    reasons : Counter
        Recordings by the reason why they would give no windows, or not all that they should; as of `BuildSummary`.
    skipped : tuple of (str, str)
        Path and reason of each that would give none.
    left_out, notes
        As of `BuildSummary`.
    decoded_nbytes : int
        Of the signals before compression: EEG takes about 1.1 times less as float32 on the disk.
    projected_memory, memory_limit : int
        Bytes of the whole process tree.
    finished : int
        Shards that an earlier run has written.
    explanation : Explanation, optional
        The events' values, the classes of the target, and an example of each reason.
    step : str
        What would be done: begin, resume, write labels again, tidy up, nothing, overwrite.
    others : tuple of Forecast
        Of the further groups that would be built, one for each other montage.
    """

    group: str
    windows: int
    subjects: int
    recordings: int
    built: int
    dropped: int
    reasons: Counter[str]
    skipped: tuple[tuple[str, str], ...]
    decoded_nbytes: int
    shards: int
    finished: int
    workers: int
    projected_memory: int
    memory_limit: int
    left_out: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()
    explanation: Explanation | None = None
    step: str = "begin"
    others: tuple[Forecast, ...] = ()

    @property
    def only_labels(self) -> bool:
        """Whether signals stay as they are, and labels alone would be written."""
        return self.step == RELABEL


def summarize(lake: str, group: str, *, but: Collection[str] = ()) -> BuildSummary:
    """Summarize a complete group from what is stored of it.

    Parameters
    ----------
    but : collection of str
        Recordings that need no look, since they are in other groups.
    """
    with damage_named(f"{lake}/{group}", but=()):
        labels, recordings, shards = read_tables(lake, group)
        told = zip(recordings["path"].to_numpy().tolist(), recordings["reason"].to_numpy().tolist(), strict=True)
        reasons = Counter(str(reason) for path, reason in told if reason and path not in but)
        eeg = labels["eeg"]
        return BuildSummary(
            group=group,
            windows=labels.sizes["window"],
            invalid=unreadable_windows(labels),
            subjects=len(set(labels["subject"].to_numpy().tolist())),
            recordings=recordings.sizes["recording"],
            built=int((recordings["windows"].to_numpy() > 0).sum()),
            dropped=int(recordings["dropped"].to_numpy().sum()),
            reasons=reasons,
            left_out=left_out_counts(recordings),
            noun=recipe_from_json(str(labels.attrs["recipe"])).noun,
            classes=class_counts(labels),
            notes=tuple(map(str, labels.attrs.get("notes", ()))),
            nbytes=int(shards["nbytes"].to_numpy().sum()),
            smallest_step=float(labels.attrs.get("smallest_step_uV", 0.0)),
            decoded_nbytes=int(np.prod(eeg.shape)) * stored_type(eeg.variable).itemsize,
        )


def class_counts(labels: xr.Dataset) -> dict[str, dict[str, int]]:
    """Count the windows of each class, for each target of a group that has classes."""
    counts = {}
    for name, label in labels.coords.items():
        if str(name).startswith("target") and (classes := classes_of(label.attrs)) is not None:
            found = Counter(names_of(label.to_numpy(), classes).tolist())
            counts[str(name)] = {kind: found[kind] for kind in (*classes.values(), "") if kind or found[kind]}
    return counts
