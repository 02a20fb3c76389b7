"""Channels by other names, of other numbers and rates: what recipes make of them is what MNE makes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pytest
from montages import NAMES, RECIPE, by_mne, filled_by_mne, standard_1005, write_edf

from eegzarr.bids.sidecars import ChannelRow, Sidecars
from eegzarr.errors import RecipeError, RecordingError
from eegzarr.recipes.load import load_recipe
from eegzarr.recipes.montage import Naming, ten_twenty
from eegzarr.recipes.recipe import Preparation, recipe_from_json
from eegzarr.recipes.unused import unnamed_notes
from eegzarr.recordings.header import Header
from eegzarr.recordings.mixing import check_mixing, mixing
from eegzarr.recordings.positions import channel_positions
from eegzarr.recordings.preparation import cut, prepare_recording
from eegzarr.recordings.reader import read_header, read_windows
from eegzarr.store.receipt import Moments


def test_every_electrode_of_the_10_05_system_is_known_in_any_case() -> None:
    older = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
    for name in standard_1005().ch_names:
        for spelled in (name, name.upper(), name.lower(), f"EEG {name.upper()}-REF", f"{name}..", f"EEG {name}"):
            assert ten_twenty(spelled) == older.get(name, name), spelled


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("Fc5.", "FC5"),
        ("Fcz.", "FCz"),
        ("C3..", "C3"),
        ("EEG FP1-REF", "Fp1"),
        ("EEG F7-LE", "F7"),
        ("EEG T3-AR", "T7"),
        ("EEG Fpz-Cz", "Fpz-Cz"),
        ("EEG FPZ-CZ", "Fpz-Cz"),
        ("FP1-F7", "Fp1-F7"),
        ("T5-O1", "P7-O1"),
        ("C3-A2", "C3-A2"),
        ("T8-P8-0", "T8-P8-0"),
        ("EEG 001", "EEG 001"),
        ("E12", "E12"),
        ("VEOG", "VEOG"),
        ("EOG horizontal", "EOG horizontal"),
        ("EEG EKG-REF", "EEG EKG-REF"),
        ("Status", "Status"),
        ("A1", "A1"),
        ("", ""),
    ],
)
def test_names_are_read_as_the_10_20_system_writes_them(given: str, called: str) -> None:
    assert ten_twenty(given) == called


def test_two_channels_can_t_have_one_name() -> None:
    with pytest.raises(RecordingError, match="rename gives T3 and T7 one name, T7"):
        Naming(rename="10-20").of(("T3", "T7", "Cz"))
    assert Naming(rename=(("a", "X"), ("b", "X"))).of(("b", "Cz")) == ("X", "Cz")


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ('rename = "10-10"', "rename must be a table of names, or '10-20'"),
        ("rename = [1]", "recipe.rename must be a table of texts"),
        ("rename = { a = 1 }", "recipe.rename must be a table of texts"),
        ('types = { HEOG = "eogg" }', r"types.HEOG must be one of .* Did you mean"),
        ('missing = "interpolat"\nchannels = ["Cz"]', r"recipe.missing must be one of skip, nan, interpolate"),
        ('missing = "nan"', "missing = 'nan' needs channels"),
        ('channels = ["Cz", "Cz"]', "channels has 'Cz' twice"),
    ],
)
def test_a_wrong_montage_is_refused_with_what_there_is(toml: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'anchor = "recording"\nstride = 1\ntarget = "age"\n{toml}\n[span]\nstart = 0\nstop = 1\n')
    with pytest.raises(RecipeError, match=told):
        load_recipe(path)


def test_a_montage_is_part_of_the_recipe_that_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'anchor = "recording"\nstride = 1\ntarget = "age"\nchannels = ["Cz"]\nmissing = "nan"\n'
        'rename = { "EEG 001" = "Cz" }\ntypes = { X1 = "ecg" }\n[span]\nstart = 0\nstop = 1\n'
    )
    recipe = load_recipe(path)
    assert recipe.naming == Naming(rename=(("EEG 001", "Cz"),), types=(("X1", "ecg"),))
    assert recipe_from_json(recipe.to_json()) == recipe
    assert replace(RECIPE, rename={"a": "b"}).rename == (("a", "b"),)  # type: ignore[arg-type]
    # What says nothing isn't written, so that the text of older recipes stays.
    assert not {"rename", "types", "missing"} & set(json.loads(RECIPE.to_json()))


@pytest.mark.parametrize("suffix", [".edf", "_raw.fif"])
def test_renamed_channels_are_read_by_their_names_in_the_file(suffix: str, tmp_path: Path) -> None:
    edf, path = tmp_path / "a.edf", tmp_path / f"a{suffix}"
    write_edf(edf, ("EEG FZ-REF", "EEG CZ-REF", "ECG2", "EEG T3-REF"))
    raw = mne.io.read_raw_edf(edf, preload=True, verbose="error")
    if suffix != ".edf":
        raw.save(path, verbose="error")
    rows = tuple(ChannelRow(name=name, status="bad" if "CZ" in name else "good") for name in raw.ch_names)
    naming = Naming(rename="10-20", types=(("ECG2", "eeg"), ("Fz", "eog")))
    header = read_header(path, Sidecars(channels=rows), naming=naming)
    assert (header.channels, header.bads, header.others) == (("Cz", "ECG2", "T7"), ("Cz",), (("Fz", "eog"),))
    windows = np.empty((2, 3, 100), np.float32)
    read_windows(path, np.array([0, 250]), ("T7", "Fz", "Cz"), windows, header)
    due = raw.get_data()[[3, 0, 1]] * 1e6
    np.testing.assert_allclose(windows, np.stack([due[:, :100], due[:, 250:350]]), atol=1e-3)


@pytest.mark.parametrize("reference", ["", "average", "Cz"])
@pytest.mark.parametrize("interpolates_bads", [False, True])
def test_missing_channels_are_interpolated_as_mne_does_it(
    reference: str, interpolates_bads: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.edf"
    names = tuple(name for name in NAMES if name not in ("F3", "P4"))
    write_edf(path, names)
    header = replace(read_header(path), bads=("C4",))
    preparation = Preparation(l_freq=1.0, h_freq=30.0, reference=reference, interpolate_bads=interpolates_bads)
    channels = ("P4", "C4", "F3", "O1", "Cz")
    check_mixing(header, preparation, channels, "interpolate")
    mixed = mixing(header, channels, preparation, "interpolate")
    windows, out = np.empty((2, mixed.rows, 150), np.float32), np.empty((2, 5, 150), np.float32)
    starts, first = np.array([0, 333]), 0
    for block in prepare_recording(path, mixed.channels, preparation, 100, header):
        cut(block, starts, first, windows)
        first += len(block)
    mixed.apply(windows)
    mixed.give(windows, out)

    raw = by_mne(path).filter(1.0, 30.0, verbose="error")
    raw.info["bads"] = ["C4"]
    raw = filled_by_mne(raw, ("F3", "P4"), but=() if interpolates_bads else ("C4",))
    if reference:
        raw.set_eeg_reference(reference if reference == "average" else [reference], verbose="error")
    due = raw.get_data(picks=list(channels)) * 1e6
    for window, start in zip(out, starts, strict=True):
        np.testing.assert_allclose(window, due[:, start : start + 150], atol=2e-3)


def test_what_has_no_position_can_t_be_interpolated(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", ("Fz", "Cz", "Pz", "Oz", "Nowhere"))
    header = read_header(tmp_path / "a.edf")
    with pytest.raises(
        RecordingError, match=r"can't interpolate channels that it lacks \(C3\): no position for Nowhere"
    ):
        check_mixing(header, Preparation(), ("C3", "Cz"), "interpolate")
    write_edf(tmp_path / "b.edf", ("Fz", "Cz", "Pz"))
    header = read_header(tmp_path / "b.edf")
    with pytest.raises(RecordingError, match="no position for Here"):
        check_mixing(header, Preparation(), ("Here", "Cz"), "interpolate")
    with pytest.raises(RecordingError, match="from 3 good ones"):
        check_mixing(header, Preparation(), ("C3", "Cz"), "interpolate")
    with pytest.raises(RecordingError, match="has none of the 2 channels"):
        check_mixing(header, Preparation(), ("C3", "C4"), "nan")


def test_a_missing_channel_is_where_electrodes_tsv_says(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", ("X1", "X2", "X3", "X4", "X5"))
    places = channel_positions(("Fz", "Cz", "Pz", "C3", "C4", "Oz"))
    rows = tuple((f"X{i + 1}", *map(float, place)) for i, place in enumerate(places))
    told = Sidecars(electrodes=rows, coordinate_system="CapTrak", coordinate_units="m")
    header = read_header(tmp_path / "a.edf", told)
    found = mixing(header, ("X6", "X1"), Preparation(), "interpolate")
    raw = by_mne(tmp_path / "a.edf")
    expected = filled_by_mne(
        raw.rename_channels(dict(zip(raw.ch_names, ("Fz", "Cz", "Pz", "C3", "C4"), strict=True))), ("Oz",)
    )
    windows = np.zeros((1, 6, raw.n_times), np.float32)
    read_windows(tmp_path / "a.edf", np.array([0]), found.channels, windows[:, :5], header)
    found.apply(windows)
    row = windows[0, found.wanted[0]]
    np.testing.assert_allclose(row, expected.get_data(picks=["Oz"])[0] * 1e6, atol=2e-3)


def test_moments_of_recordings_that_lack_channels_add_up() -> None:
    signal = np.random.default_rng(0).normal(5, 20, (12, 3, 50)).astype(np.float32)
    some = np.array([0, 2])
    total = Moments.of(signal[:4]) + Moments.of_some(signal[4:], some) + Moments.of_some(signal[:0], some)
    mean, std = total.scales()
    for channel, own in enumerate((signal[:, 0], signal[:4, 1], signal[:, 2])):
        np.testing.assert_allclose([mean[channel], std[channel]], [own.mean(), own.std()], rtol=1e-6)
    assert np.isnan(Moments.of_some(signal, some).scales()[0][1])


def test_names_that_no_recording_has_are_noted() -> None:
    recipe = replace(RECIPE, rename={"EEG 1": "Fz", "EEG 9": "Cz"}, types={"EOG 1": "eog", "Fz": "eeg"})
    notes = unnamed_notes(recipe, {"EEG 1", "EOG1"}, {"Fz", "EOG1"})
    assert notes == (
        "rename: no recording has a channel 'EEG 9'. Did you mean EEG 1?",
        "types: no recording has a channel 'EOG 1'. Did you mean EOG1?",
    )
    assert unnamed_notes(recipe, {"EEG 1", "EEG 9"}, {"Fz", "EOG 1"}) == ()


def test_a_channel_in_another_spelling_is_pointed_out() -> None:
    header = Header(sfreq=100.0, n_times=500, channels=("FP1", "EEG T3-REF", "Cz"))
    with pytest.raises(RecordingError, match="FP1 is another spelling: give Fp1 by rename, or rename = '10-20'"):
        header.check(("Fp1", "Cz"))
    with pytest.raises(RecordingError, match="EEG T3-REF is another spelling"):
        header.check(("T7",))
    with pytest.raises(RecordingError, match=r"its EEG channels are FP1, EEG T3-REF, Cz$"):
        header.check(("Oz",))
