"""Targets that are expressions of labels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import eegzarr
from eegzarr.errors import RecipeError
from eegzarr.recipes.expression import evaluate, labels_of

LABELS = {
    "rt": np.array([0.5, 1.0, np.nan], np.float32),
    "onset": np.array([2.0, 0.0, 1.0]),
    "correct": np.array([1, 0, -1], np.int8),
    "sex": np.array(["F", "M", ""], object),
    "other": np.array(["F", "F", "M"], object),
    "p factor": np.array([1, 2, 3], np.float32),
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rt", [0.5, 1, np.nan]),
        ("1000 * rt", [500, 1000, np.nan]),
        ("log(onset)", [np.log(2), np.nan, 0]),
        ("(rt + onset) / 2 - -1", [2.25, 1.5, np.nan]),
        ("onset ** 2", [4, 0, 1]),
        ("correct == 1", [1, 0, 0]),
        ("sex == 'F'", [1, 0, np.nan]),
        ("rt > 0.7", [0, 1, np.nan]),
        ("abs(correct)", [1, 0, 1]),
        ("1 / onset", [0.5, np.nan, 1]),
        ("p factor", [1, 2, 3]),
        ("2", [2, 2, 2]),
        ("1 <= correct < 2", [1, 0, 0]),
        ("sex == other", [1, 0, np.nan]),
        ("sex != other and rt > 0", [0, 1, np.nan]),
        ("sex in ['F', 'X']", [1, 0, np.nan]),
    ],
)
def test_expressions_are_computed_window_by_window(expression: str, expected: list[float]) -> None:
    np.testing.assert_allclose(evaluate(expression, LABELS), np.array(expected, np.float32), rtol=1e-6)


@pytest.mark.parametrize(
    "expression",
    [
        "rt.sum()",
        "__import__('os')",
        "rt if rt else 1",
        "[rt]",
        "rt +",
        "",
        "rt is 1",
        "`rt`(1)",
        "``",
        "lambda: 1",
        "rt[0]",
        "b'x'",
    ],
)
def test_nothing_but_arithmetic_is_let_through(expression: str) -> None:
    with pytest.raises(RecipeError, match="target"):
        labels_of(expression)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("sex + 1", "sex is text"),
        ("log(sex)", "sex is text"),
        ("-sex", "sex is text"),
        ("not sex", "sex is text"),
        ("sex and rt", "sex is text"),
        ("sex == 1", "sex is text, 1 is a number: they can't be compared"),
        ("rt < 'a'", "'a' is text, rt is a number: they can't be compared"),
        ("0 < sex", "sex is text, 0 is a number: they can't be compared"),
        ("sex == rt", "sex is text, rt is a number: they can't be compared"),
        ("sex in ['F', 1]", "sex is text, 1 is a number: they can't be compared"),
        ("rt not in ['F']", "'F' is text, rt is a number: they can't be compared"),
    ],
)
def test_texts_and_numbers_are_not_mixed(expression: str, why: str) -> None:
    with pytest.raises(RecipeError, match=f"can't be computed: {re.escape(why)}"):
        evaluate(expression, LABELS)


def test_a_lake_is_built_with_an_expression_as_its_target(sample_root: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "slow.toml"
    text = (
        'name = "slow"\ntasks = ["contrastChangeDetection"]\nanchor = "stimulus"\ntarget = "{}"\n'
        "[span]\nstart = 0.5\nstop = 2.5\n[events]\n"
        'trial_start = ["contrastTrial_start"]\nstimulus = ["left_target", "right_target"]\n'
        'response = ["left_buttonPress", "right_buttonPress"]\nend = ["contrastChangeB1_start"]\n'
    )
    recipe.write_text(text.format("log(nowhere)"))
    out = tmp_path / "lake.zarr"
    with pytest.raises(RecipeError, match=r"the target 'nowhere' is none of .*rt_from_stimulus"):
        eegzarr.build_lake(sample_root, out, recipe=eegzarr.load_recipe(str(recipe)), workers=1)
    recipe.write_text(text.format("log(rt_from_stimulus)"))
    eegzarr.build_lake(sample_root, out, recipe=eegzarr.load_recipe(str(recipe)), workers=1)
    windows = eegzarr.open_windows(out, "slow")
    np.testing.assert_allclose(windows.target, np.log(windows.rt_from_stimulus), rtol=1e-5)
