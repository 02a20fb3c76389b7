"""What recordings hold: the workers look, without writing a shard.

Whether recordings whose time stamp differs are still what a group was made from: their content decides. A dataset
that was copied to another disk has other time stamps. The shards that its recordings lie in are made once more, without
writing them, and compared with the checksums of those that are there. That is exact, and needs nothing that a group
doesn't have.

And ``--step auto``: the step in which all recordings of a source were recorded, if their integers fit into 16 bits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from dask.distributed import Client

from eegzarr.bids.buckets import at_hand
from eegzarr.build.plan import Plan
from eegzarr.build.task import ShardTask, header_of, read_piece, shard_buffer, unchanged
from eegzarr.build.workers.cluster import asked_of_shards, write_shards
from eegzarr.build.write import shard_tasks
from eegzarr.errors import RecordingError
from eegzarr.events import Listener, Noticed, tell
from eegzarr.machine.memory import MemoryGate
from eegzarr.recordings.digital import common_step, recorded_step
from eegzarr.store.integers import DEFAULT_STEP, LARGEST
from eegzarr.store.receipt import Imprint, Receipt

_WHOLE = 0.01  # of a step: samples have come through float32


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a comparison has found.

    Attributes
    ----------
    altered : tuple of str
        Recordings of shards that come out differently.
    receipts : dict of int to Receipt
        Of the shards that come out unchanged.
    """

    altered: tuple[str, ...]
    receipts: dict[int, Receipt]


def shards_with(plan: Plan, paths: Collection[str]) -> set[int]:
    """Return the shards that hold windows of the recordings."""
    rows = [row for row, inspection in enumerate(plan.inspections) if inspection.recording.path in paths]
    windows = np.flatnonzero(np.isin(plan.windows["recording"].to_numpy(), rows))
    return set(np.unique(windows // plan.geometry.windows_per_shard).tolist())


def compare_shards(
    client: Client,
    lake: str,
    group: str,
    plan: Plan,
    expected: Mapping[int, Imprint],
    gate: MemoryGate,
    watchers: tuple[Listener, ...] = (),
) -> Compared:
    """Make shards from their source and compare them with the checksums that they had; write nothing.

    Parameters
    ----------
    expected : mapping of int to Imprint
        What each shard to compare must come out as.
    """
    task_of = shard_tasks(lake, group, plan)

    def task(shard: int) -> ShardTask:
        return replace(task_of(shard), is_kept=False)

    altered: list[str] = []
    receipts = {}
    for receipt in write_shards(client, task, sorted(expected), {}, gate, watchers):
        if expected[receipt.shard].fits(receipt):
            receipts[receipt.shard] = receipt
        else:
            altered += [plan.inspections[piece.recording].recording.path for piece in plan.pieces(receipt.shard)]
    return Compared(altered=tuple(dict.fromkeys(altered)), receipts=receipts)


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

    All windows are read for it: what an amplifier could record says little about what it did record.
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
        return None, "the recordings share no step, as far as their files show"
    if max(one.largest for one in several) > LARGEST * step:
        return None, f"samples of {max(one.largest for one in several):.4g} uV don't fit into steps of {step:g} uV"
    if max(one.largest_rest for one in several) > _WHOLE:
        return None, f"the samples aren't multiples of {step:g} uV, the step in the headers"
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
