"""Repair of a lake, cut groups too: what is damaged of them is made again from the lake's own recordings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zarr

from eegzarr.build.repair import Origin, as_it_was, mend_files
from eegzarr.build.repair import repair_lake as repair_stored
from eegzarr.build.write import disk_faults_named
from eegzarr.cut.request import CutRequest
from eegzarr.cut.shards import Makers
from eegzarr.cut.source import WholeRecordings
from eegzarr.cut.write import staged_cut, write_cut
from eegzarr.errors import EegzarrError, LakeError, redacted
from eegzarr.events import Listener
from eegzarr.recipes.recipe import recipe_from_json
from eegzarr.store.layout import SIGNALS, TILES_DIGEST, UNREADABLE, lake_url, open_store
from eegzarr.store.root import only_builder, renew_root
from eegzarr.store.verify import Fault
from eegzarr.urls import one_line_errors


def repair_lake(
    lake: str | os.PathLike[str],
    faults: Sequence[Fault],
    *,
    source: str | Path | None = None,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    listeners: Sequence[Listener] = (),
) -> None:
    """Repair what was found: stored groups from their source, then cut groups from the lake's whole recordings.

    Of a cut group only faulty files are written again, each with the content that it had. Where its recordings were
    rebuilt since it was cut, it is cut again.

    Parameters and errors are those of `eegzarr.build.repair.repair_lake`.
    """
    url, watchers = lake_url(lake), tuple(listeners)
    cut = {group: attributes for group in sorted({one.group for one in faults}) if (attributes := _of_cut(url, group))}
    cut = {group: attributes for group, attributes in cut.items() if not _is_unfinished(group, faults)}
    repair_stored(
        lake,
        [fault for fault in faults if fault.group not in cut or fault.kind == "stray"],
        source=source,
        workers=workers,
        memory_limit=memory_limit,
        listeners=listeners,
    )
    with one_line_errors(url, LakeError), disk_faults_named(url):
        for group, attributes in cut.items():
            own = [fault for fault in faults if fault.group == group and fault.kind != "stray"]
            if own:
                _repair_cut(url, group, own, attributes)
        if cut:
            renew_root(url, watchers=watchers)


def _of_cut(lake: str, group: str) -> dict[str, Any] | None:
    """Return the attributes of a cut group, out of the lake's copy where its own are damaged; None of others."""
    for consolidated in (False, True):
        try:
            root = zarr.open_group(open_store(lake, read_only=True), mode="r", use_consolidated=consolidated)
            attributes = dict(root[group].attrs)
        except UNREADABLE:
            continue
        if "recipe" in attributes:
            return attributes if SIGNALS in attributes else None
    return None


def _is_unfinished(group: str, faults: Sequence[Fault]) -> bool:
    return any(fault.group == group and fault.kind == "unfinished" for fault in faults)


def _repair_cut(lake: str, group: str, faults: list[Fault], attributes: Mapping[str, Any]) -> None:
    try:
        recordings = WholeRecordings.of(lake, str(attributes[SIGNALS]))
    except EegzarrError as error:
        raise LakeError(
            f"{redacted(lake)}/{group} can't be repaired: it was cut from {attributes[SIGNALS]}, which can't be read: "
            f"{error}"
        ) from error
    request = CutRequest.of(recipe_from_json(str(attributes["recipe"])), attributes.get("windows"))
    own, plan = request.plan(recordings)
    if own.tiles.state != attributes[TILES_DIGEST]:
        write_cut(own, plan, Makers(), overwrite=True)
        return
    origin = Origin(
        source=str(attributes["source"]),
        release=str(attributes["release"]),
        recipe=plan.recipe,
        geometry=plan.geometry,
        attributes=attributes,
    )
    with only_builder(lake, group):
        staged = as_it_was(staged_cut(own, plan, group, Makers()), group, origin)
        mend_files(lake, group, staged, faults, origin, plan)
