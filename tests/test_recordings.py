"""What a recording holds, in every format, is what MNE finds in the whole of it; or it is refused with the reason."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import edfio
import mne
import numpy as np
import numpy.typing as npt
import pybv
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from eegzarr.bids.dataset import find_source
from eegzarr.bids.sidecars import ChannelRow, Sidecars
from eegzarr.errors import RecordingError
from eegzarr.recordings.companions import belonging, companions, files_opened
from eegzarr.recordings.reader import read_header, read_windows
from eegzarr.recordings.types import known_type
from eegzarr.recordings.units import microvolts

SECONDS = 20
NOTHING = Sidecars()
NAMES = ("Fz", "Cz", "Pz", "Oz")


def noise(channels: int, samples: int, seed: int = 0) -> npt.NDArray[np.float64]:
    return np.cumsum(np.random.default_rng(seed).normal(0, 3, (channels, samples)), axis=1)


def edf_signal(name: str, rate: float, unit: str = "uV", kind: type = edfio.EdfSignal, **options: object) -> object:
    return kind(noise(1, round(SECONDS * rate), len(name))[0], rate, label=name, physical_dimension=unit, **options)


def raw_array(rate: float = 100, names: tuple[str, ...] = NAMES, kinds: object = "eeg") -> mne.io.RawArray:
    info = mne.create_info(list(names), rate, kinds)
    return mne.io.RawArray(noise(len(names), round(SECONDS * rate)) * 1e-6, info, verbose="error")


def read(path: Path, sidecars: Sidecars = NOTHING) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    """Return the EEG channels and all of their samples, in windows of 1.5 s and what remains."""
    header = read_header(path, sidecars)
    header.check(header.channels)
    length = round(1.5 * header.sfreq)
    starts = np.arange(0, header.n_times - length + 1, length)
    windows = np.empty((len(starts), len(header.channels), length), np.float32)
    read_windows(path, starts, header.channels, windows, header)
    return header.channels, np.concatenate(list(windows), axis=1)


def by_mne(path: Path, channels: tuple[str, ...]) -> npt.NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne.io.read_raw(path, preload=True, verbose="error")
    signal: npt.NDArray[np.float64] = raw.get_data(picks=list(channels)) * 1e6
    return signal


def assert_like_mne(path: Path, sidecars: Sidecars = NOTHING) -> tuple[str, ...]:
    channels, signal = read(path, sidecars)
    whole = by_mne(path, channels)[:, : signal.shape[1]]
    np.testing.assert_allclose(signal, whole, rtol=1e-6, atol=1e-6 * np.abs(whole).max())
    return channels


# --- channels of several rates


@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_eeg_is_read_at_its_own_rate_beside_an_ecg_of_another(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    kind, file = (edfio.EdfSignal, edfio.Edf) if suffix == ".edf" else (edfio.BdfSignal, edfio.Bdf)
    signals = [edf_signal(name, 200 if name == "ECG" else 100, kind=kind) for name in ("Fz", "ECG", "Cz")]
    file(signals).write(path)
    header = read_header(path)
    assert (header.sfreq, header.channels, header.n_times) == (100, ("Fz", "Cz"), SECONDS * 100)
    channels, signal = read(path)
    stored = edfio.read_edf(path) if suffix == ".edf" else edfio.read_bdf(path)
    for name, row in zip(channels, signal, strict=True):
        np.testing.assert_allclose(row, stored.get_signal(name).data[: len(row)], rtol=1e-6, atol=1e-5)
    with pytest.raises(RecordingError, match="ECG is sampled at 200 Hz, the EEG channels at 100 Hz"):
        header.check(("Fz", "ECG"))


def test_eeg_channels_of_two_rates_are_what_mne_makes_of_the_whole(tmp_path: Path) -> None:
    edfio.Edf([edf_signal("Fz", 100), edf_signal("Cz", 200), edf_signal("Pz", 50)]).write(tmp_path / "a.edf")
    assert assert_like_mne(tmp_path / "a.edf") == ("Fz", "Cz", "Pz")
    assert read_header(tmp_path / "a.edf").sfreq == 200


# --- which channels are EEG


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("EOG", "eog"), ("VEOG", "eog"), ("HEOGR", "eog"), ("EOG horizontal", "eog"), ("LOC-A2", "eog"),
        ("ECG2", "ecg"), ("EEG EKG1-REF", "ecg"), ("EMG submental", "emg"), ("Chin1", "emg"), ("STI 014", "stim"),
        ("Status", "stim"), ("TRIG", "stim"), ("Event marker", "stim"), ("GSR1", "gsr"), ("EDA", "gsr"),
        ("Resp oro-nasal", "resp"), ("Temp rectal", "temperature"), ("SaO2", "bio"), ("SpO2", "bio"),
        ("Photodiode", "misc"), ("PHOTO", "misc"), ("EXG3", "misc"), ("ACC_X", "misc"), ("AUX1", "misc"),
        ("Fp1", ""), ("E129", ""), ("A1", ""), ("EEG Fpz-Cz", ""), ("EEG FP1-REF", ""), ("T7", ""), ("TP9", ""),
        ("O2", ""), ("CPz", ""), ("EEG 001", ""), ("C3-M2", ""), ("POO2h", ""), ("FC5.", ""), ("HL1", ""), ("I2", ""),
    ],
)  # fmt: skip
def test_names_that_everybody_knows(name: str, kind: str) -> None:
    assert known_type(name) == kind


def test_every_name_of_mnes_caps_is_eeg() -> None:
    names = {
        name
        for cap in mne.channels.get_builtin_montages()
        if "artinis" not in cap
        for name in mne.channels.make_standard_montage(cap).ch_names
    }
    assert [name for name in names if known_type(name)] == []


def test_channels_tsv_says_what_is_eeg_and_what_is_bad(tmp_path: Path) -> None:
    names = ("Fz", "Cz", "EOG1", "X1", "Pz", "Q")
    edfio.Edf([edf_signal(name, 100) for name in names]).write(tmp_path / "a.edf")
    rows = tuple(
        ChannelRow(name=name, type=kind, status=status)
        for name, kind, status in [
            ("Fz", "EEG", "good"), ("Cz", "EEG", "bad"), ("EOG1", "EEG", "good"), ("X1", "MISC", "bad"),
            ("Pz", "eeg", ""), ("Q", "SOMETHING", "good"),
        ]
    )  # fmt: skip
    header = read_header(tmp_path / "a.edf", Sidecars(channels=rows))
    assert header.channels == ("Fz", "Cz", "EOG1", "Pz")
    assert header.others == (("X1", "misc"), ("Q", "misc"))
    assert header.bads == ("Cz", "X1")
    assert any("unknown type for Q" in note for note in header.notes)
    # Without it the name decides.
    assert read_header(tmp_path / "a.edf").channels == ("Fz", "Cz", "X1", "Pz", "Q")


def test_two_rows_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    edfio.Edf([edf_signal("Fz", 100)]).write(tmp_path / "a.edf")
    rows = (ChannelRow(name="Fz", type="EEG"), ChannelRow(name="Fz", type="ECG"))
    with pytest.raises(RecordingError, match="different rows for Fz"):
        read_header(tmp_path / "a.edf", Sidecars(channels=rows))


# --- units


UNITS = {
    "uV": 1, "uv": 1, "UV": 1, "µV": 1, "\u03bcV": 1, "Âµv": 1, "mV": 1e3, "mv": 1e3, "V": 1e6, "nV": 1e-3, "nv": 1e-3,
    "microV": 1, "": None, "xyz": None, "%": None, "?V": None,
}  # fmt: skip


@pytest.mark.parametrize(("text", "factor"), UNITS.items())
def test_units_as_people_spell_them(text: str, factor: float | None) -> None:
    assert microvolts(text) == factor


@pytest.mark.parametrize(
    ("content", "factor"),
    [
        (b"uv", 1), (b"uV", 1), (b"mv", 1e3), (b"nV", 1e-3), (b"V", 1e6), ("µV".encode(), 1), (b"\xb5V", 1),
        ("\u03bcV".encode(), 1), (b"\x83\xcaV", 1), (b"\xe6V", 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("twice", [False, True], ids=["own reader", "MNE's"])
def test_units_in_an_edf_header(content: bytes, factor: float, twice: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    edfio.Edf([edf_signal("Fz", 100), edf_signal("Cz", 100)]).write(path)
    _, right = read(path)
    raw = bytearray(path.read_bytes())
    raw[256 + 2 * 96 : 256 + 2 * 96 + 16] = content.ljust(8) * 2
    if twice:  # a name that repeats is MNE's to read
        raw[256 : 256 + 32] = b"Fz".ljust(16) * 2
    path.write_bytes(raw)
    header = read_header(path)
    assert header.reader == ("mne" if twice else "edf")
    _, signal = read(path)
    np.testing.assert_allclose(signal, right * factor, rtol=1e-5)


def test_channels_tsv_settles_a_unit_and_what_stays_unknown_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    edfio.Edf([edf_signal("Fz", 100, ""), edf_signal("Cz", 100, "uV"), edf_signal("Pz", 100, "furlong")]).write(path)
    stored = edfio.read_edf(path)
    header = read_header(path)
    header.check(("Cz",))
    with pytest.raises(RecordingError, match="Fz has no unit"):
        header.check(("Fz",))
    with pytest.raises(RecordingError, match="the unit of Pz is 'furlong'"):
        header.check(("Pz",))
    told = Sidecars(channels=tuple(ChannelRow(name=name, type="EEG", units="mV") for name in ("Fz", "Cz", "Pz")))
    assert any("units of Fz, Pz by channels.tsv" in note for note in read_header(path, told).notes)
    channels, signal = read(path, told)
    for name, row, factor in zip(channels, signal, (1e3, 1, 1e3), strict=True):
        np.testing.assert_allclose(row, stored.get_signal(name).data[: len(row)] * factor, rtol=1e-5)


def test_what_is_no_voltage_is_no_eeg(tmp_path: Path) -> None:
    edfio.Edf([edf_signal("Fz", 100), edf_signal("Xyz", 100, "%")]).write(tmp_path / "a.edf")
    header = read_header(tmp_path / "a.edf")
    assert header.channels == ("Fz",)
    assert any("not EEG by their units: Xyz (%)" in note for note in header.notes)


@pytest.mark.parametrize(("unit", "factor"), [("µV", 1), ("uv", 1), ("mV", 1e3), ("V", 1e6), ("nV", 1e-3), ("", 1)])
def test_units_in_a_brainvision_header(unit: str, factor: float, tmp_path: Path) -> None:
    path = brainvision(raw_array(), tmp_path / "a")
    _, right = read(path)
    path.write_text(path.read_text("utf-8").replace(",µV", f",{unit}"), "utf-8")
    channels, signal = read(path)
    assert channels == NAMES
    np.testing.assert_allclose(signal, right * factor, rtol=1e-5)


# --- formats


def edf(raw: mne.io.BaseRaw, stem: Path) -> Path:
    mne.export.export_raw(stem.with_suffix(".edf"), raw, verbose="error", overwrite=True)
    return stem.with_suffix(".edf")


def fif(raw: mne.io.BaseRaw, stem: Path) -> Path:
    raw.save(stem.with_suffix(".fif"), verbose="error", overwrite=True)
    return stem.with_suffix(".fif")


def brainvision(raw: mne.io.BaseRaw, stem: Path) -> Path:
    pybv.write_brainvision(
        data=raw.get_data(), sfreq=raw.info["sfreq"], ch_names=raw.ch_names, fname_base=stem.name,
        folder_out=stem.parent, overwrite=True, unit="µV", resolution=0.01,
    )  # fmt: skip
    return stem.with_suffix(".vhdr")


def eeglab(raw: mne.io.BaseRaw, stem: Path) -> Path:
    mne.export.export_raw(stem.with_suffix(".set"), raw, verbose="error", overwrite=True)
    return stem.with_suffix(".set")


def eeglab_with_fdt(raw: mne.io.BaseRaw, stem: Path, fdt: str = "") -> Path:
    path = eeglab(raw, stem)
    content = scipy.io.loadmat(path, squeeze_me=False)
    (raw.get_data() * 1e6).T.astype("<f4").tofile(stem.with_suffix(".fdt"))
    content["data"] = fdt or f"{stem.name}.fdt"
    scipy.io.savemat(path, {key: value for key, value in content.items() if not key.startswith("__")})
    return path


FORMATS = (edf, fif, brainvision, eeglab, eeglab_with_fdt)
Writer = Callable[[mne.io.BaseRaw, Path], Path]


@settings(max_examples=20)
@given(
    writer=st.sampled_from(FORMATS),
    rate=st.sampled_from([50.0, 100.0, 128.0, 250.0, 512.0]),
    names=st.lists(st.sampled_from(["Fp1", "Fz", "Cz", "EOG1", "ECG", "O2", "T7", "Status"]), min_size=1, unique=True),
)
def test_every_format_is_read_as_mne_reads_it(
    tmp_path_factory: pytest.TempPathFactory, writer: Writer, rate: float, names: list[str]
) -> None:
    eeg = [name for name in names if not known_type(name)]
    path = writer(raw_array(rate, tuple(names)), tmp_path_factory.mktemp("any") / "a")
    if not eeg:
        with pytest.raises(RecordingError, match="no EEG channel; it has"):
            read_header(path)
        return
    assert list(assert_like_mne(path)) == eeg


@pytest.mark.parametrize("writer", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99, "pointer", "page"])
def test_a_broken_file_is_refused_with_the_reason_or_read_as_mne_does(
    writer: Writer, share: float | str, tmp_path: Path
) -> None:
    path = writer(raw_array(), tmp_path / "a")
    content = path.read_bytes()
    if share == "pointer":
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n")
    elif share == "page":
        path.write_bytes(b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n")
    else:
        path.write_bytes(content[: int(len(content) * float(share))])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mne.io.read_raw(path, preload=True, verbose="error")
    except Exception:
        with pytest.raises(RecordingError):
            read(path)
    else:
        assert_like_mne(path)


@pytest.mark.parametrize("writer", [eeglab_with_fdt, brainvision])
@pytest.mark.parametrize("left", [None, 0.0, 0.6])
def test_a_data_file_that_is_missing_or_short_is_refused(writer: Writer, left: float | None, tmp_path: Path) -> None:
    path = writer(raw_array(), tmp_path / "a")
    data = path.with_suffix(".fdt" if path.suffix == ".set" else ".eeg")
    content = data.read_bytes()
    data.unlink()
    if left is not None:
        data.write_bytes(content[: int(len(content) * left)])
    if writer is brainvision and left:
        assert_like_mne(path)
        return
    with pytest.raises(RecordingError, match=data.name if left is None else "has 0 bytes|1200 of 2000"):
        read(path)


def test_a_renamed_triplet_is_read_by_its_own_name(tmp_path: Path) -> None:
    raw = raw_array()
    old = brainvision(raw, tmp_path / "old")
    _, right = read(old)
    for suffix in (".vhdr", ".eeg", ".vmrk"):
        old.with_suffix(suffix).rename(tmp_path / f"new{suffix}")
    path = tmp_path / "new.vhdr"
    assert companions(path) == (path, tmp_path / "new.eeg", tmp_path / "new.vmrk")
    _, signal = read(path)
    np.testing.assert_array_equal(signal, right)


@pytest.mark.parametrize(
    ("told", "there", "files", "missing"),
    [
        ({"DataFile": "a.eeg", "MarkerFile": "a.vmrk"}, ("a.eeg", "a.vmrk"), ("a.eeg", "a.vmrk"), ()),
        ({"DataFile": "old.eeg", "MarkerFile": "old.vmrk"}, ("a.eeg", "a.vmrk"), ("a.eeg", "a.vmrk"), ()),
        ({"DataFile": "old.eeg"}, ("a.eeg", "old.eeg"), ("old.eeg",), ()),
        ({"DataFile": "a.eeg"}, ("a.EEG",), ("a.EEG",), ()),
        ({"DataFile": "a.eeg"}, ("A.eeg", "a.EEG"), (), ("a.eeg",)),
        ({"DataFile": "gr\u00f6\u00dfe.eeg"}, ("gro\u0308\u00dfe.eeg",), ("gro\u0308\u00dfe.eeg",), ()),
        ({"DataFile": "C:\\data\\a.eeg"}, ("a.eeg",), ("a.eeg",), ()),
        ({"DataFile": "old.eeg"}, ("a.dat",), ("a.dat",), ()),
        ({"DataFile": "old.eeg", "MarkerFile": "old.vmrk"}, ("b.eeg",), (), ("old.eeg",)),
    ],
)
def test_a_headers_files_are_those_of_its_names_or_of_its_own(
    told: dict[str, str], there: tuple[str, ...], files: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    found = belonging("a.vhdr", told, ("a.vhdr", *there))
    assert found.files == ("a.vhdr", *files)
    assert found.missing == missing


@pytest.mark.parametrize("writer", [eeglab_with_fdt, brainvision])
def test_what_is_fetched_and_fingerprinted_is_what_is_opened(writer: Writer, tmp_path: Path) -> None:
    folder = tmp_path / "sub-1" / "eeg"
    folder.mkdir(parents=True)
    path = writer(raw_array(), folder / "sub-1_task-x_eeg")
    (folder / "sub-1_task-y_eeg.fdt").write_bytes(b"another recording's")
    (recording, *_) = (one for one in find_source(tmp_path).recordings if not one.reason)
    files, _ = files_opened(str(tmp_path), recording)
    assert tuple(tmp_path / file for file in files) == companions(path)


def test_companions_are_what_mne_opens(tmp_path: Path) -> None:
    for writer in FORMATS:
        path = writer(raw_array(), tmp_path / writer.__name__)
        opened = {Path(str(file)) for file in mne.io.read_raw(path, verbose="error").filenames}
        assert opened <= set(companions(path)), writer.__name__
    path = eeglab_with_fdt(raw_array(), tmp_path / "b", "b_original.fdt")
    assert companions(path) == (path, tmp_path / "b.fdt")
    (tmp_path / "b.fdt").rename(tmp_path / "b_original.fdt")
    assert companions(path) == (path, tmp_path / "b_original.fdt")
    raw_array(20000).save(
        tmp_path / "c_eeg.fif", split_size="2MB", buffer_size_sec=0.5, split_naming="neuromag", verbose="error"
    )
    assert len(companions(tmp_path / "c_eeg.fif")) > 1
    assert_like_mne(tmp_path / "c_eeg.fif")


# --- what MNE loads whole


def test_a_recording_that_is_loaded_whole_is_loaded_once_for_its_shards_and_again_when_it_changes(
    tmp_path: Path,
) -> None:
    path = eeglab(raw_array(), tmp_path / "one")
    header = read_header(path)
    first, again, changed = (np.empty((1, len(header.channels), 50), np.float32) for _ in range(3))
    read_windows(path, np.array([10]), header.channels, first, header)
    written_at, sound = path.stat().st_mtime_ns, path.read_bytes()
    path.write_bytes(bytes(len(sound)))  # what isn't looked at may be anything
    os.utime(path, ns=(written_at, written_at))
    read_windows(path, np.array([10]), header.channels, again, header)
    np.testing.assert_array_equal(again, first)
    other = mne.io.RawArray(raw_array().get_data() * 2, raw_array().info, verbose="error")
    eeglab(other, tmp_path / "one")
    read_windows(path, np.array([10]), header.channels, changed, header)
    np.testing.assert_allclose(changed, 2 * first, rtol=1e-5)
