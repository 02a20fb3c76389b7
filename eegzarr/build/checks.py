"""Mistakes in a request, found before a lake is touched or a worker started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from eegzarr.bids.dataset import Source, find_source
from eegzarr.build import group as groups
from eegzarr.build.digest import content_part
from eegzarr.build.labels import names_in_events, participant_names, window_names
from eegzarr.build.observe import observe
from eegzarr.build.target import check_names
from eegzarr.errors import LakeError, RecipeError, SourceError
from eegzarr.machine.system import is_writable
from eegzarr.names import safe_name
from eegzarr.recipes.recipe import Recipe
from eegzarr.recipes.windows import NO_TRIAL
from eegzarr.store.layout import METADATA, PARTS, UNREADABLE, group_path, open_store
from eegzarr.store.root import is_node
from eegzarr.store.staging import list_names
from eegzarr.store.verify import groups_of
from eegzarr.store.whole import check_whole_lake, has_status, node_metadata


def named_source(root: str | Path, recipe: Recipe, name: str | None) -> Source:
    """Find a recipe's recordings, under the name that their group has."""
    found = find_source(root, recipe.tasks, recipe.runs)
    return found if name is None else replace(found, name=checked_name(name))


def at_own_rate(recipe: Recipe, source: Source) -> Recipe:
    """Return a recipe of whole recordings with the rate of the first one that can be read, where it names none.

    Raises
    ------
    SourceError
        If none can be read.
    """
    if recipe.sfreq:
        return recipe
    reason = ""
    for recording in source.recordings:
        observed = observe(source.root, recording, annotations=False, naming=recipe.naming)
        if observed.header is not None:
            return replace(recipe, sfreq=observed.header.sfreq)
        reason = reason or f": {recording.path}: {observed.reason}"
    raise SourceError(f"source {source.root} has no recording that can be read{reason}")


def checked_name(name: str) -> str:
    """Return the name of a release, if it can name a group."""
    if name != safe_name(name):
        raise RecipeError(f"--name {name!r} can't name a group: use letters, digits, - and _, as {safe_name(name)!r}")
    return name


def check_target(recipe: Recipe, source: Source) -> None:
    """Refuse a target that isn't a label of the source's windows."""
    ours = names_in_events(recipe)
    known = dict.fromkeys((*ours, *NO_TRIAL, *source.participants.columns, *source.sessions.columns))
    # By their names in the lake too, where these differ.
    named = participant_names(list(source.participants.columns), frozenset(window_names(recipe).values()))
    check_names(recipe, known | dict.fromkeys((*window_names(recipe).values(), *named.values())))


def check_writable(lake: str) -> None:
    """Refuse a place that can't be written, that lies in a lake, or that holds something else; touch nothing."""
    if "://" in lake:
        return  # see `check_root`
    path = Path(lake)
    broken = next((place for place in (path, *path.parents) if place.is_symlink() and not place.exists()), None)
    if broken is not None:
        raise LakeError(
            f"--out {path} can't be written: {broken} is a link to {os.readlink(broken)}, which isn't there"
        )
    if around := [parent for parent in path.absolute().parents if is_node(parent)]:
        raise LakeError(f"--out {path} lies in the lake {around[-1]}: give that lake, or a folder outside of it")
    if path.exists():
        if not path.is_dir():
            raise LakeError(f"--out {path} is a file: give a folder, such as lake.zarr")
        if not (path / METADATA).exists() and _holds_files(path) and not _holds_groups(lake):
            raise LakeError(f"--out {path} has files in it but no lake: give a new or an empty folder")
        check_root(lake)
    nearest = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not is_writable(nearest):
        raise LakeError(f"--out {path} can't be written: no permission to write in {nearest}")


def check_root(lake: str) -> None:
    """Refuse a part of a lake, and a Zarr hierarchy of another kind, whose root would be written again.

    Raises
    ------
    LakeError
    """
    store = open_store(lake, read_only=True)
    kind = str(node_metadata(store, "").get("node_type", ""))
    if kind == "group":
        check_whole_lake(lake, "--out {lake}")
        names = (name for name in list_names(store, "") if name != METADATA)
        arrays = [name for name in names if node_metadata(store, name).get("node_type") == "array"]
        kind = f"group with the array {arrays[0]}" if arrays else ""
    if kind:
        raise LakeError(f"--out {lake} is a Zarr {kind} and no lake: give another folder")


def _holds_groups(lake: str) -> bool:
    """Return whether a folder is a lake that has lost its root's metadata: those are made from the groups' again."""
    store = open_store(lake, read_only=True)
    return any(has_status(store, group) for group in groups_of(store))


def _holds_files(folder: Path) -> bool:
    """Return whether a folder holds more than a build that is killed right after its start leaves there."""
    return any(entry.is_symlink() or not (entry.is_dir() or entry.match(PARTS)) for entry in folder.rglob("*"))


def twice_told(lake: str, group: str, fingerprints: Mapping[str, str]) -> str:
    """Return a note on recordings that another release of the recipe has, too; "" where none has.

    Parameters
    ----------
    fingerprints : mapping of str to str
        Of the group's recordings, by their paths.
    """
    recipe, _, own = group.partition("/")
    mine = {path: content_part(fingerprint) for path, fingerprint in fingerprints.items()}
    for other in list_names(open_store(lake, read_only=True), recipe):
        try:
            theirs = (groups.begun_fingerprints(lake, group_path(recipe, other)) if other != own else None) or {}
        except UNREADABLE:
            continue
        count = sum(content_part(fingerprint) == mine.get(path, "") for path, fingerprint in theirs.items())
        if count:
            return (
                f"{count} of the {len(mine)} recordings are in {lake}/{recipe}/{other}, too: opened together, their "
                f"windows are there twice, and on both sides of a split. Open one of the two, with releases=[{own!r}]"
            )
    return ""
