"""Recipes by name, or from a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path

from eegzarr.challenge.presets import CHALLENGE1, CHALLENGE2
from eegzarr.errors import RecipeError
from eegzarr.recipes.continuous import CONTINUOUS
from eegzarr.recipes.recipe import Recipe, recipe_from_fields
from eegzarr.suggest import did_you_mean

PRESETS = {recipe.name: recipe for recipe in (CHALLENGE1, CHALLENGE2, CONTINUOUS)}


def as_recipe(recipe: str | Path | Recipe) -> Recipe:
    """Return a recipe as it is, or load the one that is named."""
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe)


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Return a preset by its name, or the recipe in a TOML file.

    Raises
    ------
    RecipeError
        If it is neither, or the file has a key or a value that a recipe can't have.
    """
    if str(name_or_path) in PRESETS:
        return PRESETS[str(name_or_path)]
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise RecipeError(
            f"unknown recipe {str(name_or_path)!r}: choose {' or '.join(PRESETS)}, or give a .toml file."
            f"{did_you_mean(str(name_or_path), PRESETS)}"
        )
    try:
        fields = tomllib.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        raise RecipeError(f"recipe {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path} is no TOML: {error}") from error
    try:
        return recipe_from_fields({"name": path.stem, **fields})
    except RecipeError as error:
        raise RecipeError(f"recipe {path}: {error}") from error
