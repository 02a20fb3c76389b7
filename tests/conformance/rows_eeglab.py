"""EEGLAB: data inside, data beside, files that are broken."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import eeglabio.raw
import h5py
import numpy as np
import scipy.io

from conformance.case import CHANNELS, PAGE, POINTER, RATE, Case, Expected, Make, Place, Signal, random_signal

_HAS_READER = find_spec("pymatreader") is not None  # MNE's, of MATLAB 7.3


def write_set(
    path: Path,
    signal: Signal,
    *,
    beside: str = "",
    rate: float = RATE,
    flat: bool = False,
    single: bool = True,
    names: tuple[str, ...] = CHANNELS,
    types: tuple[str, ...] = (),
    trials: int = 1,
    **options: object,
) -> None:
    """Write a .set as EEGLAB's pop_saveset does; with the samples in the file `beside`, where it is named."""
    stored = signal.astype(np.float32 if single else np.float64)
    kinds = types or ("EEG",) * len(names)
    positions = np.zeros(
        len(names),
        [("labels", "O"), ("type", "O"), ("X", "O"), ("Y", "O"), ("Z", "O"), ("theta", "O"), ("radius", "O")],
    )
    for row, name, kind in zip(positions, names, kinds, strict=True):
        row["labels"], row["type"] = name, kind
        for field in ("X", "Y", "Z", "theta", "radius"):
            row[field] = np.empty(0)
    if beside:
        path.with_name(beside).write_bytes(stored.astype("<f4").T.tobytes())
    eeg = {
        "setname": path.stem,
        "filename": path.name,
        "nbchan": float(len(names)),
        "trials": float(trials),
        "pnts": float(signal.shape[1] // trials),
        "srate": float(rate),
        "xmin": 0.0,
        "xmax": (signal.shape[1] / trials - 1) / rate,
        "data": beside or (stored if trials == 1 else stored.reshape(len(names), -1, trials, order="F")),
        "icawinv": np.empty((0, 0)),
        "icaweights": np.empty((0, 0)),
        "icasphere": np.empty((0, 0)),
        "icachansind": np.empty((0, 0)),
        "chanlocs": positions,
        "event": np.empty((0, 0)),
        "epoch": np.empty((0, 0)),
        **options,
    }
    scipy.io.savemat(path, eeg if flat else {"EEG": eeg}, appendmat=False)


def row(**options: object) -> Make:
    """A .set with the samples inside."""

    def make(place: Place) -> Expected:
        path, signal = place.file("_eeg.set"), random_signal(place.seed)
        write_set(path, signal, **options)
        return Expected(files=(path,), signal=signal)

    return make


def with_fdt(spoil: Callable[[Path, Path], None] | None = None, holds: bool = True) -> Make:
    """A .set with its .fdt, which `spoil` may change."""

    def make(place: Place) -> Expected | None:
        path, signal = place.file("_eeg.set"), random_signal(place.seed)
        fdt = path.with_suffix(".fdt")
        write_set(path, signal, beside=fdt.name)
        if spoil:
            spoil(path, fdt)
        return Expected(files=(path,), signal=signal) if holds else None

    return make


def broken(edit: Callable[[bytes], bytes], **options: object) -> Make:
    """A .set whose bytes are changed after it was written."""

    def make(place: Place) -> None:
        path = place.file("_eeg.set")
        write_set(path, random_signal(place.seed), **options)
        path.write_bytes(edit(path.read_bytes()))

    return make


def _by_eeglabio(place: Place) -> Expected:
    path, signal = place.file("_eeg.set"), random_signal(place.seed)
    eeglabio.raw.export_set(str(path), signal * 1e-6, RATE, list(CHANNELS), ch_locs=np.ones((len(CHANNELS), 3)))
    return Expected(files=(path,), signal=signal)


def _renamed(place: Place) -> Expected:
    """As BIDS converters leave it: both renamed, the old name still inside."""
    path, signal = place.file("_eeg.set"), random_signal(place.seed)
    write_set(path, signal, beside="as_recorded.fdt")
    path.with_name("as_recorded.fdt").rename(path.with_suffix(".fdt"))
    return Expected(files=(path,), signal=signal)


def _upper(place: Place) -> Expected:
    path, signal = place.file("_eeg.SET"), random_signal(place.seed)
    write_set(path, signal)
    return Expected(files=(path,), signal=signal, says="truth")


def _hdf5_beside(place: Place) -> Expected:
    """The samples in a file that the HDF5 names otherwise than itself."""
    return _hdf5(place, "as_recorded.fdt")


def _hdf5(place: Place, beside: str = "") -> Expected:
    """MATLAB 7.3: the same structure in HDF5."""
    path, signal = place.file("_eeg.set"), random_signal(place.seed)
    with h5py.File(path, "w", userblock_size=512) as file:
        eeg = file.create_group("EEG")
        eeg.attrs["MATLAB_class"] = np.bytes_("struct")

        def put(where: h5py.Group, name: str, value: np.ndarray, kind: str) -> h5py.Dataset:
            stored = where.create_dataset(name, data=value)
            stored.attrs["MATLAB_class"] = np.bytes_(kind)
            return stored

        def text(where: h5py.Group, name: str, value: str) -> h5py.Dataset:
            stored = put(where, name, np.array([[ord(c)] for c in value], np.uint16), "char")
            stored.attrs["MATLAB_int_decode"] = np.int32(2)
            return stored

        for name, value in {
            "nbchan": len(CHANNELS), "trials": 1, "pnts": signal.shape[1], "srate": RATE, "xmin": 0, "xmax": 8
        }.items():  # fmt: skip
            put(eeg, name, np.array([[float(value)]]), "double")
        if beside:
            text(eeg, "data", beside)
            path.with_name(beside).write_bytes(signal.astype("<f4").T.tobytes())
        else:
            put(eeg, "data", signal.astype(np.float32).T, "single")
        for name in ("event", "epoch", "icawinv", "icaweights", "icasphere", "icachansind"):
            put(eeg, name, np.zeros(2, np.uint64), "double").attrs["MATLAB_empty"] = np.uint8(1)
        names, places = file.create_group("#refs#"), eeg.create_group("chanlocs")
        places.attrs["MATLAB_class"] = np.bytes_("struct")
        labels = [text(names, f"l{i}", name).ref for i, name in enumerate(CHANNELS)]
        places.create_dataset("labels", data=np.array(labels, dtype=h5py.ref_dtype)[:, None], dtype=h5py.ref_dtype)
    with path.open("r+b") as opened:
        opened.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    return Expected(files=(path,), signal=signal)


def _events(place: Place) -> Expected:
    """Events inside the .set, and no events.tsv."""
    path, signal = place.file("_eeg.set", task="events"), random_signal(place.seed)
    kind = [("type", "O"), ("latency", "O"), ("duration", "O")]
    samples = (101, 251, 400)  # EEGLAB counts from 1
    event = np.array([("go", float(sample), 0.0) for sample in samples], kind)
    write_set(path, signal, event=event)
    return Expected(files=(path,), signal=signal, onsets=tuple((sample - 1) / RATE for sample in samples))


def _numbered(place: Place) -> Expected:
    path, signal = place.file("_eeg.set", task="events"), random_signal(place.seed)
    rows = [(7.0, 101.0, 0.0), (8.0, 201.0, 0.0), (7.0, 401.0, np.nan)]
    write_set(path, signal, event=np.array(rows, [("type", "O"), ("latency", "O"), ("duration", "O")]))
    return Expected(files=(path,), signal=signal, onsets=(1.0, 4.0))


def _boundary(place: Place) -> Expected:
    """Its duration is that of what was cut out: nothing of the file is missing behind it."""
    path, signal = place.file("_eeg.set"), random_signal(place.seed)
    rows = [("boundary", 350.5, 1234.0), ("go", 401.0, 0.0)]
    write_set(path, signal, event=np.array(rows, [("type", "O"), ("latency", "O"), ("duration", "O")]))
    held = signal.copy()
    held[:, [349, 350]] = np.nan
    return Expected(files=(path,), signal=held, says="truth")


def _old_beside(place: Place) -> Expected:
    path, signal = place.file("_eeg.set"), random_signal(place.seed)
    write_set(path, signal)
    path.with_suffix(".fdt").write_bytes(random_signal(1, seconds=2).astype("<f4").T.tobytes())
    return Expected(files=(path,), signal=signal)


def eeglab_rows() -> list[Case]:
    """All rows of this page."""

    def case(name: str, make: Make, expect: str = "equal", group: str = "rest") -> Case:
        return Case(format="EEGLAB", name=name, make=make, expect=expect, group=group)

    def short(_: Path, fdt: Path) -> None:
        fdt.write_bytes(fdt.read_bytes()[:-1000])

    def pointer(_: Path, fdt: Path) -> None:
        fdt.write_bytes(POINTER)

    def no_positions(place: Place) -> None:
        write_set(place.file("_eeg.set"), random_signal(place.seed), chanlocs=np.empty((0, 0)))

    return [
        case("data inside", row()),
        case("data inside, double", row(single=False)),
        case("data inside, fields on top", row(flat=True)),
        case("written by eeglabio", _by_eeglabio),
        case("MATLAB 7.3", _hdf5, "equal or unreadable|7.3|HDF"),
        case(".fdt beside", with_fdt()),
        case(".fdt beside, both renamed", _renamed),
        case("suffix .SET", _upper),
        case("100.00000001 Hz", row(rate=100.00000001)),
        case("99.995 Hz", row(rate=99.995)),
        case("128 Hz", row(rate=128), "sampled at 128 Hz"),
        case(".fdt missing", with_fdt(lambda _, fdt: fdt.unlink(), False), r"unreadable|\.fdt|missing"),
        case(".fdt short", with_fdt(short, False), "of 800 samples"),
        case(".fdt of 0 bytes", with_fdt(lambda _, fdt: fdt.write_bytes(b""), False), "0 bytes"),
        case(".fdt is a Git LFS pointer", with_fdt(pointer, False), "LFS|pointer|of 800 samples"),
        case("0 bytes", broken(lambda _: b""), "unreadable|0 bytes|empty"),
        case("100 bytes", broken(lambda whole: whole[:100]), "unreadable"),
        case("cut in half", broken(lambda whole: whole[: len(whole) // 2]), "unreadable|truncated"),
        case("a byte less", broken(lambda whole: whole[:-1]), "equal or unreadable|truncated"),
        case("a web page", broken(lambda _: PAGE), "unreadable|HTML|page"),
        case("a Git LFS pointer", broken(lambda _: POINTER), "LFS|pointer|unreadable"),
        case("NUL bytes all through", broken(lambda whole: b"\0" * len(whole)), "unreadable"),
        case("random bytes", broken(lambda whole: np.random.default_rng(1).bytes(len(whole))), "unreadable"),
        case("another MATLAB file", _other_matlab, "unreadable|EEG"),
        case("epochs", row_refused(trials=4), "epoch|trial|unreadable"),
        case("no channel locations", no_positions, "channels|unreadable"),
        case("an EOG channel by its type", _typed(("EEG", "EEG", "EEG", "EEG", "EOG"), "Zx")),
        case("an EOG channel by its name", _typed((), "VEOG")),
        case("an ECG channel by its type", _typed(("EEG", "EEG", "EEG", "EEG", "ECG"), "Heart")),
        case("a trigger by its type", _typed(("EEG", "", "EEG", "Electrode", "TRIG"), "X5")),
        case("a VEOG channel by its type", _typed(("EEG", "EEG", "EEG", "EEG", "VEOG"), "O'Brien")),
        case("events inside", _events, group="events"),
        case("events whose types are numbers", _numbered, group="events"),
        case("a boundary with a duration", _boundary),
        case(
            "MATLAB 7.3, .fdt of another name", _hdf5_beside, "equal" if find_spec("pymatreader") else "unreadable|HDF"
        ),
        case("samples inside, an old .fdt beside", _old_beside),
    ]


def row_refused(**options: object) -> Make:
    """A .set that is well written but holds no continuous recording."""

    def make(place: Place) -> None:
        write_set(place.file("_eeg.set"), random_signal(place.seed), **options)

    return make


def _other_matlab(place: Place) -> None:
    scipy.io.savemat(place.file("_eeg.set"), {"results": np.eye(3)}, appendmat=False)


def _typed(types: tuple[str, ...], fifth: str) -> Make:
    def make(place: Place) -> Expected:
        path, signal = place.file("_eeg.set"), random_signal(place.seed, channels=5)
        write_set(path, signal, names=(*CHANNELS, fifth), types=types)
        return Expected(files=(path,), signal=signal[:4])

    return make
