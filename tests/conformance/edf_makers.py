"""Makers of EDF and BDF files: whole, changed, interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import edfio
import numpy as np

from conformance.case import CHANNELS, RATE, SECONDS, Expected, Make, Place, random_signal
from conformance.edf_bytes import Edf, on_the_clock

EVERY_SECOND = tuple(map(float, range(SECONDS)))


def edf_row(edf: Edf, suffix: str = "", says: Literal["mne", "truth"] = "mne") -> Make:
    """A file that holds what was written, and nothing more."""
    suffix = suffix or (".edf" if edf.nbytes == 2 else ".bdf")

    def make(place: Place) -> Expected:
        path = place.file(f"_eeg{suffix}")
        signal = edf.write(path, place.seed)
        return Expected(files=(path,), signal=signal if signal.size else None, says=says)

    return make


def by_mne_alone(edf: Edf) -> Make:
    """A file whose channels MNE brings to one rate."""

    def make(place: Place) -> Expected:
        path = place.file("_eeg.edf" if edf.nbytes == 2 else "_eeg.bdf")
        edf.write(path, place.seed)
        return Expected(files=(path,))

    return make


def edited(edf: Edf, edit: Callable[[bytes], bytes], holds: bool = False) -> Make:
    """A file whose bytes are changed after it was written; `holds`: as MNE reads it."""

    def make(place: Place) -> Expected | None:
        path = place.file("_eeg.edf" if edf.nbytes == 2 else "_eeg.bdf")
        edf.write(path, place.seed)
        path.write_bytes(edit(path.read_bytes()))
        return Expected(files=(path,)) if holds else None

    return make


def gaps(onsets: tuple[float, ...], nbytes: int, record_seconds: float = 1.0, events: bool = False) -> Make:
    """An interrupted recording: nothing lies between its stretches."""
    kind = "EDF+D" if nbytes == 2 else "BDF+D"
    edf = Edf(
        nbytes=nbytes, onsets=onsets, reserved=kind, record_seconds=record_seconds, seconds=record_seconds * len(onsets)
    )

    def make(place: Place) -> Expected:
        path = place.file("_eeg.edf" if nbytes == 2 else "_eeg.bdf", task="events" if events else "rest")
        signal = on_the_clock(edf.write(path, place.seed), onsets, record_seconds)
        has_gap = bool(np.isnan(signal).any())
        stimuli = None
        if events:
            times = np.arange(0.25, signal.shape[1] / RATE - 1, 1.5)
            rows = "".join(f"{time:g}\t0\tgo\n" for time in times)
            place.file("_events.tsv", task="events").write_text("onset\tduration\tvalue\n" + rows)
            inside = [np.isfinite(signal[:, round(t * RATE) : round(t * RATE) + RATE]).all() for t in times]
            stimuli = tuple(times[inside].tolist())
        return Expected(files=(path,), signal=signal, says="truth" if has_gap else "mne", onsets=stimuli)

    return make


def by_edfio(suffix: str, **options: object) -> Make:
    """A file that edfio writes, as most Python programs do."""

    def make(place: Place) -> Expected:
        path = place.file(f"_eeg{suffix}")
        kind, signal_kind = (edfio.Edf, edfio.EdfSignal) if suffix == ".edf" else (edfio.Bdf, edfio.BdfSignal)
        signal = random_signal(place.seed)
        rows = [
            signal_kind(row, RATE, label=name, physical_dimension="uV", physical_range=(-500, 500))
            for name, row in zip(CHANNELS, np.clip(signal, -499, 499), strict=True)
        ]
        kind(rows, **options).write(path)
        return Expected(files=(path,), signal=np.clip(signal, -499, 499), step=0.02)

    return make


def nul_label(edf: Edf) -> Make:
    """As some programs fill their texts; MNE keeps the NUL in the name."""
    fields = (replace(edf.fields[0], label=b"Fz".ljust(16, b"\0")), *edf.fields[1:])

    def make(place: Place) -> Expected:
        path = place.file("_eeg.edf" if edf.nbytes == 2 else "_eeg.bdf")
        edf_of_names = replace(edf, fields=fields)
        edf_of_names.write(path, place.seed)
        return Expected(files=(path,), signal=edf.write(place.root / f"{place.subject}.tmp", place.seed), says="truth")

    return make


def at(position: int, content: bytes) -> Callable[[bytes], bytes]:
    """What writes other bytes at a place of a file."""
    return lambda whole: whole[:position] + content + whole[position + len(content) :]


def settled(edf: Edf, unit: str) -> Make:
    """A file whose unit channels.tsv settles."""

    def make(place: Place) -> Expected:
        expected = edf_row(edf, says="truth")(place)
        table = "name\ttype\tunits\n" + "".join(f"{name}\tEEG\t{unit}\n" for name in CHANNELS)
        place.file("_channels.tsv").write_text(table)
        assert isinstance(expected, Expected)
        return expected

    return make


def format_of(nbytes: int) -> str:
    """The format that has samples of so many bytes."""
    return "EDF" if nbytes == 2 else "BDF"


def overlapping(nbytes: int, onsets: tuple[float, ...] = (0, 1, 2, 2.5, 3.5, 4.5)) -> Make:
    """Records that begin before the last one ended."""

    def make(place: Place) -> None:
        kind = "EDF+D" if nbytes == 2 else "BDF+D"
        edf = Edf(nbytes=nbytes, onsets=onsets, reserved=kind, seconds=len(onsets))
        edf.write(place.file("_eeg.edf" if nbytes == 2 else "_eeg.bdf"), place.seed)

    return make
