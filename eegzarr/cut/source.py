"""A lake's whole recordings as a source of windows: what was observed of them, and where their tiles are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eegzarr.bids.dataset import Source, is_of_runs, is_of_tasks
from eegzarr.bids.given_windows import with_windows
from eegzarr.bids.recordings import Recording
from eegzarr.bids.tsv import Table
from eegzarr.build.observe import Observed
from eegzarr.build.whole.kept import Kept, restored_source
from eegzarr.errors import LakeError, NothingToBuild, RecordingError
from eegzarr.recipes.montage import Naming
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

    @property
    def montage(self) -> str:
        """Name of the montage that the group is of, "" for the usual one."""
        return str(self.attributes.get("montage", ""))

    def asked(self, recipe: Recipe, table: Table | None, name: str) -> WholeRecordings:
        """Return those that a recipe is about, by its names of channels.

        Parameters
        ----------
        table : Table, optional
            Windows that take the place of events; `name` is what messages call it.

        Raises
        ------
        LakeError
            If there are none.
        """
        kept: Sequence[Recording] = self.source.recordings
        for kind, asked, is_of in (("task", recipe.tasks, is_of_tasks), ("run", recipe.runs, is_of_runs)):
            there = ", ".join(sorted({str(getattr(one, kind)) for one in kept if not one.reason}))
            kept = [one for one in kept if is_of(one, asked)]
            if all(one.reason for one in kept):
                raise NothingToBuild(
                    f"{self.place} has no recording of the {kind} {' or '.join(asked)}; it has {there}"
                    if asked
                    else f"{self.place} has no recording that can be read"
                )
        source = replace(self.source, recordings=tuple(kept))
        if table is not None:
            source = with_windows(source, recipe, table, name)
        observed = {one.path: _observed(self.observed[one.path], one) for one in source.recordings}
        if recipe.naming != self.tiles.naming:
            observed = {path: _renamed(one, recipe.naming) for path, one in observed.items()}
        return replace(self, tiles=self.tiles.under(recipe.naming), source=source, observed=observed)

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


def _observed(seen: Observed, recording: Recording) -> Observed:
    """Return what was observed of a recording, with the events that it is given."""
    if recording.given is None:
        return seen
    if recording.reason:
        return Observed(recording=recording, notes=recording.notes, reason=recording.reason)
    before, _, labels = seen.fingerprint.rpartition(":")
    digest = hashlib.sha256(f"{labels}\n{recording.given}".encode()).hexdigest()[:16]
    return replace(
        seen,
        recording=recording,
        events=recording.given.encode(),
        why_no_events="",
        why_no_annotations="",
        fingerprint=f"{before}:{digest}",
    )


def _renamed(seen: Observed, naming: Naming) -> Observed:
    """Return what was observed of a recording under other names of channels."""
    if seen.header is None:
        return seen
    try:
        header = seen.header.renamed(naming)
    except RecordingError as error:
        return replace(seen, header=None, reason=str(error))
    return replace(seen, header=header, facts=replace(seen.facts, bad_channels=header.bads))


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
