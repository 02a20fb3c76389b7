"""FIF: whole, split, joined, with bad stretches and bad channels, and broken ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mne
import numpy as np

from conformance.case import CHANNELS, POINTER, RATE, Case, Expected, Make, Place, Signal, random_signal


def raw_of(
    signal: Signal, names: tuple[str, ...] = CHANNELS, types: str | list[str] = "eeg", rate: float = RATE
) -> mne.io.Raw:
    """A recording in memory."""
    info = mne.create_info(list(names), rate, types, verbose="error")
    return mne.io.RawArray(signal * 1e-6, info, verbose="error")


def fif(
    change: Callable[[mne.io.Raw], object] = lambda raw: None,
    suffix: str = "_eeg.fif",
    absent: tuple[tuple[float, float], ...] = (),
    says: str = "mne",
    **save: object,
) -> Make:
    """A recording that `change` alters before it is saved; no window may touch `absent`, in s."""

    def make(place: Place) -> Expected:
        path, signal = place.file(suffix), random_signal(place.seed)
        raw = raw_of(signal)
        change(raw)
        raw.save(path, verbose="error", **save)
        held = raw.get_data(picks=list(CHANNELS)) * 1e6
        for begin, end in absent:
            held[:, round(begin * RATE) : round(end * RATE)] = np.nan
        return Expected(files=(path,), signal=held, step=0.02, says="truth" if absent else says)

    return make


def spoiled(spoil: Callable[[bytes], bytes]) -> Make:
    """A FIF whose bytes are changed after it was written."""

    def make(place: Place) -> None:
        path = place.file("_eeg.fif")
        raw_of(random_signal(place.seed)).save(path, verbose="error")
        path.write_bytes(spoil(path.read_bytes()))

    return make


def _split(naming: str, lose: bool = False) -> Make:
    """More than a file holds: MNE cuts it, and the parts are one recording."""

    def make(place: Place) -> Expected | None:
        whole = place.file("_eeg.fif")
        signal = random_signal(place.seed, seconds=400, channels=len(CHANNELS))
        raw_of(signal).save(whole, split_size="2MB", split_naming=naming, verbose="error", fmt="double")
        parts = sorted(whole.parent.glob("*.fif"))
        assert len(parts) > 1
        if lose:
            parts[-1].unlink()
            return None
        first = whole if whole.exists() else parts[0]
        return Expected(files=(first,), signal=signal, step=0.02)

    return make


def _joined(place: Place) -> Expected:
    """Two recordings, one behind the other: no window lies over the joint."""
    path = place.file("_eeg.fif")
    signal = random_signal(place.seed)
    joint = 350
    raw = mne.concatenate_raws([raw_of(signal[:, :joint]), raw_of(signal[:, joint:])], verbose="error")
    raw.save(path, verbose="error")
    held = signal.copy()
    held[:, [joint - 1, joint]] = np.nan
    return Expected(files=(path,), signal=held, step=0.02, says="truth")


def _annotated(*spans: tuple[float, float, str]) -> Callable[[mne.io.Raw], object]:
    onset, duration, text = (list(column) for column in zip(*spans, strict=True))
    return lambda raw: raw.set_annotations(mne.Annotations(onset, duration, text))


def _bads(raw: mne.io.Raw) -> None:
    raw.info["bads"] = ["Pz"]


def _cropped(raw: mne.io.Raw) -> None:
    raw.crop(2.0, verbose="error")


def _projected(raw: mne.io.Raw) -> None:
    raw.set_eeg_reference("average", projection=True, verbose="error")


def _typed(names: tuple[str, ...], types: tuple[str, ...]) -> Make:
    def make(place: Place) -> Expected:
        path = place.file("_eeg.fif")
        signal = random_signal(place.seed, channels=len(CHANNELS) + len(names))
        raw_of(signal, (*CHANNELS, *names), ["eeg"] * 4 + list(types)).save(path, verbose="error")
        return Expected(files=(path,), signal=signal[:4], step=0.02)

    return make


def _events(place: Place) -> Expected:
    """Annotations inside the file, and no events.tsv."""
    path, signal = place.file("_eeg.fif", task="events"), random_signal(place.seed)
    raw = raw_of(signal)
    raw.set_annotations(mne.Annotations([1.0, 2.5, 4.2], [0.0, 0.0, 0.0], ["go", "go", "go"]))
    raw.save(path, verbose="error")
    return Expected(files=(path,), signal=signal, step=0.02, onsets=(1.0, 2.5, 4.2))


def _epochs(place: Place) -> None:
    info = mne.create_info(list(CHANNELS), RATE, "eeg", verbose="error")
    epochs = mne.EpochsArray(random_signal(place.seed).reshape(8, 4, -1) * 1e-6, info, verbose="error")
    epochs.save(place.file("_eeg.fif"), verbose="error")


def _rate(rate: float) -> Make:
    def make(place: Place) -> Expected:
        path, signal = place.file("_eeg.fif"), random_signal(place.seed)
        raw_of(signal, rate=rate).save(path, verbose="error")
        return Expected(files=(path,), signal=signal, step=0.02)

    return make


def fif_rows() -> list[Case]:
    """All rows of this page."""

    def case(name: str, make: Make, expect: str = "equal", group: str = "rest") -> Case:
        return Case(format="FIF", name=name, make=make, expect=expect, group=group)

    return [
        case("single", fif()),
        case("double", fif(fmt="double")),
        case("suffix .FIF", _upper),
        case(".fif.gz", fif(suffix="_eeg.fif.gz"), "equal or gz|compressed|not read"),
        case("split as BIDS names it", _split("bids")),
        case("split as Neuromag names it", _split("neuromag")),
        case("split, a part missing", _split("bids", lose=True), "unreadable|split|part|missing"),
        case("joined, EDGE", _joined),
        case("BAD_ stretch", fif(_annotated((2.2, 1.5, "BAD_movement")), absent=((2.2, 3.7),))),
        case("bad_ stretch in small letters", fif(_annotated((2.2, 1.5, "bad blink")), absent=((2.2, 3.7),))),
        case("BAD_ACQ_SKIP", fif(_annotated((3.0, 2.0, "BAD_ACQ_SKIP")), absent=((3.0, 5.0),))),
        case("an annotation that isn't bad", fif(_annotated((2.2, 1.5, "not bad")))),
        case("a bad channel", fif(_bads)),
        case("cropped: begins at sample 200", fif(_cropped)),
        case("a projection that isn't applied", fif(_projected)),
        case("EOG and trigger channels by their types", _typed(("LE", "T1"), ("eog", "stim"))),
        case("MEG beside the EEG", _typed(("MEG 0111",), ("mag",))),
        case("ECG, EMG, misc by their types", _typed(("a", "b", "c"), ("ecg", "emg", "misc"))),
        case("annotations, no events.tsv", _events, group="events"),
        case("100.001 Hz", _rate(100.001)),
        case("678.1699829 Hz", _rate(678.1699829), "equal", "odd"),
        case("250 Hz", _rate(250.0), "sampled at 250 Hz"),
        case("0 bytes", spoiled(lambda _: b""), "unreadable|0 bytes|empty"),
        case("cut in half", spoiled(lambda whole: whole[: len(whole) // 2]), "unreadable|truncated"),
        case("100 bytes", spoiled(lambda whole: whole[:100]), "unreadable|truncated"),
        case("a Git LFS pointer", spoiled(lambda _: POINTER), "LFS|pointer|unreadable"),
        case("random bytes", spoiled(lambda whole: np.random.default_rng(3).bytes(len(whole))), "unreadable"),
        case("NUL bytes all through", spoiled(lambda whole: b"\0" * len(whole)), "unreadable"),
        case("epochs", _epochs, "epoch|unreadable|raw"),
    ]


def _upper(place: Place) -> Expected:
    expected = fif()(place)
    assert isinstance(expected, Expected)
    lower: Path = expected.files[0]
    upper = lower.rename(lower.with_suffix(".FIF"))
    return Expected(files=(upper,), signal=expected.signal, step=0.02, says="truth")
