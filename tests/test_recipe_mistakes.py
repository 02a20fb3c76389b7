"""Ten mistakes that newcomers make in a recipe, and the line that each gets."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from small_studies import eeg_path, write_events, write_recording

from eegzarr.recipe import main

HANDS = """
anchor = "event"
target = "event"
[span]
start = 0.0
stop = 1.0
[events]
classes = { left = ["L"], right = ["R"] }
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bids") / "study"
    path = write_recording(eeg_path(root, "1", "hands"), seconds=20)
    values = {"onset": [1, 4, 7, 19.5], "duration": ["n/a"] * 4, "trial_type": ["L", "R", "pause", "L"]}
    write_events(path, values | {"rt": ["0.3", "0.5", "n/a", "n/a"], "value": [1, 2, 3, 1]})
    (root / "participants.tsv").write_text("participant_id\tage\tgroup\nsub-1\t30\tcontrol\n")
    return root


def checked(toml: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    path = tmp_path / "hands.toml"
    path.write_text(toml)
    code = main(["check", str(path), "--source", str(root)])
    told = capsys.readouterr()
    return code, told.out + told.err


def test_a_check_says_what_a_recipe_finds(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = checked(HANDS, root, tmp_path, capsys)
    assert code == 0
    assert "2 windows from 1 of 1 recordings" in told
    assert "classes of target: left 1, right 1" in told
    assert "values of events: 'L' (2: left), 'R' (1: right)" in told
    assert "unused values: 'pause' (1)" in told
    assert "1 event left out: too near an end" in told
    assert "sub-1/eeg/sub-1_task-hands_eeg.edf" in told


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('"event"\n[', '"evnt"\n['), "the target 'evnt' is none of event, "),
        (('["L"]', '["left_hand"]'), "unused values: 'L' (2)"),
        (('{ left = ["L"], right = ["R"] }', '{ left = ["l"], right = ["r"] }'), "events.classes has 'l', 'r'"),
        (("classes = {", "class = {"), "Did you mean classes?"),
        (('anchor = "event"', 'anchor = "stimulus"'), "take the anchor 'event' for windows around any event"),
        (('anchor = "event"', 'anchor = "interval"\nstride = 1.0'), "the event has no duration"),
        (("[events]", '[events]\nwhere = "rt > fast"'), "events.tsv has no column fast"),
        (("[events]", '[events]\nwhere = "rt = 0.3"'), "Equal is =="),
        (("[events]", '[events]\nwhere = "(rt > 0.2) & (rt < 3)"'), "joined by and, or"),
        (("[events]", '[events]\nwhere = "rt > 0.2 || rt < 3"'), "joined by and, or"),
        (("[events]", '[events]\nwhere = "trial_type > 1"'), "is text: compare it with one, as 'L'"),
        (("[events]", '[events]\ncolumn = "trialtype"'), "Did you mean trial_type?"),
        (("[events]", '[events]\nkeep = ["RT"]'), "no column RT to keep"),
        (('["R"] }', '["L"] }'), "the event value 'L' is in left and in right"),
        (("stop = 1.0", "stop = -1.0"), "a window must end after it starts"),
        (('anchor = "event"', 'anchor = "event"\nsfreq = 250'), "sampled at 100 Hz"),
        (('anchor = "event"', 'anchor = "event"\ntasks = ["hand"]'), "Did you mean hands?"),
    ],
)
def test_a_newcomer_s_mistake_gets_its_line(
    change: tuple[str, str], line: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = HANDS.replace(*change)
    assert toml != HANDS
    code, told = checked(toml, root, tmp_path, capsys)
    assert line in told
    assert "Traceback" not in told
    assert code or line.startswith("unused values")


def test_the_picture_of_the_anchors_is_what_its_script_draws() -> None:
    pictures = Path(__file__).parents[1] / "docs" / "pictures"
    names = runpy.run_path(str(pictures / "anchors.py"))
    assert (pictures / "anchors.svg").read_text() == names["drawn"]()
