"""What one recording and the files beside it say, before any recipe asks: all that its windows are made from.

A lake of whole recordings keeps it (`eegzarr.build.whole.kept`), so that other windows can be cut without the source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from eegzarr.bids.beside import read_sidecars
from eegzarr.bids.buckets import at_hand, is_url
from eegzarr.bids.recordings import Recording
from eegzarr.bids.sidecars import Sidecars
from eegzarr.bids.tsv import Table, parse_tsv
from eegzarr.errors import RecordingError
from eegzarr.recipes.events import VALUE_COLUMNS, event_values, numbers, value_column
from eegzarr.recipes.montage import AS_THEY_ARE, Naming
from eegzarr.recordings.edf_times import annotations_in
from eegzarr.recordings.header import Annotation, Header
from eegzarr.recordings.reader import read_header
from eegzarr.recordings.surroundings import look_around

# What MNE takes for a bad time, a pause or a join wherever it stands; mne-bids writes and reads these as events.
_MARK = re.compile(r"bad|edge[ _]boundary$", re.IGNORECASE)
_MAY_MARK = re.compile(rb"bad|edge", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a dataset says about a recording, as far as it is kept.

    Attributes
    ----------
    files : tuple of str
        Every file that is opened to read it.
    bad_channels : tuple of str
        Those that channels.tsv says are bad.
    reference, line_frequency, software_filters, recording_type : str
        Of eeg.json, "" where it doesn't say.
    """

    files: tuple[str, ...] = ()
    bad_channels: tuple[str, ...] = ()
    reference: str = ""
    line_frequency: str = ""
    software_filters: str = ""
    recording_type: str = ""

    @classmethod
    def of(cls, files: tuple[str, ...], sidecars: Sidecars) -> Facts:
        """Return what is kept of the sidecars of a recording."""

        def text(key: str) -> str:
            value = sidecars.eeg.get(key)
            if value is None or value in ("n/a", ""):
                return ""
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

        return cls(
            files=files,
            bad_channels=sidecars.bad_channels,
            reference=text("EEGReference"),
            line_frequency=text("PowerLineFrequency"),
            software_filters=text("SoftwareFilters"),
            recording_type=text("RecordingType"),
        )


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What one recording says about itself, and what the files beside it say.

    Attributes
    ----------
    header : Header, optional
        None where it can't be read.
    events : bytes, optional
        Content of events.tsv; None where there is none, or where it can't be read, with `why_no_events`.
    facts : Facts
    notes : tuple of str
        What was assumed of it.
    fingerprint : str
        Changes when the recording, or what lies beside it and applies, changes.
    reason : str
        Why it can't be read, or "".
    why_no_annotations : str
        Why its file's annotations can't be read, or "".
    """

    recording: Recording
    header: Header | None = None
    events: bytes | None = None
    facts: Facts = Facts()
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    reason: str = ""
    why_no_events: str = ""
    why_no_annotations: str = ""

    def header_for(self, *, events: bool, named: Collection[str] = ()) -> Header:
        """Return the header that windows are decided by, with the bad times and joins that events.tsv marks.

        Parameters
        ----------
        events : bool
            Whether the file's annotations are the events.
        named : collection of str
            Event values that a recipe is about: whatever they are called, they mark nothing.

        Raises
        ------
        RecordingError
            If it can't be read.
        """
        if self.header is None or self.reason:
            raise RecordingError(self.reason)
        if events and self.why_no_annotations:
            raise RecordingError(self.why_no_annotations)
        return self.header.marked(self._marks(named))

    def _marks(self, named: Collection[str]) -> tuple[Annotation, ...]:
        """Return what events.tsv marks as bad times, pauses and joins, as `mne_bids.read_raw_bids` takes it."""
        if self.recording.given is not None or self.events is None or not _MAY_MARK.search(self.events):
            return ()
        try:
            events = self.event_table()
        except RecordingError:  # said by those who ask for events
            return ()
        if events is None or "onset" not in events or not names_values(events):
            return ()
        values = event_values(events[value_column(events.columns)]).tolist()
        onset = numbers(events["onset"]).tolist()
        lasting = numbers(events["duration"]) if "duration" in events else np.zeros(len(values))
        return tuple(
            Annotation(onset=begin, duration=max(0.0, seconds), text=text)
            for begin, seconds, text in zip(onset, np.nan_to_num(lasting).tolist(), values, strict=True)
            if _MARK.match(text) and text not in named and np.isfinite(begin)
        )

    def event_table(self) -> Table | None:
        """Return the table of events.tsv, None where there is none.

        Raises
        ------
        RecordingError
            If it can't be read.
        """
        if self.why_no_events:
            raise RecordingError(f"events.tsv {self.why_no_events}")
        if self.events is None:
            return None
        try:
            return parse_tsv(self.events)
        except RecordingError as error:
            raise RecordingError(f"events.tsv {error}") from error


def names_values(events: Table) -> bool:
    """Return whether a table of events has a column that says what they are."""
    return any(name in events for name in VALUE_COLUMNS)


def _tells_events(seen: Observed) -> bool:
    """Return whether events.tsv says what the events are, or that it can't be read: then annotations aren't asked."""
    try:
        events = seen.event_table()
    except RecordingError:
        return True
    return events is not None and names_values(events)


def _as_table(recording: Recording, events: bytes | RecordingError | None) -> bytes | None:
    """Return the content of events.tsv; of a hypnogram, which is an EDF+ file, what it would be.

    Raises
    ------
    RecordingError
        If it can't be read.
    """
    if isinstance(events, RecordingError):
        raise events
    if events is None or recording.given is not None or not recording.events.lower().endswith(".edf"):
        return events
    rows = [f"{one.onset!r}\t{one.duration!r}\t{' '.join(one.text.split())}" for one in annotations_in(events)]
    return "\n".join(["onset\tduration\tvalue", *rows, ""]).encode()


def observe(root: str, recording: Recording, *, annotations: bool, naming: Naming = AS_THEY_ARE) -> Observed:
    """Read what a recording and the files beside it say; no signal.

    Parameters
    ----------
    annotations : bool
        Whether the file's own annotations are wanted as events, where no other file has any. In EDF+ files
        they lie all over the file. They also hold bad times, so that they are read from a disk in any case; from a
        bucket, the whole file would have to be fetched for them.
    naming : Naming
        What a recipe calls the channels, and what it says they are.
    """
    seen = Observed(recording=recording, notes=recording.notes, reason=recording.reason)
    if recording.reason:
        return seen
    try:
        surroundings = look_around(root, recording)
        seen = replace(seen, fingerprint=surroundings.fingerprint)
        sidecars = read_sidecars(surroundings)
        seen = replace(seen, facts=Facts.of(surroundings.files, sidecars), notes=sidecars.notes)
        try:
            seen = replace(seen, events=_as_table(recording, surroundings.events))
        except RecordingError as error:
            seen = replace(seen, why_no_events=str(error))
        why = "they lie all over it, in a bucket"
        asks_file = annotations and not _tells_events(seen)
        with at_hand(root, surroundings.files, header_only=not asks_file) as path:
            header = read_header(path, sidecars, naming=naming)
            if header.annotations is None and (asks_file or not is_url(root)):
                try:
                    header = read_header(path, sidecars, annotations=True, naming=naming)
                except RecordingError as error:
                    why = str(error)
        if header.annotations is None:
            seen = replace(seen, why_no_annotations=why if asks_file else "")
            header = replace(header, notes=(*header.notes, f"bad times by its annotations aren't known: {why}"))
        facts = replace(seen.facts, bad_channels=header.bads)
        notes = tuple(dict.fromkeys((*seen.notes, *header.notes)))
        return replace(seen, header=header, facts=facts, notes=notes)
    except RecordingError as error:
        return replace(seen, reason=str(error))
