"""What was observed of recordings, as text: a lake of whole recordings keeps it, and gives it back as it was.

So windows of another recipe are decided by the same functions as in a build, from the same facts.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from eegzarr.bids.entities import SESSIONS
from eegzarr.bids.recordings import Recording
from eegzarr.build.observe import Facts, Observed
from eegzarr.errors import RecordingError
from eegzarr.recordings.header import Annotation, Header

if TYPE_CHECKING:
    from eegzarr.bids.dataset import Source

# Of a header: what windows and labels depend on, not how its file is read.
_PLAIN = ("sfreq", "n_times", "reference", "memory", "reader")
_TUPLES = ("channels", "others", "bads", "unusable", "stretches", "bad_times", "elsewhere", "notes")


@dataclass(frozen=True)
class Kept:
    """What was observed of a recording.

    Attributes
    ----------
    observed : str
        All but its events, as JSON.
    events : str
        Content of events.tsv; "" where there is none that can be read.
    """

    observed: str
    events: str

    @classmethod
    def of(cls, observed: Observed) -> Kept:
        """Keep what was observed."""
        events = ""
        try:
            if observed.event_table() is not None:
                assert observed.events is not None
                events = observed.events.decode()
        except RecordingError as error:
            observed = replace(observed, why_no_events=str(error).removeprefix("events.tsv "))
        fields = {
            "recording": asdict(observed.recording),
            "header": None if observed.header is None else _header_fields(observed.header),
            "facts": asdict(observed.facts),
            **{
                name: getattr(observed, name)
                for name in ("notes", "fingerprint", "reason", "why_no_events", "why_no_annotations")
            },
        }
        return cls(json.dumps(fields, ensure_ascii=False, separators=(",", ":")), events)

    def restored(self) -> Observed:
        """Return what was observed."""
        fields: dict[str, Any] = json.loads(self.observed)
        return Observed(
            recording=Recording(**_tupled(fields["recording"])),
            header=None if fields["header"] is None else _header_of(fields["header"]),
            events=self.events.encode() if self.events else None,
            facts=Facts(**_tupled(fields["facts"])),
            notes=tuple(fields["notes"]),
            fingerprint=fields["fingerprint"],
            reason=fields["reason"],
            why_no_events=fields["why_no_events"],
            why_no_annotations=fields["why_no_annotations"],
        )


def _header_fields(header: Header) -> dict[str, Any]:
    positions = header.positions
    return {
        **{name: getattr(header, name) for name in (*_PLAIN, *_TUPLES)},
        "annotations": _annotation_fields(header.annotations),
        "line_freq": None if np.isnan(header.line_freq) else header.line_freq,
        "positions": None if positions is None else base64.b64encode(positions.astype("<f4").tobytes()).decode(),
    }


def _header_of(fields: dict[str, Any]) -> Header:
    packed = fields["positions"]
    positions = None if packed is None else np.frombuffer(base64.b64decode(packed), "<f4").reshape(-1, 3)
    told: dict[str, Any] = {name: fields[name] for name in _PLAIN}
    told |= {name: tuple(tuple(v) if isinstance(v, list) else v for v in fields[name]) for name in _TUPLES}
    return Header(
        **told,
        annotations=_annotations_of(fields["annotations"]),
        line_freq=float("nan") if fields["line_freq"] is None else fields["line_freq"],
        positions=positions,
    )


def _annotation_fields(annotations: Sequence[Annotation] | None) -> list[list[object]] | None:
    return None if annotations is None else [[one.onset, one.duration, one.text] for one in annotations]


def _annotations_of(fields: list[list[Any]] | None) -> tuple[Annotation, ...] | None:
    if fields is None:
        return None
    return tuple(Annotation(onset=onset, duration=duration, text=text) for onset, duration, text in fields)


def _tupled(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def source_text(source: Source) -> str:
    """Return what a source says about everything but its recordings, as JSON."""
    people, sessions = source.participants, source.sessions
    return json.dumps(
        {
            "root": source.root,
            "name": source.name,
            "participants": {"subject": list(people.index), **{str(name): list(people[name]) for name in people}},
            **({} if source.sessions_from == SESSIONS else {"sessions_from": source.sessions_from}),
            "sessions": [list(map(str, sessions.columns)), *([*key, *row] for key, *row in sessions.itertuples())],
            "why_missing": dict(source.why_missing),
            "description": dict(source.description),
            "notes": source.notes,
        },
        ensure_ascii=False,
    )


def restored_source(text: str, recordings: tuple[Recording, ...]) -> Source:
    """Return the source whose text `source_text` is, with recordings of it."""
    import pandas as pd  # not in workers

    from eegzarr.bids.dataset import Source

    fields: dict[str, Any] = json.loads(text)
    people = dict(fields["participants"])
    subjects = pd.Index(people.pop("subject"), name="subject", dtype=object)
    columns, *rows = fields["sessions"]
    keys = pd.MultiIndex.from_tuples([tuple(row[:2]) for row in rows], names=["subject", "session"])
    if not rows:
        keys = pd.MultiIndex.from_arrays([[], []], names=["subject", "session"])
    return Source(
        root=fields["root"],
        name=fields["name"],
        recordings=recordings,
        participants=pd.DataFrame(people, index=subjects, dtype=object),
        why_missing=fields["why_missing"],
        sessions_from=fields.get("sessions_from", SESSIONS),
        sessions=pd.DataFrame([row[2:] for row in rows], index=keys, columns=columns, dtype=object),
        description=fields["description"],
        notes=tuple(fields["notes"]),
    )
