"""What stands at a group's place in a lake, and what a build or a write does about it.

The decision is one function of two values. It is taken while the group's lock is held: what was
read before may have been finished, or dropped, by another process since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from eegzarr.recipes.recipe import Recipe
from eegzarr.store.layout import FORMAT, Geometry


class Step(Enum):
    """What to do about a group."""

    BEGIN = "begin"
    RESUME = "resume"
    SETTLE = "settle"
    ALREADY = "already"
    OVERWRITE = "overwrite"
    REFUSE = "refuse"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What stands at a group's place.

    Attributes
    ----------
    status : {"nothing", "building", "complete", "damaged"}
        ``nothing`` also for what a build leaves that is killed before it has written what it builds.
    damage : str
        Of a damaged group: what is wrong with it.
    format : str
        The group's format; nothing else is known of one that this eegzarr doesn't write.
    geometry : Geometry, optional
        How its windows lie in its shards.
    fingerprints : mapping of str to str, optional
        Of each recording that it is made from, by its path.
    plan_digest : str
    is_settled : bool
        Of a complete group: whether nothing of its build is left, and the lake's metadata are those of the group.
    """

    status: Literal["nothing", "building", "complete", "damaged"] = "nothing"
    damage: str = ""
    format: str = FORMAT
    recipe: Recipe | None = None
    geometry: Geometry | None = None
    fingerprints: Mapping[str, str] | None = None
    plan_digest: str = ""
    is_settled: bool = True


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a build or a write is asked to make of it.

    Attributes
    ----------
    place : str
        The group in its lake, for messages.
    source : str
        What the windows come from, for messages.
    fingerprints : mapping of str to str, optional
        Of the source's recordings, by their paths; None for windows that were given.
    plan_digest : str
        Of windows that were given; "" where it isn't known.
    """

    place: str
    source: str
    recipe: Recipe
    dtype: str
    compression: str
    overwrite: bool
    fingerprints: Mapping[str, str] | None = None
    plan_digest: str = ""


@dataclass(frozen=True)
class Decision:
    """What to do, and for `Step.REFUSE` the message that says why and what to do instead."""

    step: Step
    message: str = ""


def decide(found: Found, asked: Asked) -> Decision:
    """Decide what to do about what stands at a group's place.

    Nothing is there: begin. It is of the same recipe, source and storage: resume where it isn't complete,
    tidy up where its build was killed after it was, else leave it. Anything else is refused with what
    differs, or overwritten where that is asked for. To overwrite what was begun with the same
    request is to resume: an overwriting build that was stopped goes on.
    """
    if found.status == "nothing":
        return Decision(Step.BEGIN)
    message = found.damage or _difference(found, asked)
    if message and not asked.overwrite:
        return Decision(Step.REFUSE, message)
    if message or (asked.overwrite and found.status == "complete"):
        return Decision(Step.OVERWRITE)
    if found.status == "building":
        return Decision(Step.RESUME)
    return Decision(Step.ALREADY if found.is_settled else Step.SETTLE)


def _difference(found: Found, asked: Asked) -> str:
    """Return what of the group isn't what is asked for, and the way out; "" where all is."""
    place = asked.place
    if found.format != FORMAT:
        return (
            f"{place} has the format {found.format}, this eegzarr writes {FORMAT}: "
            f"give another --out, or --overwrite to build it anew"
        )
    if found.recipe != asked.recipe:
        return (
            f"{place} was built with another recipe named {asked.recipe.name}: give the recipe another name, "
            f"give another --out, or --overwrite to build it anew"
        )
    if found.geometry is not None:
        stored = {"dtype": found.geometry.dtype, "compression": found.geometry.compression}
        for option, value in (("dtype", asked.dtype), ("compression", asked.compression)):
            if stored[option] != value:
                return (
                    f"{place} has the {option} {stored[option]}: give --{option} {stored[option]}, another --out, or "
                    f"--overwrite to build it anew"
                )
    if asked.plan_digest and found.plan_digest != asked.plan_digest:
        return (
            f"{place} holds other windows than those of {asked.source}: give another release or lake, "
            f"or overwrite to write it anew"
        )
    if asked.fingerprints is not None and found.fingerprints is not None:
        return _other_recordings(found.fingerprints, asked)
    return ""


def _other_recordings(then: Mapping[str, str], asked: Asked) -> str:
    now = asked.fingerprints or {}
    changes = {
        "added": [path for path in now if path not in then],
        "removed": [path for path in then if path not in now],
        "altered": [path for path in now if path in then and now[path] != then[path]],
    }
    if not any(changes.values()):
        return ""
    told = "; ".join(f"{len(paths)} {kind} ({_some(paths)})" for kind, paths in changes.items() if paths)
    return (
        f"source {asked.source} isn't what {asked.place} was begun with: {told}. Restore it, give another --out "
        f"or --name, or --overwrite to build it anew"
    )


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")
