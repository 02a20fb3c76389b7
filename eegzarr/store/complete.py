"""Whether a group is complete, and what to do where it isn't."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

from eegzarr.errors import LakeError
from eegzarr.recipes.load import PRESETS
from eegzarr.recipes.recipe import GIVEN, recipe_from_json
from eegzarr.store.group import finished_shards, read_attributes, stored_geometry
from eegzarr.store.layout import BUILDING, COMPLETE, FORMATS, SIGNALS
from eegzarr.store.reading.damage import damage_named


def check_complete(lake: str, group: str) -> dict[str, Any]:
    """Return a group's attributes.

    Raises
    ------
    LakeError
        If it isn't there, is still being built, or has a format that this eegzarr doesn't read.
    """
    attributes = read_attributes(lake, group)
    if attributes is None:
        raise LakeError(f"{lake} has no group {group}")
    if attributes.get("status") == BUILDING:
        with damage_named(f"{lake}/{group}", but=()):
            told = f"{_progress(lake, group)}. {_how_to_finish(lake, group, attributes)}"
        raise LakeError(f"{lake}/{group} is still being built{told}")
    if attributes.get("status") != COMPLETE:
        raise LakeError(f"{lake}/{group} isn't a group of windows: it has no status")
    if attributes.get("format_version") not in FORMATS:
        raise LakeError(
            f"{lake}/{group} has the format {attributes.get('format_version')}, this eegzarr reads "
            f"{' and '.join(FORMATS)}: use the eegzarr that built it ({attributes.get('eegzarr_version')}) "
            f"or a newer one"
        )
    return attributes


def _progress(lake: str, group: str) -> str:
    done, total = finished_shards(lake, group)
    return f" ({done} of {total} shards)" if total else ""


def _how_to_finish(lake: str, group: str, attributes: dict[str, Any]) -> str:
    recipe = recipe_from_json(attributes["recipe"])
    if SIGNALS in attributes:
        return f"Cut it again with\n  python -m eegzarr.cut {shlex.quote(lake)} --recipe {recipe.name}"
    if recipe.anchor == GIVEN:
        return f"The call that began it, with the windows of {attributes['source']}, resumes"
    as_named = replace(recipe, sfreq=0.0) if recipe.whole else recipe  # the rate is the source's own
    if PRESETS.get(recipe.name) not in (recipe, as_named):
        return f"Finish it with the command that began it, with the recipe {recipe.name}; it is in its log"
    geometry = stored_geometry(lake, group)
    options = ""
    if geometry is not None and geometry.dtype != "float32":
        options += f" --dtype {geometry.dtype}"
    if geometry is not None and geometry.step:
        options += f" --step {geometry.step!r}uV"
    if geometry is not None and geometry.compression != "lz4":
        options += f" --compression {geometry.compression}"
    return (
        f"Finish it with\n  python -m eegzarr.build --source {shlex.quote(attributes['source'])} "
        f"--out {shlex.quote(lake)} --recipe {recipe.name} --name {shlex.quote(attributes['release'])}{options}"
    )
