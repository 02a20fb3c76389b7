"""Windows that overlap times annotated as bad are left out as MNE leaves them out, wherever their events come from."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import mne
import mne_bids
import numpy as np
import pytest
from edfio import Edf, EdfAnnotation, EdfSignal

from eegzarr.bids.dataset import find_source
from eegzarr.build.inspect import Inspection, inspect
from eegzarr.recipes.recipe import EventRules, Recipe, WindowSpan, recipe_from_fields

GO = EventRules(trial_start=("go",), stimulus=("go",), response=(), end=(), correct=(), wrong=())
BAD = ((2.0, 0.5, "BAD_blink"), (6.25, 1.0, "bad segment"), (11.0, 0.0, "BAD"), (14.995, 0.01, "BAD_short"))
AROUND = Recipe(
    name="go",
    anchor="stimulus",
    span=WindowSpan(start=0, stop=1),
    target="age",
    sfreq=100,
    events=GO,
    require=("stimulus_onset",),
)
ALONG = Recipe(
    name="rest", anchor="recording", span=WindowSpan(start=0, stop=1), stride=0.25, target="age", sfreq=100, require=()
)
ONSETS = tuple(np.round(np.arange(0.5, 18.5, 0.13), 2).tolist())


def write(root: Path, suffix: str, annotations: tuple[tuple[float, float, str], ...]) -> Path:
    path = root / "sub-1" / "eeg" / f"sub-1_task-x_eeg{suffix}"
    path.parent.mkdir(parents=True)
    noise = np.round(np.random.default_rng(0).normal(0, 20, (3, 2000)))
    signals = [
        EdfSignal(one, 100, label=name, physical_dimension="uV", physical_range=(-500, 500))
        for one, name in zip(noise, ("Fz", "Cz", "Pz"), strict=True)
    ]
    edf = path.with_suffix(".edf")
    Edf(signals, annotations=[EdfAnnotation(*one) for one in annotations]).write(edf)
    if suffix != ".edf":
        mne.io.read_raw_edf(edf, verbose="error").save(path, verbose="error")
        edf.unlink()
    return path


def inspected(root: Path, recipe: Recipe) -> Inspection:
    return inspect(str(root), find_source(root).recordings[0], recipe)


@pytest.mark.parametrize("suffix", [".edf", ".fif"])
def test_bad_annotations_leave_out_windows_around_events_of_events_tsv(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path, suffix, BAD)
    lines = "".join(f"{onset}\t0\tgo\n" for onset in ONSETS)
    path.with_name("sub-1_task-x_events.tsv").write_text(f"onset\tduration\tvalue\n{lines}")
    found = inspected(tmp_path, AROUND)
    events = np.array([[round(onset * 100), 0, 1] for onset in ONSETS])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne.io.read_raw(path, preload=True, verbose="error")
    kept = mne.Epochs(raw, events, tmin=0, tmax=0.99, baseline=None, preload=True, verbose="error").selection
    assert 0 < len(kept) < len(ONSETS)
    np.testing.assert_allclose(found.windows["stimulus_onset"], np.array(ONSETS)[kept])
    assert found.dropped == len(ONSETS) - len(kept)
    assert found.facts.files == (path.relative_to(tmp_path).as_posix(),)


@pytest.mark.parametrize("suffix", [".edf", ".fif"])
def test_bad_annotations_leave_out_windows_along_a_recording(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path, suffix, BAD)
    found = inspected(tmp_path, ALONG)
    raw = mne.io.read_raw(path, preload=True, verbose="error")
    epochs = mne.make_fixed_length_epochs(raw, duration=1.0, overlap=0.75, preload=True, verbose="error")
    np.testing.assert_array_equal(found.windows["start_sample"], epochs.events[:, 0] - raw.first_samp)
    assert found.dropped


def test_bad_times_of_events_tsv_are_heard_as_mne_bids_hears_them(tmp_path: Path) -> None:
    path = write(tmp_path, ".edf", ())
    rows = [*((onset, 0.0, "go") for onset in ONSETS), *BAD]
    lines = "".join(f"{onset}\t{duration}\t{text}\n" for onset, duration, text in rows)
    path.with_name("sub-1_task-x_events.tsv").write_text(f"onset\tduration\ttrial_type\n{lines}")
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne_bids.read_raw_bids(mne_bids.get_bids_path_from_fname(path), verbose="error").load_data()
    events, _ = mne.events_from_annotations(raw, {"go": 1}, verbose="error")
    kept = mne.Epochs(raw, events, tmin=0, tmax=0.99, baseline=None, preload=True, verbose="error").selection
    along = mne.make_fixed_length_epochs(raw, duration=1.0, overlap=0.75, preload=True, verbose="error")
    around = recipe_from_fields(
        {"name": "go", "anchor": "event", "target": "event", "span": {"start": 0, "stop": 1}}
        | {"events": {"classes": {"go": ["go"]}}}
    )
    found = inspected(tmp_path, around)
    np.testing.assert_array_equal(found.windows["start_sample"], events[kept, 0])
    assert found.dropped == len(ONSETS) - len(kept) > 0
    assert "events.tsv marks bad times or joins: BAD, BAD_blink, BAD_short, bad segment" in found.notes
    np.testing.assert_array_equal(inspected(tmp_path, ALONG).windows["start_sample"], along.events[:, 0])
    # A value that the recipe is about is an event, whatever it is called.
    named = replace(around, events=replace(around.events, classes={text: [text] for _, _, text in BAD}))
    assert len(inspected(tmp_path, named).windows["start_sample"]) == len(BAD)


def test_annotations_that_are_not_the_events_may_be_unreadable(tmp_path: Path) -> None:
    path = write(tmp_path, ".edf", BAD)
    path.write_bytes(path.read_bytes().replace(b"BAD_blink", b"BAD_\xff\xfeink"))
    path.with_name("sub-1_task-x_events.tsv").write_text("onset\tduration\tvalue\n1\t0\tgo\n2.2\t0\tgo\n")
    found = inspected(tmp_path, AROUND)
    assert found.windows["stimulus_onset"].tolist() == [1.0]
