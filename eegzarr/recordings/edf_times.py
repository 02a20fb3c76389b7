"""When the records of an EDF+ or BDF+ file were recorded, and what was annotated: its annotation signals.

Each record begins with a time-stamped annotation list (TAL) that has an onset and no text: the record's own
time. See https://www.edfplus.info/specs/edfplus.html, section 2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecordingError
from eegzarr.recordings.edf import EdfFile, annotation_records
from eegzarr.recordings.header import SAME_RATE, Annotation

_ROUNDED = 0.75  # of a sample, by which a record's time may be off
_TAL = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?|))?\x14([^\x00]*)\x14\x00")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Times of a file, in s from its first sample.

    Attributes
    ----------
    onsets : array of float, shape (record,)
        NaN for records without one.
    annotations : tuple of Annotation
    """

    onsets: npt.NDArray[np.float64]
    annotations: tuple[Annotation, ...]


def read_timing(edf: EdfFile) -> Timing:
    """Read all annotation signals of a file."""
    onsets = np.full(edf.n_records, np.nan)
    found: list[tuple[float, float, str]] = []
    for record, content in enumerate(edf.annotation_bytes()):
        # A list may lack its last zero byte where it fills the record.
        for onset, duration, texts in _TAL.findall(content + b"\0"):
            for text in texts.split(b"\x14"):
                if text:
                    found.append((float(onset), float(duration or 0), _text(text)))
                elif np.isnan(onsets[record]):
                    onsets[record] = float(onset)
    began = onsets[0] if len(onsets) and not np.isnan(onsets[0]) else 0.0
    shifted = tuple(
        Annotation(onset=onset - began, duration=duration, text=text)
        for onset, duration, text in _without_channels(found, edf.names)
    )
    return Timing(onsets=onsets - began, annotations=shifted)


def annotations_in(content: bytes) -> tuple[Annotation, ...]:
    """Return the annotations of an EDF+ file, as of a hypnogram, that may hold no other signal.

    Raises
    ------
    RecordingError
        If it isn't such a file.
    """
    found: list[tuple[float, float, str]] = []
    try:
        for record in annotation_records(content):
            for onset, duration, texts in _TAL.findall(record + b"\0"):
                found += [(float(onset), float(duration or 0), _text(text)) for text in texts.split(b"\x14") if text]
    except ValueError as error:
        raise RecordingError(f"is no EDF+ file: {error}") from error
    return tuple(Annotation(onset=onset, duration=duration, text=text) for onset, duration, text in found)


def _text(content: bytes) -> str:
    """Return an annotation's text, which should be UTF-8; programs also write Latin-1."""
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        return content.decode("latin-1").strip()


def _without_channels(
    found: list[tuple[float, float, str]], names: tuple[str, ...]
) -> Iterator[tuple[float, float, str]]:
    """Take the channel off texts as ``spike@@Fz``, and give what several channels have once."""
    given = set()
    for onset, duration, text in found:
        plain, _, channel = text.partition("@@")
        if channel in names:
            if (onset, duration, plain) in given:
                continue
            given.add((onset, duration, plain))
            text = plain
        yield onset, duration, text


def stretches_of(edf: EdfFile, timing: Timing, sfreq: float) -> tuple[tuple[int, int], ...]:
    """Return first sample and end of each run of records that follow each other without a gap.

    Raises
    ------
    RecordingError
        If the records' times can't be: one is missing, or lies in another record.
    """
    if np.isnan(timing.onsets).any():
        lacking = int(np.isnan(timing.onsets).sum())
        raise RecordingError(f"is interrupted (EDF+D), and {lacking} of its {edf.n_records} records lack their time")
    width = round(edf.seconds * sfreq)
    # Half a sample of rounding isn't a gap.
    if (np.diff(timing.onsets) - edf.seconds < -_ROUNDED / sfreq).any():
        raise RecordingError("is interrupted (EDF+D), and the times of its records go backwards")
    firsts = _after_gaps(timing.onsets.tolist(), edf.seconds, sfreq)
    stretches: list[tuple[int, int]] = []
    after = 0
    for first, end in pairwise((*firsts, edf.n_records)):
        begin = round(timing.onsets[first] * sfreq)
        if after - begin > 1 + SAME_RATE * after:  # each a little early, which adds up
            raise RecordingError("is interrupted (EDF+D), and the times of its records go backwards")
        if stretches and begin <= after:  # late by no sample
            begin = stretches.pop()[0]
        else:
            after = begin
        after += (end - first) * width
        stretches.append((begin, after))
    return tuple(stretches)


def _after_gaps(onsets: list[float], seconds: float, sfreq: float) -> list[int]:
    """Return the records that don't begin where the one before them ends, the first one too.

    What is too little for a gap at each record may add up to one. But clocks differ: records that are late by no more
    than two rates may differ that are the same have none between them.
    """
    firsts: list[int] = []
    before = -np.inf
    for record, onset in enumerate(onsets):
        if firsts:
            elapsed = (record - firsts[-1]) * seconds
            off = abs(onset - onsets[firsts[-1]] - elapsed)
            if abs(onset - before - seconds) <= _ROUNDED / sfreq and off <= _ROUNDED / sfreq + SAME_RATE * elapsed:
                before = onset
                continue
        firsts.append(record)
        before = onset
    return firsts


def check_uninterrupted(edf: EdfFile, why: str) -> None:
    """Refuse a file with gaps between its records that MNE should read, which takes them for none.

    Parameters
    ----------
    edf : EdfFile
    why : str
        Why it isn't read here.

    Raises
    ------
    RecordingError
    """
    if not edf.interrupted or not edf.seconds:
        return
    if not edf.annotations:
        raise RecordingError("is interrupted (EDF+D) without annotations that tell when its records were")
    fastest = float(edf.width.max() / edf.seconds)
    if len(stretches_of(edf, read_timing(edf), fastest)) > 1:
        raise RecordingError(f"is interrupted (EDF+D), and {why}: the time of each sample is unknown")


def in_file(starts: npt.NDArray[np.int64], stretches: tuple[tuple[int, int], ...]) -> npt.NDArray[np.int64]:
    """Return where samples lie in a file that has its stretches one after the other.

    Parameters
    ----------
    starts : array of int
        Samples in recorded time, each in one of the stretches.
    """
    begins = np.array([begin for begin, _ in stretches])
    lengths = np.array([stop - begin for begin, stop in stretches])
    stored = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    which = np.searchsorted(begins, starts, side="right") - 1
    return starts - begins[which] + stored[which]
