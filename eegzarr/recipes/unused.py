"""What a recipe names and no recording has: a misspelt value would make a label that never holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from eegzarr.recipes.recipe import Recipe
from eegzarr.suggest import did_you_mean

_MOST_VALUES = 8  # that a note lists


def unnamed_notes(recipe: Recipe, before: Collection[str], after: Collection[str]) -> tuple[str, ...]:
    """Return a line for the names of ``rename`` and of ``types`` that no recording has.

    Parameters
    ----------
    before, after : collection of str
        Names of all channels of all recordings as their files have them, and as the recipe calls them.
    """
    renamed = () if isinstance(recipe.rename, str) else tuple(old for old, _ in recipe.rename)
    notes = []
    for key, names, there in (
        ("rename", renamed, before),
        ("types", tuple(name for name, _ in recipe.types), after),
    ):
        if lacking := [name for name in names if name not in there]:
            told = ", ".join(map(repr, lacking[:_MOST_VALUES]))
            notes.append(f"{key}: no recording has a channel {told}.{did_you_mean(lacking[0], there)}")
    return tuple(notes)


def unused_notes(recipe: Recipe, found: Counter[str]) -> tuple[str, ...]:
    """Return a line for each class, and each label of windows along a recording, that no event is of.

    Parameters
    ----------
    found : Counter of str
        How often each event value is in all recordings.
    """
    wanted = [(f"the class {name}", values) for name, values in recipe.events.classes]
    wanted += [(f"the label {label.name}", label.values) for label in recipe.labels]
    there = ", ".join(f"{value!r} ({count})" for value, count in found.most_common(_MOST_VALUES)) or "none"
    return tuple(
        f"{what} has no event in any recording: {', '.join(map(repr, values[:_MOST_VALUES]))}; the values "
        f"that there are: {there}.{did_you_mean(values[0], found)}"
        for what, values in wanted
        if not any(found[value] for value in values)
    )
