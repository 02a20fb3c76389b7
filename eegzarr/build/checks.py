"""Mistakes in a request, found before a lake is touched or a worker started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from eegzarr.bids.dataset import Source, find_source
from eegzarr.build.labels import participant_names, window_names
from eegzarr.build.observe import observe
from eegzarr.build.target import check_names
from eegzarr.errors import LakeError, RecipeError, SourceError
from eegzarr.machine.system import is_writable
from eegzarr.names import safe_name
from eegzarr.recipes.recipe import Recipe
from eegzarr.recipes.windows import NO_TRIAL
from eegzarr.store.layout import METADATA, PARTS


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
    """Refuse a target that is no label of the source's windows."""
    ours = window_names(recipe)
    known = dict.fromkeys((*ours, *NO_TRIAL, *source.participants.columns, *source.sessions.columns))
    # By their names in the lake too, where these differ.
    named = participant_names(list(source.participants.columns), frozenset(ours.values()))
    check_names(recipe, known | dict.fromkeys((*ours.values(), *named.values())))


def check_writable(lake: str) -> None:
    """Refuse a place that can't be written, or that holds something else; touch nothing."""
    if "://" in lake:
        return
    path = Path(lake)
    if path.exists():
        if not path.is_dir():
            raise LakeError(f"--out {path} is a file: give a folder, such as lake.zarr")
        if not (path / METADATA).exists() and _holds_files(path):
            raise LakeError(f"--out {path} holds files that are no lake: give a new or an empty folder")
    nearest = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not is_writable(nearest):
        raise LakeError(f"--out {path} can't be written: no permission to write in {nearest}")


def _holds_files(folder: Path) -> bool:
    """Tell whether a folder holds more than a build that is killed right after its start leaves there."""
    return any(entry.is_symlink() or not (entry.is_dir() or entry.match(PARTS)) for entry in folder.rglob("*"))
