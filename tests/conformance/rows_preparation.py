"""Prepared recordings: filtered, referenced and resampled as MNE does it to the whole recording."""

from __future__ import annotations

from collections.abc import Callable

import mne
import numpy as np

from conformance.case import CHANNELS, RATE, Case, Expected, Make, Place, Signal, random_signal
from conformance.edf_bytes import Edf, Field, on_the_clock, with_more
from conformance.rows_brainvision import write_triplet
from conformance.rows_eeglab import write_set
from conformance.rows_fif import raw_of

Prepare = Callable[[mne.io.BaseRaw], mne.io.BaseRaw]
BAND = (1.0, 30.0)


def average(raw: mne.io.BaseRaw) -> mne.io.BaseRaw:
    """MNE's average reference over good EEG channels."""
    return raw.set_eeg_reference("average", ch_type="eeg", verbose="error")


def band(raw: mne.io.BaseRaw) -> mne.io.BaseRaw:
    """MNE's default band-pass, then the average reference."""
    return average(raw.filter(*BAND, picks="eeg", verbose="error"))


def resampled(raw: mne.io.BaseRaw) -> mne.io.BaseRaw:
    """MNE's default resampling to the recipe's rate."""
    return raw.resample(RATE, verbose="error")


def _edf(edf: Edf, prepare: Prepare, types: dict[str, str] | None = None, bads: tuple[str, ...] = ()) -> Make:
    def make(place: Place) -> Expected:
        path = place.file("_eeg.edf" if edf.nbytes == 2 else "_eeg.bdf")
        edf.write(path, place.seed)
        if bads:
            rows = "".join(f"{name}\tEEG\tuV\t{'bad' if name in bads else 'good'}\n" for name in CHANNELS)
            place.file("_channels.tsv").write_text("name\ttype\tunits\tstatus\n" + rows)

        def as_mne(raw: mne.io.BaseRaw) -> mne.io.BaseRaw:
            raw.set_channel_types(types or {}, on_unit_change="ignore", verbose="error")
            raw.info["bads"] = list(bads)
            return prepare(raw)

        return Expected(files=(path,), prepare=as_mne)

    return make


def _set(prepare: Prepare) -> Make:
    def make(place: Place) -> Expected:
        path = place.file("_eeg.set")
        write_set(path, random_signal(place.seed))
        return Expected(files=(path,), prepare=prepare)

    return make


def _triplet(prepare: Prepare) -> Make:
    def make(place: Place) -> Expected:
        path = place.file("_eeg.vhdr")
        write_triplet(path, seed=place.seed)
        return Expected(files=(path,), prepare=prepare)

    return make


def _fif(prepare: Prepare, change: Callable[[mne.io.Raw], object] = lambda raw: None, rate: float = RATE) -> Make:
    def make(place: Place) -> Expected:
        path = place.file("_eeg.fif")
        raw = raw_of(random_signal(place.seed, rate=rate), rate=rate)
        change(raw)
        raw.save(path, verbose="error")
        return Expected(files=(path,), prepare=prepare)

    return make


def _joined(offset: float) -> Make:
    """Two recordings, one behind the other, whose offsets differ: a filter over the joint would ring."""

    def make(place: Place) -> Expected:
        path = place.file("_eeg.fif")
        signal = random_signal(place.seed, seconds=16)
        joint = 760
        signal[:, joint:] += offset
        raw = mne.concatenate_raws([raw_of(signal[:, :joint]), raw_of(signal[:, joint:])], verbose="error")
        raw.save(path, verbose="error")
        return Expected(files=(path,), prepare=band, absent=((joint - 1, joint + 1),))

    return make


def _joined_at(rate: float, n_times: int, joints: tuple[int, ...]) -> Make:
    """Parts that begin between two samples of the new rate; each is resampled by itself."""

    def make(place: Place) -> Expected:
        path = place.file("_eeg.fif")
        edges = list(zip((0, *joints), (*joints, n_times), strict=True))
        signal = random_signal(place.seed, seconds=n_times / rate, rate=rate)[:, :n_times]
        for number, (first, stop) in enumerate(edges):
            signal[:, first:stop] += 500 * number
        parts = [raw_of(signal[:, first:stop], rate=rate) for first, stop in edges]
        mne.concatenate_raws(parts, verbose="error").save(path, fmt="double", verbose="error")
        held, after = np.full((len(CHANNELS), int(n_times * RATE / rate)), np.nan), 0
        for first, stop in edges:
            part = raw_of(signal[:, first:stop], rate=rate).resample(RATE, verbose="error").get_data() * 1e6
            begin = max(after, round(first * RATE / rate))
            after = min(begin + int((stop - first) * RATE / rate + 1e-6), held.shape[1])
            held[:, begin:after] = part[:, : after - begin]
        for _, stop in edges[:-1]:
            joint = round(stop * RATE / rate)
            held[:, joint - 2 : joint + 2] = np.nan  # none of these is where a window of 1 s ends
        return Expected(files=(path,), signal=held, step=0.02, says="truth")

    return make


def _interrupted(place: Place) -> Expected:
    """Each stretch is filtered by itself."""
    onsets = (*map(float, range(6)), *(t + 20.0 for t in range(6, 12)))
    path = place.file("_eeg.edf")
    edf = Edf(onsets=onsets, reserved="EDF+D", seconds=12)
    stored = edf.write(path, place.seed)
    filtered = np.concatenate([_filtered(stored[:, :600]), _filtered(stored[:, 600:])], axis=1)
    filtered -= filtered.mean(axis=0)
    return Expected(files=(path,), signal=on_the_clock(filtered, onsets), says="truth")


def _filtered(signal: Signal) -> Signal:
    filtered: Signal = mne.filter.filter_data(signal, RATE, *BAND, verbose="error")
    return filtered


def _at(rate: float, nbytes: int = 2) -> Edf:
    return Edf(fields=tuple(Field(label=name, rate=rate) for name in CHANNELS), nbytes=nbytes)


def preparation_rows() -> list[Case]:
    """All rows of this page."""

    def case(name: str, make: Make, group: str) -> Case:
        return Case(format="prepared", name=name, make=make, group=group)

    plain, wide = Edf(), Edf(nbytes=3)
    beside = with_more(plain, Field(label="VEOG"), Field(label="ECG"))
    others = {"VEOG": "eog", "ECG": "ecg"}
    return [
        case("average of an EDF", _edf(plain, average), "average"),
        case("average of a BDF", _edf(wide, average), "average"),
        case("average of an EDF with VEOG and ECG", _edf(beside, average, others), "average"),
        case("average of an EDF with a bad channel", _edf(plain, average, bads=("Cz",)), "average"),
        case("average of a .set", _set(average), "average"),
        case("average of a triplet", _triplet(average), "average"),
        case("average of a FIF", _fif(average), "average"),
        case("band of an EDF", _edf(plain, band), "band"),
        case("band of a BDF", _edf(wide, band), "band"),
        case("band of an EDF with VEOG and ECG", _edf(beside, band, others), "band"),
        case("band of a .set", _set(band), "band"),
        case("band of a triplet", _triplet(band), "band"),
        case("band of a FIF", _fif(band), "band"),
        case("band of a joined FIF", _joined(0), "band"),
        case("band of a joined FIF with a step", _joined(5000), "band"),
        case("band of an interrupted EDF+D", _interrupted, "band"),
        *(
            case(
                f"FIF from {rate:g} Hz, joined at {', '.join(map(str, joints))}",
                _joined_at(rate, n, joints),
                "resampled",
            )
            for rate, n, joints in (
                (200, 1605, (403,)),
                (250, 3001, (777, 1899)),
                (512, 6001, (1111, 3333)),
                (1000 / 3, 4001, (1101,)),
                (128, 1999, (701, 1403)),
            )
        ),
        case("EDF from 200 Hz", _edf(_at(200), resampled), "resampled"),
        case("BDF from 250 Hz", _edf(_at(250, 3), resampled), "resampled"),
        case("EDF from 128 Hz", _edf(_at(128), resampled), "resampled"),
        case("EDF from 50 Hz", _edf(_at(50), resampled), "resampled"),
        case("EDF at 100 Hz isn't touched", _edf(plain, lambda raw: raw), "resampled"),
        case("FIF from 500 Hz", _fif(resampled, rate=500), "resampled"),
        case("FIF from 1000 Hz", _fif(resampled, rate=1000), "resampled"),
        case(
            "EDF at 200 Hz with a slower channel",
            _edf(with_more(_at(200), Field(label="Resp", rate=25)), resampled, {"Resp": "resp"}),
            "resampled",
        ),
    ]
