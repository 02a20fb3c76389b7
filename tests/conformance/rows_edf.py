"""EDF and BDF: rates, gaps, annotations, channels; and files that are no recordings."""

from __future__ import annotations

import gzip
from dataclasses import replace

from conformance.case import CHANNELS, Case, Expected, Make, Place
from conformance.edf_bytes import Edf, Field, tal, with_more
from conformance.edf_makers import EVERY_SECOND, by_mne_alone, edf_row, format_of, gaps, overlapping


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
        kind = format_of(nbytes)
        plus, cut = ("EDF+C", "EDF+D") if nbytes == 2 else ("BDF+C", "BDF+D")
        whole = Edf(nbytes=nbytes, onsets=EVERY_SECOND, reserved=plus)
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
                make=edf_row(replace(whole, onsets=tuple(t + 0.25 for t in EVERY_SECOND))),
            ),
            Case(format=kind, name=f"{cut} without a gap", make=gaps(EVERY_SECOND, nbytes)),
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
                name=f"{cut} with records that are each 0.4 samples late",
                make=gaps(tuple(round(1.004 * second, 3) for second in range(7)), nbytes),
            ),
            Case(
                format=kind,
                name=f"{cut} with records that are each 0.4 samples early",
                make=overlapping(nbytes, tuple(round(0.996 * second, 3) for second in range(8))),
                expect="go backwards",
            ),
            Case(
                format=kind,
                name=f"{cut} with events in and around gaps",
                group="events",
                make=gaps((0, 1, 2, 3, 10, 11, 12, 13), nbytes, events=True),
            ),
            Case(
                format=kind,
                name=f"{cut} with a gap, and EEG at two rates",
                make=_unreadable_gap(nbytes, Field(label="Oz", rate=50)),
                expect="interrupted.*different rates",
            ),
            Case(
                format=kind,
                name=f"{cut} with a gap, and one name twice",
                make=_unreadable_gap(nbytes, Field(label="Oz"), Field(label="ECG"), Field(label="ECG")),
                expect="interrupted.*one name",
            ),
            Case(
                format=kind,
                name=f"{cut} without a gap, and one name twice",
                make=edf_row(
                    with_more(replace(whole, reserved=cut), Field(label="ECG"), Field(label="ECG")), says="truth"
                ),
            ),
            Case(
                format=kind,
                name=f"{plus}, events in a second annotation channel, first record at 0.731 s",
                group="events",
                make=_second_annotations(nbytes),
            ),
            Case(
                format=kind,
                name=f"{plus}, an annotation whose duration is empty",
                group="events",
                make=_empty_duration(nbytes),
            ),
            Case(
                format=kind,
                name=f"{cut} whose records overlap",
                make=overlapping(nbytes),
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


def _unreadable_gap(nbytes: int, *last: Field) -> Make:
    """A gap in a file that MNE must read, which hears none."""

    def make(place: Place) -> None:
        fields = (*Edf().fields[:3], *last)
        kind = "EDF+D" if nbytes == 2 else "BDF+D"
        edf = Edf(nbytes=nbytes, fields=fields, onsets=(0, 1, 2, 3, 10, 11, 12, 13), reserved=kind)
        edf.write(place.file("_eeg.edf" if nbytes == 2 else "_eeg.bdf"), place.seed)

    return make


def _empty_duration(nbytes: int) -> Make:
    def make(place: Place) -> Expected:
        path = place.file("_eeg.edf" if nbytes == 2 else "_eeg.bdf", task="events")
        texts = ((1, b"+1.5\x15\x14go\x14\x00"), (3, tal(3.25, b"go")))
        edf = Edf(nbytes=nbytes, onsets=EVERY_SECOND, reserved="EDF+C" if nbytes == 2 else "BDF+C", texts=texts)
        return Expected(files=(path,), signal=edf.write(path, place.seed), says="truth", onsets=(1.5, 3.25))

    return make


def _second_annotations(nbytes: int) -> Make:
    """The first annotation channel keeps the time, a later one has the events."""
    label = "EDF Annotations" if nbytes == 2 else "BDF Annotations"

    def make(place: Place) -> Expected:
        path = place.file("_eeg.edf" if nbytes == 2 else "_eeg.bdf", task="events")
        fields = list(Edf().fields)
        fields.insert(2, Field(label=label, unit="", rate=60, pmin="-1", pmax="1"))
        onsets = tuple(second + 0.731 for second in EVERY_SECOND)
        reserved = "EDF+C" if nbytes == 2 else "BDF+C"
        edf = Edf(nbytes=nbytes, fields=tuple(fields), onsets=onsets, reserved=reserved, annotations_first=True)
        signal = edf.write(path, place.seed)
        content, record = bytearray(path.read_bytes()), nbytes * (60 + 400 + 60)
        for number in range(len(EVERY_SECOND)):
            begin = 256 * 7 + number * record + nbytes * (60 + 200)
            text = tal(number + 0.731 + 0.5, b"go") if number in (2, 5) else b""
            content[begin : begin + nbytes * 60] = text.ljust(nbytes * 60, b"\0")
        path.write_bytes(content)
        return Expected(files=(path,), signal=signal, says="truth", onsets=(2.5, 5.5))

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


def _other_suffix(suffix: str, content: bytes) -> Make:
    def make(place: Place) -> None:
        place.file(f"_eeg{suffix}").write_bytes(content)

    return make


def _gzipped(place: Place) -> None:
    path = place.file("_eeg.edf")
    Edf().write(path, place.seed)
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def _dead_link(place: Place) -> None:
    place.file("_eeg.edf").symlink_to("../../.git/annex/objects/MD5E-s1--0")


def _live_link(place: Place) -> Expected:
    path = place.file("_eeg.edf")
    target = place.root / f"annex-{place.subject}.edf"
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
            for suffix in (".cnt", ".gdf", ".nwb", ".mff", ".xdf", ".eeg", ".mat", ".raw", ".trc", ".cdt", ".egi")
        ),
    ]
    return [*_rate_rows(), *_plus_rows(), *_channel_rows(), *others]
