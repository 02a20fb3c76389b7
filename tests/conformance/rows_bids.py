"""BIDS: layouts, duplicates, and what channels.tsv says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np

from conformance.case import CHANNELS, RATE, Case, Expected, Make, Place, Signal, random_signal
from conformance.edf_bytes import Edf, Field, with_more
from conformance.rows_brainvision import write_triplet
from conformance.rows_eeglab import write_set
from conformance.rows_fif import raw_of

STIMULI = (1.0, 2.5, 4.2)
_EVENTS = "onset\tduration\tvalue\n" + "".join(f"{onset:g}\t0\tgo\n" for onset in STIMULI)


def _edf(path: Path, seed: int) -> Expected:
    return Expected(files=(path,), signal=Edf().write(path, seed))


def _in(**where: str) -> Make:
    return lambda place: _edf(place.file("_eeg.edf", **where), place.seed)


def _several(*wheres: dict[str, str]) -> Make:
    def make(place: Place) -> list[Expected]:
        return [_edf(place.file("_eeg.edf", **where), place.seed + 1000 * i) for i, where in enumerate(wheres)]

    return make


def _twice(first: str, second: str) -> Make:
    """One recording in two formats: one of them is read, once."""

    def make(place: Place) -> Expected:
        signal = np.round(random_signal(place.seed))
        paths = []
        for suffix in (first, second):
            path = place.file(f"_eeg{suffix}")
            _write(path, signal)
            paths.append(path)
        return Expected(files=tuple(paths), signal=signal, step=0.6, says="truth")

    return make


def _write(path: Path, signal: Signal) -> None:
    raw = raw_of(signal)
    if path.suffix == ".set":
        write_set(path, signal)
    elif path.suffix == ".fif":
        raw.save(path, verbose="error")
    else:
        mne.export.export_raw(path, raw, verbose="error", physical_range=(-3000, 3000), overwrite=True)


def _with_triplet(place: Place) -> Expected:
    """The .eeg of a triplet is no recording of its own."""
    path = place.file("_eeg.vhdr")
    return Expected(files=(path,), signal=write_triplet(path, seed=place.seed))


def _channels(
    table: str,
    *extra: Field,
    at: Callable[[Place], Path] = lambda place: place.file("_channels.tsv"),
    says: str = "mne",
    task: str = "rest",
    channels: tuple[str, ...] = CHANNELS,
) -> Make:
    def make(place: Place) -> Expected:
        path = place.file("_eeg.edf", task=task)
        signal = with_more(Edf(), *extra).write(path, place.seed)
        table_path = at(place)
        table_path.write_text(table)
        return Expected(files=(path,), signal=signal if signal.size else None, says=says, channels=channels)

    return make


def _table(*rows: tuple[str, ...], columns: str = "name\ttype\tunits") -> str:
    eeg = [(name, "EEG", "uV") for name in CHANNELS]
    return "\n".join([columns, *("\t".join(row) for row in [*eeg, *rows])]) + "\n"


def _typed(kind: str, unit: str = "uV", name: str = "X1") -> Case:
    return Case(
        format="BIDS",
        name=f"channels.tsv: type {kind}",
        make=_channels(_table((name, kind, unit)), Field(label=name, unit=unit if len(unit) < 8 else "uV")),
    )


def _inherited(where: Callable[[Place, str], Path], session: str = "", task: str = "") -> Make:
    """An events.tsv higher up than the recording."""

    def make(place: Place) -> Expected:
        own = task or f"up{place.subject}"
        path = place.file("_eeg.edf", session=session, task=own)
        expected = _edf(path, place.seed)
        where(place, own).write_text(_EVENTS)
        return Expected(files=(path,), signal=expected.signal, onsets=STIMULI)

    return make


def _renaming(place: Place) -> Expected:
    path = place.file("_eeg.edf")
    signal = Edf(fields=tuple(Field(label=f"A{i}") for i in range(4))).write(path, place.seed)
    place.file("_channels.tsv").write_text(_table())
    assert not signal.size
    return Expected(files=(path,), says="mne-bids")


def _marked_bad(place: Place) -> Expected:
    path = place.file("_eeg.edf")
    signal = Edf().write(path, place.seed)
    rows = [(n, "EEG", "uV", "bad" if n == "Pz" else "good") for n in CHANNELS]
    text = "\n".join(["name\ttype\tunits\tstatus", *("\t".join(row) for row in rows)]) + "\n"
    place.file("_channels.tsv").write_text(text)
    return Expected(files=(path,), signal=signal)


def _stray(place: Place) -> Expected:
    """Files that programs leave, beside a recording."""
    expected = _edf(place.file("_eeg.edf"), place.seed)
    folder = expected.files[0].parent
    (folder / ".DS_Store").write_bytes(b"\0" * 99)
    (folder / f"._{expected.files[0].name}").write_bytes(b"\0" * 99)
    (folder / "notes.txt").write_text("all well")
    return expected


def _marked(rows: str, *absent: tuple[int, int]) -> Make:
    """Bad times and joins as mne-bids writes them into events.tsv; no window may touch the samples `absent`."""

    def make(place: Place) -> Expected:
        place.file("_events.tsv").write_text(f"onset\tduration\ttrial_type\n{rows}5\t0\tgood\n")
        return replace(_edf(place.file("_eeg.edf"), place.seed), signal=None, absent=absent)

    return make


def _elsewhere(folder: str) -> Make:
    """The same name under derivatives or sourcedata is no recording of the dataset."""

    def make(place: Place) -> Expected:
        expected = _edf(place.file("_eeg.edf"), place.seed)
        copy = place.root / folder / "eeg" / expected.files[0].relative_to(place.root)
        copy.parent.mkdir(parents=True)
        copy.write_bytes(expected.files[0].read_bytes())
        return expected

    return make


def _copies(place: Place) -> Expected:
    """What lies in no folder of BIDS is no recording of the dataset, whatever its name."""
    expected = _edf(place.file("_eeg.edf"), place.seed)
    for folder in ("backup/eeg", "ses-1/old/eeg"):
        copy = place.folder / folder / expected.files[0].name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(expected.files[0].read_bytes())
    return expected


def _links_back(place: Place) -> Expected:
    expected = _edf(place.file("_eeg.edf"), place.seed)
    (place.folder / "eeg" / "up").symlink_to("..", target_is_directory=True)
    return expected


def _points(place: Place) -> list[Expected]:
    """Each has events of its own."""
    found = []
    for number, task in enumerate(("n1.5", "n1.6")):
        path = place.file("_eeg.edf", task=task)
        signal = Edf().write(path, place.seed + number)
        place.file("_events.tsv", task=task).write_text(f"onset\tduration\tvalue\n{number + 1}\t0\tgo\n")
        found.append(Expected(files=(path,), signal=signal, onsets=(number + 1.0,)))
    return found


def _edf_splits(place: Place) -> Expected:
    """Only the first is read: nothing tells when the second began."""
    _edf(place.file("_eeg.edf", entities="_split-02"), place.seed + 1)
    return _edf(place.file("_eeg.edf", entities="_split-01"), place.seed)


def _other_case(place: Place) -> Expected:
    path = place.file("_eeg.edf")
    signal = with_more(Edf(), Field(label="X1")).write(path, place.seed)
    place.file("_channels.tsv").write_text(_table(("x1", "VEOG", "uV")).replace("Fz", "FZ"))
    return Expected(files=(path,), signal=signal)


def _bad_in_capitals(place: Place) -> Expected:
    path = place.file("_eeg.edf")
    Edf().write(path, place.seed)
    rows = "".join(f"{n.upper()}\tEEG\tuV\t{'bad' if n == 'Cz' else 'good'}\n" for n in CHANNELS)
    place.file("_channels.tsv").write_text("name\ttype\tunits\tstatus\n" + rows)

    def without_cz(raw: mne.io.BaseRaw) -> mne.io.BaseRaw:
        raw.info["bads"] = ["Cz"]
        return raw.set_eeg_reference("average", ch_type="eeg", verbose="error")

    return Expected(files=(path,), prepare=without_cz)


def _quoted(table: str) -> str:
    return "\n".join("\t".join(f'"{cell}"' for cell in line.split("\t")) for line in table.splitlines()) + "\n"


def _capital_folder(place: Place) -> Expected:
    path = place.folder / "EEG" / f"sub-{place.subject}_task-rest_eeg.edf"
    path.parent.mkdir(parents=True)
    return _edf(path, place.seed)


def _no_folder(place: Place) -> None:
    path = place.folder / f"sub-{place.subject}_task-rest_eeg.edf"
    path.parent.mkdir(parents=True)
    Edf().write(path, place.seed)


def _no_task(place: Place) -> Expected:
    path = place.folder / "eeg" / f"sub-{place.subject}_eeg.edf"
    path.parent.mkdir(parents=True)
    return _edf(path, place.seed)


def _no_entities(place: Place) -> None:
    path = place.folder / "eeg" / "recording.edf"
    path.parent.mkdir(parents=True)
    Edf().write(path, place.seed)


def _not_utf8(place: Place) -> Expected:
    expected = _edf(place.file("_eeg.edf"), place.seed)
    place.file("_channels.tsv").write_bytes(_table().encode("utf-16"))
    return expected


def bids_rows() -> list[Case]:
    """All rows of this page."""

    def case(name: str, make: Make, expect: str = "equal", group: str = "rest") -> Case:
        return Case(format="BIDS", name=name, make=make, expect=expect, group=group)

    reorder = "name\ttype\tunits\n" + "".join(f"{name}\tEEG\tuV\n" for name in CHANNELS[::-1])
    veog = _channels(_table(("VEOG", "EEG", "uV")), Field(label="VEOG"))
    rows = [
        case("a session", _in(session="pre")),
        case("two sessions", _several({"session": "1"}, {"session": "2"})),
        case("two runs", _several({"entities": "_run-1"}, {"entities": "_run-2"})),
        case("two acquisitions", _several({"entities": "_acq-a"}, {"entities": "_acq-b"})),
        case("acquisition, run and description", _in(entities="_acq-a_run-01_desc-x")),
        case("two tasks", _several({}, {"task": "rest2"})),
        case("no task", _no_task, "equal or task"),
        case("a name without entities", _no_entities, "name|BIDS|entities"),
        case("copies in other folders of the subject", _copies),
        case("a folder that links back", _links_back),
        case("tasks that differ behind a point", _points, group="events"),
        case("two splits of an EDF", _edf_splits),
        case("channels.tsv: another case, VEOG", _other_case),
        case("channels.tsv: another case, a bad channel", _bad_in_capitals, group="average"),
        case("channels.tsv: all texts in quotes", _channels(_quoted(_table(("X1", "VEOG", "uV"))), Field(label="X1"))),
        case(
            "channels.tsv: names of columns in capitals",
            _channels(_table(("X1", "VEOG", "uV"), columns="Name\tType\tUnits"), Field(label="X1")),
        ),
        case("a folder EEG", _capital_folder, "equal or folder"),
        case("no folder eeg", _no_folder, "folder|eeg"),
        case("files that programs leave", _stray),
        case("events.tsv marks a bad time", _marked("2.2\t1.5\tBAD_blink\n", (220, 370))),
        case("events.tsv marks a pause", _marked("3\t1\tBAD_ACQ_SKIP\n", (300, 400))),
        case("events.tsv marks a join", _marked("3.5\t0\tEDGE boundary\n3.5\tn/a\tBAD boundary\n", (349, 351))),
        case("derivatives", _elsewhere("derivatives")),
        case("sourcedata", _elsewhere("sourcedata")),
        case(".edf and .set of one recording", _twice(".edf", ".set")),
        case(".vhdr and .edf of one recording", _twice(".vhdr", ".edf")),
        case(".bdf and .fif of one recording", _twice(".bdf", ".fif")),
        case(".set and .vhdr of one recording", _twice(".set", ".vhdr")),
        case("a triplet is one recording", _with_triplet),
        *(
            _typed(kind, unit)
            for kind, unit in (
                ("VEOG", "uV"),
                ("HEOG", "uV"),
                ("EOG", "uV"),
                ("ECG", "uV"),
                ("EMG", "uV"),
                ("MISC", "uV"),
                ("TRIG", "n/a"),
                ("GSR", "uV"),
                ("RESP", "uV"),
                ("TEMP", "oC"),
                ("EYEGAZE", "uV"),
                ("AUDIO", "V"),
                ("REF", "uV"),
                ("PPG", "uV"),
                ("SYSCLOCK", "s"),
                ("n/a", "uV"),
                ("veog", "uV"),
            )
        ),
        case("channels.tsv: VEOG of type EEG", veog, "has 5|other channels|channels"),
        case("channels.tsv: another order", _channels(reorder)),
        case("channels.tsv: a channel is missing in it", _channels(_table(), Field(label="ECG"))),
        case("channels.tsv: a channel too many", _channels(_table(("X9", "ECG", "uV")))),
        case("channels.tsv: bad status", _marked_bad),
        case("channels.tsv: no column type", _channels("name\n" + "\n".join(CHANNELS) + "\n")),
        case("channels.tsv: empty", _channels(""), "equal or channels.tsv"),
        case("channels.tsv: UTF-16", _not_utf8, "equal or channels.tsv"),
        case("channels.tsv: other names, as many", _renaming, "equal or channels"),
        case(
            "channels.tsv: a mark and Windows line ends",
            _channels("\ufeff" + _table(("X1", "VEOG", "uV")).replace("\n", "\r\n"), Field(label="X1")),
        ),
        case(
            "channels.tsv in the subject's folder",
            _channels(
                _table(("X1", "VEOG", "uV")),
                Field(label="X1"),
                at=lambda p: p.folder / f"sub-{p.subject}_task-rest_channels.tsv",
            ),
        ),
        case(
            "channels.tsv at the root",
            _channels(
                _table(("X1", "VEOG", "uV")),
                Field(label="X1"),
                task="rootchannels",
                at=lambda p: p.root / "task-rootchannels_channels.tsv",
            ),
        ),
    ]
    sub = "sub-{0.subject}"
    rows += [
        case("events.tsv at the root", _inherited(lambda p, t: p.root / f"task-{t}_events.tsv"), group="events"),
        case(
            "events.tsv in the subject's folder",
            _inherited(lambda p, t: p.folder / f"{sub.format(p)}_task-{t}_events.tsv"),
            group="events",
        ),
        case(
            "events.tsv in the session's folder",
            _inherited(lambda p, t: p.folder / "ses-1" / f"{sub.format(p)}_ses-1_task-{t}_events.tsv", "1"),
            group="events",
        ),
        case(
            "events.tsv of the subject above a session",
            _inherited(lambda p, t: p.folder / f"{sub.format(p)}_task-{t}_events.tsv", "1"),
            group="events",
        ),
        case(
            "events.tsv of another task",
            _inherited(lambda p, t: p.file("_events.tsv", task=f"{t}x")),
            "no events",
            group="events",
        ),
        case("events.tsv for a recording without a run", _run_less, "equal", group="events"),
    ]
    pick = [
        case("channels = Pz, Fz picks and orders", _picked(Edf()), group="pick"),
        case("channels = Pz, Fz beside VEOG", _picked(with_more(Edf(), Field(label="VEOG"))), group="pick"),
        case("channels = Pz, Fz, and Pz is missing", _in_pick(Edf(fields=Edf().fields[:2])), "Pz", group="pick"),
        case("channels = Pz, Fz of a BDF", _picked(Edf(nbytes=3)), group="pick"),
    ]
    return rows + pick


def _picked(edf: Edf) -> Make:
    def make(place: Place) -> Expected:
        path = place.file("_eeg.edf" if edf.nbytes == 2 else "_eeg.bdf")
        signal = edf.write(path, place.seed)
        return Expected(files=(path,), signal=signal[[2, 0]], channels=("Pz", "Fz"))

    return make


def _in_pick(edf: Edf) -> Make:
    def make(place: Place) -> None:
        edf.write(place.file("_eeg.edf"), place.seed)

    return make


def _run_less(place: Place) -> Expected:
    """The events of all runs: entities that the sidecar lacks apply to all."""
    path = place.file("_eeg.edf", task="events", entities="_run-1")
    signal = Edf().write(path, place.seed)
    (place.folder / f"sub-{place.subject}_task-events_events.tsv").write_text(_EVENTS)
    assert signal.shape[1] > RATE
    return Expected(files=(path,), signal=signal, onsets=STIMULI)
