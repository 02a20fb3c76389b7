from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from eegzarr.errors import UsageError
from eegzarr.stream.splits import (
    START_KIT_EXCLUSIONS,
    drop_start_kit_exclusions,
    kfold_by_subject,
    split_by,
    split_by_release,
    split_by_session,
    split_by_subject,
)

subjects_strategy = st.lists(st.integers(0, 30), min_size=1, max_size=120).map(
    lambda numbers: np.array([f"S{n:02d}" for n in numbers], dtype=object)
)


def table_of(subjects: np.ndarray) -> xr.Dataset:
    return xr.Dataset(coords={"window": np.arange(len(subjects)), "subject": ("window", subjects)})


@given(subjects_strategy, st.integers(0, 5))
def test_no_subject_stands_on_two_sides_and_no_window_is_lost(subjects: np.ndarray, seed: int) -> None:
    windows = table_of(subjects)
    if len(set(subjects)) < 3:
        with pytest.raises(UsageError, match="can't be split"):
            split_by_subject(windows, seed=seed)
        return
    parts = split_by_subject(windows, seed=seed)
    sides = [set(part["subject"].values.tolist()) for part in parts]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides)) == len(set(subjects))
    assert sorted(w for part in parts for w in part["window"].values.tolist()) == list(range(len(subjects)))


@given(subjects_strategy, st.integers(2, 5), st.integers(0, 5))
def test_every_subject_is_validated_in_one_fold(subjects: np.ndarray, folds: int, seed: int) -> None:
    windows = table_of(subjects)
    if len(set(subjects)) < folds:
        return
    seen: list[str] = []
    for train, valid in kfold_by_subject(windows, folds, seed=seed):
        assert not set(train["subject"].values.tolist()) & set(valid["subject"].values.tolist())
        assert train.sizes["window"] + valid.sizes["window"] == len(subjects)
        seen += sorted(set(valid["subject"].values.tolist()))
    assert sorted(seen) == sorted(set(subjects))


def test_no_part_is_left_with_one_subject_where_that_is_asked_for() -> None:
    table = table_of(np.array([f"S{i}" for i in range(6)], dtype=object))
    parts = split_by_subject(table, (0.7, 0.15, 0.15), at_least=2)
    assert [len(set(part["subject"].values.tolist())) for part in parts] == [2, 2, 2]
    parts = split_by_subject(table.isel(window=slice(5)), (0.7, 0.15, 0.15), at_least=2)
    assert [len(set(part["subject"].values.tolist())) for part in parts] == [3, 1, 1]


def test_a_split_depends_on_the_set_of_subjects_alone() -> None:
    names = np.array([f"S{i}" for i in range(10)], dtype=object)
    some = split_by_subject(table_of(names), seed=3)
    twice = split_by_subject(table_of(np.repeat(names[::-1], 2)), seed=3)
    assert [set(p["subject"].values) for p in some] == [set(p["subject"].values) for p in twice]
    other = split_by_subject(table_of(names), seed=4)
    assert [set(p["subject"].values) for p in some] != [set(p["subject"].values) for p in other]


@pytest.mark.parametrize("fractions", [(), (0.5, 0.6), (1.0, 0.0), (-0.5, 1.5)])
def test_fractions_must_share_out_the_whole(fractions: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="add up to 1"):
        split_by_subject(table_of(np.array(["a", "b", "c"], dtype=object)), fractions)


def test_the_start_kits_subjects_can_be_dropped() -> None:
    windows = table_of(np.array(["a", START_KIT_EXCLUSIONS[0], "b"], dtype=object))
    kept, count = drop_start_kit_exclusions(windows)
    assert (kept["subject"].values.tolist(), count) == (["a", "b"], 1)


def releases(subjects: list[str], names: list[str]) -> xr.Dataset:
    return table_of(np.array(subjects, object)).assign_coords(release=("window", np.array(names, object)))


def test_releases_stand_in_the_part_they_were_named_for() -> None:
    windows = releases(["a", "a", "b", "c", "d"], ["R1", "R1", "R2", "R5", "R3"])
    train, valid = split_by_release(windows, (["R1", "R2"], "R5"))
    assert train["window"].values.tolist() == [0, 1, 2]
    assert valid["window"].values.tolist() == [3]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (("R1", "R9"), "there is no release 'R9' among the windows; there are R1, R2"),
        ((["R1", "R2"], "R2"), "'R2' is in more than one part"),
    ],
)
def test_a_split_by_release_that_leaks_or_misses_is_refused(parts: tuple, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        split_by_release(releases(["a", "b", "b"], ["R1", "R1", "R2"]), parts)


def test_two_sites_that_both_have_a_subject_00_are_told_apart() -> None:
    windows = releases(["00", "00", "01", "00", "02"], ["A", "A", "A", "B", "B"])
    first, second = split_by_release(windows, ("A", "B"))
    assert (first.sizes["window"], second.sizes["window"]) == (3, 2)
    parts = split_by_subject(windows, (0.5, 0.5), seed=1)
    people = [set(zip(part["release"].values, part["subject"].values, strict=True)) for part in parts]
    assert sorted(map(len, people)) == [2, 2]
    assert not people[0] & people[1]
    folds = kfold_by_subject(windows, 4)
    assert sum(len(set(valid["subject"].values)) for _, valid in folds) == 4


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=12, max_size=80), st.integers(0, 5))
def test_a_stratified_split_keeps_groups_whole_and_strata_in_proportion(rows: list, seed: int) -> None:
    site = np.array([f"site{number}" for number, _ in rows], object)
    kind = {name: rows[int(np.flatnonzero(site == name)[0])][1] for name in site.tolist()}
    windows = table_of(site).assign_coords(
        site=("window", site), kind=("window", [kind[name] for name in site.tolist()])
    )
    if len(set(site.tolist())) < 2:
        return
    parts = split_by(windows, "site", (0.5, 0.5), stratify="kind", seed=seed)
    sides = [set(part["site"].values.tolist()) for part in parts]
    assert not sides[0] & sides[1]
    assert sum(part.sizes["window"] for part in parts) == len(rows)
    assert all(sides)
    if len(set(site.tolist())) < 8:
        return
    for value in set(kind.values()):
        counts = [sum(kind[name] == value for name in side) for side in sides]
        assert abs(counts[0] - counts[1]) <= 1


def test_sessions_and_any_label_split() -> None:
    names = [f"S{n}" for n in range(6)] * 2
    windows = table_of(np.array(names, object)).assign_coords(session=("window", ["1"] * 6 + ["2"] * 6))
    early, late = split_by_session(windows, ("1", "2"))
    assert early["subject"].values.tolist() == late["subject"].values.tolist() == names[:6]
    with pytest.raises(UsageError, match="there is no session '3' among the windows; there are 1, 2"):
        split_by_session(windows, ("1", "3"))
    with pytest.raises(UsageError, match="no label 'site' to split by; they have window, subject"):
        split_by(windows, "site")
    with pytest.raises(UsageError, match="2 sessions can't be split into 3 parts"):
        split_by(windows, "session")
