"""EDF and BDF: headers, lengths and units."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from conformance.case import CHANNELS, PAGE, POINTER, Case
from conformance.edf_bytes import Edf, Field, with_units
from conformance.edf_makers import at, by_edfio, edf_row, edited, format_of, nul_label, settled


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
            rows.append(Case(format=format_of(nbytes), name=f"unit {name}", make=edf_row(edf, says=says)))
    for name, text in [
        ("empty", ""),
        ("of another kind", "degC"),
        ("unknown", "blub"),
        ("of undecodable bytes", b"\xff\xfe\xfd"),
    ]:
        for nbytes in (2, 3) if name in ("empty", "unknown") else (2,):
            edf = with_units(text, 1, **micro, nbytes=nbytes)
            rows.append(
                Case(format=format_of(nbytes), name=f"unit {name}", make=edf_row(edf), expect="unit|no EEG channel")
            )
            if name != "of another kind":
                rows.append(
                    Case(format=format_of(nbytes), name=f"unit {name}, channels.tsv says uV", make=settled(edf, "uV"))
                )
    nano_by_table = with_units("", 1e-3, **nano)
    rows.append(Case(format="EDF", name="unit empty, channels.tsv says nV", make=settled(nano_by_table, "nV")))
    milli_by_table = with_units("blub", 1e3, **milli)
    rows.append(Case(format="EDF", name="unit unknown, channels.tsv says mV", make=settled(milli_by_table, "mV")))
    return rows


def _header_rows() -> list[Case]:
    rows = []
    for nbytes in (2, 3):
        kind, plain = format_of(nbytes), Edf(nbytes=nbytes)
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
            Case(format=kind, name="NUL after a label", make=nul_label(plain), expect="equal or channels"),
            Case(format=kind, name="NUL after numbers", make=edited(plain, at(236, b"8\0\0\0\0\0\0\0"), True)),
            Case(
                format=kind,
                name="header length too small",
                make=edf_row(replace(plain, header_nbytes="256"), says="truth"),
                expect="equal or unreadable|truncated|header",
            ),
            Case(format=kind, name="a web page", make=edited(plain, lambda _: PAGE), expect="unreadable|HTML|page"),
            Case(
                format=kind,
                name="a Git LFS pointer",
                make=edited(plain, lambda _: POINTER),
                expect="unreadable|LFS|pointer",
            ),
            Case(
                format=kind,
                name="record duration 0",
                make=edf_row(replace(plain, duration="0")),
                expect="equal or unreadable|duration|rate",
            ),
            *(
                Case(
                    format=kind,
                    name=f"record duration {text}",
                    make=edf_row(replace(plain, duration=text)),
                    expect="a data record lasts",
                )
                for text in ("-1", "nan", "inf")
            ),
            Case(format=kind, name="date invalid", make=edf_row(replace(plain, date="99.99.99"))),
        ]
    ranged = tuple(Field(label=name, pmin="-500,5", pmax="500,5") for name in CHANNELS)
    swapped = tuple(Field(label=name, dmin="32767", dmax="-32768") for name in CHANNELS)
    turned = tuple(Field(label=name, pmin="3276.7", pmax="-3276.8") for name in CHANNELS)
    one = (*Edf().fields[:3], Field(label="Oz", pmin="5", pmax="5"))
    flat = (*Edf().fields[:3], Field(label="Oz", dmin="5", dmax="5"))
    words = (*Edf().fields[:3], Field(label="Oz", pmin="low", pmax="high"))
    offset = tuple(Field(label=name, pmin="-10", pmax="700", dmin="1000", dmax="2000") for name in CHANNELS)
    unlike = tuple(
        Field(label=name, unit=unit, microvolts=size, pmin=low, pmax=high)
        for name, (unit, size, low, high) in zip(
            CHANNELS,
            (
                ("uV", 1, "500", "-500"),
                ("mV", 1e3, "-3.2768", "3.2767"),
                ("nV", 1e-3, "-3276800", "3276700"),
                ("V", 1e6, "-.003277", ".003277"),
            ),
            strict=True,
        )
    )
    rows += [
        Case(format="EDF", name="a digital range without zero", make=edf_row(Edf(fields=offset), says="truth")),
        Case(format="EDF", name="four units and a negative gain", make=edf_row(Edf(fields=unlike), says="truth")),
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


def edf_header_rows() -> list[Case]:
    """All rows of this page."""
    return [*_header_rows(), *_unit_rows()]
