"""Build one group of a lake: what stands there decides what is done, each step safe to repeat."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from eegzarr.bids.beside import fingerprint_of
from eegzarr.bids.dataset import Source
from eegzarr.build import group as groups
from eegzarr.build.checks import check_target, check_writable, named_source
from eegzarr.build.cluster import Resources
from eegzarr.build.plan import Plan
from eegzarr.build.request import BuildRequest
from eegzarr.build.session import session, worker_memory
from eegzarr.build.state import Asked, Decision, Found, Step, decide
from eegzarr.build.summary import BuildSummary, Forecast, summarize
from eegzarr.build.write import finish_group, write_group
from eegzarr.errors import LakeError, RecordingError
from eegzarr.events import Listener
from eegzarr.machine.memory import MemoryGate
from eegzarr.store.layout import group_path, lake_url
from eegzarr.store.root import only_builder, settle


def run_build(request: BuildRequest, listeners: Sequence[Listener] = ()) -> BuildSummary:
    """Do what `eegzarr.build_lake` promises."""
    began = time.monotonic()
    watchers = tuple(listeners)
    place = _place_of(request)
    with ExitStack() as held:
        held.enter_context(only_builder(place.lake, place.group))
        found, decision = _decided(request, place)
        if decision.step in (Step.ALREADY, Step.SETTLE):
            if decision.step is Step.SETTLE:
                settle(place.lake, place.group)
            return replace(summarize(place.lake, place.group), already=True)
        stored = found.geometry if decision.step is Step.RESUME else None
        with session(request, place.lake, place.source, stored, watchers, held) as (client, plan, resources, watch):
            gate = MemoryGate(request.max_memory)
            receipts = groups.read_receipts(place.lake, place.group, plan) if decision.step is Step.RESUME else {}
            done = write_group(client, place.lake, place.group, plan, receipts, resources, gate, watchers)
        # Without the workers, whose memory the labels of many windows may need.
        finish_group(place.lake, place.group, plan, done)
    return replace(
        summarize(place.lake, place.group),
        seconds=time.monotonic() - began,
        peak_memory=watch.peak,
        memory_limit=resources.memory,
    )


def run_forecast(request: BuildRequest, listeners: Sequence[Listener] = ()) -> Forecast:
    """Do what `eegzarr.build.api.forecast` promises."""
    place = _place_of(request)
    found, decision = _decided(request, place)
    stored = None if decision.step in (Step.BEGIN, Step.OVERWRITE) else found.geometry
    with (
        ExitStack() as held,
        session(request, place.lake, place.source, stored, tuple(listeners), held) as (_, plan, resources, _),
    ):
        begun = groups.read_receipts(place.lake, place.group, plan) if decision.step is Step.RESUME else {}
    is_complete = decision.step in (Step.ALREADY, Step.SETTLE)
    return _foreseen(request, place, plan, resources, plan.n_shards if is_complete else len(begun))


def _foreseen(request: BuildRequest, place: _Place, plan: Plan, resources: Resources, finished: int) -> Forecast:
    geometry = plan.geometry
    skipped = [(i.recording.path, i.reason) for i in plan.inspections if i.reason]
    with_windows = [inspection for inspection in plan.inspections if inspection.n_windows]
    return Forecast(
        group=place.group,
        windows=plan.n_windows,
        subjects=len({inspection.recording.subject for inspection in with_windows}),
        recordings=len(plan.inspections),
        built=len(with_windows),
        dropped=sum(inspection.dropped for inspection in plan.inspections),
        reasons=Counter(reason for _, reason in skipped),
        skipped=tuple(skipped),
        left_out=sum((inspection.left_out for inspection in plan.inspections), Counter()),
        notes=(*plan.source.notes, *plan.subjects.notes),
        decoded_nbytes=plan.n_windows * geometry.window_bytes,
        shards=plan.n_shards,
        finished=finished,
        workers=resources.workers,
        projected_memory=resources.projected(worker_memory(plan, place.lake)),
        memory_limit=resources.memory,
    )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a request goes, and from where: what needs no look into the lake."""

    lake: str
    group: str
    source: Source


def _place_of(request: BuildRequest) -> _Place:
    """Find mistakes in a request before anything is touched or started."""
    source = named_source(request.source, request.recipe, request.name)
    check_target(request.recipe, source)
    lake = lake_url(request.out)
    check_writable(lake)
    return _Place(lake=lake, group=group_path(request.recipe.name, source.name), source=source)


def _decided(request: BuildRequest, place: _Place) -> tuple[Found, Decision]:
    """Return what stands at the place and what to do about it.

    Raises
    ------
    LakeError
        If that is nothing that the request may touch.
    """
    found = groups.look_at(place.lake, place.group)
    asked = Asked(
        place=f"{place.lake}/{place.group}",
        source=place.source.root,
        recipe=request.recipe,
        dtype=request.dtype,
        compression=request.compression,
        overwrite=request.overwrite,
        fingerprints=_fingerprints(place.source) if found.fingerprints is not None else None,
    )
    decision = decide(found, asked)
    if decision.step is Step.REFUSE:
        raise LakeError(decision.message)
    return found, decision


def _fingerprints(source: Source) -> dict[str, str]:
    found = {}
    for recording in source.recordings:
        try:
            found[recording.path] = fingerprint_of(source.root, recording)
        except RecordingError:
            found[recording.path] = ""
    return found
