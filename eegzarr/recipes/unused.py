"""What a recipe names of events and no recording has: a misspelt value would make a label that never holds."""

from __future__ import annotations

from collections import Counter

from eegzarr.recipes.recipe import Recipe
from eegzarr.suggest import did_you_mean

_MOST_VALUES = 8  # that a note lists


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
