"""Which windows are asked for: a recipe's, a table's, or those of a table that a recipe says the rest of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eegzarr.bids.given_windows import for_windows, read_window_table, recipe_of_windows
from eegzarr.bids.tsv import Table
from eegzarr.build.plan import Plan
from eegzarr.cut.plan import check_samples, cut_plan
from eegzarr.cut.source import WholeRecordings
from eegzarr.errors import NothingToBuild, RecipeError, UsageError
from eegzarr.recipes.load import as_recipe
from eegzarr.recipes.recipe import Recipe
from eegzarr.store.layout import Geometry, check_storage


@dataclass(frozen=True, kw_only=True)
class StoredAs:
    """How windows are written out: where it says nothing, as the tiles are.

    Raises
    ------
    UsageError
        If windows can't be stored so.
    """

    dtype: str | None = None
    compression: str | None = None

    def geometry_for(self, tiles: Geometry) -> Callable[[int, int], Geometry]:
        """Return what gives the geometry for a number of channels and of samples."""
        dtype, compression = self.dtype or tiles.dtype, self.compression or tiles.compression
        check_storage(dtype, compression)
        step = tiles.step or None
        return lambda channels, times: Geometry.of(channels, times, dtype, compression=compression, step=step)


def measured_as(tiles: Geometry) -> Callable[[int, int], Geometry]:
    """Return what gives the geometry of windows that aren't written: shards of a build's length, of float32.

    Statistics are added up shard by shard: of other shards, their last digits are others.
    """

    def geometry(channels: int, times: int) -> Geometry:
        as_built = Geometry.of(channels, times, tiles.dtype, compression=tiles.compression, step=tiles.step or None)
        return replace(as_built, dtype="float32", step=0.0)

    return geometry


@dataclass(frozen=True, kw_only=True)
class CutRequest:
    """Windows to cut.

    Attributes
    ----------
    recipe : Recipe, optional
        None where the table says all.
    table : Table, optional
        Windows that take the place of events.
    name : str
        What messages call the table.
    """

    recipe: Recipe | None
    table: Table | None = None
    name: str = ""

    @classmethod
    def of(cls, recipe: Any, windows: Any = None) -> CutRequest:
        """Read what was asked for.

        Parameters
        ----------
        recipe : str, path, Recipe or None
            A table, as a path that ends in .tsv or as a DataFrame, is accepted here, too.
        windows : path, DataFrame or None

        Raises
        ------
        UsageError, RecipeError, SourceError
            If there is neither, or one can't be read.
        """
        if _is_table(recipe):
            if windows is not None:
                raise UsageError("two tables of windows were given: give one, and a recipe beside it or none")
            recipe, windows = None, recipe
        if windows is None:
            if recipe is None:
                raise UsageError("say which windows to cut: give a recipe, or a table of windows")
            return cls(recipe=as_recipe(recipe))
        table, name = read_window_table(windows)
        return cls(recipe=None if recipe is None else for_windows(as_recipe(recipe), table), table=table, name=name)

    def plan(self, recordings: WholeRecordings, stored: StoredAs | None = None) -> tuple[WholeRecordings, Plan]:
        """Plan the windows in whole recordings; return the plan, and the recordings as it takes them.

        Parameters
        ----------
        stored : StoredAs, optional
            How they are written out, where that is asked for.

        Raises
        ------
        RecipeError
            If the tiles' samples aren't what the windows are made of.
        LakeError
            If no recording gives a window.
        """
        recipe, rate = self.recipe, recordings.recipe.sfreq
        if recipe is None:
            assert self.table is not None
            recipe = for_windows(recipe_of_windows(self.table, self.name, rate), self.table)
        elif recordings.montage:
            recipe = replace(recipe, sfreq=rate)  # as a build by montage does
        check_samples(recordings, recipe)
        own = recordings.asked(recipe, self.table, self.name)
        tiles = own.tiles.geometry
        return own, cut_plan(own, recipe, measured_as(tiles) if stored is None else stored.geometry_for(tiles))

    def notes_of(self, plan: Plan) -> tuple[str, ...]:
        """Return what was left out of the table."""
        return tuple(note for note in plan.source.notes if self.name and note.startswith(self.name))

    def plans(
        self, groups: Sequence[WholeRecordings], stored: StoredAs | None = None
    ) -> tuple[list[tuple[WholeRecordings, Plan]], tuple[str, ...]]:
        """Plan the windows in each group; also return why other groups have none.

        A table may be about some releases alone, and a montage may lack a recipe's channels.

        Raises
        ------
        RecipeError, LakeError
            As for `plan`, if none has any.
        """
        planned, without, first = [], [], None
        for recordings in groups:
            try:
                planned.append(self.plan(recordings, stored))
            except (NothingToBuild, RecipeError) as error:
                if self.table is None and not recordings.montage:
                    raise
                first = first or error
                without.append(f"{recordings.tiles.group} has no window: {error}")
        if not planned and first is not None:
            raise first
        return planned, tuple(without)


def _is_table(given: Any) -> bool:
    if isinstance(given, str | Path):
        return Path(given).suffix.lower() == ".tsv"
    return given is not None and not isinstance(given, Recipe)
