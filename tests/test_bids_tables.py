"""TSV files as people write them, and what the texts of participants.tsv mean."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from eegzarr.bids.participants import people_of, typed_column
from eegzarr.bids.tsv import parse_tsv
from eegzarr.build.labels import participant_names
from eegzarr.errors import RecordingError
from eegzarr.exchange.labels import stored_names
from eegzarr.names import label_names, safe_name
from eegzarr.store.layout import LABELS, TAKEN
from eegzarr.store.opening.lazy import Label, joined

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\t\r\n", exclude_categories=["Cc", "Cs"]), max_size=6)


@given(st.lists(st.tuples(CELL, CELL), max_size=6), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_any_cells_come_back_as_they_were_written(rows: list[tuple[str, str]], end: str, mark: bool) -> None:
    kept = [row for row in rows if "".join(row).strip()]
    text = end.join(["a\tb", *("\t".join(row) for row in rows)]) + end
    table = parse_tsv((b"\xef\xbb\xbf" if mark else b"") + text.encode())
    assert list(zip(table["a"], table["b"], strict=True)) == kept


def test_quotes_are_text() -> None:
    table = parse_tsv(b'onset\tnote\n1\t"Hello\n2\tn/a\n3\tthere"\n')
    assert list(table["onset"]) == ["1", "2", "3"]
    assert table["note"][0] == '"Hello'


def test_quotes_around_every_name_are_a_programs() -> None:
    table = parse_tsv(b'"participant_id"\t"age"\t\r\n"sub-1"\t7\r\n"sub-2"\t"say ""ah"""\r\n')
    assert list(table.columns) == ["participant_id", "age"]
    assert list(table["participant_id"]) == ["sub-1", "sub-2"]
    assert table["age"][0] == "7"
    assert any("quotes" in note for note in table.notes)


def test_trailing_tabs_short_and_long_rows_and_repeated_columns() -> None:
    table = parse_tsv(b"a\tb\ta\t\n1\t2\t3\t\n4\n5\t6\t7\t8\n\n9\t\t\n")
    assert list(table.columns) == ["a", "b", "a_3"]
    assert list(table["a"]) == ["1", "4", "9"]
    assert list(table["b"]) == ["2", "", ""]
    assert table.left_out == {4: ("5", "line 4 has 4 cells for 3 columns")}
    assert table.lines == (2, 3, 6)
    assert any("1 of its rows" in note for note in table.notes)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        ("onset\tvalue\n1\tx\n".encode("utf-16"), "UTF-16"),
        ("onset\tvalue\n1\tx\n".encode("utf-16-le"), "UTF-16"),
        (b"\0" * 300, "binary"),
        ("a\tb\n1\tSt\u00f6rung\n".encode("latin-1"), "byte 0xf6 in line 2"),
        (b"onset,duration,value\n1,0,go\n", "commas"),
        (b"onset;value\n1;go\n", "semicolons"),
        (b"onset duration value\n1 0 go\n", "spaces"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"/annex/objects/MD5E-s10--abc.tsv\n", "git-annex"),
        (b"<!DOCTYPE html>\n<html></html>", "web page"),
    ],
)
def test_what_is_no_table_is_told_by_its_cause(content: bytes, reason: str) -> None:
    with pytest.raises(RecordingError, match=reason):
        parse_tsv(content)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["7,5", "", "8,25"], [7.5, np.nan, 8.25]),
        (['"7,5"', "6"], [7.5, 6]),
        (["89+", "12"], [89, 12]),
        (["100000001", "100000003"], [100000001, 100000003]),
        (["1.123456789", "2"], [1.123456789, 2]),
        (["16777217", ""], [16777217, np.nan]),
        ([" 3 ", "1e3", "-.5"], [3, 1000, -0.5]),
    ],
)
def test_numbers_are_read_as_they_are_written(texts: list[str], expected: list[float]) -> None:
    typed = typed_column(texts)
    np.testing.assert_array_equal(typed.values.astype(float), np.array(expected))
    assert not typed.unread


@pytest.mark.parametrize(
    "texts",
    [
        ["007", "012"],
        ["20240115", "20231231"],
        ["1,234", "5,678"],
        ["9007199254740993", "1"],
        ["true", "false"],
        ["0x10", "1"],
        ["1_000", "2"],
        ["inf", "1"],
        ["\u0661", "1"],
        ["2024-01-15"],
    ],
)
def test_what_only_looks_like_a_number_stays_text(texts: list[str]) -> None:
    assert typed_column(texts).values.tolist() == texts


@given(st.lists(st.integers(-(2**60), 2**60), min_size=1, max_size=5))
def test_whole_numbers_are_exact_or_text(numbers: list[int]) -> None:
    values = typed_column([str(number) for number in numbers]).values
    assert [int(value) for value in values.tolist()] == numbers


def test_what_a_number_cannot_be_is_missing_and_counted() -> None:
    typed = typed_column(["12", "13y", "", "adult", "13y"], is_number=True)
    assert typed.values.dtype == np.float32
    np.testing.assert_array_equal(typed.values, [12, np.nan, np.nan, np.nan, np.nan])
    assert typed.unread == {"13y": 2, "adult": 1}


@pytest.mark.parametrize("second", ["sub-1\t7\tM\tn/a", "1\t 7\tM \t", '"sub-1"\t7\tM\tNaN', "SUB-1\t7\tM"])
def test_rows_that_say_the_same_are_one(second: str) -> None:
    people = people_of(parse_tsv(f"participant_id\tage\tsex\tnote\nsub-1\t7\tM\t\n{second}\n".encode()))
    assert not people.why_missing
    assert people.table.to_dict("index") == {"1": {"age": "7", "sex": "M", "note": ""}}


@pytest.mark.parametrize("text", ["1e39", "-1e400", "1e999999"])
@pytest.mark.parametrize("is_number", [True, False])
def test_a_number_that_no_label_can_hold_is_never_infinite(text: str, is_number: bool) -> None:
    typed = typed_column([text, "2"], is_number=is_number)
    assert typed.values.tolist() == ([text, "2"] if not is_number else pytest.approx([np.nan, 2], nan_ok=True))
    assert typed.unread == ({text: 1} if is_number else {})


def test_a_subject_whose_row_is_damaged_or_ambiguous_says_so() -> None:
    people = people_of(parse_tsv(b"participant_id\tage\nsub-1\t9\nsub-2\t8\textra\nsub-3\t7\nsub-3\t6\nsub-1\t9\n"))
    assert people.table.loc["1", "age"] == "9"
    assert "line 3 has 3 cells" in people.why_missing["2"]
    assert "different rows" in people.why_missing["3"]


NAMES = ["BIS/BAS", "time", "channel", "x", "target", "L/R", "eeg", "recordings", ".hidden", "", "Age", "age", "AGE"]


def test_columns_of_participants_never_become_another_label() -> None:
    names = participant_names(NAMES)
    assert names["BIS/BAS"] == "BIS_BAS"
    assert names["age"] == "age"
    assert names["target"] == "participant_target"
    assert names["eeg"] == "participant_eeg"
    assert names[".hidden"] == "hidden"
    assert participant_names(["Sex", "Age"]) == {"Sex": "sex", "Age": "age"}


@given(st.lists(st.one_of(st.sampled_from([*NAMES, *LABELS, *TAKEN]), st.text(max_size=12)), unique=True, max_size=12))
def test_names_are_safe_different_and_free(given_names: list[str]) -> None:
    names = participant_names(given_names)
    folded = [name.casefold() for name in names.values()]
    assert len(set(folded)) == len(folded)
    assert not {*folded} & {name.casefold() for name in TAKEN}
    assert all(safe_name(name) == name for name in names.values())
    stored = stored_names(given_names)
    assert len({name.casefold() for name in stored}) == len(stored)
    assert all(name in LABELS or name not in TAKEN for name in stored)


@given(st.text(max_size=300))
def test_a_safe_name_is_a_file_a_key_and_stays_as_it_is(text: str) -> None:
    name = safe_name(text)
    assert safe_name(name) == name
    assert 0 < len(name.encode()) <= 210
    assert not set(name) & set('/\\:*?"<>|\0')
    assert name not in (".", "..", "zarr.json")


def test_numbers_of_several_releases_stay_numbers() -> None:
    def label(values: np.ndarray) -> Label:
        return Label.stored(xr.Variable("window", values))

    both = joined([label(np.array([1, 2], np.float32)), label(np.array([100000001.0]))])
    assert both.dtype == np.float64
    assert both.read().tolist() == [1, 2, 100000001]


def test_names_that_differ_in_case_alone_are_told_apart() -> None:
    assert list(label_names(["Score", "score", "SCORE"], (), "p").values()) == ["Score", "p_score", "p_SCORE_2"]
