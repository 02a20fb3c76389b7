"""EDF and BDF files written byte by byte, so that each field of a header can be what it likes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conformance.case import CHANNELS, SECONDS, Signal

_DIGITAL = {2: (-32768, 32767), 3: (-8388608, 8388607)}
_PHYSICAL = {2: ("-3276.8", "3276.7"), 3: ("-262144", "262143")}
_TAL_SAMPLES = 60


@dataclass(frozen=True, kw_only=True)
class Field:
    """A channel as its header describes it; "" for a range is that of the format."""

    label: str | bytes
    unit: str | bytes = "uV"
    microvolts: float = 1.0  # of one unit
    rate: float = 100
    pmin: str = ""
    pmax: str = ""
    dmin: str = ""
    dmax: str = ""


@dataclass(frozen=True, kw_only=True)
class Edf:
    """A file to be written.

    Attributes
    ----------
    onsets : tuple of float, optional
        s at which each record begins, for an annotation channel with time-keeping annotations.
    texts : tuple of (record, TAL)
        Further annotations, as bytes, in that record.
    """

    fields: tuple[Field, ...] = tuple(Field(label=name) for name in CHANNELS)
    nbytes: int = 2
    record_seconds: float = 1.0
    seconds: float = SECONDS
    onsets: tuple[float, ...] | None = None
    texts: tuple[tuple[int, bytes], ...] = ()
    annotations_first: bool = False
    reserved: str = ""
    n_records: str | None = None
    header_nbytes: str | None = None
    duration: str | None = None
    date: str = "01.02.20"
    version: bytes | None = None
    digital: str = "noise"

    @property
    def records(self) -> int:
        """Records that are written."""
        return round(self.seconds / self.record_seconds)

    def write(self, path: Path, seed: int = 0) -> Signal:
        """Write random samples; return those of the EEG channels in uV by the format's formula, in records' order."""
        random = np.random.default_rng(seed)
        digital = [self._samples(random, field) for field in self.fields]
        path.write_bytes(self._header() + self._records(digital))
        eeg = [i for i, field in enumerate(self.fields) if field.label in CHANNELS]
        if len({len(digital[i]) for i in eeg}) > 1 or not eeg:
            return np.empty((0, 0))
        return np.array([self._physical(self.fields[i], digital[i]) for i in eeg])

    def _samples(self, random: np.random.Generator, field: Field) -> npt.NDArray[np.int64]:
        length = self.records * round(field.rate * self.record_seconds)
        if self.digital == "noise":
            return random.integers(-1500, 1500, length)
        low, high = _DIGITAL[self.nbytes]
        return random.choice(np.array([low, high, 0, -1, 1, low + 1, high - 1]), length)

    def _range(self, field: Field) -> tuple[str, str, str, str]:
        (low, high), (pmin, pmax) = _DIGITAL[self.nbytes], _PHYSICAL[self.nbytes]
        return field.pmin or pmin, field.pmax or pmax, field.dmin or str(low), field.dmax or str(high)

    def _physical(self, field: Field, digital: npt.NDArray[np.int64]) -> Signal:
        try:
            pmin, pmax, dmin, dmax = (float(text.replace(",", ".")) for text in self._range(field))
        except ValueError:
            dmin = dmax = 0.0
        if dmin == dmax:
            return np.full(len(digital), np.nan)
        physical: Signal = pmin + (digital - dmin) * (pmax - pmin) / (dmax - dmin)
        return physical * field.microvolts

    def _all(self) -> tuple[Field, ...]:
        if self.onsets is None:
            return self.fields
        low, high = _DIGITAL[self.nbytes]
        rate = _TAL_SAMPLES / self.record_seconds
        name = "EDF Annotations" if self.nbytes == 2 else "BDF Annotations"
        tal = Field(label=name, unit="", rate=rate, pmin="-1", pmax="1", dmin=str(low), dmax=str(high))
        return (tal, *self.fields) if self.annotations_first else (*self.fields, tal)

    def _header(self) -> bytes:
        fields = self._all()
        version = self.version or (b"0" if self.nbytes == 2 else b"\xffBIOSEMI")
        fixed = [
            (version, 8),
            ("X X X X", 80),
            ("Startdate 01-FEB-2020 X X X", 80),
            (self.date, 8),
            ("10.00.00", 8),
            (self.header_nbytes or str(256 * (len(fields) + 1)), 8),
            (self.reserved, 44),
            (str(self.records) if self.n_records is None else self.n_records, 8),
            (f"{self.record_seconds:g}" if self.duration is None else self.duration, 8),
            (str(len(fields)), 4),
        ]
        ranges = [self._range(field) for field in fields]
        columns: list[tuple[list[str | bytes], int]] = [
            ([field.label for field in fields], 16),
            (["" for _ in fields], 80),
            ([field.unit for field in fields], 8),
            *(([own[i] for own in ranges], 8) for i in range(4)),
            (["" for _ in fields], 80),
            ([str(round(field.rate * self.record_seconds)) for field in fields], 8),
            (["" for _ in fields], 32),
        ]
        parts = [_padded(text, width) for text, width in fixed]
        parts += [_padded(text, width) for texts, width in columns for text in texts]
        return b"".join(parts)

    def _records(self, digital: list[npt.NDArray[np.int64]]) -> bytes:
        parts = []
        for record in range(self.records):
            own = []
            for field, samples in zip(self.fields, digital, strict=True):
                n = round(field.rate * self.record_seconds)
                own.append(self._bytes(samples[record * n : (record + 1) * n]))
            if self.onsets is not None:
                own.insert(0 if self.annotations_first else len(own), self._tal(record))
            parts += own
        return b"".join(parts)

    def _bytes(self, samples: npt.NDArray[np.int64]) -> bytes:
        whole = samples.astype("<i4").view(np.uint8).reshape(-1, 4)
        return whole[:, : self.nbytes].tobytes()

    def _tal(self, record: int) -> bytes:
        assert self.onsets is not None
        text = f"{self.onsets[record]:+g}\x14\x14\x00".encode()
        text += b"".join(own for row, own in self.texts if row == record)
        assert len(text) <= _TAL_SAMPLES * self.nbytes
        return text.ljust(_TAL_SAMPLES * self.nbytes, b"\0")


def tal(onset: float, text: bytes, duration: float = 0.0) -> bytes:
    """An annotation as EDF+ stores it."""
    return f"{onset:+g}\x15{duration:g}\x14".encode() + text + b"\x14\x00"


def with_units(unit: str | bytes, microvolts: float, pmin: str, pmax: str, nbytes: int = 2) -> Edf:
    """A file whose EEG channels have this unit, of so many microvolts, and this range in it."""
    fields = tuple(Field(label=name, unit=unit, microvolts=microvolts, pmin=pmin, pmax=pmax) for name in CHANNELS)
    return Edf(fields=fields, nbytes=nbytes)


def with_more(edf: Edf, *fields: Field, first: bool = False) -> Edf:
    """The file with further channels, behind or before the EEG channels."""
    return replace(edf, fields=(*fields, *edf.fields) if first else (*edf.fields, *fields))


def on_the_clock(signal: Signal, onsets: tuple[float, ...], record_seconds: float = 1.0, rate: int = 100) -> Signal:
    """Put each record where its time-keeping annotation says, NaN between them."""
    n = round(record_seconds * rate)
    begin = [round((onset - onsets[0]) * rate) for onset in onsets]
    placed = np.full((len(signal), max(begin) + n), np.nan)
    for record, first in enumerate(begin):
        placed[:, first : first + n] = signal[:, record * n : (record + 1) * n]
    return placed


def _padded(text: str | bytes, width: int) -> bytes:
    content = text.encode("latin-1") if isinstance(text, str) else text
    assert len(content) <= width, (text, width)
    return content.ljust(width)
