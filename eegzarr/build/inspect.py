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
from eegzarr.build.observe import Facts, Observed, observe
from eegzarr.build.whole.kept import Kept
from eegzarr.errors import RecordingError
from eegzarr.recipes.recipe import Recipe
from eegzarr.recipes.trials import NO_ONSET, find_trials, is_given, values_found
from eegzarr.recordings.header import Header
from eegzarr.recordings.mixing import check_mixing
from eegzarr.recordings.preparation import check_preparation
from eegzarr.recordings.types import listed
from eegzarr.store.layout import TILE_SAMPLES

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
        Trials that began: those with a window, `dropped` and `left_out`.
    dropped : int
        Trials that gave no window because it would leave the recording, cross a gap or a join, or overlap a bad
        time, or because they have no onset. Where windows follow each other: those windows.
    left_out : Counter of str
        Trials that aren't what the recipe wants, by the reason.
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
    facts: Facts = field(default_factory=Facts)
    notes: tuple[str, ...] = ()
    reason: str = ""
    fingerprint: str = ""
    kept: Kept | None = None


@dataclass(frozen=True)
class Batch:
    """Inspections that travel together: of a list Dask sends each for itself, with channel names of its own."""

    inspections: tuple[Inspection, ...]


def inspect_batch(root: str, recordings: Sequence[Recording], recipe: Recipe) -> Batch:
    """Inspect some recordings; called in a worker process."""
    return Batch(tuple(with_shared_channels(inspect(root, recording, recipe) for recording in recordings)))


def with_shared_channels(inspections: Iterable[Inspection]) -> Iterator[Inspection]:
    """Yield inspections whose headers have one tuple of channel names between them: 7 kB a recording."""
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for inspection in inspections:
        header = inspection.header
        if header is not None:
            header = replace(header, channels=known.setdefault(header.channels, header.channels))
        yield replace(inspection, header=header)


def inspect(root: str, recording: Recording, recipe: Recipe) -> Inspection:
    """Find the windows of one recording from its header and its events; read no signal."""
    # Of an EDF+ file the annotations lie all over it: they are read where nothing else tells the events.
    observed = observe(root, recording, annotations=recipe.anchor != "recording" or recipe.whole, naming=recipe.naming)
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
        header = observed.header_for(events=recipe.anchor != "recording")
        seen = replace(seen, header=header)
        _check_header(header, recipe)
        seen = replace(seen, notes=(*seen.notes, *_told_of_missing(header, recipe)))
        return _cut(seen, observed, recipe, header.at(recipe.sfreq))
    except RecordingError as error:
        return replace(seen, reason=str(error))


def _check_header(header: Header, recipe: Recipe) -> None:
    check_preparation(header, recipe.preparation, recipe.sfreq)
    check_mixing(header, recipe.preparation, recipe.channels, recipe.missing)
    header.check(recipe.channels, missing=recipe.missing)


def _told_of_missing(header: Header, recipe: Recipe) -> tuple[str, ...]:
    lacking = header.lacking(recipe.channels)
    what = "interpolated" if recipe.missing == "interpolate" else "NaN"
    return (f"lacks {listed([*lacking])}: {what}",) if lacking else ()


def _cut(seen: Inspection, observed: Observed, recipe: Recipe, header: Header) -> Inspection:
    """Return what is seen of a recording with its windows, its trials, and those that have none."""
    if recipe.anchor == "recording":
        return _tiled(seen, recipe, header)
    events = observed.event_table()
    if events is None:
        events = _annotations(header)
    trials = find_trials(events.columns, recipe.events, header.duration)
    notes = (*seen.notes, *_told_of(events), *trials.notes)
    onset = trials.columns[_ANCHOR_COLUMN[recipe.anchor]]
    asked = ~np.isnan(onset)
    left_out = Counter(trials.lost)
    dropped = left_out.pop(NO_ONSET, 0)
    for name in (_ANCHOR_COLUMN[recipe.anchor], *recipe.require):
        has_it = is_given(trials.columns[name])
        left_out[f"has no {name}"] += int((asked & ~has_it).sum()) if name != _ANCHOR_COLUMN[recipe.anchor] else 0
        asked &= has_it
    left_out[f"has no {_ANCHOR_COLUMN[recipe.anchor]}"] += int(np.isnan(onset).sum())
    # MNE rounds onsets to samples with np.round; so does the start kit through it.
    starts = np.round(onset[asked] * header.sfreq).astype(np.int64) + recipe.span.first_sample(recipe.sfreq)
    fits = header.holds(starts, recipe.n_times)
    dropped += int((~fits).sum())
    cut = replace(
        seen,
        windows={"start_sample": starts[fits], **{name: trials.columns[name][asked][fits] for name in NO_TRIAL}},
        n_windows=int(fits.sum()),
        trials=len(trials) + sum(trials.lost.values()),
        dropped=dropped,
        left_out=+left_out,
        notes=notes,
    )
    return cut if cut.n_windows else replace(cut, reason=_why_none(cut, events, trials.lost[NO_ONSET]))


def _tiled(seen: Inspection, recipe: Recipe, header: Header) -> Inspection:
    """Return what is seen of a recording with windows that follow each other."""
    if recipe.whole:
        return _in_tiles(seen, recipe, header)
    assert recipe.stride is not None
    stride = max(1, round(recipe.stride * recipe.sfreq))
    first = recipe.span.first_sample(recipe.sfreq)
    grid = np.arange(first, header.n_times - recipe.n_times + 1, stride, dtype=np.int64)
    whole = header.holds(grid, recipe.n_times)
    starts, dropped = grid[whole], int((~whole).sum())
    if not len(starts):
        why = f"shorter than a window ({header.duration:g} s)"
        if dropped:
            why = f"none of {dropped} windows lies in one stretch that isn't marked bad"
        return replace(seen, dropped=dropped, reason=why)
    windows = {"start_sample": starts, **_no_trials(len(starts))}
    return replace(seen, windows=windows, n_windows=len(starts), dropped=dropped)


def _in_tiles(seen: Inspection, recipe: Recipe, header: Header) -> Inspection:
    """Return what is seen of a recording with tiles that hold all of it, gaps and bad times too."""
    length = recipe.n_times
    starts = np.arange(0, header.n_times, length, dtype=np.int64)
    recorded = np.zeros(len(starts), np.int32)
    for first, stop in header.spans:
        recorded += np.clip(np.minimum(starts + length, stop) - np.maximum(starts, first), 0, None).astype(np.int32)
    windows: dict[str, npt.NDArray] = {"start_sample": starts, TILE_SAMPLES: recorded, **_no_trials(len(starts))}
    return replace(seen, windows=windows, n_windows=len(starts))


def _no_trials(count: int) -> dict[str, npt.NDArray]:
    return {
        name: np.full(count, value, object if isinstance(value, str) else np.asarray(value).dtype)
        for name, value in NO_TRIAL.items()
    }


def event_columns(observed: Observed) -> Table:
    """Return a recording's events: the table of events.tsv, without one its own annotations.

    Raises
    ------
    RecordingError
        If it has none, or they can't be read.
    """
    events = observed.event_table()
    return _annotations(observed.header_for(events=True)) if events is None else events


def _annotations(header: Header) -> Table:
    """Return a recording's own annotations as the table of its events.

    Raises
    ------
    RecordingError
        If it has none.
    """
    own = header.annotations
    if not own:
        raise RecordingError("no events.tsv, and no annotations of its own")
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


def _why_none(cut: Inspection, events: Table, without_onset: int) -> str:
    if not cut.trials:
        found = values_found(events.columns)
        return f"no trials in events.tsv: {found}" if found else "no trials in events.tsv"
    lost = [f"{count} {why}" for why, count in cut.left_out.most_common()]
    if without_onset:
        lost.append(f"{without_onset} without an onset")
    if near := cut.dropped - without_onset:
        lost.append(f"{near} too near an end, a gap, a join or a bad time of the recording")
    found = values_found(events.columns) if cut.left_out else ""
    return f"none of {cut.trials} trials has a window ({', '.join(lost)}{'; ' if found else ''}{found})"


def channel_difference(got: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    if set(got) == set(wanted):
        return f"the {len(wanted)} channels are in another order"
    if len(got) != len(wanted):
        return f"has {len(got)} EEG channels, the others {len(wanted)}"
    return f"has other channels: {', '.join([name for name in got if name not in wanted][:3])} …"
