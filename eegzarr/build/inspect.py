"""What one recording offers to a recipe: its windows, and the trials that give none, each with the reason.

Found from its header, its events and what lies beside it; no signal is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from eegzarr.bids.recordings import Recording
from eegzarr.bids.tsv import Table
from eegzarr.build.observe import Facts, Observed, names_values, observe
from eegzarr.build.whole.kept import Kept
from eegzarr.errors import RecordingError
from eegzarr.recipes.recipe import Recipe
from eegzarr.recipes.rules import plain_value
from eegzarr.recipes.windows import no_trial, window_table
from eegzarr.recordings.header import Header
from eegzarr.recordings.mixing import check_mixing
from eegzarr.recordings.preparation import check_preparation
from eegzarr.recordings.types import listed
from eegzarr.store.layout import TILE_SAMPLES


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What one recording offers to a recipe.

    Attributes
    ----------
    windows : dict of str to array
        One item per window: the columns of `WindowTable`. Empty with a `reason`, and
        in a `Plan`, which has them in one table.
    n_windows : int
        Their number.
    trials : int
        Trials that began: those with a window, `dropped` and `left_out`.
    dropped : int
        Trials that gave no window because it would leave the recording, cross a gap or a join, or overlap a bad
        time, or because they have no onset. Where windows follow each other: those windows.
    left_out : Counter of str
        Trials that aren't what the recipe wants, by the reason.
    found : Counter of str
        How often each event value is in the recording, where windows are cut around events.
    facts : Facts
        What the dataset says about the recording.
    notes : tuple of str
        What was assumed of it.
    reason : str
        Why there are no windows, or "".
    fingerprint : str
        Changes when the recording, or what lies beside it and applies, changes.
    kept : Kept, optional
        What was observed of the recording, where its group keeps that.
    """

    recording: Recording
    header: Header | None = None
    windows: Mapping[str, npt.NDArray] = field(default_factory=dict)
    n_windows: int = 0
    trials: int = 0
    dropped: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    facts: Facts = field(default_factory=Facts)
    notes: tuple[str, ...] = ()
    reason: str = ""
    fingerprint: str = ""
    kept: Kept | None = None


@dataclass(frozen=True)
class Batch:
    """Inspections that travel together: Dask sends each item of a list by itself, with its own channel names."""

    inspections: tuple[Inspection, ...]


def inspect_batch(root: str, recordings: Sequence[Recording], recipe: Recipe) -> Batch:
    """Inspect some recordings; called in a worker process."""
    return Batch(tuple(with_shared_channels(inspect(root, recording, recipe) for recording in recordings)))


def with_shared_channels(inspections: Iterable[Inspection]) -> Iterator[Inspection]:
    """Yield inspections whose headers share one tuple of channel names: it takes 7 kB per recording."""
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for inspection in inspections:
        header = inspection.header
        if header is not None:
            header = replace(header, channels=known.setdefault(header.channels, header.channels))
        yield replace(inspection, header=header)


def inspect(root: str, recording: Recording, recipe: Recipe) -> Inspection:
    """Find the windows of one recording from its header and its events; read no signal."""
    observed = observe(root, recording, annotations=recipe.asks_events or recipe.whole, naming=recipe.naming)
    found = inspected(observed, recipe)
    return replace(found, kept=Kept.of(observed)) if recipe.whole else found


def inspected(observed: Observed, recipe: Recipe) -> Inspection:
    """Find the windows of a recording in what was observed of it."""
    seen = Inspection(
        recording=observed.recording,
        header=observed.header,
        facts=observed.facts,
        notes=observed.notes,
        fingerprint=observed.fingerprint,
    )
    try:
        header = observed.header_for(events=recipe.asks_events, named=_named_values(recipe))
        seen = replace(seen, header=header)
        if header.marks:
            told = f"events.tsv marks bad times or joins: {listed(sorted({mark.text for mark in header.marks}))}"
            seen = replace(seen, notes=(*seen.notes, told))
        _check_header(header, recipe)
        seen = replace(seen, notes=(*seen.notes, *_told_of_missing(header, recipe)))
        return _cut(seen, observed, recipe, header.at(recipe.sfreq))
    except RecordingError as error:
        return replace(seen, reason=_named(str(error), observed))


def _named_values(recipe: Recipe) -> frozenset[str]:
    """Return the event values that a recipe names."""
    rules = recipe.events
    of_trials = (*rules.trial_start, *rules.stimulus, *rules.response, *rules.end)
    of_labels = (value for label in recipe.labels for value in label.values)
    return frozenset((*rules.class_of, *of_labels, *map(plain_value, of_trials)))


def _named(reason: str, observed: Observed) -> str:
    """Return a reason with the name of what has the events."""
    recording = observed.recording
    own = "the table of windows" if recording.given is not None else recording.events.rpartition("/")[2]
    return reason.replace("events.tsv", own) if own and not own.endswith("events.tsv") else reason


def _check_header(header: Header, recipe: Recipe) -> None:
    check_preparation(header, recipe.preparation, recipe.sfreq)
    check_mixing(header, recipe.preparation, recipe.channels, recipe.missing)


def _told_of_missing(header: Header, recipe: Recipe) -> tuple[str, ...]:
    lacking = header.lacking(recipe.channels) if recipe.missing != "skip" else ()
    what = "interpolated" if recipe.missing == "interpolate" else "NaN"
    return (f"lacks {listed([*lacking])}: {what}",) if lacking else ()


def _cut(seen: Inspection, observed: Observed, recipe: Recipe, header: Header) -> Inspection:
    """Return what is seen of a recording with its windows, its trials, and those that have none."""
    if recipe.whole:
        return _in_tiles(seen, recipe, header)
    events = _events(observed, recipe, header) if recipe.asks_events else None
    table = window_table(None if events is None else events.columns, header.extent, recipe)
    told = [] if events is None else _told_of(events)
    return replace(
        seen,
        windows=table.columns,
        n_windows=len(table),
        trials=table.trials,
        dropped=table.dropped,
        left_out=table.left_out,
        found=table.found,
        notes=(*seen.notes, *told, *table.notes),
        reason=_named(table.reason, observed),
    )


def _events(observed: Observed, recipe: Recipe, header: Header) -> Table | None:
    """Return the events that a recipe is about: those of events.tsv if it has values, else the file's annotations."""
    events = observed.event_table()
    if events is not None and (recipe.events.column or names_values(events)):
        return events
    return _annotations(header) or events


def _in_tiles(seen: Inspection, recipe: Recipe, header: Header) -> Inspection:
    """Return what is seen of a recording with tiles that hold all of it, gaps and bad times too."""
    length = recipe.n_times
    starts = np.arange(0, header.n_times, length, dtype=np.int64)
    recorded = np.zeros(len(starts), np.int32)
    for first, stop in header.spans:
        recorded += np.clip(np.minimum(starts + length, stop) - np.maximum(starts, first), 0, None).astype(np.int32)
    windows: dict[str, npt.NDArray] = {"start_sample": starts, TILE_SAMPLES: recorded, **no_trial(len(starts))}
    return replace(seen, windows=windows, n_windows=len(starts))


def event_table(observed: Observed) -> Table:
    """Return a recording's events: the table of events.tsv, without one its own annotations.

    Raises
    ------
    RecordingError
        If it has none, or they can't be read.
    """
    events = observed.event_table()
    events = _annotations(observed.header_for(events=True)) if events is None else events
    if events is None:
        raise RecordingError("no events.tsv, and no annotations of its own")
    return events


def _annotations(header: Header) -> Table | None:
    """Return a recording's own annotations as the table of its events, None where it has none."""
    own = header.annotations
    if not own:
        return None
    columns = {
        "onset": [repr(float(annotation.onset)) for annotation in own],
        "duration": [repr(float(annotation.duration)) for annotation in own],
        "value": [annotation.text for annotation in own],
    }
    return Table(columns, range(len(own)), notes=(": there is none; its own annotations are its events",))


def _told_of(events: Table) -> list[str]:
    told = [f"events.tsv {note}".replace(" :", ":") for note in events.notes]
    if events.left_out:
        _, some = next(iter(events.left_out.values()))
        told.append(f"{len(events.left_out)} rows of events.tsv can't be read ({some}): left out")
    return told


def channel_difference(got: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    if set(got) == set(wanted):
        return f"the {len(wanted)} channels are in another order"
    if len(got) != len(wanted):
        return f"has {len(got)} EEG channels, the others {len(wanted)}"
    return f"has other channels: {', '.join([name for name in got if name not in wanted][:3])} …"
