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
# Recipes of well-known datasets; each file names its source.
FILES = {path.stem: path for path in sorted(Path(__file__).with_name("datasets").glob("*.toml"))}


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
        known = (*PRESETS, *FILES)
        if str(name_or_path) not in FILES:
            raise RecipeError(
                f"unknown recipe {str(name_or_path)!r}: choose {', '.join(PRESETS)}, a recipe of a dataset "
                f"({', '.join(FILES)}), or give a .toml file.{did_you_mean(str(name_or_path), known)}"
            )
        path = FILES[str(name_or_path)]
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin with a mark
    except OSError as error:
        raise RecipeError(f"recipe {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path} isn't TOML: {error}") from error
    try:
        return recipe_from_fields({"name": path.stem, **fields})
    except RecipeError as error:
        raise RecipeError(f"recipe {path}: {error}") from error
