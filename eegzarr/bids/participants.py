"""Who took part: participants.tsv and sessions.tsv, and what their texts mean as labels.

A label is a number if every value of its column is one, exactly as written; else it stays text. In a column of
numbers, anything else counts as missing, and is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.bids.buckets import read_bytes, read_many
from eegzarr.bids.recordings import Recording
from eegzarr.bids.tsv import MISSING, Table, parse_tsv, unquoted
from eegzarr.errors import RecordingError, SourceError

PARTICIPANTS = "participants.tsv"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)  # or a decimal comma: only its author knows
_CODE = re.compile(r"[+-]?0\d+", re.ASCII)
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", re.ASCII)
_AT_LEAST = re.compile(r"(\d+(?:\.\d+)?)\+", re.ASCII)  # BIDS's 89+, which hides who is older
_LARGEST = float(np.finfo(np.float32).max)
_EXACT = 2**53  # whole numbers up to which float64 has each


@dataclass(frozen=True)
class People:
    """The rows of participants.tsv.

    Attributes
    ----------
    table : DataFrame
        One row per subject (without ``sub-``), texts unchanged, "" where missing.
    why_missing : dict of str to str
        Subjects whose row can't be used, with the reason.
    notes : tuple of str
        What was assumed or left out.
    """

    table: pd.DataFrame
    why_missing: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_people(root: str, files: Collection[str]) -> People:
    """Read a dataset's participants.tsv; without one, windows have no labels of their subjects.

    Raises
    ------
    SourceError
        If it can't be read, or has no ``participant_id``.
    """
    if PARTICIPANTS not in files:
        return People(pd.DataFrame(index=pd.Index([], name="subject")))
    try:
        return people_of(parse_tsv(read_bytes(root, PARTICIPANTS)))
    except RecordingError as error:
        raise SourceError(f"{root}/{PARTICIPANTS} {error}") from error


def people_of(table: Table) -> People:
    """Return the participants that a table names.

    A subject with several different rows gets no labels, since none of them can be trusted.

    Raises
    ------
    RecordingError
        If there is no ``participant_id``.
    """
    if "participant_id" not in table:
        raise RecordingError(f"has no column participant_id; it has {', '.join(table.columns)}")
    frame = pd.DataFrame(dict(table.columns), dtype=object)
    frame["subject"] = frame.pop("participant_id").map(_subject)
    # Rows that differ in blanks or in how they write what is missing say the same.
    frame = frame.apply(lambda column: column.str.strip()).replace(list(MISSING), "")
    frame = frame.drop_duplicates().set_index("subject")
    twice = frame.index.duplicated(keep=False)
    why_missing = dict.fromkeys(frame.index[twice], "participants.tsv has different rows for this subject")
    for name, why in table.left_out.values():
        why_missing[_subject(name)] = f"participants.tsv can't be read for this subject: {why}"
    notes = [f"{PARTICIPANTS} {note}" for note in table.notes]
    notes += [f"{PARTICIPANTS} {why}: left out" for _, why in table.left_out.values()]
    return People(frame[~frame.index.duplicated()], why_missing, tuple(notes))


def _subject(text: str) -> str:
    text = unquoted(text)
    return text[4:] if text.lower().startswith("sub-") else text


def read_sessions(root: str, files: Collection[str], recordings: Iterable[Recording]) -> tuple[pd.DataFrame, list[str]]:
    """Read the sessions.tsv of all subjects: one row per subject and session, texts, and what couldn't be read."""
    subjects = sorted({one.subject for one in recordings if one.session})
    paths = {f"sub-{subject}/sub-{subject}_sessions.tsv": subject for subject in subjects}
    there = [path for path in paths if path in files]
    parts, notes = [], []
    for path, content in read_many(root, there).items():
        try:
            if isinstance(content, RecordingError):
                raise content
            table = parse_tsv(content)
            if "session_id" not in table:
                raise RecordingError("has no column session_id")
        except RecordingError as error:
            notes.append(f"{path} {error}")
            continue
        frame = pd.DataFrame(dict(table.columns), dtype=object)
        frame["session"] = frame.pop("session_id").str.strip().str.removeprefix("ses-")
        parts.append(frame.assign(subject=paths[path]))
    if not parts:
        return pd.DataFrame(index=pd.MultiIndex.from_arrays([[], []], names=["subject", "session"])), notes
    sessions = pd.concat(parts, ignore_index=True).fillna("").drop_duplicates(["subject", "session"])
    return sessions.set_index(["subject", "session"]).replace(list(MISSING), ""), notes


@dataclass(frozen=True)
class TypedColumn:
    """A column of texts with its type.

    Attributes
    ----------
    values : array
        float32 or float64 with NaN where missing, or object (texts, "" where missing).
    unread : Counter of str
        Values that a column of numbers can't have; they are missing now.
    notes : tuple of str
        What was assumed.
    """

    values: npt.NDArray
    unread: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()


def typed_column(texts: Sequence[str], *, is_number: bool = False) -> TypedColumn:
    """Give a column its type.

    Numbers are float32 where that has every one of them as written, else float64. What only looks like a number
    stays text: codes with leading zeros, dates without dashes, whole numbers beyond 2^53. Decimal commas are
    read where they can't separate thousands, and BIDS's ``89+`` as 89.

    Parameters
    ----------
    texts : sequence of str
        "" where missing.
    is_number : bool
        The column is a number, whatever it holds: float32, and what can't be read is missing and counted.
    """
    cleaned = [unquoted(text) for text in texts]
    there = [text for text in cleaned if text not in MISSING]
    numbers, notes = _meant(there)
    unread = Counter(text for text in there if text not in numbers)
    if not is_number and (not there or unread or not _are_quantities(there)):
        values = np.array(["" if text in MISSING else text for text in texts], object)
        return TypedColumn(values, notes=_why_text(there, unread))
    values = np.array([numbers.get(text, np.nan) for text in cleaned], np.float64)
    if is_number or all(_fits_float32(text, numbers[text]) for text in set(there)):
        values = values.astype(np.float32)
    return TypedColumn(values, unread, tuple(notes))


def _meant(texts: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """Return the number that each distinct text means, for those that mean one, and what was assumed."""
    different = dict.fromkeys(texts)
    commas = [text for text in different if _DECIMAL_COMMA.fullmatch(text)]
    ambiguous = bool(commas) and all(_THOUSANDS.fullmatch(text) for text in commas)
    counts = Counter(texts)
    numbers, at_least = {}, 0
    for text in different:
        if _NUMBER.fullmatch(text):
            if abs(float(text)) <= _LARGEST:
                numbers[text] = float(text)
        elif text in commas and not ambiguous:
            numbers[text] = float(text.replace(",", "."))
        elif match := _AT_LEAST.fullmatch(text):
            numbers[text] = float(match[1])
            at_least += counts[text]
    notes = []
    if commas and not ambiguous:
        notes.append(f"has {_values(sum(counts[text] for text in commas))} with a decimal comma: read as numbers")
    if at_least:
        some = next(text for text in different if _AT_LEAST.fullmatch(text))
        notes.append(f"has {_values(at_least)} such as {some}: read without the +")
    return numbers, notes


def _values(count: int) -> str:
    return f"{count} value{'' if count == 1 else 's'}"


def _are_quantities(texts: Sequence[str]) -> bool:
    """Return whether numbers are more than codes, dates or names made of digits."""
    different = set(texts)
    if any(_CODE.fullmatch(text) for text in different) or all(_DATE.fullmatch(text) for text in different):
        return False
    return all(abs(int(text)) <= _EXACT for text in different if text.lstrip("+-").isdigit())


def _fits_float32(text: str, number: float) -> bool:
    """Return whether float32 has a number with all the digits that it is written with."""
    if text.lstrip("+-").isdigit():
        return float(np.float32(number)) == number
    digits = len(re.sub(r"[eE].*|\D", "", text).lstrip("0"))
    return digits <= 7 or float(np.float32(number)) == number


def _why_text(there: Sequence[str], unread: Counter[str]) -> tuple[str, ...]:
    """Return why a column of numbers is text, where only few of its values, or its commas, make it so."""
    if unread and all(_THOUSANDS.fullmatch(text) for text in unread):
        return (f"is text, since its commas may be decimal or separate thousands ({_some(unread)})",)
    if unread and 2 * sum(unread.values()) < len(there):
        return (f"is text, since {sum(unread.values())} of {len(there)} values are no numbers ({_some(unread)})",)
    return ()


def _some(values: Counter[str]) -> str:
    return ", ".join(repr(value) for value, _ in values.most_common(3)) + (", …" if len(values) > 3 else "")


def unread_note(column: str, typed: TypedColumn) -> str:
    """Return the line that says which values of a column couldn't be read, "" where all were."""
    if not typed.unread:
        return ""
    count = sum(typed.unread.values())
    return f"{_values(count)} of {column} couldn't be read as numbers ({_some(typed.unread)})"
