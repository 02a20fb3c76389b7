"""Labels of subjects and sessions: columns of participants.tsv and sessions.tsv under names that a lake can have.

Names and types are decided here, before a byte is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.bids.dataset import Source
from eegzarr.bids.participants import typed_column, unread_note
from eegzarr.bids.recordings import Recording
from eegzarr.build.target import target_names
from eegzarr.names import label_names, renamed
from eegzarr.recipes.recipe import Recipe
from eegzarr.recipes.windows import event_columns, kept_column
from eegzarr.store.layout import NUMERIC_PARTICIPANTS, TAKEN

_OWN = (*NUMERIC_PARTICIPANTS, "sex")  # labels of a subject that every lake has


def why_no_labels(source: Source, subject: str) -> str:
    """Return why a recording's windows have no labels of their subject, "" where they have."""
    if subject in source.participants.index:
        return ""
    return "no row in participants.tsv" if len(source.participants.columns) else "no participants.tsv"


@dataclass(frozen=True)
class SubjectLabels:
    """What is known of the subject and the session of each recording.

    Attributes
    ----------
    columns : mapping of str to array, shape (recording,)
        By the label's name: float32 or float64 with NaN where missing, or texts with "".
    files : mapping of str to str
        File that a label comes from.
    given : mapping of str to str
        Label that each column of participants.tsv, sessions.tsv or events.tsv became, for those that were renamed.
    notes : tuple of str
        What was renamed, assumed or couldn't be read.
    """

    columns: Mapping[str, npt.NDArray] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def window_names(recipe: Recipe) -> dict[str, str]:
    """Return the label that each column of a recipe's window table becomes, by the recipe alone."""
    taken = {*TAKEN, *_OWN, *target_names(recipe).values(), "start_sample"}
    own = label_names(event_columns(recipe), taken, "event")
    kept = label_names(recipe.events.keep, {*taken, *own.values()}, "event")
    return own | {kept_column(name): label for name, label in kept.items()}


def names_in_events(recipe: Recipe) -> dict[str, str]:
    """Return the label that each column has in the recipe and in events.tsv; the recipe's own, where both have one."""
    names = window_names(recipe)
    kept = {name: names[kept_column(name)] for name in recipe.events.keep}
    return kept | {name: names[name] for name in event_columns(recipe)}


def window_labels(windows: Mapping[str, npt.NDArray], recipe: Recipe) -> dict[str, npt.NDArray]:
    """Return the columns of window tables that are joined, under the names and with the types of labels.

    Columns of events.tsv become numbers where every value of them is one, as those of participants.tsv do.
    """
    names = window_names(recipe)
    kept = set(map(kept_column, recipe.events.keep))
    labels = {}
    for column, values in windows.items():
        if column in kept and values.dtype == object:
            values = typed_column(values.tolist()).values
        labels[names.get(column, column)] = values
    return labels


def subject_labels(source: Source, recordings: Sequence[Recording], recipe: Recipe) -> SubjectLabels:
    """Return the labels that each recording has by its subject and its session, beside those of its windows."""
    ours = names_in_events(recipe)
    taken = frozenset((*window_names(recipe).values(), *target_names(recipe).values()))
    people, sessions = source.participants, source.sessions
    subjects = [recording.subject for recording in recordings]
    names = participant_names(list(map(str, people.columns)), taken)
    rows = people.reindex(subjects).fillna("")
    columns, notes = _typed(rows, names, "participants.tsv", people)
    for name in NUMERIC_PARTICIPANTS:
        columns.setdefault(name, np.full(len(subjects), np.nan, np.float32))
    columns.setdefault("sex", np.full(len(subjects), "", object))
    files = dict.fromkeys(columns, "participants.tsv")

    session_names = label_names(map(str, sessions.columns), {*TAKEN, *taken, *columns}, "session")
    keys = pd.MultiIndex.from_tuples([(one.subject, one.session) for one in recordings], names=["subject", "session"])
    own = sessions.reindex(keys).fillna("") if len(sessions.columns) else pd.DataFrame(index=keys)
    more, told = _typed(own, session_names, source.sessions_from, sessions)
    changed = [
        f"{file}: {text}"
        for file, text in (("participants.tsv", renamed(names)), (source.sessions_from, renamed(session_names)))
        if text
    ]
    return SubjectLabels(
        columns={**columns, **more},
        files={**files, **dict.fromkeys(more, source.sessions_from)},
        given={old: new for old, new in (ours | session_names | names).items() if old != new},
        notes=(*changed, *notes, *told),
    )


def participant_names(columns: Sequence[str], taken: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the label that each column of participants.tsv becomes.

    ``Age`` is the label ``age`` where there is no column of that name, and so on for those that every lake has.
    `taken` are other labels that the recipe's windows have.
    """
    exact = {name for name in columns if name in _OWN}
    by_case = {name.casefold(): name for name in columns if name not in exact}
    spelled = {by_case[own.casefold()]: own for own in _OWN if own not in exact and own.casefold() in by_case}
    others = [name for name in columns if name not in exact and name not in spelled]
    names = label_names(others, {*TAKEN, *_OWN, *taken}, "participant")
    return {name: name if name in exact else spelled.get(name) or names[name] for name in columns}


def _typed(
    rows: pd.DataFrame, names: Mapping[str, str], file: str, whole: pd.DataFrame
) -> tuple[dict[str, npt.NDArray], list[str]]:
    """Give columns their types, by all values of the file; return them for each recording, and what to report."""
    columns, notes = {}, []
    for column, name in names.items():
        texts = whole[column].tolist()
        typed = typed_column(texts, is_number=name in NUMERIC_PARTICIPANTS)
        notes += [f"{file}: {column} {note}" for note in typed.notes]
        if unread := unread_note(column, typed):
            notes.append(f"{file}: {unread}")
        of_text = dict(zip(texts, typed.values, strict=True))
        missing = "" if typed.values.dtype == object else np.nan
        wanted = [of_text.get(text, missing) for text in rows[column].tolist()]
        columns[name] = np.array(wanted, typed.values.dtype)
    return columns, notes
