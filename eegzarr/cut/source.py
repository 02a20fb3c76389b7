"""A lake's whole recordings as a source of windows: what was observed of them, and where their tiles are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eegzarr.bids.dataset import Source
from eegzarr.build.observe import Observed
from eegzarr.build.whole.kept import Kept, restored_source
from eegzarr.errors import LakeError
from eegzarr.recipes.recipe import Recipe, recipe_from_json
from eegzarr.store.complete import check_complete
from eegzarr.store.layout import DATASET, EVENTS_TSV, OBSERVED, RECORDINGS, group_path, open_dataset, open_store
from eegzarr.store.open import check_releases, chosen_releases, recipes
from eegzarr.store.tiles.signals import Tiles


@dataclass(frozen=True, kw_only=True)
class WholeRecordings:
    """The recordings of one group of whole recordings.

    Attributes
    ----------
    recipe : Recipe
        By which they are stored.
    attributes : dict
        Of the group.
    source : Source
        The dataset that they were read from, as it was.
    observed : dict of str to Observed
        By the recording's path.
    first_tile : dict of str to int
        Of recordings that have tiles.
    reasons : dict of str to str
        Why recordings have no tiles, or why they couldn't be read.
    """

    tiles: Tiles
    recipe: Recipe
    attributes: dict[str, Any]
    source: Source
    observed: dict[str, Observed]
    first_tile: dict[str, int]
    reasons: dict[str, str]

    @property
    def place(self) -> str:
        """Lake and group, for messages."""
        return f"{self.tiles.lake}/{self.tiles.group}"

    @classmethod
    def of(cls, lake: str, group: str) -> WholeRecordings:
        """Read what a group of whole recordings says of them.

        Raises
        ------
        LakeError
            If it isn't there, isn't complete, or holds other windows.
        """
        attributes = check_complete(lake, group)
        recipe = recipe_from_json(str(attributes["recipe"]))
        if not recipe.whole:
            raise LakeError(f"{lake}/{group} holds windows, no whole recordings: there is nothing to cut others from")
        table = open_dataset(open_store(lake, read_only=True), f"{group}/{RECORDINGS}")
        texts = zip(table[OBSERVED].to_numpy().tolist(), table[EVENTS_TSV].to_numpy().tolist(), strict=True)
        observed = [Kept(str(one), str(events)).restored() for one, events in texts]
        paths = [one.recording.path for one in observed]
        counts: npt.NDArray[np.int64] = table["windows"].to_numpy()
        first = np.cumsum(counts) - counts
        return cls(
            tiles=Tiles.of(lake, group),
            recipe=recipe,
            attributes=attributes,
            source=restored_source(str(table[DATASET].to_numpy()), tuple(one.recording for one in observed)),
            observed=dict(zip(paths, observed, strict=True)),
            first_tile={path: int(one) for path, one, n in zip(paths, first, counts, strict=True) if n},
            reasons=dict(zip(paths, map(str, table["reason"].to_numpy().tolist()), strict=True)),
        )


def groups_to_cut(lake: str, recipe: str, releases: Sequence[str] | None) -> list[str]:
    """Return the groups of whole recordings to cut from.

    Parameters
    ----------
    recipe : str
        Name of theirs, such as continuous.
    releases : sequence of str, optional
        Default all.

    Raises
    ------
    UsageError
        If the releases are one text.
    LakeError
        If there are none.
    """
    check_releases(releases)
    there = recipes(lake)
    if recipe not in there or not there[recipe]:
        raise LakeError(
            f"{lake} has no group {recipe} of whole recordings to cut from; it has {', '.join(there) or 'none'}. "
            f"Build it with\n  python -m eegzarr.build --source DIR --out {lake} --recipe continuous"
        )
    wanted = chosen_releases(f"{lake}/{recipe}", there[recipe], releases)
    return [group_path(recipe, release) for release in wanted]
