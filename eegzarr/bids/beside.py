"""What the files beside a recording say, parsed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from eegzarr.bids.entities import CHANNELS, COORDINATES, EEG_JSON, ELECTRODES, SCANS
from eegzarr.bids.sidecars import ChannelRow, Sidecars
from eegzarr.bids.tsv import MISSING, Table, check_pointer, parse_tsv
from eegzarr.errors import RecordingError

_ROW_TEXTS = tuple(ChannelRow.__dataclass_fields__)
_SPREADSHEET = ("latin-1",)  # what programs wrote µV in before UTF-8


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The files of a recording and the contents of what applies to it.

    Attributes
    ----------
    files : tuple of str
        Every file that is opened to read the signal; the one to open comes first.
    events : bytes, optional
        Of events.tsv; None where there is none.
    contents : mapping of str to bytes or RecordingError
        Of the sidecars, by path.
    fingerprint : str
        Changes when any of these files does.
    notes : tuple of str
        What was assumed.
    """

    files: tuple[str, ...]
    events: bytes | RecordingError | None
    contents: Mapping[str, bytes | RecordingError]
    fingerprint: str
    notes: tuple[str, ...]


def read_sidecars(surroundings: Surroundings) -> Sidecars:
    """Return what the dataset says about a recording.

    Raises
    ------
    RecordingError
        If its channels.tsv can't be read: what its channels are wouldn't be known.
    """
    notes = list(surroundings.notes)
    merged: dict[str, object] = {}
    channels = electrodes = None
    system: dict[str, Any] = {}
    for path, content in surroundings.contents.items():
        name = path.rsplit("/", 1)[-1]
        try:
            if isinstance(content, RecordingError):
                raise content
            if name.endswith(CHANNELS):
                channels, told = _channels(content)
                notes += [f"channels.tsv {note}" for note in told]
            elif name.endswith(ELECTRODES):
                electrodes = _electrodes(content)
            elif name.endswith(COORDINATES):
                system = _json(content)
            elif name.endswith(EEG_JSON):
                merged |= _json(content)
            elif name.endswith(SCANS):
                notes += _scan(content, surroundings.files[0])
        except RecordingError as error:
            if name.endswith(CHANNELS):
                raise RecordingError(f"channels.tsv {error}") from error
            notes.append(f"{name} {error}")
    return Sidecars(
        channels=channels,
        electrodes=electrodes,
        coordinate_system=_text(system, "EEGCoordinateSystem"),
        coordinate_units=_text(system, "EEGCoordinateUnits"),
        anatomical_landmarks=_landmarks(system),
        eeg=merged,
        notes=tuple(notes),
    )


# Files that apply to many recordings are parsed once: they are known by their content.
@lru_cache(maxsize=64)
def _channels(content: bytes) -> tuple[tuple[ChannelRow, ...] | None, tuple[str, ...]]:
    table = parse_tsv(content, encodings=_SPREADSHEET)
    notes = (*table.notes, *(f"{why}: left out" for _, why in table.left_out.values()))
    table = _with_small_letters(table)
    if "name" not in table:
        return None, (*notes, "has no column name: left aside")
    names = [name for name in _ROW_TEXTS if name in table]
    columns = [[_known(text) for text in table[name]] for name in names]
    columns[names.index("name")] = [text.strip() for text in table["name"]]
    # A row that is there twice says nothing new; two that differ leave open what the channel is.
    rows = tuple(dict.fromkeys(ChannelRow(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)))
    twice = [name for name, count in Counter(row.name for row in rows).items() if count > 1]
    if twice:
        raise RecordingError(f"has different rows for the channel {twice[0]}")
    return rows, notes


def _with_small_letters(table: Table) -> Table:
    """Return a table with the names of its columns as BIDS writes them, where their case alone differs."""
    names = Counter(name.lower() for name in table.columns)
    small = {name if names[name.lower()] > 1 else name.lower(): column for name, column in table.columns.items()}
    return replace(table, columns=small)


@lru_cache(maxsize=64)
def _electrodes(content: bytes) -> tuple[tuple[str, float, float, float], ...]:
    table = _with_small_letters(parse_tsv(content, encodings=_SPREADSHEET))
    missing = [name for name in ("name", "x", "y", "z") if name not in table]
    if missing:
        raise RecordingError(f"has no column {', '.join(missing)}: left aside")
    numbers = [[_number(text) for text in table[axis]] for axis in "xyz"]
    return tuple((name.strip(), *at) for name, *at in zip(table["name"], *numbers, strict=True))


def _number(text: str) -> float:
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        return float("nan")


@lru_cache(maxsize=64)
def _json(content: bytes) -> dict[str, Any]:
    check_pointer(content)
    try:
        fields = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RecordingError(f"is not UTF-8: {error}") from error
    except ValueError as error:
        raise RecordingError(f"is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise RecordingError("is no JSON object")
    return fields


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key, "")
    return "" if value is None or value in MISSING else str(value)


def _landmarks(fields: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
    given = fields.get("AnatomicalLandmarkCoordinates")
    found: dict[str, tuple[float, float, float]] = {}
    for name, at in given.items() if isinstance(given, dict) else ():
        if isinstance(at, list) and len(at) == 3 and all(isinstance(value, (int, float)) for value in at):
            found[str(name)] = (float(at[0]), float(at[1]), float(at[2]))
    return found


def _known(text: str) -> str:
    text = text.strip()
    return "" if text in MISSING else text


def _scan(content: bytes, path: str) -> list[str]:
    """Return what scans.tsv says about a recording besides its name."""
    table = _scans(content)
    if "filename" not in table:
        return ["scans.tsv has no column filename: left aside"]
    name = path.rsplit("/", 1)[-1]
    for row, filename in enumerate(table["filename"]):
        if filename.replace("\\", "/").rsplit("/", 1)[-1] == name:
            said = {key: _known(values[row]) for key, values in table.columns.items() if key != "filename"}
            return [f"scans.tsv: {key} {value}" for key, value in said.items() if value]
    return []


@lru_cache(maxsize=8)
def _scans(content: bytes) -> Table:
    return parse_tsv(content, encodings=_SPREADSHEET)
