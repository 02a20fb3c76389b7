"""A small BIDS dataset with everything that a dataset says beside its signals, built once; mne-bids is the judge."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import fsspec
import mne_bids
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from edfio import Edf, EdfAnnotation, EdfSignal

import eegzarr
from eegzarr.bids.beside import read_sidecars
from eegzarr.bids.buckets import at_hand
from eegzarr.bids.dataset import find_source
from eegzarr.build.__main__ import describe
from eegzarr.build.summary import BuildSummary
from eegzarr.build.target import targets_of
from eegzarr.recipes.recipe import EventRules, Recipe, WindowSpan
from eegzarr.recordings.surroundings import fingerprint_of, look_around
from eegzarr.store.open import open_recordings

CHANNELS = ("Fz", "Cz", "Pz")
RECIPE = Recipe(
    name="go",
    anchor="stimulus",
    span=WindowSpan(start=0.0, stop=1.0),
    target="score",
    sfreq=100.0,
    require=("stimulus_onset",),
    events=EventRules(trial_start=("trial",), stimulus=("go",), response=("press",), end=()),
)
EVENTS = "onset\tduration\tvalue\n1\t0\ttrial\n1.5\t0\tgo\n4\t0\ttrial\n4.25\t0\tgo\n8\t0\ttrial\n8.5\t0\tgo\n"


def write_edf(path: Path, seed: int, annotations: tuple[EdfAnnotation, ...] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    signals = [
        EdfSignal(
            np.round(rng.normal(0, 20, 1000)), 100, label=name, physical_dimension="uV", physical_range=(-200, 200)
        )
        for name in (*CHANNELS, "X1")
    ]
    Edf(signals, annotations=annotations or None).write(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bids") / "study"
    for number in range(1, 7):
        write_edf(root / f"sub-{number}" / "ses-a" / "eeg" / f"sub-{number}_ses-a_task-x_eeg.edf", number)
    (root / "sub-6/ses-a/eeg/sub-6_ses-a_task-x_eeg.edf").unlink()
    write_edf(
        root / "sub-6/ses-a/EEG/sub-6_ses-a_task-own_eeg.EDF",
        6,
        tuple(EdfAnnotation(onset, None, text) for onset, text in ((1, "trial"), (1.5, "go"), (5, "trial"), (6, "go"))),
    )
    (root / "sub-1/ses-a/eeg/sub-1_ses-a_task-y_eeg.nwb").touch()
    texts = {
        "task-x_events.tsv": EVENTS,
        "sub-2/sub-2_task-x_events.tsv": EVENTS.replace("1.5", "1.75"),
        "sub-3/ses-a/eeg/sub-3_ses-a_task-x_events.tsv": EVENTS + "n/a\t0\ttrial\n9.5\t0\ttrial\n9.7\t0\tgo\n",
        "sub-4/ses-a/eeg/sub-4_ses-a_task-x_events.tsv": EVENTS.replace("8.5\t0\tgo", "8.5\t0\tno"),
        "sub-5/ses-a/eeg/sub-5_ses-a_task-x_events.tsv": "onset\tduration\tvalue\n1\t0\tface\n2\t0\thouse\n",
        "task-x_channels.tsv": "name\ttype\tunits\tstatus\n"
        + "".join(f"{name}\tEEG\tuV\t{'bad' if name == 'Cz' else 'good'}\n" for name in CHANNELS)
        + "X1\tMISC\tuV\tgood\n",
        "task-own_channels.tsv": "name\ttype\tunits\n"
        + "".join(f"{n}\tEEG\tuV\n" for n in CHANNELS)
        + "X1\tMISC\tuV\n",
        "task-x_eeg.json": json.dumps({"EEGReference": "Cz", "PowerLineFrequency": 60, "SoftwareFilters": "n/a"}),
        "sub-2/ses-a/eeg/sub-2_ses-a_task-x_eeg.json": json.dumps({"PowerLineFrequency": 50}),
        "participants.tsv": "participant_id\tage\tSex\tscore\tBIS/BAS\ttarget\tcode\tnumber\tx\n"
        "sub-1\t89+\tF\t7,5\t1\tA\t007\t100000001\t1\nsub-2\told\tM\t6,25\t2\tB\t012\t100000003\t2\n"
        "sub-3\t30\tn/a\t1,5\t3\tC\t001\t100000005\t3\nsub-4\t31\tF\t2,5\t4\tD\t002\t100000007\t4\n"
        "sub-6\t33\tF\t3,5\t6\tF\t006\t100000009\t6\n",
        "sub-1/sub-1_sessions.tsv": "session_id\tmood\tage\nses-a\t3\t8\n",
        "dataset_description.json": '{"Name": "Study of go", "BIDSVersion": "1.9.0", "License": "CC0"}',
    }
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@dataclass(frozen=True)
class Built:
    windows: xr.Dataset
    recordings: pd.DataFrame
    summary: BuildSummary
    lake: Path


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    lake = tmp_path_factory.mktemp("bids") / "lake.zarr"
    summary = eegzarr.build_lake(root, lake, recipe=RECIPE, workers=1)
    windows = eegzarr.open_windows(lake, "go").load()
    table = open_recordings(lake, "go", "study").load()
    frame = pd.DataFrame({str(n): v.to_numpy() for n, v in table.data_vars.items() if v.dims == ("recording",)})
    return Built(windows, frame.set_index("path"), summary, lake)


def of(built: Built, subject: str) -> xr.Dataset:
    return built.windows.isel(window=np.flatnonzero(built.windows["subject"].values == subject))


def row(built: Built, subject: str) -> pd.Series:
    (path,) = [p for p in built.recordings.index if p.startswith(f"sub-{subject}/") and not p.endswith(".nwb")]
    return built.recordings.loc[path]


def test_events_are_those_that_apply(built: Built) -> None:
    assert of(built, "1")["stimulus_onset"].values.tolist() == [1.5, 4.25, 8.5]
    assert of(built, "2")["stimulus_onset"].values.tolist() == [1.75, 4.25, 8.5]


def test_a_file_without_events_tsv_has_its_own_annotations(built: Built) -> None:
    assert of(built, "6")["stimulus_onset"].values.tolist() == [1.5, 6.0]
    assert "own annotations" in row(built, "6")["notes"]


def test_every_trial_has_a_window_or_is_counted_with_its_reason(built: Built) -> None:
    table = built.recordings
    assert (table["trials"] == table["windows"] + table["dropped"] + table["left_out"]).all()
    assert row(built, "3")[["trials", "windows", "dropped", "left_out"]].tolist() == [5, 3, 2, 0]
    assert row(built, "4")[["trials", "windows", "dropped", "left_out"]].tolist() == [3, 2, 0, 1]
    assert row(built, "4")["left_out_reasons"] == "1 has no stimulus_onset"
    assert built.summary.left_out == {"has no stimulus_onset": 1}
    assert "1 trial left out: the trial has no stimulus_onset" in describe(built.summary, "lake")


def test_what_gave_no_window_says_what_is_there(built: Built) -> None:
    assert row(built, "5")["reason"] == "no trials in events.tsv: value has 'face' (1), 'house' (1)"
    assert "NWB" in built.recordings.loc["sub-1/ses-a/eeg/sub-1_ses-a_task-y_eeg.nwb", "reason"]


def test_labels_are_typed_named_and_counted(built: Built) -> None:
    first, second = (of(built, name).isel(window=0) for name in "12")
    assert float(first["target"]) == 7.5
    assert float(first["age"]) == 89
    assert np.isnan(second["age"])
    assert str(first["sex"].values) == "F"
    assert str(first["code"].values) == "007"
    assert [int(one["number"]) for one in (first, second)] == [100000001, 100000003]
    assert float(first["BIS_BAS"]) == 1
    assert str(first["participant_target"].values) == "A"
    assert float(first["participant_x"]) == 1
    assert built.windows["x"].dims == ("channel",)
    assert float(first["mood"]) == 3
    assert float(first["session_age"]) == 8
    told = " | ".join(built.windows.attrs["notes"])
    assert "'BIS/BAS' is now 'BIS_BAS'" in told
    assert "1 value of age couldn't be read as numbers ('old')" in told
    assert "decimal comma" in told


def test_what_the_dataset_says_is_kept(built: Built) -> None:
    assert built.windows.attrs["license"] == "CC0"
    assert built.windows.attrs["dataset"] == "Study of go"
    one, two = row(built, "1"), row(built, "2")
    assert (one["reference"], one["line_frequency"], one["bad_channels"]) == ("Cz", "60", "Cz")
    assert (two["reference"], two["line_frequency"]) == ("Cz", "50")
    assert one["files"] == "sub-1_ses-a_task-x_eeg.edf"


def test_windows_of_recordings_with_bad_channels_can_be_left_out(built: Built) -> None:
    assert of(built, "1")["bad_channels"].values.tolist() == [1, 1, 1]
    assert of(built, "6")["bad_channels"].values.tolist() == [0, 0]
    good = built.windows.eegzarr.good(bad_channels=0, flat_channels=None, noisy_channels=None, peak_to_peak=None)
    assert set(good["subject"].values.tolist()) == {"6"}


@pytest.mark.parametrize("subject", ["1", "2", "3"])
def test_channels_bads_and_signals_are_those_of_mne_bids(built: Built, root: Path, subject: str) -> None:
    path = mne_bids.BIDSPath(
        root=root, subject=subject, session="a", task="x", suffix="eeg", extension=".edf", datatype="eeg"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne_bids.read_raw_bids(path, verbose="error").load_data()
    names = [name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "eeg"]
    assert built.windows["channel"].values.tolist() == names
    assert row(built, subject)["bad_channels"] == ", ".join(raw.info["bads"])
    own = of(built, subject)
    go = [a["onset"] for a in raw.annotations if a["description"] == "go" and a["onset"] + 1 <= raw.times[-1]]
    np.testing.assert_allclose(own["stimulus_onset"], go)
    for window in range(own.sizes["window"]):
        first = round(float(own["start"][window]) * 100)
        expected = raw.get_data(names, start=first, stop=first + 100) * 1e6
        np.testing.assert_allclose(own["eeg"].values[window], expected, atol=1e-4)


def test_a_copy_of_the_dataset_is_the_same_and_any_change_is_another(built: Built, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(root, copy, copy_function=shutil.copy)
    os.utime(copy / "sub-1/ses-a/eeg/sub-1_ses-a_task-x_eeg.edf", (0, 0))

    def fingerprints() -> dict[str, str]:
        return {r.path: fingerprint_of(str(copy), r) for r in find_source(copy).recordings if not r.reason}

    before = fingerprints()
    stored = dict(zip(built.recordings.index, built.recordings["fingerprint"], strict=True))
    assert before != {path: stored[path] for path in before}  # by the time stamp of one of its files, and by that alone
    unstamped = {path: re.sub("@[0-9a-f]+", "", own) for path, own in before.items()}
    assert unstamped == {path: re.sub("@[0-9a-f]+", "", stored[path]) for path in before}
    (copy / "task-x_channels.tsv").write_text((copy / "task-x_channels.tsv").read_text().replace("bad", "good"))
    changed = {path for path, own in fingerprints().items() if own != before[path]}
    assert changed == {path for path in before if "task-x" in path}


def test_an_unknown_answer_is_missing_and_never_minus_one() -> None:
    columns = {"correct": np.array([1, -1, 0], np.int8)}
    for target, expected in (
        ("correct", [1, np.nan, 0]),
        ("1 - correct", [0, np.nan, 1]),
        ("correct == 1", [1, np.nan, 0]),
    ):
        found = targets_of(replace(RECIPE, target=target), columns, {})["target"]
        np.testing.assert_array_equal(found.values, expected)


def test_a_target_may_be_named_as_in_its_file() -> None:
    columns = {"BIS_BAS": np.array([1.0, 2.0])}
    found = targets_of(replace(RECIPE, target="BIS/BAS"), columns, {"BIS/BAS": "BIS_BAS"})["target"]
    np.testing.assert_array_equal(found.values, [1, 2])


def test_every_file_that_is_opened_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = tmp_path / "sub-1" / "eeg"
    folder.mkdir(parents=True)
    header = folder / "sub-1_task-x_eeg.vhdr"
    header.write_text(
        "BrainVision Data Exchange Header File Version 1.0\n[Common Infos]\nDataFile=old.eeg\nMarkerFile=$b.vmrk\n"
    )
    (folder / "old.eeg").write_bytes(b"\0\0" * 100)
    (folder / "sub-1_task-x_eeg.vmrk").write_text("markers")

    def fingerprint() -> str:
        (recording,) = find_source(tmp_path).recordings
        return fingerprint_of(str(tmp_path), recording)

    seen = {fingerprint()}
    for name, content in (("old.eeg", b"\0\1" * 100), ("sub-1_task-x_eeg.vmrk", b"others")):
        (folder / name).write_bytes(content)
        seen.add(fingerprint())
    assert len(seen) == 3


def test_a_dataset_behind_a_url_says_the_same(root: Path) -> None:
    url = "memory://study"
    for file in root.rglob("*"):
        if file.is_file():
            fsspec.filesystem("memory").pipe_file(f"/study/{file.relative_to(root).as_posix()}", file.read_bytes())
    here, there = find_source(root), find_source(url)
    assert there.recordings == here.recordings
    assert there.description == here.description
    pd.testing.assert_frame_equal(there.sessions, here.sessions)
    for recording in there.recordings:
        if not recording.reason:
            own, other = (look_around(place, recording) for place in (str(root), url))
            assert read_sidecars(other) == read_sidecars(own)
            assert other.events == own.events
            with at_hand(url, other.files) as path:
                assert path.read_bytes() == (root / recording.path).read_bytes()
