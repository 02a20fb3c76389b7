from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import RecipeError
from eegzarr.recipes.load import PRESETS, load_recipe
from eegzarr.recipes.recipe import Recipe, WindowSpan, recipe_from_json


def test_challenge1_is_the_start_kits() -> None:
    recipe = load_recipe("challenge1")
    assert recipe.tasks == ("contrastChangeDetection",)
    assert (recipe.anchor, recipe.span.start, recipe.span.stop) == ("stimulus", 0.5, 2.5)
    assert recipe.target == "rt_from_stimulus"
    assert (len(recipe.channels), recipe.n_times, recipe.sfreq) == (129, 200, 100)


@pytest.mark.parametrize("recipe", PRESETS.values(), ids=PRESETS)
def test_json_gives_the_recipe_back(recipe: Recipe) -> None:
    assert recipe_from_json(recipe.to_json()) == recipe


@given(st.floats(-5, 5), st.floats(0.01, 8), st.sampled_from([64.0, 100.0, 250.0, 500.0]))
def test_a_window_has_as_many_samples_wherever_it_lies(start: float, length: float, sfreq: float) -> None:
    span = WindowSpan(start=start, stop=start + length)
    assert abs(span.samples(sfreq) - length * sfreq) <= 0.5 + 1e-6


def test_a_recipe_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "faces.toml"
    path.write_text(
        'anchor = "stimulus"\ntarget = "rt_from_stimulus"\nsfreq = 250\ntasks = "faces"\n'
        '[span]\nstart = 0\nstop = 1.0\n[events]\nstimulus = ["face"]\nresponse = ["key"]\ntrial_start = ["face"]\n',
        encoding="utf-8-sig",  # with the mark that some editors write
    )
    recipe = load_recipe(str(path))
    assert recipe.name == "faces"
    assert recipe.tasks == ("faces",)
    assert recipe.n_times == 250
    assert recipe.events.response == ("key",)


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("anchor = 1\n", "needs"),
        ('anchor = "x"\ntarget = "t"\n[span]\nstart=0\nstop=1\n', "recipe.anchor must be one of"),
        ('anchor = "stimulus"\ntarget = "t"\n[span]\nstart=1\nstop=1\n', "end after it starts"),
        ('anchor = "stimulus"\ntarget = "t"\nwindow = 2\n[span]\nstart=0\nstop=1\n', "has no window"),
        ('anchor = "recording"\ntarget = "t"\n[span]\nstart=0\nstop=1\n', "need a stride"),
        ('anchor = "stimulus"\ntarget = "t"\nsfreq = "fast"\n[span]\nstart=0\nstop=1\n', "must be a number"),
        ("anchor = \n", "isn't TOML"),
    ],
)
def test_a_wrong_recipe_is_named_with_its_file(toml: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(toml)
    with pytest.raises(RecipeError, match=told) as error:
        load_recipe(str(path))
    assert "mine.toml" in str(error.value)


def test_an_unknown_recipe_names_the_known() -> None:
    with pytest.raises(RecipeError, match="challenge1, challenge2"):
        load_recipe("challenge3")


def test_recipes_are_values() -> None:
    assert recipe_from_json(CHALLENGE1.to_json()) == CHALLENGE1
    assert hash(CHALLENGE1) == hash(recipe_from_json(CHALLENGE1.to_json()))
