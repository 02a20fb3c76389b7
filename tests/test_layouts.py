"""Datasets that are read in a layout of their own: Sleep-EDF with its hypnograms, TUH's corpora with their folders."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pytest
from edfio import Edf, EdfAnnotation, EdfSignal
from small_studies import write_recording

import eegzarr
from eegzarr.bids.dataset import Source, find_source
from eegzarr.build.inspect import Inspection, inspect
from eegzarr.errors import SourceError
from eegzarr.recipes.load import load_recipe
from eegzarr.recipes.recipe import Recipe, recipe_from_fields

STAGES = [(0, 90, "W"), (90, 30, "1"), (120, 60, "W"), (180, 120, "2"), (300, 45, "3"), (345, 30, "4"), (375, 60, "2")]
STAGES += [(435, 30, "R"), (465, 135, "?")]


def write_hypnogram(path: Path) -> Path:
    """Write a hypnogram as those of Sleep-EDF are: an EDF+ file of annotations alone."""
    Edf([], annotations=[EdfAnnotation(o, d, f"Sleep stage {stage}") for o, d, stage in STAGES]).write(path)
    return path


def write_night(folder: Path, name: str, *, seed: int = 0) -> Path:
    """Write a night as Sleep-EDF has it: two EEG channels at 100 Hz, others at 1 Hz."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    fast = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal")
    signals = [EdfSignal(rng.normal(0, 20, 60_000), 100, label=label, physical_dimension="uV") for label in fast]
    slow = {"Resp oro-nasal": "", "EMG submental": "uV", "Temp rectal": "DegC", "Event marker": ""}
    signals += [EdfSignal(rng.normal(0, 20, 600), 1, label=k, physical_dimension=u) for k, u in slow.items()]
    Edf(signals).write(folder / f"{name}-PSG.edf")
    return folder / f"{name}-PSG.edf"


@pytest.fixture(scope="module")
def sleep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sources") / "sleep-edfx"
    write_night(root / "sleep-cassette", "SC4001E0")
    write_hypnogram(root / "sleep-cassette" / "SC4001EC-Hypnogram.edf")
    write_night(root / "sleep-cassette", "SC4002E0", seed=1)  # its hypnogram is missing
    write_night(root / "sleep-telemetry", "ST7001J0", seed=2)
    write_hypnogram(root / "sleep-telemetry" / "ST7001JP-Hypnogram.edf")
    (root / "RECORDS").write_text("sleep-cassette/SC4001E0-PSG.edf\n")
    return root


def seen(root: Path, recipe: Recipe) -> tuple[Source, list[Inspection]]:
    source = find_source(root, recipe.tasks, recipe.runs)
    return source, [inspect(source.root, recording, recipe) for recording in source.recordings]


def test_the_stages_of_a_hypnogram_are_those_of_mne(sleep: Path) -> None:
    source, (first, second, third) = seen(sleep, load_recipe("sleep-edf"))
    assert [(one.subject, one.session) for one in source.recordings] == [("SC400", "1"), ("SC400", "2"), ("ST700", "1")]
    raw = mne.io.read_raw_edf(sleep / first.recording.path, infer_types=True, verbose=False)
    raw.set_annotations(mne.read_annotations(sleep / "sleep-cassette/SC4001EC-Hypnogram.edf"), emit_warning=False)
    codes = {f"Sleep stage {stage}": code for code, stage in enumerate("W1234R", 1)}
    events, _ = mne.events_from_annotations(raw, codes, chunk_duration=30.0, verbose=False)
    assert first.windows["start_sample"].tolist() == events[:, 0].tolist()
    assert [codes[value] for value in first.windows["event"]] == events[:, 2].tolist()
    assert third.windows["start_sample"].tolist() == events[:, 0].tolist()
    assert first.left_out["is shorter than a window"] == 0
    assert "SC4001EC-Hypnogram.edf" in first.notes[0]
    assert second.reason == "no events.tsv, and no annotations of its own"


def test_the_stages_of_a_hypnogram_are_those_of_braindecode(sleep: Path) -> None:
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_windows_from_events

    _, (found, *_) = seen(sleep, load_recipe("sleep-edf"))
    raw = mne.io.read_raw_edf(sleep / found.recording.path, verbose=False)
    raw.set_annotations(mne.read_annotations(sleep / "sleep-cassette/SC4001EC-Hypnogram.edf"), emit_warning=False)
    theirs = create_windows_from_events(
        BaseConcatDataset([RawDataset(raw, {})]),
        mapping=dict(zip((f"Sleep stage {s}" for s in "W1234R"), (0, 1, 2, 3, 3, 4), strict=True)),
        window_size_samples=3000,
        window_stride_samples=3000,
        drop_last_window=True,
    ).get_metadata()
    assert found.windows["start_sample"].tolist() == theirs["i_start_in_trial"].tolist()


def test_sleep_onset_is_the_time_from_each_window_to_the_first_n2(sleep: Path) -> None:
    _, (found, *_) = seen(sleep, load_recipe("sleep-onset"))
    onset = min(start for start, _, stage in STAGES if stage == "2")
    stops = found.windows["start_sample"] / 100 + 5
    # What NeuralBench's task gives to windows of 5 s that end at the onset or before.
    before = stops <= onset
    np.testing.assert_array_equal(found.windows["until_n2"][before], np.clip(onset - stops[before], 0, 600))
    assert np.isnan(found.windows["until_n2"][~before]).all()
    assert before.sum() == 36


def test_a_lake_of_nights_has_both_recipes_and_no_second_copy_of_labels(sleep: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    summary = eegzarr.build_lake(sleep, lake, recipe="sleep-onset", workers=1)
    windows = eegzarr.open_windows(lake, "sleep-onset").load()
    assert summary.windows == windows.sizes["window"] == 360
    assert windows["until_n2"].attrs["units"] == "s"
    assert windows["until_n2"].attrs["long_name"] == "time from the end of the window to the first Sleep stage 2"
    np.testing.assert_array_equal(windows["target"], windows["until_n2"])
    assert int(windows["target"].notnull().sum()) == 72
    raw = mne.io.read_raw_edf(sleep / "sleep-telemetry/ST7001J0-PSG.edf", include=["EEG Pz-Oz"], verbose=False)
    own = windows.eeg.sel(channel="Pz-Oz").isel(window=(windows.subject == "ST700").values)[3].values
    np.testing.assert_allclose(own, raw.get_data(start=1500, stop=2000)[0] * 1e6, rtol=1e-6, atol=1e-4)


def test_a_hypnogram_that_is_none_is_told_by_its_name(tmp_path: Path) -> None:
    psg = write_night(tmp_path / "s", "SC4011E0")
    broken = psg.with_name("SC4011EH-Hypnogram.edf")
    for content in (b"", b"<html>", psg.read_bytes()[:5000]):
        broken.write_bytes(content)
        _, (found,) = seen(tmp_path / "s", load_recipe("sleep-edf"))
        assert found.reason.startswith("SC4011EH-Hypnogram.edf is no EDF+ file: "), found.reason


def test_a_changed_hypnogram_is_another_label_and_no_other_signal(tmp_path: Path) -> None:
    write_night(tmp_path / "s", "SC4011E0")
    path = write_hypnogram(tmp_path / "s" / "SC4011EH-Hypnogram.edf")
    _, (before,) = seen(tmp_path / "s", load_recipe("sleep-edf"))
    Edf([], annotations=[EdfAnnotation(0, 600, "Sleep stage W")]).write(path)
    _, (after,) = seen(tmp_path / "s", load_recipe("sleep-edf"))
    assert len(set(after.windows["event"])) == 1
    assert before.fingerprint.split("@")[0] == after.fingerprint.split("@")[0]
    assert before.fingerprint != after.fingerprint


@pytest.fixture(scope="module")
def tuab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TUAB's tree, of today and of its first version."""
    root = tmp_path_factory.mktemp("sources") / "tuab"
    old = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}
    names = [f"EEG {old.get(name, name).upper()}-REF" for name in load_recipe("tuab").channels]
    for n, path in enumerate(
        (
            "edf/train/normal/01_tcp_ar/aaaaaaav_s004_t000.edf",
            "edf/train/abnormal/01_tcp_ar/aaaaaaav_s005_t000.edf",
            "edf/eval/normal/01_tcp_ar/000/00000021/s002_2013_08_15/00000021_s002_t001.edf",
        )
    ):
        write_recording(root / path, seconds=25, sfreq=200, channels=[*names, "EEG A1-REF", "EKG1-REF"], seed=n)
    return root


def test_the_folders_of_tuab_are_the_labels(tuab: Path, tmp_path: Path) -> None:
    eegzarr.build_lake(tuab, tmp_path / "lake.zarr", recipe="tuab", workers=1)
    windows = eegzarr.open_windows(tmp_path / "lake.zarr", "tuab").load()
    folders = {"s004": "normal", "s005": "abnormal", "s002": "normal"}
    names = windows["target"].attrs["flag_meanings"].split()
    assert [names[code] for code in windows["target"].values] == [folders[s] for s in windows["session"].values]
    assert windows["subset"].values.tolist() == ["eval" if s == "s002" else "train" for s in windows["session"].values]
    assert windows.sizes["window"] == 6
    assert windows["pathology"].attrs["long_name"] == "pathology, from the folders"
    assert set(windows["subject"].values) == {"aaaaaaav", "00000021"}
    train = windows.isel(window=(windows["subset"] == "train").values)
    assert train.sizes["window"] == 4


def test_a_folder_without_known_names_says_what_is_read(tmp_path: Path) -> None:
    write_recording(tmp_path / "mine" / "a" / "recording1.edf", seconds=2)
    with pytest.raises(SourceError, match=r"no sub-\* folder. Besides BIDS the layouts of Sleep-EDF"):
        find_source(tmp_path / "mine")


def test_a_cut_of_whole_nights_has_the_labels_of_the_hypnogram(sleep: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    fields = {"name": "whole", "anchor": "recording", "target": "", "sfreq": 100.0, "whole": True}
    whole = fields | {"channels": ["EEG Pz-Oz"], "span": {"start": 0.0, "stop": 2.0}, "require": []}
    eegzarr.build_lake(sleep, lake, recipe=recipe_from_fields(whole), workers=1)
    stages = load_recipe("sleep-edf")
    cut = eegzarr.cut(
        lake,
        recipe_from_fields(
            {"name": "cut", "channels": ["EEG Pz-Oz"], "anchor": "interval", "target": "event", "stride": 30.0}
            | {"span": {"start": 0.0, "stop": 30.0}, "events": {"classes": dict(stages.events.classes)}}
        ),
        signals="whole",
    )
    _, (built, *_) = seen(sleep, stages)
    own = cut.isel(window=(cut.subject == "SC400").values)
    assert own["event"].values.tolist() == built.windows["event"].tolist()
