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
from eegzarr.errors import LakeError, RecipeError
from eegzarr.recipes.recipe import GIVEN, Recipe
from eegzarr.store.layout import Geometry


def cut_plan(recordings: WholeRecordings, recipe: Recipe, geometry_for: Callable[[int, int], Geometry]) -> Plan:
    """Plan the windows of a recipe, from what the lake keeps of its recordings alone.

    Parameters
    ----------
    geometry_for : callable
        As for `eegzarr.build.plan.make_plan`.

    Raises
    ------
    RecipeError
        If the tiles' samples aren't what the recipe's windows are made of.
    LakeError
        If no recording gives a window.
    """
    _check_samples(recordings, recipe)
    kept = tuple(one for one in recordings.source.recordings if is_asked(one, recipe))
    if not any(not one.reason for one in kept):
        there = ", ".join(sorted({one.task for one in recordings.source.recordings if not one.reason}))
        raise LakeError(f"{recordings.place} has no recording of the task {' or '.join(recipe.tasks)}; it has {there}")
    source = replace(recordings.source, recordings=kept)
    check_target(recipe, source)

    def inspect_all(asked: Iterable[Recording]) -> Iterator[Inspection]:
        return (_among_tiles(recordings, inspected(recordings.observed[one.path], recipe)) for one in asked)

    plan = make_plan(source, recipe, geometry_for, inspect_all)
    if missing := [name for name in plan.channels if name not in recordings.tiles.channels]:
        raise RecipeError(
            f"recipe {recipe.name}: the channel {missing[0]} isn't in {recordings.place}; it has "
            f"{', '.join(recordings.tiles.channels)}"
        )
    return plan


def is_asked(recording: Recording, recipe: Recipe) -> bool:
    """Tell whether a recipe is about a recording, as a build does: by its task, where its name tells it."""
    tasks = recipe.tasks
    return not tasks or recording.task in tasks or bool(recording.reason and not recording.task)


def positions(recordings: WholeRecordings, piece: Piece) -> npt.NDArray[np.int64]:
    """Return where a piece's windows begin on the line of all tiles; see `eegzarr.store.tiles.gather`."""
    first = recordings.first_tile[piece.source.path]
    return first * recordings.tiles.geometry.n_times + piece.starts


def _check_samples(recordings: WholeRecordings, recipe: Recipe) -> None:
    """Refuse a recipe whose windows hold other samples than the tiles."""
    own = recordings.recipe
    if recipe.anchor == GIVEN or recipe.whole:
        what = "windows that were cut elsewhere" if recipe.anchor == GIVEN else "whole recordings"
        raise RecipeError(f"recipe {recipe.name} is of {what}: it can't be cut from {recordings.place}")
    if recipe.sfreq != own.sfreq:
        raise RecipeError(
            f"recipe {recipe.name} wants {recipe.sfreq:g} Hz, and {recordings.place} has {own.sfreq:g} Hz: cut at that "
            f"rate, or build whole recordings at {recipe.sfreq:g} Hz by a recipe with whole = true"
        )
    mine, theirs = (replace(one.preparation, resample=False) for one in (recipe, own))
    for name in mine.__dataclass_fields__:
        asked, there = getattr(mine, name), getattr(theirs, name)
        if asked != there:
            raise RecipeError(
                f"recipe {recipe.name} has {name} = {_told(asked)}, and {recordings.place} was stored with "
                f"{_told(there)}: samples are cut as they are stored. Build the recipe from the source, or whole "
                f"recordings with that preparation"
            )


def _told(value: object) -> str:
    return "none" if value in (None, "", (), False) else str(value)


def _among_tiles(recordings: WholeRecordings, found: Inspection) -> Inspection:
    """Return what a recording offers, nothing where it has no tiles."""
    path = found.recording.path
    if found.reason or path in recordings.first_tile:
        return found
    reason = f"isn't in {recordings.tiles.group}: {recordings.reasons[path]}"
    return replace(found, windows={}, n_windows=0, trials=0, dropped=0, left_out=type(found.left_out)(), reason=reason)
