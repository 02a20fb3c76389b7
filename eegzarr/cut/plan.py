"""The windows that a recipe has in whole recordings, planned as a build plans them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eegzarr.bids.recordings import Recording
from eegzarr.build.checks import check_target
from eegzarr.build.inspect import Inspection, inspected
from eegzarr.build.plan import Piece, Plan, make_plan
from eegzarr.cut.source import WholeRecordings
from eegzarr.errors import RecipeError
from eegzarr.recipes.recipe import GIVEN, Recipe
from eegzarr.recordings.header import is_same_rate
from eegzarr.store.layout import Geometry


def cut_plan(recordings: WholeRecordings, recipe: Recipe, geometry_for: Callable[[int, int], Geometry]) -> Plan:
    """Plan the windows of a recipe, from what the lake keeps of its recordings alone.

    Parameters
    ----------
    recordings : WholeRecordings
        Those that the recipe is about.
    geometry_for : callable
        As for `eegzarr.build.plan.make_plan`.

    Raises
    ------
    RecipeError
        If the tiles' samples aren't what the recipe's windows are made of.
    LakeError
        If no recording gives a window.
    """
    source = recordings.source
    check_target(recipe, source)

    def inspect_all(asked: Iterable[Recording]) -> Iterator[Inspection]:
        return (_among_tiles(recordings, inspected(recordings.observed[one.path], recipe)) for one in asked)

    plan = make_plan(source, recipe, geometry_for, inspect_all)
    if missing := [name for name in plan.channels if name not in recordings.tiles.channels]:
        raise RecipeError(
            f"recipe {recipe.name}: the channel {missing[0]} isn't in {recordings.place}; it has "
            f"{', '.join(recordings.tiles.channels)}"
        )
    return replace(plan, source=replace(source, montage=recordings.montage))


def positions(recordings: WholeRecordings, piece: Piece) -> npt.NDArray[np.int64]:
    """Return where a piece's windows begin on the line of all tiles; see `eegzarr.store.tiles.gather`."""
    first = recordings.first_tile[piece.source.path]
    return first * recordings.tiles.geometry.n_times + piece.starts


def check_samples(recordings: WholeRecordings, recipe: Recipe) -> None:
    """Refuse a recipe whose windows hold other samples than the tiles.

    Raises
    ------
    RecipeError
    """
    own = recordings.recipe
    if recipe.anchor == GIVEN or recipe.whole:
        what = "windows that were cut elsewhere" if recipe.anchor == GIVEN else "whole recordings"
        raise RecipeError(f"recipe {recipe.name} is of {what}: it can't be cut from {recordings.place}")
    if not is_same_rate(own.sfreq, recipe.sfreq):
        raise RecipeError(
            f"recipe {recipe.name} wants {recipe.sfreq:g} Hz, and {recordings.place} has {own.sfreq:g} Hz: cut at that "
            f"rate, or build whole recordings at {recipe.sfreq:g} Hz by a recipe with whole = true"
        )
    for name, asked, there in _differences(recipe, own):
        raise RecipeError(
            f"recipe {recipe.name} has {name} = {_told(asked)}, and {recordings.place} was stored with "
            f"{_told(there)}: samples are cut as they are stored. Build the recipe from the source, or whole "
            f"recordings with that {name}"
        )


def _differences(recipe: Recipe, own: Recipe) -> Iterator[tuple[str, object, object]]:
    """Yield what makes a recipe's samples others than those that are stored."""
    mine, theirs = (replace(one.preparation, resample=False) for one in (recipe, own))
    asked, there = ({name: getattr(one, name) for name in one.__dataclass_fields__} for one in (mine, theirs))
    asked["types"], there["types"] = recipe.types, own.types
    if own.rename:  # names as they are in the files can be replaced, others no more
        asked["rename"], there["rename"] = recipe.rename, own.rename
    if recipe.missing != "skip":  # else recordings that lack a channel have no window, whatever is stored
        asked["missing"], there["missing"] = recipe.missing, own.missing
    yield from ((name, value, there[name]) for name, value in asked.items() if value != there[name])


def _told(value: object) -> str:
    if isinstance(value, tuple) and all(isinstance(one, tuple) for one in value):
        return ", ".join(" is ".join(map(str, one)) for one in value) or "none"
    return "none" if value in (None, "", (), False) else str(value)


def _among_tiles(recordings: WholeRecordings, found: Inspection) -> Inspection:
    """Return what a recording offers, nothing where it has no tiles."""
    path = found.recording.path
    if found.reason or path in recordings.first_tile:
        return found
    reason = f"isn't in {recordings.tiles.group}: {recordings.reasons[path]}"
    return replace(found, windows={}, n_windows=0, trials=0, dropped=0, left_out=type(found.left_out)(), reason=reason)
