"""A zoo of bad recordings: each gives a row with its reason, all others are built, nothing shifts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import run_command
from edfio import Bdf, BdfSignal

import eegzarr
from eegzarr.challenge.presets import CHALLENGE1, HBN_CHANNELS
from eegzarr.sample import write_sample

GROUP = "challenge1/R1"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects with a run each, of which the second is spoiled in each test."""
    return write_sample(tmp_path_factory.mktemp("zoo") / "good", subjects=3, runs=1, trials=8, seed=3)


@pytest.fixture(scope="module")
def good_windows(good: Path, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    lake = tmp_path_factory.mktemp("zoo") / "good.zarr"
    eegzarr.build_lake(good, lake, recipe=CHALLENGE1, workers=1)
    return xr.open_zarr(lake, group=GROUP).load()


def write_bdf(path: Path, signal: np.ndarray, names: tuple[str, ...] = HBN_CHANNELS, sfreq: float = 100) -> None:
    reach = float(np.abs(signal).max()) + 1
    Bdf(
        [
            BdfSignal(row, sfreq, label=name, physical_dimension="uV", physical_range=(-reach, reach))
            for name, row in zip(names, np.ascontiguousarray(signal), strict=True)
        ]
    ).write(path)


def noise(channels: int, seconds: int = 60, sfreq: int = 100) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 15, (channels, seconds * sfreq))


def truncated(bdf: Path) -> None:
    bdf.write_bytes(bdf.read_bytes()[: bdf.stat().st_size // 20])


def wrong_header(bdf: Path) -> None:
    bdf.write_bytes(b"\0" * 256 + bdf.read_bytes()[256:])


def no_bytes(bdf: Path) -> None:
    bdf.write_bytes(b"")


def zero_samples(bdf: Path) -> None:
    header = bytearray(bdf.read_bytes()[: 256 * (len(HBN_CHANNELS) + 1)])
    header[236:244] = b"0       "
    bdf.write_bytes(header)


def fewer_channels(bdf: Path) -> None:
    write_bdf(bdf, noise(128), HBN_CHANNELS[:128])


def other_names(bdf: Path) -> None:
    write_bdf(bdf, noise(129), tuple(f"A{i}" for i in range(129)))


def other_rate(bdf: Path) -> None:
    write_bdf(bdf, noise(129, 60, 500), sfreq=500)


def dead_link(bdf: Path) -> None:
    bdf.unlink()
    bdf.symlink_to("../../.git/annex/objects/MD5E-s1--0")


def a_folder(bdf: Path) -> None:
    bdf.unlink()
    bdf.mkdir()


def events(bdf: Path) -> Path:
    return bdf.with_name(bdf.name.replace("_eeg.bdf", "_events.tsv"))


def no_events(bdf: Path) -> None:
    events(bdf).unlink()


def empty_events(bdf: Path) -> None:
    events(bdf).write_text("")


def events_without_rows(bdf: Path) -> None:
    events(bdf).write_text(events(bdf).read_text().splitlines()[0] + "\n")


def events_without_onset(bdf: Path) -> None:
    events(bdf).write_text(events(bdf).read_text().replace("onset", "time", 1))


def onsets_that_are_no_numbers(bdf: Path) -> None:
    table = pd.read_csv(events(bdf), sep="\t", dtype=str)
    table.loc[3, "onset"] = "soon"
    table.to_csv(events(bdf), sep="\t", index=False)


def events_in_another_encoding(bdf: Path) -> None:
    events(bdf).write_bytes(events(bdf).read_bytes() + "0\tn/a\t0\tStörung\n".encode("latin-1"))


def events_beyond_the_end(bdf: Path) -> None:
    table = pd.read_csv(events(bdf), sep="\t", dtype=str)
    table["onset"] = (table["onset"].astype(float) + 10_000).astype(str)
    table.to_csv(events(bdf), sep="\t", index=False)


def responses_before_stimuli(bdf: Path) -> None:
    table = pd.read_csv(events(bdf), sep="\t", dtype=str)
    onset = table["onset"].astype(float)
    for row in np.flatnonzero(table["value"].str.endswith("Press")):
        before = 0.1 if table["value"][row - 1].endswith("_target") else -0.1
        table.loc[row, "onset"] = str(round(onset[row - 1] - before, 3))
    table.to_csv(events(bdf), sep="\t", index=False)


def two_rows_in_participants(bdf: Path) -> None:
    path = bdf.parents[2] / "participants.tsv"
    subject = bdf.name.split("_")[0]
    table = pd.read_csv(path, sep="\t", dtype=str)
    twice = table[table["participant_id"] == subject].assign(age="99")
    pd.concat([table, twice]).to_csv(path, sep="\t", index=False, na_rep="n/a")


SPOILED: dict[Callable[[Path], None], str] = {
    truncated: "none of 8 trials has a window",
    wrong_header: "unreadable",
    no_bytes: "unreadable",
    zero_samples: "no samples",
    fewer_channels: "has no channel Cz",
    other_names: "has no channel E1, E2",
    other_rate: "sampled at 500 Hz, the recipe wants 100 Hz",
    dead_link: "not downloaded",
    a_folder: "unreadable",
    no_events: "no events.tsv",
    empty_events: "events.tsv is no table",
    events_without_rows: "no trials in events.tsv",
    events_without_onset: "events.tsv has no column onset|no column",
    onsets_that_are_no_numbers: "no number",
    events_in_another_encoding: "events.tsv is not UTF-8",
    events_beyond_the_end: "none of 8 trials has a window",
    responses_before_stimuli: "none of .* trials has a window|no trials",
    two_rows_in_participants: "participants.tsv has different rows",
}


@pytest.fixture(scope="module")
def spoiled(good: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, str]]:
    """All of the zoo in one dataset beside three good subjects: its root, its lake, a pattern for each animal."""
    root = Path(shutil.copytree(good, tmp_path_factory.mktemp("zoo") / "spoiled"))
    template = sorted(good.glob("sub-*"))[1]
    participants = pd.read_csv(root / "participants.tsv", sep="\t", dtype=str)
    row = participants[participants["participant_id"] == template.name]
    patterns = {}
    for number, (spoil, pattern) in enumerate(SPOILED.items()):
        subject = f"sub-ZOO{number:02d}"
        for file in sorted((template / "eeg").iterdir()):
            target = root / subject / "eeg" / file.name.replace(template.name, subject)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        participants = pd.concat([participants, row.assign(participant_id=subject)])
        participants.to_csv(root / "participants.tsv", sep="\t", index=False, na_rep="n/a")
        bdf = next((root / subject / "eeg").glob("*_eeg.bdf"))
        if spoil is not two_rows_in_participants:
            spoil(bdf)
        patterns[bdf.relative_to(root).as_posix()] = pattern
    two_rows_in_participants(bdf)  # last: the others' rows are written with it
    lake = root.with_suffix(".zarr")
    eegzarr.build_lake(root, lake, recipe=CHALLENGE1, workers=2)
    return root, lake, patterns


def test_every_bad_recording_has_a_row_with_its_reason(spoiled: tuple[Path, Path, dict[str, str]]) -> None:
    _, lake, patterns = spoiled
    table = xr.open_zarr(lake, group=f"{GROUP}/recordings").load().to_dataframe().reset_index()
    told = table.drop_duplicates("path").set_index("path")
    for path, pattern in patterns.items():
        assert pd.Series([told.loc[path, "reason"]]).str.contains(pattern).all(), (path, told.loc[path, "reason"])
        assert told.loc[path, "windows"] == 0
        assert told.loc[path, "status"] == "skipped"


def test_all_others_are_built_and_nothing_shifts(
    spoiled: tuple[Path, Path, dict[str, str]], good_windows: xr.Dataset
) -> None:
    built = xr.open_zarr(spoiled[1], group=GROUP).load()
    for name in ("eeg", "target", "stimulus_onset", "subject", "age", "start", "valid"):
        np.testing.assert_array_equal(built[name].values, good_windows[name].values, err_msg=name)


def test_strict_makes_a_skipped_recording_exit_code_3(spoiled: tuple[Path, Path, dict[str, str]]) -> None:
    root, lake, patterns = spoiled
    again = run_command("eegzarr.build", "--source", root, "--out", lake, "--strict")
    assert again.returncode == 3, again.stderr
    assert f"{len(patterns) + 1} of" in again.stdout  # and the sample's own run without events


def test_a_dry_run_lists_all_of_it_and_touches_nothing(
    spoiled: tuple[Path, Path, dict[str, str]], tmp_path: Path
) -> None:
    root, _, patterns = spoiled
    told = run_command("eegzarr.build", "--source", root, "--out", tmp_path / "x.zarr", "--dry-run", "--workers", 1)
    assert told.returncode == 0, told.stderr
    assert all(f"    {path}: " in told.stdout for path in patterns)
    assert "projected memory" in told.stdout
    assert list(tmp_path.iterdir()) == []


def build_one(root: Path, tmp_path: Path) -> xr.Dataset:
    eegzarr.build_lake(root, tmp_path / "lake.zarr", recipe=CHALLENGE1, workers=1)
    return xr.open_zarr(tmp_path / "lake.zarr", group=GROUP).load()


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "Übung größer"))


def second(root: Path) -> Path:
    return sorted(root.glob("sub-*/eeg/*contrastChange*_eeg.bdf"))[1]


def test_windows_line_ends_a_mark_unsorted_and_repeated_rows_change_no_label(
    copy: Path, good_windows: xr.Dataset, tmp_path: Path
) -> None:
    for path in [events(second(copy)), copy / "participants.tsv"]:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace("\n", "\r\n").encode())
    first = events(sorted(copy.glob("sub-*/eeg/*contrastChange*_eeg.bdf"))[0])
    header, *rows = first.read_text().splitlines()
    first.write_text("\n".join([header, *rows[::-1]]) + "\n")
    built = build_one(copy, tmp_path)
    for name in ("target", "stimulus_onset", "correct", "age", "sex", "eeg"):
        np.testing.assert_array_equal(built[name].values, good_windows[name].values, err_msg=name)


def test_who_is_not_in_participants_has_missing_labels(copy: Path, good_windows: xr.Dataset, tmp_path: Path) -> None:
    subject = second(copy).name.split("_")[0]
    table = pd.read_csv(copy / "participants.tsv", sep="\t", dtype=str, keep_default_na=False)
    table[table["participant_id"] != subject].to_csv(copy / "participants.tsv", sep="\t", index=False)
    built = build_one(copy, tmp_path)
    own = built["subject"].values == subject.removeprefix("sub-")
    assert own.any()
    assert np.isnan(built["age"].values[own]).all()
    assert set(built["sex"].values[own].tolist()) == {""}
    np.testing.assert_array_equal(built["age"].values[~own], good_windows["age"].values[~own])
    np.testing.assert_array_equal(built["target"].values, good_windows["target"].values)


def test_flat_channels_are_built_as_they_are(copy: Path, tmp_path: Path) -> None:
    signal = noise(129, 60)
    signal[5] = 0
    write_bdf(second(copy), signal)
    built = build_one(copy, tmp_path)
    own = built["subject"].values == second(copy).name.split("_")[0].removeprefix("sub-")
    assert own.any()
    assert (np.ptp(built["eeg"].values[own, 5], axis=1) < 1e-3).all()
    assert built["valid"].values.all()


def test_a_window_that_float16_cannot_hold_is_invalid_and_no_other(
    good: Path, good_windows: xr.Dataset, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(good, tmp_path / "good"))
    spoiled = sorted(source.glob("sub-*/eeg/*contrastChange*.bdf"))[1]
    row = int(good_windows["recording"].values[good_windows["subject"].values == spoiled.name.split("_")[0][4:]][0])
    own = np.flatnonzero(good_windows["recording"].values == row)
    raw = mne.io.read_raw_bdf(spoiled, preload=True, verbose="error")
    signal = raw.get_data() * 1e6
    signal[7, round(float(good_windows["start"].values[own[2]]) * 100) + 20] = 80_000
    write_bdf(spoiled, signal)
    lake = tmp_path / "lake.zarr"
    result = run_command("eegzarr.build", "--source", source, "--out", lake, "--workers", 1, "--dtype", "float16")
    assert result.returncode == 0, result.stderr
    assert "uV, more than float16 holds" in str(xr.open_zarr(lake, group=f"{GROUP}/recordings")["reason"].values[row])
    built = xr.open_zarr(lake, group=GROUP).load()
    assert np.flatnonzero(~built["valid"].values).tolist() == [own[2]]
    assert np.isnan(built["eeg"].values[own[2]]).all()  # and not clipped
    others = built["recording"].values != row
    np.testing.assert_allclose(built["eeg"].values[others], good_windows["eeg"].values[others], rtol=2**-11, atol=1e-7)
    rest = np.setdiff1d(own, own[2])
    # The file's one step is larger now that it reaches 80 mV.
    np.testing.assert_allclose(built["eeg"].values[rest], good_windows["eeg"].values[rest], rtol=2**-11, atol=0.02)
    assert built.attrs["largest_relative_error"] <= 2**-11


def test_a_recording_of_another_channel_order_is_read_in_the_recipes(
    copy: Path, good_windows: xr.Dataset, tmp_path: Path
) -> None:
    path = second(copy)
    raw = mne.io.read_raw_bdf(path, preload=True, verbose="error")
    write_bdf(path, raw.get_data()[::-1] * 1e6, HBN_CHANNELS[::-1])
    built = build_one(copy, tmp_path)
    np.testing.assert_array_equal(built["channel"].values, good_windows["channel"].values)
    np.testing.assert_allclose(built["eeg"].values, good_windows["eeg"].values, atol=1e-3)
