"""Positions, interpolated bad channels and references are those of MNE and of mne-bids."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import numpy.typing as npt
import pytest

from eegzarr.bids.sidecars import ChannelRow, Sidecars
from eegzarr.errors import RecordingError
from eegzarr.recipes.recipe import Preparation
from eegzarr.recordings.header import Header
from eegzarr.recordings.mixing import check_mixing, mixing
from eegzarr.recordings.positions import channel_positions, electrode_positions
from eegzarr.recordings.preparation import cut, prepare_recording
from eegzarr.recordings.reader import read_header

NAMES = ("Fp1", "Fp2", "F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4", "O1", "O2")
BAD = ("Fz", "P4")


def raw_array(names: tuple[str, ...] = NAMES, *, seconds: int = 20) -> mne.io.RawArray:
    signal = np.cumsum(np.random.default_rng(0).normal(0, 3e-6, (len(names), seconds * 100)), axis=1)
    return mne.io.RawArray(signal, mne.create_info(list(names), 100, "eeg"), verbose="error")


@pytest.fixture(scope="module", params=["in the file", "by name"])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, mne.io.BaseRaw]:
    """A file, with positions of its own or with names alone, and what MNE has of it, with the same positions."""
    raw = raw_array()
    montage = mne.channels.make_standard_montage(mne.channels.get_builtin_montages()[3])
    if request.param == "in the file":
        raw.set_montage(montage)
    raw.info["bads"] = list(BAD)
    path = tmp_path_factory.mktemp("mixing") / "a_raw.fif"
    raw.save(path, verbose="error")
    raw = mne.io.read_raw_fif(path, preload=True, verbose="error")
    return path, raw.set_montage(montage)


def mixed(path: Path, header: Header, channels: tuple[str, ...], preparation: Preparation) -> npt.NDArray[np.float32]:
    """Return three windows as a build makes them."""
    found = mixing(header, channels, preparation)
    windows = np.empty((3, len(found.channels), 150), np.float32)
    first = 0
    for block in prepare_recording(path, found.channels, preparation, 100, header):
        cut(block, np.array([0, 700, 1850]), first, windows)
        first += len(block)
    found.apply(windows)
    return windows[:, : len(channels)]


@pytest.mark.parametrize("channels", [NAMES, ("Pz", "Fz"), ("O1",)], ids=["all", "one of them bad", "one good"])
@pytest.mark.parametrize(
    "preparation",
    [
        Preparation(interpolate_bads=True),
        Preparation(reference="average"),
        Preparation(interpolate_bads=True, reference="average", l_freq=1.0),
        Preparation(reference="Cz"),
        Preparation(interpolate_bads=True, reference="Fz", notch=(25.0,)),
    ],
    ids=["interpolated", "average", "both", "Cz", "a bad one"],
)
def test_bads_and_references_are_mnes(
    recording: tuple[Path, mne.io.BaseRaw], channels: tuple[str, ...], preparation: Preparation
) -> None:
    path, raw = recording
    raw = raw.copy()
    if preparation.notch:
        raw.notch_filter(list(preparation.notch), verbose="error")
    if preparation.l_freq:
        raw.filter(preparation.l_freq, None, verbose="error")
    if preparation.interpolate_bads:
        raw.interpolate_bads(verbose="error")
    if preparation.reference:
        reference = preparation.reference if preparation.reference == "average" else [preparation.reference]
        raw.set_eeg_reference(reference, verbose="error")
    whole = raw.get_data(picks=list(channels)) * 1e6
    windows = mixed(path, read_header(path), channels, preparation)
    for window, start in zip(windows, (0, 700, 1850), strict=True):
        np.testing.assert_allclose(window, whole[:, start : start + 150], atol=2e-5 * np.abs(whole).max())


def test_bads_of_channels_tsv_are_left_out_of_the_average_and_ecg_too(tmp_path: Path) -> None:
    raw = raw_array(("Fz", "Cz", "Pz", "X"))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    rows = tuple(
        ChannelRow(name=name, type="ECG" if name == "X" else "EEG", status="bad" if name == "Pz" else "good")
        for name in raw.ch_names
    )
    header = read_header(tmp_path / "a_raw.fif", Sidecars(channels=rows))
    windows = mixed(tmp_path / "a_raw.fif", header, ("Fz", "Cz", "Pz"), Preparation(reference="average"))
    signal = raw.get_data()[:3] * 1e6
    good = signal[:2] - signal[:2].mean(axis=0)
    np.testing.assert_allclose(windows[1], np.concatenate([good, signal[2:]])[:, 700:850], atol=1e-3)


def test_what_cannot_be_mixed_is_refused() -> None:
    header = Header(sfreq=100, n_times=100, channels=("Fz", "Q1", "Q2"), bads=("Fz",))
    with pytest.raises(RecordingError, match="no position for Q1, Q2"):
        check_mixing(header, Preparation(interpolate_bads=True))
    with pytest.raises(RecordingError, match="has no channel M1"):
        check_mixing(header, Preparation(reference="M1"))
    few = Header(sfreq=100, n_times=100, channels=("Fz", "Cz", "Pz"), bads=("Fz",))
    with pytest.raises(RecordingError, match="from 2 good ones"):
        check_mixing(few, Preparation(interpolate_bads=True))
    with pytest.raises(RecordingError, match="no good EEG channel"):
        check_mixing(Header(sfreq=100, n_times=9, channels=("Fz",), bads=("Fz",)), Preparation(reference="average"))


# --- positions


def egi(n: int) -> tuple[str, ...]:
    return tuple(f"E{i + 1}" for i in range(n))


def by_montage(cap: str, channels: tuple[str, ...]) -> npt.NDArray[np.float32]:
    montage = mne.channels.make_standard_montage(cap)
    info = mne.create_info(list(channels), 1.0, "eeg").set_montage(montage)
    return np.array([channel["loc"][:3] for channel in info["chs"]], np.float32)


@pytest.mark.parametrize(
    ("names", "cap"),
    [
        ((*egi(128), "Cz"), "GSN-HydroCel-129"),
        (egi(128), "GSN-HydroCel-128"),
        ((*egi(32), "Cz"), "GSN-HydroCel-32"),
        (egi(32), "GSN-HydroCel-32"),
        (tuple(f"{row}{i + 1}" for row in "ABCD" for i in range(32)), "biosemi128"),
    ],
)
def test_a_cap_with_numbers_is_known_by_all_of_its_names(names: tuple[str, ...], cap: str) -> None:
    np.testing.assert_array_equal(channel_positions(names), by_montage(cap, names))
    picked = (names[5], names[0])
    np.testing.assert_array_equal(channel_positions(picked, names), by_montage(cap, picked))


@pytest.mark.parametrize("names", [egi(31), egi(20), tuple(f"A{i + 1}" for i in range(32)), ("E1", "E2", "X")])
def test_a_part_of_a_cap_is_no_cap(names: tuple[str, ...]) -> None:
    assert np.isnan(channel_positions(names)).all()


def test_names_of_the_10_05_system_are_known_one_by_one() -> None:
    found = channel_positions(("FP1", "Cz", "EXG1", "oz", "A1"))
    assert np.isnan(found).any(axis=1).tolist() == [False, False, True, False, False]
    lower, spelled = channel_positions(("FP1", "oz")), channel_positions(("Fp1", "Oz"))
    np.testing.assert_array_equal(lower, spelled)


@pytest.mark.parametrize(
    ("system", "units", "scale"),
    [
        *(("CapTrak", "m", 1.0), ("CapTrak", "mm", 1e-3), ("EEGLAB", "cm", 1e-2), ("CTF", "MM", 1e-3)),
        *(("CTF", "", 1e-3), ("CapTrak", "", 1e-2), ("EEGLAB", "", 1.0)),
    ],
)
def test_electrodes_tsv_comes_first(system: str, units: str, scale: float, tmp_path: Path) -> None:
    raw_array(("Fz", "Cz", "Pz")).save(tmp_path / "a_raw.fif", verbose="error")
    head = {"Fz": (0.01, 0.08, 0.05), "Cz": (0.0, 0.0, 0.09)}  # a child's
    # EEGLAB's x points to the nose, its y to the left ear.
    rows = tuple(
        (name, *(np.array((x, y, z) if system == "CapTrak" else (y, -x, z)) / scale).tolist())
        for name, (x, y, z) in head.items()
    )
    told = Sidecars(electrodes=rows, coordinate_system=system, coordinate_units=units)
    found = electrode_positions(read_header(tmp_path / "a_raw.fif", told), ("Cz", "Pz", "Fz"))
    np.testing.assert_allclose(found, [head["Cz"], (np.nan,) * 3, head["Fz"]], atol=1e-7)


@pytest.mark.parametrize(
    ("system", "units", "reach", "why"),
    [
        ("EEGLAB", "", 1.0, "its unit (none told) isn't known"),
        ("CapTrak", "inch", 3.5, "its unit (inch) isn't known"),
        ("Other", "m", 0.1, "its coordinate system (Other) has no landmarks"),
    ],
)
def test_electrodes_without_a_way_to_the_head_are_left_aside_and_it_is_told(
    system: str, units: str, reach: float, why: str, tmp_path: Path
) -> None:
    raw_array(("Fz", "Cz")).save(tmp_path / "a_raw.fif", verbose="error")
    told = Sidecars(electrodes=(("Cz", 0.0, 0.0, reach),), coordinate_system=system, coordinate_units=units)
    header = read_header(tmp_path / "a_raw.fif", told)
    assert any(why in note for note in header.notes)
    np.testing.assert_array_equal(electrode_positions(header, ("Fz", "Cz")), channel_positions(("Fz", "Cz")))


def test_landmarks_lead_from_another_system_to_the_head(tmp_path: Path) -> None:
    raw_array(("Fz", "Cz")).save(tmp_path / "a_raw.fif", verbose="error")
    random = np.random.default_rng(0)
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    head = {
        "Fz": (0.0, 0.08, 0.06),
        "Cz": (0.0, 0.0, 0.1),
        "NAS": (0, 0.1, 0),
        "LPA": (-0.08, 0, 0),
        "RPA": (0.08, 0, 0),
    }
    there = {name: tuple((turn @ np.array(at) + 0.3).tolist()) for name, at in head.items()}
    told = Sidecars(
        electrodes=(("Fz", *there["Fz"]), ("Cz", *there["Cz"])),
        coordinate_system="Other",
        coordinate_units="m",
        anatomical_landmarks={name: there[name] for name in ("NAS", "LPA", "RPA")},
    )
    found = electrode_positions(read_header(tmp_path / "a_raw.fif", told), ("Fz", "Cz"))
    np.testing.assert_allclose(found, [head["Fz"], head["Cz"]], atol=1e-7)
    # Without them nothing leads there: the names are all that is known.
    alone = Sidecars(electrodes=told.electrodes, coordinate_system="Other", coordinate_units="m")
    found = electrode_positions(read_header(tmp_path / "a_raw.fif", alone), ("Fz", "Cz"))
    np.testing.assert_array_equal(found, channel_positions(("Fz", "Cz")))
