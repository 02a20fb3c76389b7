"""Windows around events and in intervals: the table is a pure function, MNE and braindecode are its judges."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from small_studies import eeg_path, write_events, write_recording

import eegzarr
from eegzarr.errors import RecipeError, RecordingError
from eegzarr.recipes.recipe import Recipe, recipe_from_fields, recipe_from_json
from eegzarr.recipes.windows import Extent, WindowTable, kept_column, window_table

FIELDS = {"name": "r", "anchor": "event", "target": "event", "span": {"start": 0.0, "stop": 1.0}}
SIXTY = Extent(sfreq=100.0, n_times=6000)


def recipe(anchor: str = "event", stride: float | None = None, **events: object) -> Recipe:
    return recipe_from_fields(FIELDS | {"anchor": anchor, "stride": stride, "events": events})


def table(made: Recipe, **columns: list) -> WindowTable:
    return window_table(columns, SIXTY, made)


onsets = st.lists(st.integers(0, 6500), max_size=25, unique=True).map(sorted)


@settings(max_examples=30)
@given(onsets, st.randoms(use_true_random=False), st.sampled_from([(0.0, 1.0), (-0.5, 0.25), (0.3, 2.0)]))
def test_windows_around_events_are_those_of_mne(samples: list[int], random, span: tuple[float, float]) -> None:
    values = [random.choice(["left", "right", "rest"]) for _ in samples]
    raw = mne.io.RawArray(np.zeros((1, 6000)), mne.create_info(1, 100.0, "eeg"), verbose=False)
    inside = [n for n, sample in enumerate(samples) if sample < 6000]
    raw.set_annotations(mne.Annotations([samples[n] / 100 for n in inside], 0, [values[n] for n in inside]))
    wanted = {"left": 1, "right": 2}
    made = recipe_from_fields(
        FIELDS
        | {"span": dict(zip(("start", "stop"), span, strict=True)), "events": {"classes": {"l": "left", "r": "right"}}}
    )
    ours = table(made, onset=[sample / 100 for sample in samples], trial_type=values)
    if not {values[n] for n in inside} & set(wanted):
        assert len(ours) == 0
        return
    events, _ = mne.events_from_annotations(raw, wanted, verbose=False)
    epochs = mne.Epochs(raw, events, tmin=span[0], tmax=span[1] - 0.01, baseline=None, preload=True, verbose=False)
    np.testing.assert_array_equal(ours.columns["start_sample"], epochs.events[:, 0] + round(span[0] * 100))
    assert ours.columns["event"].tolist() == [{1: "left", 2: "right"}[code] for code in epochs.events[:, 2]]
    assert ours.trials == len(ours) + ours.dropped == sum(value != "rest" for value in values)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 12), st.sampled_from(["W", "N1"])), min_size=1, max_size=8),
    st.sampled_from([100, 150, 33]),
)
def test_tiles_of_intervals_are_those_of_braindecode(rows: list[tuple[int, int, str]], stride: int) -> None:
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_windows_from_events

    rows = [row for row in sorted(rows) if row[0] + row[1] <= 60 and row[1]]
    made = recipe("interval", stride / 100)
    ours = table(made, onset=[r[0] for r in rows], duration=[r[1] for r in rows], trial_type=[r[2] for r in rows])
    assert ours.trials == len(ours) + ours.dropped + sum(ours.left_out.values())
    if not rows:
        return
    raw = mne.io.RawArray(np.zeros((1, 6000)), mne.create_info(1, 100.0, "eeg"), verbose=False)
    raw.set_annotations(mne.Annotations(*zip(*rows, strict=True)))
    theirs = create_windows_from_events(
        BaseConcatDataset([RawDataset(raw, {})]),
        mapping={"N1": 0, "W": 1},
        window_size_samples=100,
        window_stride_samples=stride,
        drop_last_window=True,
        on_missing="ignore",
        on_overlapping_events="ignore",
    ).get_metadata()
    np.testing.assert_array_equal(ours.columns["start_sample"], theirs["i_start_in_trial"])
    assert [{"N1": 0, "W": 1}[value] for value in ours.columns["event"]] == theirs["target"].tolist()


def test_a_condition_on_columns_chooses_events() -> None:
    made = recipe(where="response_time > 0.2 and hand in ['left', 'right'] or practice == 1")
    found = table(
        made,
        onset=["1", "2", "3", "4", "5"],
        trial_type=["go"] * 5,
        response_time=["0.3", "0.1", "n/a", "0.5", "n/a"],
        hand=["left", "left", "left", "foot", "n/a"],
        practice=["0", "0", "0", "n/a", "1"],
    )
    assert found.columns["start_sample"].tolist() == [100, 500]
    assert found.left_out == Counter({f"fails the condition {made.events.where}": 3})


@pytest.mark.parametrize(
    ("where", "starts"),
    [
        ("stimulus == response", [100]),
        ("stimulus != response", [200, 500]),  # not where one of them is missing
        ("stimulus == asked == response", [100]),
        ("asked == stimulus or stimulus == 'x'", [100]),
        ("cue == answer", [100, 300]),  # as numbers: 2 and 2.0 are one
        ("cue < answer", [500]),
        ("stimulus == cue", []),  # a text is never a number
        ("not stimulus == cue", [100, 200, 300, 500]),
    ],
)
def test_a_condition_compares_columns_with_each_other(where: str, starts: list[int]) -> None:
    found = table(
        recipe(where=where),
        onset=["1", "2", "3", "4", "5"],
        trial_type=["go"] * 5,
        stimulus=["cat", "dog", "cat", "n/a", "7b"],
        response=["cat", "cat", "n/a", "dog", "7"],
        asked=["cat", "x", "x", "x", "x"],
        cue=["1", "5", "2", "n/a", "3"],
        answer=["1", "4", "2.0", "1", "10"],
    )
    assert found.columns["start_sample"].tolist() == starts


@pytest.mark.parametrize(
    ("rules", "starts", "why"),
    [
        ({"min_gap": 2.0}, [100, 350, 600], "begins within 2 s of the one before it"),
        ({"repeats": "first"}, [100, 350, 410], "isn't the first of its class in a row"),
        ({"repeats": "last"}, [200, 350, 600], "isn't the last of its class in a row"),
        ({"drop_overlapping": True}, [100, 200, 350, 600], "overlaps the window before it"),
    ],
)
def test_events_that_follow_each_other(rules: dict[str, object], starts: list[int], why: str) -> None:
    found = table(recipe(**rules), onset=[1, 2, 3.5, 4.1, 6], value=["a", "a", "b", "a", "a"])
    assert found.columns["start_sample"].tolist() == starts
    assert found.left_out == Counter({why: 5 - len(starts)})
    assert found.trials == 5


def test_seconds_after_an_event_are_tiled_where_the_recipe_names_them() -> None:
    made = recipe(
        "interval", 2.0, within={"closed": [15, 29], "open": [5, 9.5]}, classes={"closed": "c", "open": ["o"]}
    )
    found = table(made, onset=[10, 40], duration=["n/a", "n/a"], value=["o", "c"])
    assert found.columns["start_sample"].tolist() == [1500, 1700, 5500, 5700, 5900]
    assert found.dropped == 4  # of seven from 55 s on, those past 60 s


def test_events_without_place_or_duration_are_counted() -> None:
    found = table(
        recipe("interval", 1.0), onset=["n/a", 1, 2, 3, 58], duration=[5, "n/a", 0.5, 2, 4], value=list("aabca")
    )
    assert found.columns["start_sample"].tolist() == [300, 400, 5800, 5900]
    assert found.dropped == 3
    assert found.left_out == Counter({"has no duration": 1, "is shorter than a window": 1})
    assert found.trials == 9


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 5900), st.integers(1, 900)), max_size=6),
    st.sampled_from([0.01, 0.5, 1.0]),
)
def test_a_label_by_intervals_counts_the_samples_that_they_cover(rows: list[tuple[int, int]], overlap: float) -> None:
    made = recipe_from_fields(
        FIELDS
        | {"anchor": "recording", "stride": 0.7, "target": "sz", "labels": {"sz": {"events": "sz", "overlap": overlap}}}
    )
    found = table(made, onset=[a / 100 for a, _ in rows], duration=[n / 100 for _, n in rows], value=["sz"] * len(rows))
    covered = np.zeros(7000, bool)
    for begin, length in rows:
        covered[begin : begin + length] = True
    share = [covered[start : start + 100].mean() for start in found.columns["start_sample"]]
    assert found.columns["sz"].tolist() == [int(one >= overlap - 1e-9 and one > 0) for one in share]


def test_a_label_of_a_recording_without_events_is_missing() -> None:
    made = recipe_from_fields(
        FIELDS | {"anchor": "recording", "stride": 1.0, "target": "sz", "labels": {"sz": {"events": ["sz"]}}}
    )
    found = window_table(None, SIXTY, made)
    assert set(found.columns["sz"].tolist()) == {-1}
    assert "no events" in found.notes[0]


def test_a_trial_says_how_many_presses_it_had(tmp_path: Path) -> None:
    made = recipe_from_fields(
        FIELDS
        | {"anchor": "stimulus", "target": "presses", "require": ["stimulus_onset"]}
        | {
            "events": {
                "trial_start": "t",
                "stimulus": "s",
                "response": "r",
                "end": [],
                "keep": ["presses", "premature", "side"],
            }
        }
    )
    found = table(made, onset=range(9), value=list("trsrrtstr"), side=["", "", "L", "", "", "", "R", "", ""])
    assert found.columns[kept_column("presses")].tolist() == [2, 0]
    assert found.columns[kept_column("premature")].tolist() == [1, 0]
    assert found.columns[kept_column("side")].tolist() == ["L", "R"]


@pytest.mark.parametrize(
    ("columns", "rules", "told"),
    [
        ({"onset": [1], "duration": [1]}, {}, "no column trial_type or value"),
        ({"onset": [1], "stim": ["a"]}, {"column": "stimm"}, "Did you mean stim"),
        ({"onset": [1], "value": ["a"]}, {"where": "valu == 'a'"}, "Did you mean value"),  # codespell: misspelt
        ({"onset": [1], "value": ["a"]}, {"where": "value > 1"}, "is text"),
        ({"onset": [1], "value": ["a"]}, {"keep": ["side"]}, "no column side to keep"),
    ],
)
def test_events_that_lack_what_a_recipe_names_say_what_there_is(columns: dict, rules: dict, told: str) -> None:
    with pytest.raises(RecordingError, match=told):
        window_table(columns, SIXTY, recipe(**rules))


def test_values_that_no_class_has_are_told() -> None:
    found = table(
        recipe(classes={"l": ["lefthand"], "r": ["righthand"]}), onset=[1, 2, 3], value=["left_hand", "x", "x"]
    )
    assert found.reason == (
        "no events in events.tsv: they have 'x' (2), 'left_hand' (1), events.classes has 'lefthand', 'righthand'. "
        "Did you mean left_hand?"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {
            "events": {
                "classes": {"b": ["T1"], "a": ["T2", "3"]},
                "where": "value != 'x'",
                "keep": ["value"],
                "min_gap": 1,
            }
        },
        {"anchor": "interval", "stride": 1.0, "events": {"within": {"a": [1, 2]}, "repeats": "last"}},
        {
            "anchor": "recording",
            "stride": 1.0,
            "target": ["sz", "age"],
            "labels": {"sz": {"events": ["s"], "overlap": 0.2}},
        },
        {"target": "", "events": {"drop_overlapping": True, "column": "code"}},
    ],
)
def test_json_gives_an_event_recipe_back(fields: dict) -> None:
    made = recipe_from_fields(FIELDS | fields)
    assert recipe_from_json(made.to_json()) == made


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects, one with classes in events.tsv, one with annotations; classes, a kept column, two more recipes."""
    folder = tmp_path_factory.mktemp("events")
    root = folder / "study"
    one = write_recording(eeg_path(root, "1", "hands"), seconds=20)
    write_events(
        one,
        {"onset": [1, 4, 7, 10, 19.5], "duration": [2, 2, 2, 2, 2], "trial_type": ["L", "R", "L", "rest", "R"]}
        | {"rt": ["0.5", "0.25", "n/a", "n/a", "1"]},
    )
    write_recording(
        eeg_path(root, "2", "hands"), seconds=20, annotations=[(2, 2, "R"), (5, 2, "L"), (9, 3, "R")], seed=1
    )
    write_events(
        eeg_path(root, "2", "hands"), {"onset": [2, 5], "duration": [2, 2], "trial_type": ["R", "R"], "rt": [1, 2]}
    )
    write_recording(eeg_path(root, "3", "hands"), seconds=20, annotations=[(2, 2, "R"), (9, 3, "R")], seed=2)
    (root / "participants.tsv").write_text(
        "participant_id\tage\tsex\tevent\nsub-1\t20\tF\tx\nsub-2\t30\tM\ty\nsub-3\tn/a\tF\tz\n"
    )
    hands = {"classes": {"right": ["R"], "left": ["L"]}}
    made = {
        "hands": {"events": hands},
        "people": {"target": ["age", "sex"], "events": hands},
        "nothing": {"target": "", "events": {"column": "trial_type", "keep": ["rt"], "where": "rt > 0"}},
    }
    for name, fields in made.items():
        eegzarr.build_lake(
            root, folder / "lake.zarr", recipe=recipe_from_fields(FIELDS | {"name": name} | fields), workers=1
        )
    return folder / "lake.zarr"


def test_a_class_target_is_stored_the_way_of_cf(lake: Path) -> None:
    windows = xr.open_zarr(lake, group="hands/study")
    assert windows["target"].dtype == np.int16
    assert windows["target"].attrs["flag_meanings"] == "right left"
    assert list(windows["target"].attrs["flag_values"]) == [0, 1]
    assert windows["target"].values.tolist() == [1, 0, 1, 0, 0, 0, 0]
    assert windows["event"].values.tolist() == ["L", "R", "L", "R", "R", "R", "R"]
    assert windows["participant_event"].values.tolist() == ["x"] * 3 + ["y"] * 2 + ["z"] * 2


def test_a_stream_gives_classes_by_their_codes(lake: Path) -> None:
    from eegzarr.stream import WindowStream

    windows = eegzarr.open_windows(lake, "hands")
    stream = WindowStream(windows, batch_size=7)
    assert stream.classes == ("right", "left")
    ((_, y),) = list(stream)
    assert (str(y.dtype), y.tolist()) == ("torch.int64", [1, 0, 1, 0, 0, 0, 0])


def test_several_targets_are_columns(lake: Path) -> None:
    from eegzarr.stream import WindowStream

    windows = eegzarr.open_windows(lake, "people")
    assert windows["target_sex"].values.tolist() == [0, 0, 0, 1, 1, 0, 0]
    stream = WindowStream(windows, batch_size=9)
    assert stream.classes == (None, ("F", "M"))
    ((_, y),) = list(stream)
    assert y.tolist() == [[20, 0]] * 3 + [[30, 1]] * 2
    assert stream.left_out["no target"] == 2


def test_a_recipe_without_a_target_gives_x_alone(lake: Path) -> None:
    from eegzarr.stream import WindowStream

    windows = eegzarr.open_windows(lake, "nothing")
    assert "target" not in windows
    assert windows["rt"].values.tolist() == [0.5, 0.25, 1, 2]
    (x,) = list(WindowStream(windows, batch_size=4))
    assert x.shape == (4, 3, 100)


def test_each_recording_says_what_became_of_its_events(lake: Path) -> None:
    from eegzarr.store.open import open_recordings

    rows = open_recordings(lake, "hands", "study").load()
    columns = {name: rows[name].values.tolist() for name in ("trials", "windows", "dropped", "left_out")}
    assert pd.DataFrame(columns).values.tolist() == [[4, 3, 1, 0], [2, 2, 0, 0], [2, 2, 0, 0]]
    lost = open_recordings(lake, "nothing", "study").load()
    assert "no column trial_type" in str(lost["reason"].values[2])
    assert lost["left_out_reasons"].values[0] == "2 fails the condition rt > 0"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"events": {"classes": {"a": ["1"], "b": ["1"]}}}, "is in a and in b"),
        ({"events": {"classes": ["T1"]}}, "must be a table of event values"),
        ({"events": {"stimulus": ["T1"]}}, "events.stimulus has no meaning with the anchor 'event'"),
        ({"stride": 1.0}, "a stride has no meaning"),
        ({"anchor": "interval"}, "need a stride"),
        ({"anchor": "stimulus", "events": {"classes": {"a": ["1"]}}}, "take the anchor 'event'"),
        ({"anchor": "events"}, "Did you mean event"),
        ({"events": {"where": "__import__('os').system('x')"}}, "where ="),
        ({"events": {"where": "rt >"}}, "where ="),
        ({"events": {"where": "1 > 0"}}, "names no column"),
        ({"events": {"clases": {}}}, "Did you mean classes"),  # codespell: misspelt
        ({"require": ["stimulus_onset"]}, "require is of trials"),
        ({"labels": {"sz": {"events": ["x"]}}}, "labels windows along a recording"),
        ({"anchor": "recording", "stride": 1.0, "labels": {"sz": {"event": ["x"]}}}, "Did you mean events"),
        ({"anchor": "recording", "stride": 1.0, "labels": {"sz": {"events": ["x"], "overlap": 2}}}, "at most 1"),
        ({"anchor": "interval", "stride": 1.0, "events": {"classes": {"a": "1"}, "within": {"b": [1, 2]}}}, "a class"),
    ],
)
def test_an_event_recipe_that_cannot_be_is_refused(fields: dict, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe_from_fields(FIELDS | fields)
