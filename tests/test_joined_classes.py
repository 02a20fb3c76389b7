"""Classes of releases that have different ones: joined, streamed, drawn equally often and reported by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from small_studies import eeg_path, write_events, write_recording

import eegzarr
from eegzarr.build.api import forecast
from eegzarr.errors import LakeError, NothingToBuild, UsageError
from eegzarr.recipes.recipe import recipe_from_fields

FIELDS = {"anchor": "event", "span": {"start": 0.0, "stop": 0.5}}
RECIPES = {
    "sexes": {"target": "sex"},
    "values": {"target": "event", "events": {"keep": ["answer"]}},
    "oddball": {"target": "event", "events": {"classes": {"rare": ["y"], "frequent": ["x", "z"]}}},
    "scores": {"target": "score"},
}
# Event values and answers of each release's one recording, in order.
VALUES = {"a": "xyxxxx", "b": "zyzzzz"}
ANSWERS = {"a": ["1", "2", "n/a", "4.5", "5", "6"], "b": ["1", "left", "n/a", "4", "5", "6"]}
PEOPLE = {"a": "1\tF\t3\n2\tM\t5\n", "b": "1\tM\tlow\n2\tM\thigh\n"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joined")
    for study, values in VALUES.items():
        for subject in "12":
            path = write_recording(eeg_path(folder / study, subject, "t"), seconds=10, seed=ord(subject))
            write_events(path, {"onset": range(1, 7), "value": list(values), "answer": ANSWERS[study]})
        rows = "".join(f"sub-{line}\n" for line in PEOPLE[study].splitlines())
        (folder / study / "participants.tsv").write_text(f"participant_id\tsex\tscore\n{rows}")
        for name, fields in RECIPES.items():
            recipe = recipe_from_fields(FIELDS | {"name": name} | fields)
            eegzarr.build_lake(folder / study, folder / "lake.zarr", recipe=recipe, workers=1)
    return folder / "lake.zarr"


def names_of(windows: xr.Dataset) -> list[str]:
    target = windows["target"]
    return [target.attrs["classes"][code] for code in target.values]


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_codes_of_releases_with_other_classes_mean_one_thing(lake: Path, order: list[str]) -> None:
    sexes = eegzarr.open_windows(lake, "sexes", releases=order)
    assert names_of(sexes) == sexes["sex"].values.tolist()
    assert sexes["target"].attrs["classes"] == ["F", "M"]
    values = eegzarr.open_windows(lake, "values", releases=order)
    assert names_of(values) == values["event"].values.tolist()
    assert values["target"].attrs["flag_meanings"] == "x y z"
    assert values["target"].attrs["flag_values"] == [0, 1, 2]


def test_classes_of_a_recipe_keep_their_order(lake: Path) -> None:
    windows = eegzarr.open_windows(lake, "oddball")
    assert windows["target"].attrs["classes"] == ["rare", "frequent"]
    assert windows["target"].values.tolist() == [int(value != "y") for value in windows["event"].values]


def test_numbers_of_one_release_are_texts_beside_texts_of_another(lake: Path) -> None:
    answers = eegzarr.open_windows(lake, "values")["answer"].values.tolist()
    assert answers == ["1", "2", "", "4.5", "5", "6"] * 2 + ["1", "left", "", "4", "5", "6"] * 2


def test_classes_and_numbers_are_not_one_target(lake: Path) -> None:
    with pytest.raises(LakeError, match="the label target has classes in one release and numbers in another"):
        eegzarr.open_windows(lake, "scores")


def test_a_stream_of_joined_releases_has_their_classes(lake: Path) -> None:
    from eegzarr.stream import WindowStream

    windows = eegzarr.open_windows(lake, "sexes")
    parts = [eegzarr.open_windows(lake, "sexes", releases=[release]) for release in "ab"]
    for given in (windows, parts):
        stream = WindowStream(given, batch_size=24)
        ((_, y),) = list(stream)
        assert [stream.classes[code] for code in y] == windows["sex"].values.tolist()
    for joined in (xr.concat(parts, "window"), xr.concat(parts[::-1], "window")):
        with pytest.raises(UsageError, match=r"codes of target mean .* in sexes/[ab] and .* in this Dataset"):
            WindowStream(joined, batch_size=24)
    own = xr.concat(parts, "window").assign_coords(target=("window", np.arange(24.0)))
    assert WindowStream(own, batch_size=24).classes is None


def test_classes_are_drawn_equally_often(lake: Path) -> None:
    from eegzarr.stream import WindowStream

    windows = eegzarr.open_windows(lake, "oddball")
    shares = {code: float((windows["target"].values == code).mean()) for code in (0, 1)}
    assert shares == {0: pytest.approx(1 / 6), 1: pytest.approx(5 / 6)}
    stream = WindowStream(windows, batch_size=24, shuffle=True, balance="target", seed=3)
    drawn = np.concatenate([y.numpy() for _ in range(40) for _, y in stream])
    assert len(drawn) == 40 * 24
    # Each window comes by itself, so the share of 960 draws has a standard deviation of 0.016.
    assert np.bincount(drawn) / len(drawn) == pytest.approx([0.5, 0.5], abs=0.065)
    kinds = eegzarr.open_windows(lake, "values")
    stream = WindowStream(kinds, batch_size=24, shuffle=True, balance="event", seed=3)
    drawn = np.concatenate([y.numpy() for _ in range(40) for _, y in stream])
    assert np.bincount(drawn) / len(drawn) == pytest.approx([1 / 3] * 3, abs=0.065)


def test_a_report_counts_the_classes(lake: Path) -> None:
    pytest.importorskip("matplotlib")
    from eegzarr.report import report

    page = report(lake, check=False, signals=False).replace("\xa0", " ")
    assert "frequent (10), rare (2)" in page
    assert "F (6), M (6)" in page
    assert ">scores/<wbr>a</h2>" in page  # a release with numbers and one with texts can't be joined


def test_a_dry_run_of_a_source_without_a_window_says_what_its_events_are(lake: Path) -> None:
    recipe = recipe_from_fields(FIELDS | {"name": "none", "target": "event", "events": {"classes": {"a": ["X1"]}}})
    with pytest.raises(NothingToBuild, match=r"they have 'x' \(5\), 'y' \(1\), events.classes has 'X1'") as raised:
        forecast(lake.parent / "a", lake.parent / "other.zarr", recipe=recipe)
    assert len(raised.value.skipped) == 2
    assert not (lake.parent / "other.zarr").exists()
