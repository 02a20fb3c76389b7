"""``--step auto``: the step in which all recordings of a source were recorded, if their integers fit into 16 bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from dask.distributed import Client

from eegzarr.bids.buckets import at_hand
from eegzarr.build.cluster import asked_of_shards
from eegzarr.build.plan import Plan
from eegzarr.build.task import ShardTask, header_of, read_piece, shard_buffer, unchanged
from eegzarr.build.write import shard_tasks
from eegzarr.errors import RecordingError
from eegzarr.events import Listener, Noticed, tell
from eegzarr.machine.memory import MemoryGate
from eegzarr.recordings.digital import common_step, recorded_step
from eegzarr.store.integers import DEFAULT_STEP, LARGEST

_WHOLE = 0.01  # of a step: samples have come through float32


@dataclass(frozen=True)
class Recorded:
    """What the recordings of a shard were recorded in.

    Attributes
    ----------
    steps : tuple of float
        Of its recordings in uV, NaN where one isn't known.
    largest : float
        The largest absolute sample of its windows, in uV.
    largest_rest : float
        How far the samples are from multiples of the smallest of the steps, as a share of it.
    """

    steps: tuple[float, ...]
    largest: float
    largest_rest: float


def in_recorded_step(
    client: Client, lake: str, group: str, plan: Plan, gate: MemoryGate, watchers: tuple[Listener, ...]
) -> Plan:
    """Return a plan with the step that its recordings share; the default where they have none, or don't fit.

    All windows are read for it: what an amplifier could record says little of what it did.
    """
    rows = {int(row) for row in plan.windows["recording"].unique()}
    pieces = [piece for shard in range(plan.n_shards) for piece in plan.pieces(shard)]
    if not all(piece.as_it_stands for piece in pieces):
        return _told(plan, None, "signals are prepared", watchers)
    tasks, shards = shard_tasks(lake, group, plan), range(plan.n_shards)
    found: list[Recorded] = []
    for answer in asked_of_shards(client, recorded_in, tasks, shards, gate, watchers):
        found.append(answer)
        if answer.steps and common_step(np.array(answer.steps)) is None:
            break  # no need to read on
    step, reason = shared_step(found)
    return _told(plan, step, reason or f"{len(rows)} recordings share it", watchers)


def shared_step(found: Iterable[Recorded]) -> tuple[float | None, str]:
    """Return the step in uV that recordings share and in which 16 bits hold their samples, or why there is none."""
    several = list(found)
    step = common_step(np.array([step for one in several for step in one.steps]))
    if step is None:
        return None, "the recordings share no step, as far as their files tell"
    if max(one.largest for one in several) > LARGEST * step:
        return None, f"samples of {max(one.largest for one in several):.4g} uV don't fit into steps of {step:g} uV"
    if max(one.largest_rest for one in several) > _WHOLE:
        return None, f"the samples are no multiples of {step:g} uV, which the headers tell"
    return step, ""


def recorded_in(task: ShardTask) -> Recorded:
    """Read the windows of a shard, and say in which steps they were recorded."""
    steps: list[float] = []
    largest, rest = 0.0, 0.0
    for piece in task.pieces:
        header = header_of(piece)
        lacking = header.lacking(task.channels)
        channels = tuple(name for name in task.channels if name not in lacking)
        windows = shard_buffer(task.geometry)[: len(piece.starts)]
        try:
            with at_hand(task.source_root, unchanged(task.source_root, piece).files) as path:
                step = recorded_step(path, channels, header)
            if step is None:
                return Recorded((np.nan,), 0.0, 0.0)
            read_piece(task, piece, {}, windows)
        except RecordingError:
            continue  # its windows will be invalid
        steps.append(step)
        for window in windows:
            counts = window[np.isfinite(window)] / np.float64(step)
            if len(counts):
                largest = max(largest, float(np.abs(counts).max()) * step)
                rest = max(rest, float(np.abs(counts - np.rint(counts)).max()))
    return Recorded(tuple(steps), largest, rest)


def _told(plan: Plan, step: float | None, reason: str, watchers: tuple[Listener, ...]) -> Plan:
    chosen = step or DEFAULT_STEP
    tell(watchers, Noticed(message=f"--step auto is {chosen:g} uV: {reason}"))
    return replace(plan, geometry=replace(plan.geometry, step=chosen))
