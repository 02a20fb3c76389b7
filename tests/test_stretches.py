"""Recordings with gaps, joins and bad times: samples stay at their time, and no window lies across a joint."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import edfio
import mne
import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from eegzarr.errors import RecordingError
from eegzarr.recipes.recipe import Preparation
from eegzarr.recordings.header import Annotation, Header
from eegzarr.recordings.preparation import prepare_recording
from eegzarr.recordings.reader import read_header, read_windows

RATE = 100
NAMES = ("Fz", "Cz", "Pz")


def noise(seconds: float, seed: int = 0, rate: int = RATE) -> npt.NDArray[np.float64]:
    return np.cumsum(np.random.default_rng(seed).normal(0, 3, (len(NAMES), round(seconds * rate))), axis=1)


def interrupted(path: Path, onsets: list[float], events: list[tuple[float, str]] = ()) -> npt.NDArray[np.float64]:
    """Write records of 1 s that began at `onsets`, as an amplifier with a pause button does; return their samples."""
    kind, file = (edfio.EdfSignal, edfio.Edf) if path.suffix == ".edf" else (edfio.BdfSignal, edfio.Bdf)
    signal = noise(len(onsets))
    file(
        [kind(row, RATE, label=name, physical_dimension="uV") for name, row in zip(NAMES, signal, strict=True)],
        annotations=[edfio.EdfAnnotation(0, None, "x" * 60)],
        data_record_duration=1,
    ).write(path)
    content = bytearray(path.read_bytes())
    content[192:197] = b"EDF+D" if path.suffix == ".edf" else b"BDF+D"
    n_signals = len(NAMES) + 1
    sample = 2 if path.suffix == ".edf" else 3
    label = content.index(b"DF Annotations") - 1
    place = (label - 256) // 16
    widths = [int(content[256 + n_signals * 216 + 8 * i :][:8]) for i in range(n_signals)]
    record, before = sum(widths) * sample, sum(widths[:place]) * sample
    for number, onset in enumerate(onsets):
        told = f"{onset:+g}\x14\x14\0".encode()
        for time, text in events:
            if onset <= time < onset + 1:
                told += f"{time:+g}\x150.5\x14{text}\x14\0".encode()
        start = 256 * (n_signals + 1) + number * record + before
        content[start : start + widths[place] * sample] = told.ljust(widths[place] * sample, b"\0")
    path.write_bytes(content)
    stored = edfio.read_edf(path) if path.suffix == ".edf" else edfio.read_bdf(path)
    return np.stack([stored.get_signal(name).data for name in NAMES])


def window(path: Path, header: Header, start: int, length: int = 100) -> npt.NDArray[np.float32]:
    out = np.empty((1, len(NAMES), length), np.float32)
    read_windows(path, np.array([start]), NAMES, out, header)
    return out[0]


@settings(max_examples=15)
@given(
    suffix=st.sampled_from([".edf", ".bdf"]),
    gaps=st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.5, 20.0]), min_size=3, max_size=12),
    began=st.sampled_from([0.0, 0.25]),
)
def test_samples_of_an_interrupted_file_are_at_the_time_when_they_were_recorded(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, gaps: list[float], began: float
) -> None:
    path = tmp_path_factory.mktemp("gaps") / f"a{suffix}"
    onsets = [began]
    for gap in gaps:
        onsets.append(onsets[-1] + 1 + gap)
    signal = interrupted(path, onsets)
    header = read_header(path)
    first = [round((onset - began) * RATE) for onset in onsets]
    assert header.n_times == first[-1] + RATE
    assert len(header.spans) == 1 + sum(gap > 0 for gap in gaps)
    recorded = np.full((len(NAMES), header.n_times), np.nan)
    for number, start in enumerate(first):
        recorded[:, start : start + RATE] = signal[:, number * RATE : (number + 1) * RATE]
    starts = np.arange(0, header.n_times - 100 + 1, 37)
    whole = np.array([np.isfinite(recorded[:, start : start + 100]).all() for start in starts])
    np.testing.assert_array_equal(header.holds(starts, 100), whole)
    for start in starts[whole]:
        np.testing.assert_allclose(window(path, header, start), recorded[:, start : start + 100], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_events_of_an_interrupted_file_are_in_recorded_time(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    onsets = [float(t) for t in (*range(10), *range(30, 50))]
    interrupted(path, onsets, [(3.25, "left"), (35.0, "right, grün")])
    header = read_header(path)
    assert header.annotations is not None
    assert [(a.onset, a.duration, a.text) for a in header.annotations] == [
        (3.25, 0.5, "left"), (35.0, 0.5, "right, grün"),
    ]  # fmt: skip
    assert header.holds(np.array([3500 - 50, 1000 - 50, 2500]), 100).tolist() == [True, False, False]


def test_an_interrupted_file_without_gaps_is_like_any_other(tmp_path: Path) -> None:
    interrupted(tmp_path / "a.edf", [float(t) for t in range(20)])
    header = read_header(tmp_path / "a.edf")
    assert (header.stretches, header.stored, header.n_times) == ((), (), 2000)


@pytest.mark.parametrize(("onsets", "told"), [([0, 5, 3], "go backwards"), ([0, 0.5, 3], "go backwards")])
def test_times_that_contradict_each_other_are_refused(onsets: list[float], told: str, tmp_path: Path) -> None:
    interrupted(tmp_path / "a.edf", onsets)
    with pytest.raises(RecordingError, match=told):
        read_header(tmp_path / "a.edf")


@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_annotations_of_edf_plus_are_mnes(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    kind, file = (edfio.EdfSignal, edfio.Edf) if suffix == ".edf" else (edfio.BdfSignal, edfio.Bdf)
    signals = [kind(row, RATE, label=name, physical_dimension="uV") for name, row in zip(NAMES, noise(20), strict=True)]
    told = [(0.5, None, "go"), (3.25, 1.5, "stay — here"), (3.25, None, "again"), (3.25, None, "again"), (19, 0, "Fz")]
    file(signals, annotations=[edfio.EdfAnnotation(*one) for one in told]).write(path)
    header = read_header(path, annotations=True)
    raw = mne.io.read_raw(path, verbose="error")
    assert header.annotations is not None
    assert [(a.onset, a.duration, a.text) for a in header.annotations] == [
        (float(a["onset"]), float(a["duration"]), str(a["description"])) for a in raw.annotations
    ]
    assert read_header(path).annotations is None  # they lie all over the file


@pytest.mark.parametrize("text", ["Störung", "ægte", "\u0192Ê"])
def test_latin_1_annotations_are_read(text: str, tmp_path: Path) -> None:
    path, content = tmp_path / "a.edf", text.encode("cp1252")
    interrupted(path, [0.0, 1.0, 2.0], [(1.5, stand_in := "y" * len(content))])
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), content).replace(b"EDF+D", b"EDF+C"))
    header = read_header(path, annotations=True)
    assert [a.text for a in header.annotations or ()] == [content.decode("latin-1")]
    blocks = list(prepare_recording(path, NAMES, Preparation(h_freq=30), RATE, header))
    assert blocks[0].shape == (3, 300)


def joined(path: Path, rate: int = RATE) -> mne.io.BaseRaw:
    """Two recordings in one file, the second 6 mV higher."""
    info = mne.create_info(list(NAMES), rate, "eeg")
    parts = [mne.io.RawArray((noise(20, seed, rate) + 6000 * seed) * 1e-6, info, verbose="error") for seed in (0, 1)]
    mne.concatenate_raws(parts, verbose="error").save(path, verbose="error")
    return mne.io.read_raw_fif(path, preload=True, verbose="error")


@pytest.mark.parametrize("cropped", [False, True])
@pytest.mark.parametrize("dated", [False, True])
def test_joins_of_fif_files_part_them(cropped: bool, dated: bool, tmp_path: Path) -> None:
    info = mne.create_info(list(NAMES), RATE, "eeg")
    parts = [mne.io.RawArray(noise(20, seed) * 1e-6, info, verbose="error") for seed in (0, 1)]
    raw = mne.concatenate_raws(parts, verbose="error")
    raw.annotations.append([5.0, 33.333], [2.5, 0.0], ["BAD_blink", "go"])
    if dated:
        raw.set_meas_date(1_700_000_000)
    if cropped:
        raw.crop(3.0)
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    header = read_header(tmp_path / "a_raw.fif")
    shift = 3.0 if cropped else 0.0
    join = round((20 - shift) * RATE)
    assert header.spans == ((0, join), (join, header.n_times))
    assert header.bad_times == ((round((5 - shift) * RATE), round((7.5 - shift) * RATE)),)
    assert header.annotations is not None
    assert [a.onset for a in header.annotations if a.text == "go"] == [pytest.approx(33.333 - shift)]


@pytest.mark.parametrize(
    ("preparation", "sfreq"),
    [
        (Preparation(l_freq=1), 100),
        (Preparation(l_freq=1, h_freq=30), 100),
        (Preparation(notch=(20, 40)), 100),
        (Preparation(l_freq=0.5, h_freq=20, notch=(25,), resample=True), 50),
    ],
)
def test_each_stretch_is_prepared_as_mne_prepares_it_alone(
    preparation: Preparation, sfreq: float, tmp_path: Path
) -> None:
    raw = joined(tmp_path / "a_raw.fif")
    header = read_header(tmp_path / "a_raw.fif")
    got = np.concatenate(list(prepare_recording(tmp_path / "a_raw.fif", NAMES, preparation, sfreq, header)))
    alone = []
    for tmin, tmax in ((0, 20), (20, None)):
        part = raw.copy().set_annotations(None).crop(tmin, tmax, include_tmax=tmax is None)
        if preparation.notch:
            part.notch_filter(list(preparation.notch), verbose="error")
        if preparation.l_freq or preparation.h_freq:
            part.filter(preparation.l_freq, preparation.h_freq, verbose="error")
        if preparation.resample:
            part.resample(sfreq, verbose="error")
        alone.append(part.get_data() * 1e6)
    whole = np.concatenate(alone, axis=1)
    np.testing.assert_allclose(got, whole, rtol=1e-6, atol=1e-6 * np.abs(whole).max())


@given(
    st.lists(st.integers(1, 700), min_size=1, max_size=6),
    st.sampled_from([64.0, 128.0, 200.0, 250.0, 1000 / 3, 499.9, 512.0]),
)
def test_stretches_at_another_rate_never_meet_and_end_with_the_recording(lengths: list[int], sfreq: float) -> None:
    edges = np.cumsum([0, *lengths]).tolist()
    header = Header(sfreq=sfreq, n_times=edges[-1], channels=("Cz",), stretches=tuple(pairwise(edges)))
    after = header.at(100)
    assert len(after.stretches) == len(lengths)
    assert all(0 <= first <= stop <= after.n_times for first, stop in after.stretches)
    assert all(stop <= first for (_, stop), (first, _) in pairwise(after.stretches))
    for (first, stop), (begin, end) in zip(header.stretches, after.stretches, strict=True):
        assert abs(begin - first * 100 / sfreq) <= 1
        assert end - begin <= (stop - first) * 100 / sfreq + 0.01


def test_a_filter_hears_joins_as_mnes_does(tmp_path: Path) -> None:
    raw = joined(tmp_path / "a_raw.fif")
    header = read_header(tmp_path / "a_raw.fif")
    got = np.concatenate(list(prepare_recording(tmp_path / "a_raw.fif", NAMES, Preparation(l_freq=1), RATE, header)))
    np.testing.assert_allclose(got, raw.filter(1, None, verbose="error").get_data() * 1e6, atol=1e-3)


def test_a_pause_in_the_acquisition_is_a_gap(tmp_path: Path) -> None:
    info = mne.create_info(list(NAMES), RATE, "eeg")
    raw = mne.io.RawArray(noise(30) * 1e-6, info, verbose="error")
    raw.set_annotations(mne.Annotations([10.0], [5.0], ["BAD_ACQ_SKIP"]))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    header = read_header(tmp_path / "a_raw.fif")
    assert header.spans == ((0, 1000), (1500, 3000))
    assert header.holds(np.array([900, 901, 1200, 1500]), 100).tolist() == [True, False, False, True]


@pytest.mark.parametrize("latency", [1000.5, 1001.0, 1001.5])
def test_eeglabs_boundaries_are_joins(latency: float, tmp_path: Path) -> None:
    """EEGLAB counts samples from 1, and a boundary lies before the one that it begins."""
    info = mne.create_info(list(NAMES), RATE, "eeg")
    raw = mne.io.RawArray(noise(30) * 1e-6, info, verbose="error")
    raw.set_annotations(mne.Annotations([1.0, 2.0], [0.0, 0.0], ["boundary", "go"]))
    mne.export.export_raw(tmp_path / "a.set", raw, verbose="error")
    content = scipy.io.loadmat(tmp_path / "a.set", squeeze_me=False)
    events = content["event"]
    events["latency"][0, 0] = np.array([[latency]])
    scipy.io.savemat(tmp_path / "a.set", {k: v for k, v in content.items() if not k.startswith("__")})
    join = 1000 if latency <= 1001 else 1001
    assert read_header(tmp_path / "a.set").spans == ((0, join), (join, 3000))


@given(
    st.integers(1, 400),
    st.lists(st.tuples(st.integers(0, 450), st.integers(0, 60), st.booleans()), max_size=6),
    st.integers(1, 50),
)
def test_windows_lie_in_one_stretch_and_no_bad_time(
    n_times: int, told: list[tuple[int, int, bool]], length: int
) -> None:
    texts = [("BAD_ACQ_SKIP" if gap else "BAD_x") if duration else "EDGE boundary" for _, duration, gap in told]
    annotations = tuple(
        Annotation(onset=onset / 10, duration=duration / 10, text=text)
        for (onset, duration, _), text in zip(told, texts, strict=True)
    )
    header = Header(sfreq=10, n_times=n_times, channels=("Fz",)).annotated(annotations)
    taken, joins = np.zeros(n_times + 600, bool), set()
    taken[n_times:] = True
    for (onset, duration, _), text in zip(told, texts, strict=True):
        taken[onset : onset + duration] = True
        if text == "EDGE boundary":
            joins.add(onset)
    for start in range(n_times):
        free = not taken[start : start + length].any() and not any(start < join < start + length for join in joins)
        assert header.holds(np.array([start]), length)[0] == free
