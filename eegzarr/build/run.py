"""Build one group of a lake: what is there decides what to do, and each step is safe to repeat."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from dask.distributed import Client

from eegzarr.bids.dataset import Source
from eegzarr.bids.given_windows import for_windows, read_window_table, with_windows
from eegzarr.build import group as groups
from eegzarr.build.checks import at_own_rate, check_root, check_target, check_writable, named_source, twice_told
from eegzarr.build.content import compare_shards, in_recorded_step, shards_with
from eegzarr.build.digest import fingerprints_of, labels_digest, prepared_with, signals_digest
from eegzarr.build.foreseen.explain import explain_plan
from eegzarr.build.labels import why_no_labels
from eegzarr.build.plan import Plan
from eegzarr.build.request import BuildRequest
from eegzarr.build.state import Asked, Found, Step, decide, touched
from eegzarr.build.summary import BuildSummary, Forecast, summarize
from eegzarr.build.workers.resources import Resources
from eegzarr.build.workers.script import refuse_in_worker
from eegzarr.build.workers.session import session, worker_memory
from eegzarr.build.write import disk_faults_named, finish_group, write_group
from eegzarr.errors import LakeError, RecordingError
from eegzarr.events import Listener, Noticed, tell
from eegzarr.machine.memory import MemoryGate
from eegzarr.recordings.surroundings import fingerprint_of
from eegzarr.store.bucket import slow_requests_told
from eegzarr.store.group import stored_imprints
from eegzarr.store.layout import Geometry, group_path, lake_url
from eegzarr.store.receipt import Receipt
from eegzarr.store.root import only_builder, settle


def run_build(request: BuildRequest, listeners: Sequence[Listener] = ()) -> BuildSummary:
    """Do what `eegzarr.build_lake` promises."""
    refuse_in_worker()
    began = time.monotonic()
    watchers = tuple(listeners)
    request, place = placed(request)
    with ExitStack() as held:
        held.enter_context(slow_requests_told(watchers))
        held.enter_context(disk_faults_named(place.lake))
        held.enter_context(only_builder(place.lake, place.group))
        found, asked = _look(request, place)
        step = _allowed(found, asked)
        if step in (Step.ALREADY, Step.SETTLE):
            if step is Step.SETTLE:
                settle(place.lake, place.group, watchers)
            return replace(summarize(place.lake, place.group), already=True)
        with session(request, place.lake, place.source, _kept(found, step), watchers, held) as work:
            client, plan, resources, watch = work
            gate = MemoryGate(request.max_memory)
            if request.step is None and _kept(found, step) is None:
                plan = in_recorded_step(client, place.lake, place.group, plan, gate, watchers)
            step, receipts = resumed(client, place.lake, place.group, plan, (found, asked, step), gate, watchers)
            if step is Step.BEGIN and (note := twice_told(place.lake, place.group, fingerprints_of(plan))):
                tell(watchers, Noticed(message=note))
            done = write_group(client, place.lake, place.group, plan, receipts, resources, gate, watchers)
        # Without the workers, whose memory the labels of many windows may need.
        finish_group(place.lake, place.group, plan, done, watchers)
    return replace(
        summarize(place.lake, place.group),
        seconds=time.monotonic() - began,
        peak_memory=watch.peak,
        memory_limit=resources.memory,
        relabelled=step is Step.RELABEL,
    )


def run_forecast(request: BuildRequest, listeners: Sequence[Listener] = ()) -> Forecast:
    """Do what `eegzarr.build.api.forecast` promises."""
    refuse_in_worker()
    request, place = placed(request)
    watchers = tuple(listeners)
    found, asked = _look(request, place)
    step = _allowed(found, asked)
    with ExitStack() as held, session(request, place.lake, place.source, _kept(found, step), watchers, held) as work:
        client, plan, resources, _ = work
        gate = MemoryGate(request.max_memory)
        chosen = (found, asked, step)
        step, receipts = resumed(client, place.lake, place.group, plan, chosen, gate, watchers, touches=False)
    finished = plan.n_shards if step in (Step.ALREADY, Step.SETTLE) else len(receipts)
    return replace(_foreseen(request, place, plan, resources, finished), step=step.value)


def _kept(found: Found, step: Step) -> Geometry | None:
    """Return the geometry that a group keeps."""
    return None if step in (Step.BEGIN, Step.OVERWRITE) else found.geometry


def _foreseen(request: BuildRequest, place: Placed, plan: Plan, resources: Resources, finished: int) -> Forecast:
    geometry = plan.geometry
    skipped = [(i.recording.path, i.reason) for i in plan.inspections if i.reason]
    with_windows = [inspection for inspection in plan.inspections if inspection.n_windows]
    unlabelled = Counter(
        why for i in plan.inspections if not i.reason and (why := why_no_labels(plan.source, i.recording.subject))
    )
    return Forecast(
        group=place.group,
        windows=plan.n_windows,
        subjects=len({inspection.recording.subject for inspection in with_windows}),
        recordings=len(plan.inspections),
        built=len(with_windows),
        dropped=sum(inspection.dropped for inspection in plan.inspections),
        reasons=Counter(reason for _, reason in skipped) + unlabelled,
        skipped=tuple(skipped),
        left_out=sum((inspection.left_out for inspection in plan.inspections), Counter()),
        explanation=explain_plan(plan),
        notes=plan.notes,
        decoded_nbytes=plan.n_windows * geometry.window_bytes,
        shards=plan.n_shards,
        finished=finished,
        workers=resources.workers,
        projected_memory=resources.projected(worker_memory(plan, place.lake)),
        memory_limit=resources.memory,
    )


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where a request goes, and from where: what needs no look into the lake."""

    lake: str
    group: str
    source: Source


def placed(request: BuildRequest) -> tuple[BuildRequest, Placed]:
    """Find mistakes in a request before anything is touched or started; settle the rate of whole recordings."""
    source = named_source(request.source, request.recipe, request.name)
    if request.windows is not None:
        table, name = read_window_table(request.windows)
        request = replace(request, recipe=for_windows(request.recipe, table))
        source = with_windows(source, request.recipe, table, name)
    if request.montage:
        own = tuple(recording for recording in source.recordings if recording.path in request.only)
        name = f"{source.name}-{request.montage}"
        source = replace(source, name=name, recordings=own, montage=request.montage)
    check_target(request.recipe, source)
    lake = lake_url(request.out)
    check_writable(lake)
    settled = replace(request, recipe=at_own_rate(request.recipe, source))
    return settled, Placed(lake=lake, group=group_path(request.recipe.name, source.name), source=source)


def _look(request: BuildRequest, place: Placed) -> tuple[Found, Asked]:
    """Return what is at the place, and what is asked for."""
    found = groups.look_at(place.lake, place.group)
    is_new = found.status == "nothing"
    if is_new and "://" in place.lake:
        check_root(place.lake)
    fingerprints = {} if is_new else _fingerprints(place.source)
    asked = Asked(
        place=f"{place.lake}/{place.group}",
        source=place.source.root,
        recipe=request.recipe,
        dtype=request.dtype,
        step=request.step,
        compression=request.compression,
        overwrite=request.overwrite,
        fingerprints=fingerprints,
        labels_digest=labels_digest(request.recipe, place.source, fingerprints),
        prepared_with=prepared_with(request.recipe.preparation),
        clash=groups.clash(place.lake, place.group, request.recipe, request.montage) if is_new else "",
    )
    return found, asked


def _allowed(found: Found, asked: Asked) -> Step:
    """Return what to do.

    Raises
    ------
    LakeError
        If the request may not touch what is there.
    """
    decision = decide(found, asked)
    if decision.step is Step.REFUSE:
        raise LakeError(decision.message)
    return decision.step


def resumed(
    client: Client,
    lake: str,
    group: str,
    plan: Plan,
    chosen: tuple[Found, Asked, Step],
    gate: MemoryGate,
    watchers: tuple[Listener, ...],
    *,
    touches: bool = True,
) -> tuple[Step, dict[int, Receipt]]:
    """Decide once more, now that the plan is made, and return with that the receipts of shards that stay.

    Recordings with another time stamp than then are compared by their content; see `eegzarr.build.content`.

    Raises
    ------
    LakeError
        If the source isn't what the group was begun with.
    """
    found, asked, step = chosen
    if step not in (Step.RESUME, Step.RELABEL):
        return step, {}
    asked = replace(asked, signals_digest=signals_digest(plan))
    step = _allowed(found, asked)
    receipts = groups.read_receipts(lake, group, plan) if step in (Step.RESUME, Step.RELABEL) else {}
    moved = touched(found, asked)
    there = {shard: receipt.imprint for shard, receipt in receipts.items()}
    if step is Step.RELABEL:
        there = stored_imprints(lake, group)
        if len(there) != plan.n_shards:
            step, there = _allowed(found, replace(asked, altered=tuple(asked.fingerprints))), {}
    again = shards_with(plan, moved) | (set(there) - set(receipts))
    expected = {shard: there[shard] for shard in again if shard in there}
    if expected:
        tell(watchers, Noticed(message=f"{len(expected)} shards are compared with their recordings"))
        compared = compare_shards(client, lake, group, plan, expected, gate, watchers)
        # All of a shard are suspected, and those with another time stamp first.
        altered = tuple(path for path in compared.altered if path in moved) or compared.altered
        step = _allowed(found, replace(asked, altered=altered))
        receipts |= compared.receipts
        if step is Step.RESUME and touches:
            groups.note_fingerprints(lake, group, plan)
    return step, receipts if step in (Step.RESUME, Step.RELABEL) else {}


def _fingerprints(source: Source) -> dict[str, str]:
    found = {}
    for recording in source.recordings:
        try:
            found[recording.path] = fingerprint_of(source.root, recording)
        except RecordingError:
            found[recording.path] = ""
    return found
