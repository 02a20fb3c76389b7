"""Events as people write them: values, onsets, durations and conditions in every spelling, beside MNE and pandas."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_studies import eeg_path, write_events, write_recording

from eegzarr.bids.dataset import find_source
from eegzarr.build.inspect import inspect
from eegzarr.build.labels import names_in_events, window_names
from eegzarr.build.plan import make_plan, target_columns
from eegzarr.build.target import targets_of
from eegzarr.errors import RecipeError, RecordingError
from eegzarr.recipes.expression import evaluate, holds
from eegzarr.recipes.recipe import Recipe, recipe_from_fields, recipe_from_json
from eegzarr.recipes.unused import unused_notes
from eegzarr.recipes.windows import Extent, WindowTable, kept_column, window_table
from eegzarr.store.layout import Geometry

FIELDS = {"name": "r", "anchor": "event", "target": "event", "span": {"start": 0.0, "stop": 1.0}}
SIXTY = Extent(sfreq=100.0, n_times=6000)


def recipe(anchor: str = "event", stride: float | None = None, **events: object) -> Recipe:
    return recipe_from_fields(FIELDS | {"anchor": anchor, "stride": stride, "events": events})


def labelled(**label: object) -> Recipe:
    fields = {"anchor": "recording", "stride": 10.0, "target": "own", "labels": {"own": label}}
    return recipe_from_fields(FIELDS | fields)


def table(made: Recipe, **columns: list) -> WindowTable:
    return window_table(columns, SIXTY, made)


@pytest.mark.parametrize(
    ("named", "written"),
    [
        (1, "1.0"),  # pandas writes whole numbers so, where a row of the column has none
        (1.0, "1"),
        ("1", "1.00"),
        (" T1 ", "T1"),
        ("T1", "T1 "),
        ("Öffnen", unicodedata.normalize("NFD", "Öffnen")),  # as macOS writes it
        (0.5, "0.5"),
    ],
)
def test_one_value_in_two_spellings_is_one(named: object, written: str) -> None:
    made = recipe(classes={"own": [named], "other": ["z"]})
    found = table(made, onset=["1", "2"], trial_type=[written, "z"])
    assert len(found) == 2
    assert found.found == Counter({str(found.columns["event"][0]): 1, "z": 1})


@pytest.mark.parametrize(("named", "written"), [("1.10", "1.1"), ("01", "1"), ("T1", "t1"), ("1e0", "1")])
def test_values_that_may_be_names_stay_apart(named: str, written: str) -> None:
    assert len(table(recipe(classes={"own": [named]}), onset=["1"], trial_type=[written])) == 0


def test_a_trigger_that_one_file_writes_with_a_fraction_is_no_class_of_its_own() -> None:
    made = recipe()
    one = table(made, onset=["1", "2"], value=["1", "2"])
    other = table(made, onset=["1", "2", "3"], value=["1.0", "n/a", "2.0"])
    assert one.columns["event"].tolist() == other.columns["event"].tolist() == ["1", "2"]


def test_trials_of_numbers_are_found_in_both_spellings() -> None:
    events = {"trial_start": "1", "stimulus": "2", "response": "3", "end": "9"}
    made = recipe_from_fields(FIELDS | {"anchor": "stimulus", "target": "rt_from_stimulus", "events": events})
    found = table(made, onset=["1", "2", "3.5", "9"], value=["1.0", "2.0", "3.0", "9.0"])
    assert found.columns["rt_from_stimulus"].tolist() == [1.5]


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ({"none": ["None"]}, "is how events.tsv writes a missing value"),
        ({"blank": [" "]}, "is how events.tsv writes a missing value"),
        ({"a": ["1"], "b": ["1.0"]}, "'1' is in a and in b"),
        ({"a": [True]}, "must be a list of event values"),
    ],
)
def test_classes_that_no_event_could_have_are_refused(classes: dict, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe(classes=classes)


def test_labels_that_are_no_tables_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"labels must be tables such as \[labels\.seizure\], got \['seizure'\]"):
        recipe_from_fields(FIELDS | {"anchor": "recording", "stride": 1.0, "target": "", "labels": ["seizure"]})


def test_marks_of_bad_times_and_joins_are_no_events_as_in_mne() -> None:
    texts = ["BAD_ACQ_SKIP", "EDGE boundary", "bad blink", "x", "edgy", "xbad"]
    raw = mne.io.RawArray(np.zeros((1, 6000)), mne.create_info(1, 100.0, "eeg"), verbose=False)
    raw.set_annotations(mne.Annotations(range(1, 7), 0, texts))
    events, names = mne.events_from_annotations(raw, verbose=False)
    found = table(recipe(), onset=list(range(1, 7)), value=texts)
    assert found.columns["start_sample"].tolist() == events[:, 0].tolist()
    assert set(found.columns["event"]) == set(names) == {"edgy", "x", "xbad"}
    asked = table(recipe(classes={"blink": ["bad blink"]}), onset=list(range(1, 7)), value=texts)
    assert asked.columns["start_sample"].tolist() == [300]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 119_000).map(lambda half: half / 2000), min_size=1, max_size=30),
    st.sampled_from([100.0, 128.0, 250.0, 512.3]),
    st.sampled_from([(-0.2, 0.8), (0.0, 1.0), (0.005, 0.255)]),
)
def test_onsets_at_half_samples_and_equal_ones_are_rounded_as_mne_does(
    onsets: list[float], sfreq: float, span: tuple[float, float]
) -> None:
    n_times = round(60 * sfreq)
    raw = mne.io.RawArray(np.zeros((1, n_times)), mne.create_info(1, sfreq, "eeg"), verbose=False)
    raw.set_annotations(mne.Annotations(onsets, 0, "x"))
    events, _ = mne.events_from_annotations(raw, verbose=False)
    fields = {"sfreq": sfreq, "span": {"start": span[0], "stop": span[1]}}
    made = recipe_from_fields(FIELDS | fields)
    found = window_table({"onset": onsets, "value": ["x"] * len(onsets)}, Extent(sfreq=sfreq, n_times=n_times), made)
    starts = events[:, 0] + round(span[0] * sfreq)
    fits = (starts >= 0) & (starts + made.n_times <= n_times)
    assert found.columns["start_sample"].tolist() == starts[fits].tolist()
    assert found.dropped == int((~fits).sum())


def test_the_first_and_the_last_sample_can_be_events() -> None:
    made = recipe_from_fields(FIELDS | {"span": {"start": 0.0, "stop": 0.01}})
    found = table(made, onset=["59.99", "0", "60", "-0.01"], value=["x"] * 4)
    assert found.columns["start_sample"].tolist() == [0, 5999]
    assert found.dropped == 2


@pytest.mark.parametrize(
    ("onset", "duration", "starts", "trials"),
    [
        ("1", "1e15", list(range(100, 6000, 100)), None),  # ms, samples or a century: no reason for so many windows
        ("-1e12", "1e13", list(range(0, 6000, 100)), None),
        ("-0.5", "3", [50, 150], 3),
        ("58.5", "3", [5850], 3),
        ("1", "-3", [], 1),
        ("1", "inf", [], 1),
        ("1e300", "2", [], 2),
    ],
)
def test_intervals_that_leave_the_recording_are_counted_and_no_more(
    onset: str, duration: str, starts: list[int], trials: int | None
) -> None:
    found = table(recipe("interval", 1.0), onset=[onset], duration=[duration], value=["x"])
    assert found.columns["start_sample"].tolist() == starts
    assert found.trials == len(starts) + found.dropped + sum(found.left_out.values())
    assert trials is None or found.trials == trials


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(-300, 6500), st.integers(0, 900)), max_size=5),
    st.sampled_from([30, 100, 170]),
    st.sampled_from([0.0, 0.4]),
)
def test_tiles_are_those_that_a_loop_would_cut(rows: list[tuple[int, int]], stride: int, start: float) -> None:
    fields = {"anchor": "interval", "stride": stride / 100, "span": {"start": start, "stop": start + 1}}
    found = table(
        recipe_from_fields(FIELDS | fields),
        onset=[onset / 100 for onset, _ in rows],
        duration=[duration / 100 for _, duration in rows],
        value=["x"] * len(rows),
    )
    tiles = [
        begin
        for onset, duration in sorted(rows, key=lambda row: row[0])
        for begin in range(onset + round(start * 100), onset + duration - 99, stride)
    ]
    assert found.columns["start_sample"].tolist() == [one for one in tiles if 0 <= one <= 5900]
    short = sum(found.left_out.values())
    assert found.trials == len(tiles) + short
    assert found.dropped == sum(not 0 <= one <= 5900 for one in tiles)


@pytest.mark.parametrize(
    "condition",
    [
        "`response time` > 0.2",
        "`class` == 'x'",
        "0.1 < rt <= 0.3",
        "größe >= 2 and `class` in ['x', 'y']",
        "not rt > 0.2",
        "`class` == said",
        "`class` != said and rt < größe",
    ],
)
def test_a_condition_is_that_of_pandas(condition: str) -> None:
    rows = pd.DataFrame(
        {
            "response time": [0.1, 0.3, np.nan, 0.2],
            "class": ["x", "y", "x", "x"],
            "rt": [0.1, 0.2, 0.3, 0.4],
            "größe": [1, 2, 3, 4],
            "said": ["x", "x", "y", "x"],
        }
    )
    wanted = rows.eval(condition.replace("not rt > 0.2", "~(rt > 0.2)")).to_numpy(bool)
    found = holds(
        condition, lambda name, _: rows[name].to_numpy(), lambda name: rows[name].dtype.kind in "fi", len(rows)
    )
    assert found.tolist() == wanted.tolist()


def test_a_target_can_name_a_label_that_is_no_word_of_python() -> None:
    labels = {"class": np.array([1.0, 2.0]), "my score": np.array([3.0, np.nan])}
    np.testing.assert_array_equal(evaluate("`class` + `my score`", labels), [4, np.nan])
    with pytest.raises(RecipeError, match="between backticks"):
        evaluate("my score + 1", labels)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 7000), max_size=6), st.booleans(), st.sampled_from([np.inf, 7.5]))
def test_the_time_until_an_event_is_that_of_the_next_one(samples: list[int], first: bool, most: float) -> None:
    label = {"until": ["N2"], "first": first} | ({} if most == np.inf else {"most": most})
    made = labelled(**label)
    assert recipe_from_json(made.to_json()) == made
    found = table(made, onset=[*(s / 100 for s in samples), 3], value=[*("N2" for _ in samples), "W"])
    ahead = sorted(samples)[:1] if first else sorted(samples)
    for stop, value in zip(range(100, 6000, 1000), found.columns["own"], strict=True):
        later = [sample - stop for sample in ahead if sample >= stop]
        assert np.isnan(value) if not later else value == pytest.approx(min(later[0] / 100, most))


def test_a_recording_without_events_has_no_time_until_one() -> None:
    found = window_table(None, SIXTY, labelled(until=["N2"]))
    assert np.isnan(found.columns["own"]).all()
    assert found.columns["own"].dtype == np.float32
    assert found.notes == ("it has no events: the label own is missing",)


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ({"until": ["x"], "events": ["x"]}, "has events and until"),
        ({"until": []}, "must be a list of event values"),
        ({"until": ["x"], "most": 0}, "must be above 0, in seconds"),
        ({"until": ["x"], "overlap": 0.5}, "has no overlap; it can have until, first, most"),
        ({"untill": ["x"]}, "Did you mean until"),  # codespell: misspelt
        ({"until": ["x"], "first": "yes"}, "must be true or false"),
    ],
)
def test_a_label_of_times_that_cannot_be_is_refused(label: dict, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        labelled(**label)


def test_a_label_and_a_class_that_no_recording_has_are_noted() -> None:
    seizures = labelled(events=["seizure"])
    found = table(seizures, onset=[1], duration=[30], value=["seizre"])
    assert unused_notes(seizures, found.found) == (
        "the label own has no event in any recording: 'seizure'; the values that there are: 'seizre' (1). "
        "Did you mean seizre?",
    )
    hands = recipe(classes={"left": ["L"], "right": ["R"]})
    assert [note[:40] for note in unused_notes(hands, Counter({"L": 3}))] == [
        "the class right has no event in any reco"
    ]
    assert unused_notes(hands, Counter({"L": 3, "R": 1})) == ()


def test_events_of_a_label_without_an_onset_are_noted() -> None:
    found = table(labelled(events=["sz"]), onset=["n/a", "1"], duration=["9", "9"], value=["sz", "sz"])
    assert found.notes == ("1 events of the label own have no onset: they label nothing",)


def test_an_onset_with_a_decimal_comma_is_refused_by_its_text() -> None:
    with pytest.raises(RecordingError, match="'1,5'"):
        table(recipe(), onset=["1,5"], value=["x"])


@pytest.mark.parametrize("anchor", ["event", "stimulus"])
def test_kept_columns_of_any_name_take_nothing_s_place(anchor: str, tmp_path: Path) -> None:
    path = write_recording(eeg_path(tmp_path, "1", "t"), seconds=10)
    names = ["event", "correct", "start_sample", "recording", "response_type", "target", "Correct", "a b"]
    own = {name: [f"{name} {row}" for row in range(4)] for name in names}
    write_events(path, {"onset": [1, 3, 5, 7], "trial_type": list("abab")} | own)
    trial = {"trial_start": "a", "stimulus": "a", "response": "b", "end": []}
    fields = {"event": {"target": "event"}, "stimulus": {"target": "rt_from_stimulus", "anchor": "stimulus"}}[anchor]
    events = {"keep": names} | (trial if anchor == "stimulus" else {})
    kept = recipe_from_fields(FIELDS | fields | {"events": events})
    plain = recipe_from_fields(FIELDS | fields | {"events": {k: v for k, v in events.items() if k != "keep"}})
    source = find_source(tmp_path)
    plans = [
        make_plan(source, one, Geometry.of, lambda many, one=one: [inspect(source.root, r, one) for r in many])
        for one in (kept, plain)
    ]
    columns = [target_columns(plan.windows, plan.subjects) for plan in plans]
    for name in plans[1].windows:
        np.testing.assert_array_equal(plans[0].windows[name].to_numpy(), plans[1].windows[name].to_numpy())
    labels = names_in_events(kept)
    rows = range(4) if anchor == "event" else (0, 2)
    for name in names:
        label = window_names(kept)[kept_column(name)]
        assert columns[0][label].tolist() == [f"{name} {row}" for row in rows]
        assert name in labels
    one, other = (targets_of(plan.recipe, own, plan.subjects.given) for plan, own in zip(plans, columns, strict=True))
    np.testing.assert_array_equal(one["target"].values, other["target"].values)


def test_a_label_is_not_called_as_what_every_window_has() -> None:
    for name in ("correct", "start_sample", "response_type"):
        fields = {"anchor": "recording", "stride": 1.0, "target": name, "labels": {name: {"events": ["x"]}}}
        with pytest.raises(RecipeError, match="windows have a label of that name anyway"):
            recipe_from_fields(FIELDS | fields)
