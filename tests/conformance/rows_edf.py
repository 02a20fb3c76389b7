"""EDF and BDF: headers, lengths, units, rates, gaps, annotations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import edfio
import numpy as np

from conformance.case import CHANNELS, RATE, SECONDS, Case, Expected, Make, Place, random_signal
from conformance.edf_bytes import Edf, Field, on_the_clock, tal, with_more, with_units

_EVERY_SECOND = tuple(map(float, range(SECONDS)))
_EXTRA = Field(label="EDF Annotations")


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


def _nul_label(edf: Edf) -> Make:
    """As some programs fill their texts; MNE keeps the NUL in the name."""
    fields = (replace(edf.fields[0], label=b"Fz".ljust(16, b"\0")), *edf.fields[1:])

    def make(place: Place) -> Expected:
        path = place.file("_eeg.edf" if edf.nbytes == 2 else "_eeg.bdf")
        edf_of_names = replace(edf, fields=fields)
        edf_of_names.write(path, place.seed)
        return Expected(files=(path,), signal=edf.write(place.root / f"{place.subject}.tmp", place.seed), says="truth")

    return make


def _at(position: int, content: bytes) -> Callable[[bytes], bytes]:
    return lambda whole: whole[:position] + content + whole[position + len(content) :]


def _first_of(name: str, width: int, channel: int = 0) -> int:
    """Where the field of a channel begins in the header of a file with four channels."""
    widths = {"label": 16, "transducer": 80, "unit": 8, "pmin": 8, "pmax": 8, "dmin": 8, "dmax": 8, "filter": 80}
    before = list(widths)[: list(widths).index(name)]
    return 256 + len(CHANNELS) * sum(widths[own] for own in before) + channel * width


def _unit_rows() -> list[Case]:
    volt = {"pmin": "-.003277", "pmax": ".003277"}
    milli = {"pmin": "-3.2768", "pmax": "3.2767"}
    nano = {"pmin": "-3276800", "pmax": "3276700"}
    micro = {"pmin": "-3276.8", "pmax": "3276.7"}
    known: list[tuple[str, str | bytes, float, dict[str, str]]] = [
        ("uV", "uV", 1, micro),
        ("uv", "uv", 1, micro),
        ("UV", "UV", 1, micro),
        ("µV in Latin-1", b"\xb5V", 1, micro),
        ("µV in UTF-8", "µV".encode(), 1, micro),
        ("Greek μV in UTF-8", "μV".encode(), 1, micro),
        ("mV", "mV", 1e3, milli),
        ("mv", "mv", 1e3, milli),
        ("nV", "nV", 1e-3, nano),
        ("V", "V", 1e6, volt),
    ]
    rows = []
    for name, text, microvolts, reach in known:
        for nbytes in (2, 3) if name in ("uv", "mV", "nV", "µV in UTF-8") else (2,):
            says: Literal["mne", "truth"] = "mne" if name in ("uV", "µV in Latin-1", "mV", "V") else "truth"
            edf = with_units(text, microvolts, **reach, nbytes=nbytes)
            rows.append(Case(format=_format(nbytes), name=f"unit {name}", make=edf_row(edf, says=says)))
    for name, text in [
        ("empty", ""),
        ("of another kind", "degC"),
        ("unknown", "blub"),
        ("of undecodable bytes", b"\xff\xfe\xfd"),
    ]:
        for nbytes in (2, 3) if name in ("empty", "unknown") else (2,):
            edf = with_units(text, 1, **micro, nbytes=nbytes)
            rows.append(
                Case(format=_format(nbytes), name=f"unit {name}", make=edf_row(edf), expect="unit|no EEG channel")
            )
            if name != "of another kind":
                rows.append(
                    Case(format=_format(nbytes), name=f"unit {name}, channels.tsv says uV", make=_settled(edf, "uV"))
                )
    nano_by_table = with_units("", 1e-3, **nano)
    rows.append(Case(format="EDF", name="unit empty, channels.tsv says nV", make=_settled(nano_by_table, "nV")))
    milli_by_table = with_units("blub", 1e3, **milli)
    rows.append(Case(format="EDF", name="unit unknown, channels.tsv says mV", make=_settled(milli_by_table, "mV")))
    return rows


def _settled(edf: Edf, unit: str) -> Make:
    def make(place: Place) -> Expected:
        expected = edf_row(edf, says="truth")(place)
        table = "name\ttype\tunits\n" + "".join(f"{name}\tEEG\t{unit}\n" for name in CHANNELS)
        place.file("_channels.tsv").write_text(table)
        assert isinstance(expected, Expected)
        return expected

    return make


def _format(nbytes: int) -> str:
    return "EDF" if nbytes == 2 else "BDF"


def _header_rows() -> list[Case]:
    rows = []
    for nbytes in (2, 3):
        kind, plain = _format(nbytes), Edf(nbytes=nbytes)
        rows += [
            Case(format=kind, name="plain", make=edf_row(plain)),
            Case(format=kind, name="extreme samples", make=edf_row(replace(plain, digital="extremes"))),
            Case(format=kind, name="n_records -1", make=edf_row(replace(plain, n_records="-1"))),
            Case(format=kind, name="n_records fewer than the file has", make=edf_row(replace(plain, n_records="3"))),
            Case(format=kind, name="n_records empty", make=edf_row(replace(plain, n_records="")), expect="unreadable"),
            Case(
                format=kind,
                name="n_records more than the file has",
                make=edf_row(replace(plain, n_records="20")),
                expect="equal or truncated",
            ),
            Case(
                format=kind,
                name="cut in half",
                make=edited(plain, lambda whole: whole[: len(whole) // 2], True),
                expect="equal or truncated",
            ),
            Case(
                format=kind,
                name="cut inside the last record",
                make=edited(plain, lambda whole: whole[:-7], True),
                expect="equal or truncated",
            ),
            Case(format=kind, name="bytes after the last record", make=edited(plain, lambda w: w + b"\1" * 100, True)),
            Case(
                format=kind,
                name="header only",
                make=edited(plain, lambda w: w[:1280]),
                expect="truncated|no samples|unreadable",
            ),
            Case(format=kind, name="100 bytes", make=edited(plain, lambda w: w[:100]), expect="unreadable"),
            Case(format=kind, name="0 bytes", make=edited(plain, lambda _: b""), expect="unreadable|empty|0 bytes"),
            Case(
                format=kind,
                name="NUL bytes all through",
                make=edited(plain, lambda w: b"\0" * len(w)),
                expect="unreadable",
            ),
            Case(
                format=kind,
                name="random bytes",
                make=edited(plain, lambda w: np.random.default_rng(0).bytes(len(w))),
                expect="unreadable",
            ),
            Case(format=kind, name="NUL after a label", make=_nul_label(plain), expect="equal or channels"),
            Case(format=kind, name="NUL after numbers", make=edited(plain, _at(236, b"8\0\0\0\0\0\0\0"), True)),
            Case(
                format=kind,
                name="header length too small",
                make=edf_row(replace(plain, header_nbytes="256"), says="truth"),
                expect="equal or unreadable|truncated|header",
            ),
            Case(format=kind, name="a web page", make=edited(plain, lambda _: _PAGE), expect="unreadable|HTML|page"),
            Case(
                format=kind,
                name="a Git LFS pointer",
                make=edited(plain, lambda _: _POINTER),
                expect="unreadable|LFS|pointer",
            ),
            Case(
                format=kind,
                name="record duration 0",
                make=edf_row(replace(plain, duration="0")),
                expect="equal or unreadable|duration|rate",
            ),
            Case(format=kind, name="date invalid", make=edf_row(replace(plain, date="99.99.99"))),
        ]
    ranged = tuple(Field(label=name, pmin="-500,5", pmax="500,5") for name in CHANNELS)
    swapped = tuple(Field(label=name, dmin="32767", dmax="-32768") for name in CHANNELS)
    turned = tuple(Field(label=name, pmin="3276.7", pmax="-3276.8") for name in CHANNELS)
    one = (*Edf().fields[:3], Field(label="Oz", pmin="5", pmax="5"))
    flat = (*Edf().fields[:3], Field(label="Oz", dmin="5", dmax="5"))
    words = (*Edf().fields[:3], Field(label="Oz", pmin="low", pmax="high"))
    rows += [
        Case(format="EDF", name="decimal commas", make=edf_row(Edf(fields=ranged))),
        Case(
            format="EDF",
            name="digital minimum above maximum",
            make=edf_row(Edf(fields=swapped), says="truth"),
            expect="equal or digital|range|unreadable",
        ),
        Case(format="EDF", name="physical minimum above maximum", make=edf_row(Edf(fields=turned), says="truth")),
        Case(
            format="EDF",
            name="physical minimum = maximum",
            make=edf_row(Edf(fields=one)),
            expect="physical|range|unreadable",
        ),
        Case(
            format="EDF",
            name="digital minimum = maximum",
            make=edf_row(Edf(fields=flat)),
            expect="digital|range|unreadable",
        ),
        Case(
            format="EDF", name="ranges that are no numbers", make=edf_row(Edf(fields=words)), expect="unreadable|number"
        ),
        Case(format="EDF", name="BDF content", make=edf_row(Edf(nbytes=3), ".edf"), expect="unreadable|BDF|truncated"),
        Case(format="BDF", name="EDF content", make=edf_row(Edf(), ".bdf"), expect="unreadable|EDF|truncated"),
        Case(format="EDF", name="suffix .EDF", make=edf_row(Edf(), ".EDF")),
        Case(format="BDF", name="suffix .BDF", make=edf_row(Edf(nbytes=3), ".BDF")),
        Case(format="EDF", name="suffix .Edf", make=edf_row(Edf(), ".Edf")),
        Case(format="EDF", name="written by edfio", make=by_edfio(".edf")),
        Case(format="BDF", name="written by edfio", make=by_edfio(".bdf")),
    ]
    return rows


def _rate_rows() -> list[Case]:
    rows = []
    for seconds, total in ((0.1, 8), (0.5, 8), (2, 8), (4, 8), (8, 8), (0.25, 8), (0.01, 2)):
        rows.append(
            Case(
                format="EDF",
                name=f"records of {seconds:g} s",
                make=edf_row(Edf(record_seconds=seconds, seconds=total)),
            )
        )
    plain = Edf()
    ecg, slow, trend = Field(label="ECG", rate=200), Field(label="Resp", rate=25), Field(label="Temp", rate=1)
    rows += [
        Case(format="BDF", name="records of 0.5 s", make=edf_row(Edf(nbytes=3, record_seconds=0.5))),
        Case(format="EDF", name="a slower channel", make=edf_row(with_more(plain, slow))),
        Case(format="BDF", name="a slower channel", make=edf_row(with_more(Edf(nbytes=3), slow))),
        Case(format="EDF", name="a slower channel first", make=edf_row(with_more(plain, slow, first=True))),
        Case(format="EDF", name="a channel of 1 Hz", make=edf_row(with_more(plain, trend))),
        Case(
            format="EDF",
            name="a faster ECG",
            make=edf_row(with_more(plain, ecg), says="truth"),
            expect="equal or sampled at 200 Hz",
        ),
        Case(
            format="EDF",
            name="EEG at 100 Hz, ECG at 200 Hz",
            group="fast",
            make=by_mne_alone(with_more(plain, ecg)),
            expect="equal or sampled at 100 Hz",
        ),
        Case(
            format="BDF",
            name="EEG at 100 Hz, ECG at 200 Hz",
            group="fast",
            make=by_mne_alone(with_more(Edf(nbytes=3), ecg)),
            expect="equal or sampled at 100 Hz",
        ),
        Case(
            format="EDF",
            name="EEG at 50 and 200 Hz",
            group="fast",
            make=by_mne_alone(
                Edf(fields=(Field(label="Fz", rate=50), *(Field(label=n, rate=200) for n in CHANNELS[1:])))
            ),
        ),
        Case(
            format="EDF",
            name="three rates",
            group="fast",
            make=by_mne_alone(with_more(Edf(fields=tuple(Field(label=n, rate=200) for n in CHANNELS)), slow, trend)),
        ),
        Case(
            format="EDF",
            name="EEG at 100 and 50 Hz",
            make=edf_row(Edf(fields=(*plain.fields[:3], Field(label="Oz", rate=50)))),
        ),
        Case(
            format="EDF",
            name="100.1 Hz",
            make=edf_row(replace(plain, duration="0.999")),
            expect="sampled at 100.1",
        ),
        Case(
            format="EDF",
            name="100.000001 Hz",
            make=edf_row(replace(plain, duration=".9999999")),
        ),
        Case(
            format="EDF",
            name="50 Hz",
            make=edf_row(Edf(fields=tuple(Field(label=n, rate=50) for n in CHANNELS))),
            expect="sampled at 50 Hz",
        ),
    ]
    return rows


def _plus_rows() -> list[Case]:
    rows = []
    for nbytes in (2, 3):
        kind = _format(nbytes)
        plus, cut = ("EDF+C", "EDF+D") if nbytes == 2 else ("BDF+C", "BDF+D")
        whole = Edf(nbytes=nbytes, onsets=_EVERY_SECOND, reserved=plus)
        latin = (tal(2.5, "Störung".encode("latin-1")),)
        rows += [
            Case(format=kind, name=plus, make=edf_row(whole)),
            Case(format=kind, name=f"{plus}, annotations first", make=edf_row(replace(whole, annotations_first=True))),
            Case(
                format=kind,
                name=f"{plus}, UTF-8 annotation",
                make=edf_row(replace(whole, texts=((2, tal(2.5, "Störung".encode())),))),
            ),
            Case(
                format=kind,
                name=f"{plus}, Latin-1 annotation",
                make=edf_row(replace(whole, texts=((2, latin[0]),)), says="truth"),
            ),
            Case(format=kind, name=f"{plus}, no annotation channel", make=edf_row(Edf(nbytes=nbytes, reserved=plus))),
            Case(
                format=kind,
                name=f"{plus}, begins at 0.25 s",
                make=edf_row(replace(whole, onsets=tuple(t + 0.25 for t in _EVERY_SECOND))),
            ),
            Case(format=kind, name=f"{cut} without a gap", make=gaps(_EVERY_SECOND, nbytes)),
            Case(format=kind, name=f"{cut} with a gap", make=gaps((0, 1, 2, 3, 10, 11, 12, 13), nbytes)),
            Case(format=kind, name=f"{cut} with a gap of 2.37 s", make=gaps((0, 1, 2, 5.37, 6.37, 7.37), nbytes)),
            Case(
                format=kind,
                name=f"{cut} with two gaps, records of 0.5 s",
                make=gaps((0, 0.5, 1, 1.5, 4, 4.5, 5, 9, 9.5, 10), nbytes, 0.5),
            ),
            Case(
                format=kind,
                name=f"{cut} with a gap that begins at 0.5 s",
                make=gaps((0.5, 1.5, 2.5, 9.5, 10.5), nbytes),
            ),
            Case(
                format=kind,
                name=f"{cut} with events in and around gaps",
                group="events",
                make=gaps((0, 1, 2, 3, 10, 11, 12, 13), nbytes, events=True),
            ),
            Case(
                format=kind,
                name=f"{cut} whose records overlap",
                make=_overlapping(nbytes),
                expect="time|record|order|overlap",
            ),
        ]
    rows.append(
        Case(
            format="EDF",
            name="EDF+D without annotations",
            make=edf_row(Edf(reserved="EDF+D")),
            expect="equal or annotation|time-keeping|EDF\\+D",
        )
    )
    return rows


def _overlapping(nbytes: int) -> Make:
    def make(place: Place) -> None:
        kind = "EDF+D" if nbytes == 2 else "BDF+D"
        edf = Edf(nbytes=nbytes, onsets=(0, 1, 2, 2.5, 3.5, 4.5), reserved=kind, seconds=6)
        edf.write(place.file("_eeg.edf" if nbytes == 2 else "_eeg.bdf"), place.seed)

    return make


def _channel_rows() -> list[Case]:
    plain, wide = Edf(), Edf(nbytes=3)
    rows = [
        Case(
            format="EDF",
            name=f"a channel {name} beside the EEG",
            make=edf_row(with_more(plain, Field(label=name, unit=unit))),
        )
        for name, unit in (
            ("VEOG", "uV"),
            ("HEOG", "uV"),
            ("EOG left", "uV"),
            ("ECG", "uV"),
            ("EKG", "mV"),
            ("EMG chin", "uV"),
            ("STI 014", ""),
            ("GSR", "uS"),
            ("Resp", "uV"),
            ("Temp", "degC"),
            ("TRIGGER", ""),
            ("Photic", "uV"),
        )
    ]
    rows += [
        Case(
            format="BDF",
            name=f"a channel {name} beside the EEG",
            make=edf_row(with_more(wide, Field(label=name, unit=unit))),
        )
        for name, unit in (
            ("Status", "Boolean"),
            ("STATUS", ""),
            ("EXG1", "uV"),
            ("GSR1", "nA"),
            ("Erg1", "nV"),
            ("Plet", "uV"),
            ("Temp", "C"),
            ("VEOG", "uV"),
        )
    ]
    status = Field(label="Status", unit="Boolean")
    rows += [
        Case(
            format="BDF",
            name="Status in the middle",
            make=edf_row(Edf(nbytes=3, fields=(*wide.fields[:2], status, *wide.fields[2:]))),
        ),
        Case(
            format="EDF",
            name="other channels",
            make=edf_row(Edf(fields=tuple(Field(label=f"A{i}") for i in range(4)))),
            expect="channels",
        ),
        Case(
            format="EDF",
            name="a channel less",
            make=edf_row(Edf(fields=plain.fields[:3])),
            expect="channels|3 EEG",
        ),
        Case(
            format="EDF",
            name="one name twice",
            make=edf_row(Edf(fields=(*plain.fields[:3], Field(label="Pz")))),
            expect="channels",
        ),
        Case(
            format="EDF",
            name="a label that isn't ASCII",
            make=edf_row(Edf(fields=(*plain.fields[:3], Field(label=b"\xd6z")))),
            expect="channels",
        ),
        Case(
            format="EDF",
            name="only a trigger channel",
            make=edf_row(Edf(fields=(Field(label="Status"),))),
            expect="no EEG channel",
        ),
    ]
    return rows


_PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n"
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"


def _other_suffix(suffix: str, content: bytes) -> Make:
    def make(place: Place) -> None:
        place.file(f"_eeg{suffix}").write_bytes(content)

    return make


def _gzipped(place: Place) -> None:
    import gzip

    path = place.file("_eeg.edf")
    Edf().write(path, place.seed)
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def _dead_link(place: Place) -> None:
    place.file("_eeg.edf").symlink_to("../../.git/annex/objects/MD5E-s1--0")


def _live_link(place: Place) -> Expected:
    path = place.file("_eeg.edf")
    target = Path(place.root) / f"annex-{place.subject}.edf"
    signal = Edf().write(target, place.seed)
    path.symlink_to(target)
    return Expected(files=(path,), signal=signal)


def _folder(place: Place) -> None:
    place.file("_eeg.edf").mkdir()


def edf_rows() -> list[Case]:
    """All rows of this page."""
    others = [
        Case(format="other", name="a dead link", make=_dead_link, expect="not downloaded"),
        Case(format="other", name="a link", make=_live_link),
        Case(format="other", name="a folder named _eeg.edf", make=_folder, expect="unreadable|folder"),
        Case(format="other", name=".edf.gz", make=_gzipped, expect="gz|compressed|not read|unreadable"),
        *(
            Case(format="other", name=f"{suffix} of noise", make=_other_suffix(suffix, b"noise" * 999), expect=".")
            for suffix in (".cnt", ".gdf", ".nwb", ".mff", ".xdf", ".eeg", ".mat", ".csv", ".egi")
        ),
    ]
    return [*_header_rows(), *_unit_rows(), *_rate_rows(), *_plus_rows(), *_channel_rows(), *others]
