"""Whether recordings whose time stamp differs are still what a group was made from: their content decides.

A dataset that was copied to another disk has other time stamps. The shards that its recordings lie in are made
once more, without writing them, and compared with the checksums of those that are there: exact, and needing
nothing that a group doesn't have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from dask.distributed import Client

from eegzarr.build.cluster import write_shards
from eegzarr.build.plan import Plan
from eegzarr.build.task import ShardTask
from eegzarr.build.write import shard_tasks
from eegzarr.events import Listener
from eegzarr.machine.memory import MemoryGate
from eegzarr.store.receipt import Imprint, Receipt


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a comparison has found.

    Attributes
    ----------
    altered : tuple of str
        Recordings of shards that come out otherwise.
    receipts : dict of int to Receipt
        Of the shards that come out as they were.
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
