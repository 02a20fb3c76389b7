"""What a dataset has: its recordings with their BIDS entities, and the tables beside them.

See https://bids-specification.readthedocs.io, "Electroencephalography", for the layout.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eegzarr.bids.buckets import is_url, list_eeg, read_bytes
from eegzarr.errors import RecordingError, SourceError

# BrainVision and EEGLAB recordings have further files; the one named here is what MNE opens.
RECORDING_SUFFIXES = (".bdf", ".edf", ".set", ".vhdr", ".fif")
MISSING = ("n/a", "N/A", "NA", "nan", "NaN", "")
_ENTITY = re.compile(r"(sub|ses|task|acq|run)-([^_]+)")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One EEG file of a BIDS dataset, with its entities.

    `path` is relative to the root of its source, with forward slashes; `session` and `run`
    are "" where the file name has none.
    """

    path: str
    subject: str
    session: str
    task: str
    run: str


@dataclass(frozen=True)
class Source:
    """A BIDS dataset: its root folder (absolute) or URL, its recordings, and who took part.

    Attributes
    ----------
    name : str
        ``R1`` and so on for an HBN release, else the folder's name: the group it goes under.
    participants : DataFrame
        Of participants.tsv, one row a subject (without ``sub-``); texts, "" where missing.
    ambiguous : frozenset of str
        Subjects that have several different rows there, and so no labels to trust.
    """

    root: str
    name: str
    recordings: tuple[Recording, ...]
    participants: pd.DataFrame
    ambiguous: frozenset[str] = frozenset()


def find_source(root: str | Path, tasks: tuple[str, ...] = ()) -> Source:
    """Find the recordings of a BIDS dataset.

    Parameters
    ----------
    root : path or URL
        Folder with the dataset's ``sub-*`` folders.
    tasks : tuple of str
        Tasks to keep; empty for all.

    Raises
    ------
    SourceError
        If the folder is missing, empty, no BIDS dataset, or has no recording of the tasks.
    """
    root = os.fspath(root)
    if not is_url(root):
        _check_folder(Path(root))
        root = os.path.abspath(root)
    files = list_eeg(root)
    found = [parse_recording(path) for path in files if _is_recording(path)]
    if not found:
        if not files and is_url(root):
            raise SourceError(f"source {root} is no BIDS dataset, or doesn't exist: nothing lies below sub-* there")
        raise SourceError(
            f"source {root} has no EEG recording (*_eeg{', *_eeg'.join(RECORDING_SUFFIXES)}) in its sub-*/eeg folders"
        )
    kept = tuple(recording for recording in found if not tasks or recording.task in tasks)
    if not kept:
        there = ", ".join(sorted({recording.task for recording in found}))
        raise SourceError(f"source {root} has no recording of the task {' or '.join(tasks)}; it has {there}")
    table = read_participants(root)
    participants = table[~table.index.duplicated()]
    ambiguous = frozenset(table.index[table.index.duplicated()])
    folder = root.rstrip("/").rpartition("/")[2] if is_url(root) else Path(root).resolve().name
    return Source(root, _release_name(participants) or folder, kept, participants, ambiguous)


def _check_folder(root: Path) -> None:
    if not root.exists():
        raise SourceError(f"source {root} doesn't exist: give the folder with the sub-* folders of a BIDS dataset")
    if not root.is_dir():
        raise SourceError(f"source {root} is a file: give the folder with the sub-* folders of a BIDS dataset")
    try:
        entries = list(root.iterdir())
    except OSError as error:
        raise SourceError(f"source {root} can't be read: {error.strerror}") from error
    if not entries:
        raise SourceError(f"source {root} is empty: is the dataset still to be downloaded?")
    if not any(entry.name.startswith("sub-") and entry.is_dir() for entry in entries):
        raise SourceError(f"source {root} is no BIDS dataset: it has no sub-* folder")


def _is_recording(path: str) -> bool:
    return path.endswith(tuple(f"_eeg{suffix}" for suffix in RECORDING_SUFFIXES))


def parse_recording(path: str) -> Recording:
    """Read the BIDS entities from a recording's file name."""
    entities = dict(_ENTITY.findall(path.rsplit("/", 1)[-1]))
    return Recording(
        path=path,
        subject=entities.get("sub", ""),
        session=entities.get("ses", ""),
        task=entities.get("task", ""),
        run=entities.get("run", ""),
    )


def read_participants(root: str) -> pd.DataFrame:
    """Read a dataset's participants.tsv as texts, indexed by subject without ``sub-``.

    A missing file gives an empty table: the windows then have no labels of their subjects.
    A subject keeps several rows only where these differ.

    Raises
    ------
    SourceError
        If it can't be read, or has no ``participant_id``.
    """
    name = f"{root}/participants.tsv"
    try:
        content = read_bytes(root, "participants.tsv")
        if content is None:
            return pd.DataFrame(index=pd.Index([], name="subject"))
        table = _parse_tsv(content)
    except OSError as error:
        raise SourceError(f"{name} can't be read: {error.strerror or error}") from error
    except RecordingError as error:
        raise SourceError(f"{name} {error}") from error
    if "participant_id" not in table:
        raise SourceError(f"{name} has no column participant_id")
    table["subject"] = table.pop("participant_id").str.removeprefix("sub-")
    return table.drop_duplicates().set_index("subject").replace(list(MISSING), "")


def read_events(recording: Path) -> pd.DataFrame:
    """Read the events.tsv beside a recording, as texts.

    Raises
    ------
    RecordingError
        If there is none, or it can't be read.
    """
    path = recording.with_name(f"{recording.name.removesuffix(recording.suffix).removesuffix('_eeg')}_events.tsv")
    if not path.exists():
        raise RecordingError("no events.tsv")
    try:
        return _parse_tsv(path.read_bytes())
    except OSError as error:
        raise RecordingError(f"events.tsv can't be read: {error.strerror or error}") from error
    except RecordingError as error:
        raise RecordingError(f"events.tsv {error}") from error


def _parse_tsv(content: bytes) -> pd.DataFrame:
    # utf-8-sig takes the byte order mark that spreadsheet programs write.
    try:
        text = content.decode("utf-8-sig")
        return pd.read_csv(io.StringIO(text), sep="\t", dtype=str, keep_default_na=False)
    except UnicodeDecodeError as error:
        raise RecordingError(f"is not UTF-8: {error}") from error
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise RecordingError(f"is no table: {error}") from error


def _release_name(participants: pd.DataFrame) -> str:
    """Return the HBN release that all participants belong to, or ""."""
    numbers = set(participants.get("release_number", pd.Series(dtype=str)))
    name = numbers.pop() if len(numbers) == 1 else ""
    return name if re.fullmatch(r"R\d+|NC", name) else ""


def availability(participants: pd.DataFrame, recording: Recording) -> str:
    """Return HBN's flag for a recording's task and run: available, caution, unavailable or ""."""
    if recording.subject in participants.index:
        row = participants.loc[recording.subject]
        for column in (f"{recording.task}_{recording.run}", recording.task):
            if column in row:
                return str(row[column])
    return ""


def typed_participants(participants: pd.DataFrame, numeric: tuple[str, ...] = ()) -> pd.DataFrame:
    """Give each column of participants.tsv its type.

    Columns named in `numeric`, and those whose every value is a number, become float32 with
    NaN where missing; the others stay texts.
    """
    typed = {}
    for name in participants.columns:
        text = participants[name].astype(str)
        number = pd.to_numeric(text.where(text != ""), errors="coerce")
        all_numbers = bool((number.notna() | (text == "")).all()) and bool(number.notna().any())
        typed[str(name)] = number.astype(np.float32) if all_numbers or name in numeric else text.astype(object)
    return pd.DataFrame(typed, index=participants.index)
