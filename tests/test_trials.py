"""Trial tables: held row by row against eegdash, which the challenge's start kit uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from eegdash.hbn.windows import build_trial_table
from hypothesis import given
from hypothesis import strategies as st

from eegzarr.errors import RecordingError
from eegzarr.recipes.recipe import EventRules
from eegzarr.recipes.trials import find_trials, trial_table

VALUES = [
    "contrastTrial_start",
    "left_target",
    "right_target",
    "left_buttonPress",
    "right_buttonPress",
    "end_experiment",
    "break cnt",
]
FLOATS = {
    "trial_start": "trial_start_onset",
    "trial_stop": "trial_stop_onset",
    "stimulus_onset": "stimulus_onset",
    "response_onset": "response_onset",
    "rt_from_stimulus": "rt_from_stimulus",
    "rt_from_trialstart": "rt_from_trialstart",
}


def assert_same_trials(events: pd.DataFrame) -> int:
    """Hold eegzarr's table of trials against eegdash's; return the number of trials."""
    ours = trial_table(events, EventRules())
    theirs = build_trial_table(events)
    assert len(ours) == len(theirs)
    for mine, other in FLOATS.items():
        if len(theirs):
            np.testing.assert_array_equal(ours[mine], theirs[other].astype(float), err_msg=mine)
    if len(theirs):
        expected = theirs["correct"].map({True: 1, False: 0}).fillna(-1).astype(int)
        assert ours["correct"].tolist() == expected.tolist()
        assert ours["response_type"].tolist() == theirs["response_type"].fillna("").tolist()
    return len(ours)


def test_trials_of_the_sample_equal_eegdash(sample_root: Path) -> None:
    counts = [
        assert_same_trials(pd.read_csv(path, sep="\t"))
        for path in sorted(sample_root.glob("sub-*/eeg/*contrastChangeDetection*_events.tsv"))
    ]
    assert sum(counts) > 200
    assert 0 in counts  # the recording without events


events_strategy = st.lists(
    st.tuples(
        st.integers(0, 400).map(lambda i: i * 0.05),
        st.sampled_from(VALUES),
        st.sampled_from(["smiley_face", "sad_face", "non_target", "n/a"]),
    ),
    max_size=60,
)


@given(events_strategy)
def test_trials_of_any_events_equal_eegdash(rows: list[tuple[float, str, str]]) -> None:
    assert_same_trials(pd.DataFrame(rows, columns=["onset", "value", "feedback"]))


@given(events_strategy, st.randoms(use_true_random=False))
def test_order_of_rows_with_distinct_onsets_has_no_meaning(rows: list, random) -> None:
    distinct = list({onset: (onset, value, feedback) for onset, value, feedback in rows}.values())
    table = pd.DataFrame(distinct, columns=["onset", "value", "feedback"])
    shuffled = table.sample(frac=1, random_state=random.randrange(2**31))
    pd.testing.assert_frame_equal(trial_table(table, EventRules()), trial_table(shuffled, EventRules()))


@given(events_strategy, st.sets(st.integers(0, 59), max_size=3), st.booleans())
def test_every_start_is_a_trial_or_is_counted(rows: list, without_onset: set[int], open_end: bool) -> None:
    onsets = ["n/a" if row in without_onset else str(onset) for row, (onset, _, _) in enumerate(rows)]
    events = {"onset": onsets, "value": [value for _, value, _ in rows]}
    values = EventRules(end=()) if open_end else EventRules()
    trials = find_trials(events, values, duration=25.0)
    starts = sum(value == "contrastTrial_start" for value in events["value"])
    assert len(trials) + sum(trials.lost.values()) == starts
    if open_end and len(trials):
        assert trials.columns["trial_stop"][-1] == 25.0
        assert trials.lost["has no end event"] == 0


def test_values_may_stand_in_trial_type() -> None:
    events = {"onset": ["0", "1"], "value": ["1", "2"], "trial_type": ["trial", "face"]}
    values = EventRules(trial_start=("trial",), stimulus=("face",), end=())
    trials = find_trials(events, values, duration=3.0)
    assert trials.columns["stimulus_onset"].tolist() == [1]
    assert "trial_type" in trials.notes[0]


def test_a_response_before_its_stimulus_is_no_response_to_it() -> None:
    events = pd.DataFrame(
        {
            "onset": [0, 1, 2, 5],
            "value": ["contrastTrial_start", "left_buttonPress", "left_target", "contrastTrial_start"],
        }
    )
    (row,) = trial_table(events, EventRules()).to_dict("records")
    assert row["stimulus_onset"] == 2
    assert np.isnan(row["rt_from_stimulus"])
    assert row["correct"] == -1


def test_values_of_another_experiment() -> None:
    events = pd.DataFrame({"onset": [0, 0.5, 1.25, 3], "value": ["trial", "face", "key", "trial"]})
    values = EventRules(trial_start=("trial",), stimulus=("face",), response=("key",))
    assert trial_table(events, values)["rt_from_stimulus"].tolist() == [0.75]


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (pd.DataFrame({"value": ["x"]}), "no column onset"),
        (pd.DataFrame({"onset": [1.0]}), "no column value"),
        (pd.DataFrame({"onset": ["soon"], "value": ["x"]}), "no number"),
    ],
)
def test_unusable_events_say_why(events: pd.DataFrame, reason: str) -> None:
    with pytest.raises(RecordingError, match=reason):
        trial_table(events, EventRules())
