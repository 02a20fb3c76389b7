"""What a dataset has: its recordings with their BIDS entities, and who took part.

See https://bids-specification.readthedocs.io, "Electroencephalography", for the layout.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from eegzarr.bids import layouts
from eegzarr.bids.buckets import is_url, list_files, read_bytes
from eegzarr.bids.entities import SESSIONS
from eegzarr.bids.participants import read_people, read_sessions
from eegzarr.bids.recordings import FORMATS, OTHER_MODALITIES, Recording, find_recordings
from eegzarr.errors import RecordingError, SourceError
from eegzarr.names import safe_name
from eegzarr.suggest import did_you_mean

DESCRIPTION = "dataset_description.json"


@dataclass(frozen=True)
class Source:
    """A BIDS dataset: its root folder (absolute) or URL, its recordings, and who took part.

    Attributes
    ----------
    name : str
        ``R1`` and so on for an HBN release, else the folder's name: the group it goes under.
    participants : DataFrame
        Of participants.tsv, one row per subject (without ``sub-``); texts, "" where missing.
    why_missing : mapping of str to str
        Subjects whose row there can't be used, with the reason.
    sessions : DataFrame
        Of sessions.tsv, one row per subject and session; texts, "" where missing.
    sessions_from : str
        Where these are from, if the dataset isn't BIDS.
    description : mapping of str to str
        ``Name``, ``License`` and ``DatasetDOI`` of dataset_description.json, those that it has.
    notes : tuple of str
        What of the tables couldn't be read, or was assumed.
    windows : str
        Table that gives the windows instead of events, "" for none.
    montage : str
        Name of the montage, if only recordings of one are meant.
    """

    root: str
    name: str
    recordings: tuple[Recording, ...]
    participants: pd.DataFrame
    why_missing: Mapping[str, str] = field(default_factory=dict)
    sessions: pd.DataFrame = field(default_factory=pd.DataFrame)
    sessions_from: str = SESSIONS
    description: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    windows: str = ""
    montage: str = ""


def find_source(root: str | Path, tasks: tuple[str, ...] = (), runs: tuple[str, ...] = ()) -> Source:
    """Find the recordings of a BIDS dataset, or of one with a layout of `eegzarr.bids.layouts`.

    Parameters
    ----------
    root : path or URL
        Folder with the dataset's ``sub-*`` folders.
    tasks : tuple of str
        Tasks to keep; empty for all.
    runs : tuple of str
        Runs to keep; empty for all.

    Raises
    ------
    SourceError
        If the folder is missing, empty, no BIDS dataset, or has no recording of the tasks.
    """
    root = os.path.expanduser(os.fspath(root))
    if not is_url(root):
        _check_folder(Path(root))
        root = os.path.abspath(root)
    files = list_files(root)
    is_bids = any(path.startswith("sub-") for path in files)
    found = find_recordings(files) if is_bids else layouts.find_recordings(files)
    kept = _of_runs(root, _of_tasks(root, files, found, tasks), runs)
    there = frozenset(files)
    people = read_people(root, there)
    sessions, notes = read_sessions(root, there, kept)
    if not is_bids:
        sessions = layouts.folder_labels(kept)
    folder = root.rstrip("/").rpartition("/")[2] if is_url(root) else Path(root).resolve().name
    description, told = _read_description(root) if DESCRIPTION in there else ({}, [])
    return Source(
        root=root,
        name=_release_name(people.table) or safe_name(folder),
        recordings=kept,
        participants=people.table,
        why_missing=people.why_missing,
        sessions=sessions,
        sessions_from=SESSIONS if is_bids else "the folders",
        description=description,
        notes=(*people.notes, *notes, *told),
    )


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
    if not any(entry.name.startswith("sub-") and entry.is_dir() for entry in entries) and not layouts.is_known(root):
        raise SourceError(
            f"source {root} isn't a BIDS dataset: it has no sub-* folder. Besides BIDS the layouts of "
            f"{layouts.KNOWN} are read"
        )


def _of_tasks(
    root: str, files: Sequence[str], found: tuple[Recording, ...], tasks: tuple[str, ...]
) -> tuple[Recording, ...]:
    """Return the recordings of the tasks, and those whose name doesn't say which task they are of."""
    usable = [recording for recording in found if not recording.reason]
    if not usable:
        if not files and is_url(root):
            raise SourceError(f"source {root} isn't a BIDS dataset, or doesn't exist: nothing lies below sub-* there")
        raise SourceError(
            f"source {root} has no EEG recording (*_eeg{', *_eeg'.join(FORMATS)}) in its sub-*/eeg folders"
            f"{_what_instead(files, found)}"
        )
    if tasks and not any(recording.task in tasks for recording in usable):
        there = ", ".join(sorted({recording.task for recording in usable}))
        hint = did_you_mean(tasks[0], {recording.task for recording in usable})
        raise SourceError(f"source {root} has no recording of the task {' or '.join(tasks)}; it has {there}.{hint}")
    return tuple(recording for recording in found if is_of_tasks(recording, tasks))


def is_of_tasks(recording: Recording, tasks: Sequence[str]) -> bool:
    """Return whether a recording is of one of the tasks, or might be: where it can't be read, its name may not tell."""
    return not tasks or recording.task in tasks or bool(recording.reason and not recording.task)


def is_of_runs(recording: Recording, runs: Sequence[str]) -> bool:
    """Return whether a recording is one of the runs: 4 is 04, and the other way round."""
    own = recording.run
    return not runs or (bool(own) and (own.lstrip("0") or "0") in {run.lstrip("0") or "0" for run in runs})


def _of_runs(root: str, found: tuple[Recording, ...], runs: tuple[str, ...]) -> tuple[Recording, ...]:
    """Return the recordings of the runs."""
    kept = tuple(recording for recording in found if is_of_runs(recording, runs))
    if runs and not kept:
        there = ", ".join(sorted({recording.run for recording in found if recording.run})) or "none with a run"
        raise SourceError(f"source {root} has no recording of the run {' or '.join(runs)}; it has {there}")
    return kept


def _what_instead(files: Sequence[str], found: tuple[Recording, ...]) -> str:
    """Return what a dataset without EEG recordings has, for the message."""
    if found:
        reasons = Counter(recording.reason for recording in found).most_common(3)
        return f": {found[0].path}: {'; '.join(f'{reason} ({count})' for reason, count in reasons)}"
    folders = Counter(part for path in files for part in path.split("/")[:-1] if part in OTHER_MODALITIES)
    return f": it has {' and '.join(sorted(folders))} recordings, which aren't read" if folders else ""


def _read_description(root: str) -> tuple[dict[str, str], list[str]]:
    try:
        fields: Any = json.loads(read_bytes(root, DESCRIPTION).decode("utf-8-sig"))
        if not isinstance(fields, dict):
            raise ValueError("no JSON object")
    except (RecordingError, ValueError) as error:
        return {}, [f"{DESCRIPTION} can't be read: {error}"]
    wanted = ("Name", "License", "DatasetDOI")
    return {key: str(fields[key]) for key in wanted if isinstance(fields.get(key), str) and fields[key]}, []


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
