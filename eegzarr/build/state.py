"""What is at a group's place in a lake, and what a build or a write does about it.

The decision is one function of two values. It is taken while the group's lock is held: what was
read before may have been finished, or dropped, by another process since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from eegzarr.build.digest import signal_part
from eegzarr.build.summary import RELABEL
from eegzarr.recipes.recipe import Recipe
from eegzarr.store.layout import FORMAT, FORMATS, Geometry

# Fields of a recipe that may change only labels. The plan shows whether the windows stayed the same.
_LABEL_FIELDS = ("target", "events", "require", "labels")


class Step(Enum):
    """What to do about a group."""

    BEGIN = "begin"
    RESUME = "resume"
    RELABEL = RELABEL
    SETTLE = "tidy up"
    ALREADY = "nothing"
    OVERWRITE = "overwrite"
    REFUSE = "refuse"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is at a group's place.

    Attributes
    ----------
    status : {"nothing", "building", "labelling", "complete", "damaged"}
        ``nothing`` also for what a build leaves that is killed before it has written what it builds;
        ``labelling`` where all signals are there, and labels are being written again.
    damage : str
        Of a damaged group: what is wrong with it.
    format : str
        The group's format; nothing else is known of one that this eegzarr doesn't write.
    cut_from : str
        The group that has its signals, "" where it has its own.
    geometry : Geometry, optional
        How its windows lie in its shards.
    fingerprints : mapping of str to str, optional
        Of each recording that it is made from, by its path.
    signals_digest, labels_digest, prepared_with : str
        See `eegzarr.build.digest`; "" where they aren't known, as of what an older eegzarr wrote.
    is_settled : bool
        Of a complete group: whether nothing of its build is left, and the lake's metadata are those of the group.
    """

    status: Literal["nothing", "building", "labelling", "complete", "damaged"] = "nothing"
    damage: str = ""
    format: str = FORMAT
    recipe: Recipe | None = None
    cut_from: str = ""
    geometry: Geometry | None = None
    fingerprints: Mapping[str, str] | None = None
    signals_digest: str = ""
    labels_digest: str = ""
    prepared_with: str = ""
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
    fingerprints : mapping of str to str
        Of the source's recordings, by their paths.
    step : float, optional
        Of integers, in uV; 0 for floats. None where any is right.
    labels_digest, prepared_with : str
    signals_digest : str
        "" as long as no plan is made.
    altered : tuple of str
        Recordings whose content was compared and isn't what the group has.
    clash : str
        What keeps a new group from standing beside the lake's others, "" for nothing.
    were_given : bool
        Whether the windows were cut by another program.
    """

    place: str
    source: str
    recipe: Recipe
    dtype: str
    compression: str
    step: float | None = 0.0
    overwrite: bool
    fingerprints: Mapping[str, str]
    labels_digest: str
    prepared_with: str = ""
    signals_digest: str = ""
    altered: tuple[str, ...] = ()
    clash: str = ""
    were_given: bool = False


@dataclass(frozen=True)
class Decision:
    """What to do, and for `Step.REFUSE` the message that says why and what to do instead."""

    step: Step
    message: str = ""


def decide(found: Found, asked: Asked) -> Decision:
    """Decide what to do about what is at a group's place.

    Nothing is there: begin. It is of the same signals: resume where it isn't complete, write labels again
    where what they are made from has changed, tidy up where its build was killed after it was complete,
    else leave it. Anything else is refused with what differs, or overwritten where that is asked
    for. To overwrite what was begun with the same request is to resume: an overwriting build
    that was stopped is resumed.

    Called twice where there is something to resume or to label: once more when the plan is made and
    the content of recordings with another time stamp was compared.
    """
    if found.status == "nothing":
        return Decision(Step.REFUSE, asked.clash) if asked.clash else Decision(Step.BEGIN)
    message = found.damage or _difference(found, asked)
    if message and not asked.overwrite:
        return Decision(Step.REFUSE, message)
    if message or (asked.overwrite and found.status != "building"):
        return Decision(Step.OVERWRITE)
    if found.status == "building":
        return Decision(Step.RESUME)
    if found.status == "labelling" or found.labels_digest != asked.labels_digest or touched(found, asked):
        return Decision(Step.RELABEL)
    return Decision(Step.ALREADY if found.is_settled else Step.SETTLE)


def touched(found: Found, asked: Asked) -> tuple[str, ...]:
    """Return the recordings that may have other signals than when they were read: their content decides."""
    then, now = found.fingerprints or {}, asked.fingerprints
    return tuple(path for path in now if path in then and signal_part(then[path]) != signal_part(now[path]))


def _difference(found: Found, asked: Asked) -> str:
    """Return what of the group isn't what is asked for, and the way out; "" where all is."""
    place = asked.place
    if found.format not in FORMATS:
        return (
            f"{place} has the format {found.format}, this eegzarr writes {' and '.join(FORMATS)}: "
            f"give another --out, or --overwrite to rebuild it"
        )
    if found.cut_from:
        return (
            f"{place} was cut from {found.cut_from}: its windows aren't stored. Open it as it is, give the recipe "
            f"another name, or --overwrite to store them"
        )
    if found.recipe is not None and _signals_of(found.recipe) != _signals_of(asked.recipe):
        return _another_recipe(asked)
    if found.geometry is not None:
        stored = {"dtype": found.geometry.dtype, "compression": found.geometry.compression}
        for option, value in (("dtype", asked.dtype), ("compression", asked.compression)):
            if stored[option] != value:
                return (
                    f"{place} has the {option} {stored[option]}: give --{option} {stored[option]}, another --out, or "
                    f"--overwrite to rebuild it"
                )
        if asked.step not in (None, found.geometry.step):
            return (
                f"{place} has a step of {found.geometry.step!r} uV: give --step {found.geometry.step!r}uV, another "
                f"--out, or --overwrite to rebuild it"
            )
    if found.fingerprints is not None and (message := _other_recordings(found, asked)):
        return message
    if found.status == "building" and found.prepared_with != asked.prepared_with:
        return (
            f"{place} was begun with {found.prepared_with or 'an older eegzarr'}, this is {asked.prepared_with}: "
            f"they may filter otherwise. Finish it with what began it, or give --overwrite to rebuild it"
        )
    if asked.signals_digest and found.signals_digest and found.signals_digest != asked.signals_digest:
        if found.recipe != asked.recipe:
            return _another_recipe(asked)
        if asked.were_given:
            return _other_windows(asked)
        return (
            f"source {asked.source} gives other windows than {place} was begun with: its events have changed. "
            f"Restore them, give another --out or --name, or --overwrite to rebuild it"
        )
    return ""


def _other_windows(asked: Asked) -> str:
    return (
        f"{asked.place} holds other windows than those of {asked.source}: give another release or lake, "
        f"or overwrite to write it again"
    )


def _another_recipe(asked: Asked) -> str:
    return (
        f"{asked.place} was built with another recipe named {asked.recipe.name}: give the recipe another name, "
        f"give another --out, or --overwrite to rebuild it"
    )


def _signals_of(recipe: Recipe) -> dict[str, object]:
    fields: dict[str, object] = json.loads(recipe.to_json())
    return {name: value for name, value in fields.items() if name not in _LABEL_FIELDS}


def _other_recordings(found: Found, asked: Asked) -> str:
    then, now = found.fingerprints or {}, asked.fingerprints
    other_size = (path for path in touched(found, asked) if _other_size(then[path], now[path]))
    changes = {
        "added": [path for path in now if path not in then],
        "removed": [path for path in then if path not in now],
        "altered": list(dict.fromkeys([*other_size, *asked.altered])),
    }
    if not any(changes.values()):
        return ""
    if asked.were_given:
        return _other_windows(asked)
    told = "; ".join(f"{len(paths)} {kind} ({_some(paths)})" for kind, paths in changes.items() if paths)
    return (
        f"source {asked.source} isn't what {asked.place} was begun with: {told}. Restore it, give another --out "
        f"or --name, or --overwrite to rebuild it"
    )


def _other_size(then: str, now: str) -> bool:
    sizes = {fingerprint.partition(":")[0] for fingerprint in (then, now)}
    return len(sizes) > 1 and all(size.isdigit() for size in sizes)


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")
