"""BrainVision: triplets of every layout, renamed, in other encodings and units, and broken ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pybv

from conformance.case import CHANNELS, PAGE, POINTER, RATE, SECONDS, Case, Expected, Make, Place, Signal, random_signal

_MICROVOLTS = {"nV": 1e-3, "µV": 1.0, "uV": 1.0, "": 1.0, "mV": 1e3, "V": 1e6}


def write_triplet(
    vhdr: Path,
    *,
    seed: int,
    binary: str = "INT_16",
    orientation: str = "MULTIPLEXED",
    unit: str = "µV",
    units: tuple[str, ...] = (),
    resolution: str = "0.1",
    names: tuple[str, ...] = CHANNELS,
    encoding: str = "utf-8",
    codepage: str = "Codepage=UTF-8\n",
    stem: str = "",
    data_suffix: str = ".eeg",
    markers: tuple[tuple[str, str, int], ...] = (),
    marker_file: bool = True,
    interval: str = "",
    line_end: str = "\n",
    title: str = "Brain Vision Data Exchange Header File Version 1.0",
) -> Signal:
    """Write a .vhdr, its .vmrk and its samples; return them in uV, by the format's formula."""
    random = np.random.default_rng(seed)
    units = units or (unit,) * len(names)
    factors = np.array([float(resolution or 1) * _MICROVOLTS[own] for own in units])[:, None]
    steps = random.integers(-1500, 1500, (len(names), SECONDS * RATE))
    kind = {"INT_16": "<i2", "INT_32": "<i4", "IEEE_FLOAT_32": "<f4"}[binary]
    stored = steps.astype(kind) if binary != "IEEE_FLOAT_32" else (steps + 0.37).astype(kind)
    base = stem or vhdr.name[: -len(vhdr.suffix)]
    lines = [
        title,
        "; a comment: Größe" if encoding != "ascii" else "; a comment",
        "",
        "[Common Infos]",
        codepage + f"DataFile={base}{data_suffix}",
        *([f"MarkerFile={base}.vmrk"] if marker_file else []),
        "DataFormat=BINARY",
        f"DataOrientation={orientation}",
        f"NumberOfChannels={len(names)}",
        f"SamplingInterval={interval or 1_000_000 // RATE}",
        "",
        "[Binary Infos]",
        f"BinaryFormat={binary}",
        "",
        "[Channel Infos]",
        *(f"Ch{i}={name},,{resolution},{own}" for i, (name, own) in enumerate(zip(names, units, strict=True), 1)),
        "",
    ]
    vhdr.write_bytes(line_end.join(lines).replace("\n", line_end).encode(encoding))
    vhdr.with_name(f"{base}{data_suffix}").write_bytes((stored.T if orientation == "MULTIPLEXED" else stored).tobytes())
    if marker_file:
        rows = [f"Mk{i}={kind},{text},{sample},1,0" for i, (kind, text, sample) in enumerate(markers, 1)]
        head = ["Brain Vision Data Exchange Marker File, Version 1.0", "", "[Common Infos]"]
        text = line_end.join([*head, codepage + f"DataFile={base}{data_suffix}", "", "[Marker Infos]", *rows, ""])
        vhdr.with_name(f"{base}.vmrk").write_bytes(text.replace("\n", line_end).encode(encoding))
    signal: Signal = stored.astype(np.float64) * factors
    return signal


def triplet(suffix: str = "_eeg.vhdr", says: str = "mne", step: float = 1e-3, **options: object) -> Make:
    """A triplet that holds what was written."""

    def make(place: Place) -> Expected:
        path = place.file(suffix)
        signal = write_triplet(path, seed=place.seed, **options)
        return Expected(files=(path,), signal=signal[: len(CHANNELS)], says=says, step=step)

    return make


def spoiled(spoil: Callable[[Path], None], holds: bool = False) -> Make:
    """A triplet that `spoil` changes after it was written; `holds`: what is left is what was written."""

    def make(place: Place) -> Expected | None:
        path = place.file("_eeg.vhdr")
        signal = write_triplet(path, seed=place.seed)
        spoil(path)
        left = path.with_suffix(".eeg").stat().st_size // (2 * len(CHANNELS)) if holds else 0
        return Expected(files=(path,), signal=signal[:, :left], says="truth") if holds else None

    return make


def _by_pybv(fmt: str, unit: str = "µV") -> Make:
    def make(place: Place) -> Expected:
        path, signal = place.file("_eeg.vhdr"), random_signal(place.seed)
        pybv.write_brainvision(
            data=signal * 1e-6, sfreq=RATE, ch_names=list(CHANNELS), fname_base=path.stem, folder_out=path.parent,
            fmt=fmt, unit=unit, resolution=0.1, overwrite=True,
        )  # fmt: skip
        return Expected(files=(path,), signal=signal, step=0.11)

    return make


def _renamed(place: Place) -> Expected:
    """All three renamed as BIDS wants it; the header still names them as they were recorded."""
    path = place.file("_eeg.vhdr")
    signal = write_triplet(path, seed=place.seed, stem="as_recorded")
    for suffix in (".eeg", ".vmrk"):
        path.with_name(f"as_recorded{suffix}").rename(path.with_suffix(suffix))
    return Expected(files=(path,), signal=signal, says="truth")


def _by_base(place: Place) -> Expected:
    """$b stands for the header's own name, which MNE doesn't know."""
    path = place.file("_eeg.vhdr")
    signal = write_triplet(path, seed=place.seed)
    path.write_text(path.read_text().replace(f"={path.stem}.", "=$b."))
    return Expected(files=(path,), signal=signal, says="truth")


def _markers(place: Place) -> Expected:
    """Markers in the .vmrk, and no events.tsv."""
    path = place.file("_eeg.vhdr", task="events")
    markers = (("New Segment", "", 1), ("Stimulus", "go", 101), ("Response", "R  1", 180), ("Stimulus", "go", 351))
    signal = write_triplet(path, seed=place.seed, markers=markers)
    return Expected(files=(path,), signal=signal, onsets=(1.0, 3.5))


def _beside(suffix: str, content: bytes | None) -> Callable[[Path], None]:
    def spoil(vhdr: Path) -> None:
        path = vhdr.with_suffix(suffix)
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)

    return spoil


def _half(suffix: str, odd: int = 0) -> Callable[[Path], None]:
    def spoil(vhdr: Path) -> None:
        path = vhdr.with_suffix(suffix)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + odd])

    return spoil


def brainvision_rows() -> list[Case]:
    """All rows of this page."""

    def case(name: str, make: Make, expect: str = "equal", group: str = "rest") -> Case:
        return Case(format="BrainVision", name=name, make=make, expect=expect, group=group)

    kinds = [("INT_16", "0.1"), ("INT_32", "0.01"), ("IEEE_FLOAT_32", "0.1")]
    rows = [
        case(
            f"{binary.lower()}, {orientation.lower()}", triplet(binary=binary, orientation=orientation, resolution=step)
        )
        for binary, step in kinds
        for orientation in ("MULTIPLEXED", "VECTORIZED")
    ]
    steps = {"nV": "100", "uV": "0.1", "mV": "0.0001", "V": "0.0000001", "": "0.1"}
    rows += [case(f"unit {unit or 'empty'}", triplet(unit=unit, resolution=step)) for unit, step in steps.items()]
    rows += [
        case("a unit per channel", triplet(units=("µV", "mV", "nV", "V"), resolution="0.5")),
        case("no resolution", triplet(resolution="")),
        case("Latin-1", triplet(encoding="latin-1", codepage="")),
        case("UTF-8 with a mark", triplet(encoding="utf-8-sig")),
        case("Windows line ends", triplet(line_end="\r\n")),
        case("names by $b", _by_base),
        case("header version 2.0", triplet(title="BrainVision Data Exchange Header File Version 2.0")),
        case("samples in .dat", triplet(data_suffix=".dat")),
        case("no marker file named", triplet(marker_file=False), "equal or unreadable|marker"),
        case("suffix .VHDR", triplet("_eeg.VHDR", says="truth")),
        case("renamed triplet", _renamed),
        case("written by pybv, int16", _by_pybv("binary_int16")),
        case("written by pybv, float32", _by_pybv("binary_float32")),
        case("written by pybv, mV", _by_pybv("binary_float32", "mV")),
        case("an EOG channel by its name", triplet(names=(*CHANNELS, "VEOG"))),
        case("an ECG channel by its name", triplet(names=(*CHANNELS, "ECG"))),
        case("a channel in degrees", _degrees),
        case("markers, no events.tsv", _markers, group="events"),
        case("99.999 Hz", triplet(interval="10000.1")),
        case("200 Hz", triplet(interval="5000"), "sampled at 200 Hz"),
        case(".eeg missing", spoiled(_beside(".eeg", None)), r"unreadable|\.eeg|missing|no such"),
        case(".eeg of 0 bytes", spoiled(_beside(".eeg", b"")), "unreadable|no samples|0 bytes|empty|size"),
        case(".eeg is a Git LFS pointer", spoiled(_beside(".eeg", POINTER)), "LFS|pointer|unreadable|size"),
        case(".eeg cut inside a sample", spoiled(_half(".eeg", 3), holds=True), "equal or unreadable|truncated|size"),
        case("the others' suffixes in capitals", _capitals, group="events"),
        case("markers in Latin-1", _latin_markers, group="events"),
        case("a Bad Interval among the markers", _bad_interval, group="events"),
        case(
            "cut into segments",
            _edited("DataFormat=BINARY", f"DataFormat=BINARY\n{_SEGMENTS}", absent=(249, 250, 749, 750)),
        ),
        case("a New Segment in the middle", _new_segment),
        case("a unit that was encoded twice", _edited("µV", "ÂµV")),
        case("a resolution per channel", _edited("Ch2=Cz,,0.1", "Ch2=Cz,,0.488281", scale=4.88281)),
        case("a comment that names files and channels", _edited("[Channel Infos]", "[Channel Infos]", after=_COMMENT)),
        case("bytes in big-endian order", _edited("INT_16", "INT_16\nUseBigEndianOrder=YES"), "big-endian"),
        case("frequencies", _edited("DataFormat=BINARY", "DataFormat=BINARY\nDataType=FREQUENCYDOMAIN"), "DataType"),
        case("an unknown unit", _edited("µV", "counts"), "the unit of Fz is 'counts'"),
        case("vectorized, .eeg cut", _cut_vectors, "whole number of samples"),
        case(".vmrk missing", spoiled(_beside(".vmrk", None), holds=True), "equal or unreadable|vmrk|missing|no such"),
        case(".vmrk cut in half", _short_markers, "equal or unreadable|vmrk"),
        case(".vhdr of 0 bytes", spoiled(lambda vhdr: vhdr.write_bytes(b"")), "unreadable|0 bytes|empty"),
        case(".vhdr cut in half", spoiled(_half(".vhdr")), "unreadable"),
        case(".vhdr is a Git LFS pointer", spoiled(lambda vhdr: vhdr.write_bytes(POINTER)), "LFS|pointer|unreadable"),
        case(".vhdr is a web page", spoiled(lambda vhdr: vhdr.write_bytes(PAGE)), "HTML|page|unreadable"),
        case(
            ".vhdr of random bytes", spoiled(lambda v: v.write_bytes(np.random.default_rng(2).bytes(999))), "unreadable"
        ),
        case("samples that are no numbers", _not_numbers),
    ]
    return rows


_SEGMENTS = "SegmentationType=MARKERBASED\nSegmentDataPoints=250"
_COMMENT = "\n[Comment]\nDataFile=other.eeg\nCh1=Fp1,,7,mV\n"


def _edited(before: str, then: str, *, absent: tuple[int, ...] = (), scale: float = 1.0, after: str = "") -> Make:
    """A header in which a text was replaced; `scale`: of the second channel."""

    def make(place: Place) -> Expected:
        path = place.file("_eeg.vhdr")
        signal = write_triplet(path, seed=place.seed)
        content = path.read_text(encoding="utf-8")
        assert before in content
        path.write_text(content.replace(before, then) + after, encoding="utf-8")
        signal[1] *= scale
        signal[:, list(absent)] = np.nan
        return Expected(files=(path,), signal=signal, says="truth")

    return make


def _capitals(place: Place) -> Expected:
    path = place.file("_eeg.vhdr", task="events")
    signal = write_triplet(path, seed=place.seed, markers=(("Stimulus", "go", 101), ("Stimulus", "go", 401)))
    for suffix in (".eeg", ".vmrk"):
        path.with_suffix(suffix).rename(path.with_suffix(suffix.upper()))
    return Expected(files=(path,), signal=signal, says="truth", onsets=(1.0, 4.0))


def _latin_markers(place: Place) -> Expected:
    path = place.file("_eeg.vhdr", task="events")
    markers = (("Comment", "Größe", 60), ("Stimulus", "go", 101), ("Stimulus", "go", 401))
    signal = write_triplet(path, seed=place.seed, encoding="latin-1", codepage="", markers=markers)
    return Expected(files=(path,), signal=signal, says="truth", onsets=(1.0, 4.0))


def _bad_interval(place: Place) -> Expected:
    """As Analyzer writes it: MNE takes what begins with "bad" for a bad time."""
    path = place.file("_eeg.vhdr", task="events")
    signal = write_triplet(path, seed=place.seed, markers=(("Stimulus", "go", 101), ("Stimulus", "go", 401)))
    with path.with_suffix(".vmrk").open("a") as markers:
        markers.write("Mk3=Bad Interval,Bad Min-Max,380,100,0\n")
    return Expected(files=(path,), signal=signal, says="truth", onsets=(1.0,), lost=1)


def _new_segment(place: Place) -> Expected:
    path = place.file("_eeg.vhdr")
    markers = (("New Segment", "", 1), ("Stimulus", "S  1", 50), ("New Segment", "", 351))
    signal = write_triplet(path, seed=place.seed, markers=markers)
    signal[:, [349, 350]] = np.nan
    return Expected(files=(path,), signal=signal, says="truth")


def _cut_vectors(place: Place) -> None:
    """One channel lies behind the other: without the file's length nobody knows where each begins."""
    path = place.file("_eeg.vhdr")
    write_triplet(path, seed=place.seed, orientation="VECTORIZED")
    path.with_suffix(".eeg").write_bytes(path.with_suffix(".eeg").read_bytes()[:-803])


def _degrees(place: Place) -> Expected:
    """A temperature beside the EEG is no EEG."""
    path = place.file("_eeg.vhdr")
    signal = write_triplet(path, seed=place.seed, names=(*CHANNELS, "Temp"))
    path.write_text(path.read_text().replace("Ch5=Temp,,0.1,µV", "Ch5=Temp,,0.1,C"))
    return Expected(files=(path,), signal=signal[:4], says="truth")


def _short_markers(place: Place) -> Expected:
    path = place.file("_eeg.vhdr")
    signal = write_triplet(path, seed=place.seed, markers=(("Stimulus", "go", 101), ("Stimulus", "go", 351)))
    _half(".vmrk")(path)
    return Expected(files=(path,), signal=signal, says="truth")


def _not_numbers(place: Place) -> Expected:
    """One NaN spoils its window, and no other."""
    path = place.file("_eeg.vhdr")
    signal = write_triplet(path, seed=place.seed, binary="IEEE_FLOAT_32")
    samples = np.fromfile(path.with_suffix(".eeg"), "<f4").reshape(-1, len(CHANNELS))
    samples[250, 1] = np.nan
    path.with_suffix(".eeg").write_bytes(samples.tobytes())
    signal[1, 250] = np.nan
    return Expected(files=(path,), signal=signal)
