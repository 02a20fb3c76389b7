"""Write a group: begin or resume it, its shards on the workers, then its labels."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from dask.distributed import Client

from eegzarr.build import group as groups
from eegzarr.build.digest import signals_digest
from eegzarr.build.plan import Plan
from eegzarr.build.task import ShardTask
from eegzarr.build.workers.cluster import write_shards
from eegzarr.build.workers.resources import Resources
from eegzarr.build.workers.waiting import result_of
from eegzarr.errors import BuildStopped, LakeError
from eegzarr.events import BuildBegan, Listener, Noticed, ShardFinished, tell
from eegzarr.machine.memory import MemoryGate
from eegzarr.recordings.positions import electrode_positions
from eegzarr.store.receipt import Receipt
from eegzarr.urls import is_silence, reason

# Of a disk that is protected, broken or gone, or has something else where a file should be.
_PROTECTED = {errno.EACCES, errno.EPERM, errno.EROFS}
_REFUSALS = _PROTECTED | {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENAMETOOLONG, errno.ELOOP}
_REFUSALS |= {errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


@dataclass(frozen=True)
class Written:
    """What a group's finish needs of its shards: their receipts, and where the electrodes are, in m."""

    receipts: dict[int, Receipt]
    positions: npt.NDArray[np.float32]


def write_group(
    client: Client,
    lake: str,
    group: str,
    plan: Plan,
    receipts: dict[int, Receipt],
    resources: Resources,
    gate: MemoryGate,
    watchers: tuple[Listener, ...],
) -> Written:
    """Write the shards that a group lacks; begin it where it has none.

    Parameters
    ----------
    receipts : dict of int to Receipt
        Of the shards that an earlier run of the same plan has written.
    """
    receipts = dict(receipts)
    with disk_faults_named(lake):
        if not receipts:  # also where none of those that a build has begun can be read
            groups.begin(lake, group, plan, watchers)
        tell(watchers, began(group, plan, receipts, resources.workers))
        # On a worker, beside its shards: MNE takes a second to load.
        positions = client.submit(electrode_positions, plan.located_header, plan.channels)
        missing = [shard for shard in range(plan.n_shards) if shard not in receipts]
        shared = plan.shards_of_recordings()
        for receipt in write_shards(client, shard_tasks(lake, group, plan), missing, shared, gate, watchers):
            receipts[receipt.shard] = receipt
            tell_written(plan, receipt, watchers)
        return Written(receipts, result_of(client, positions, watchers))


def tell_written(plan: Plan, receipt: Receipt, watchers: tuple[Listener, ...]) -> None:
    """Tell that a shard is written, and which of its recordings could not be read."""
    for row, why in receipt.reasons.items():
        path = plan.inspections[row].recording.path
        tell(watchers, Noticed(message=f"{path}: {why}; its windows are marked invalid"))
    tell(watchers, ShardFinished(shard=receipt.shard, windows=len(receipt.valid), nbytes=receipt.nbytes))


def finish_group(lake: str, group: str, plan: Plan, written: Written, watchers: tuple[Listener, ...] = ()) -> None:
    """Give a group whose shards are written its labels, and declare it complete."""
    with disk_faults_named(lake):
        groups.finish(lake, group, plan, written.receipts, written.positions, watchers)


@contextmanager
def disk_faults_named(lake: str) -> Iterator[None]:
    """Say what to do when a disk is full or refuses, or a bucket's server doesn't answer."""
    try:
        yield
    except Exception as error:
        if "://" in lake and is_silence(error):
            raise BuildStopped(f"{lake}: {reason(error)}, and run the same command again") from error
        if not isinstance(error, OSError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BuildStopped(f"no space left for {lake}: make room and run the same command again") from error
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise LakeError(
                f"{lake} can't be written: too many open files. Raise the limit, as with ulimit -n"
            ) from error
        if error.errno in _REFUSALS:
            where = f": {error.filename}" if isinstance(error.filename, str) else ""
            raise LakeError(f"{lake} can't be written: {error.strerror}{where}") from error
        raise


def began(group: str, plan: Plan, receipts: dict[int, Receipt], workers: int) -> BuildBegan:
    """Return the event that a group's shards begin to be written."""
    return BuildBegan(
        group=group,
        recordings=len(plan.inspections),
        skipped=sum(bool(inspection.reason) for inspection in plan.inspections),
        windows=plan.n_windows,
        shards=plan.n_shards,
        finished=len(receipts),
        windows_finished=sum(len(receipt.valid) for receipt in receipts.values()),
        workers=workers,
    )


def shard_tasks(lake: str, group: str, plan: Plan) -> Callable[[int], ShardTask]:
    """Return a function that gives all that a worker needs to write a shard of a plan."""
    digest = signals_digest(plan)
    return lambda shard: ShardTask(
        lake=lake,
        group=group,
        shard=shard,
        source_root=plan.source.root,
        channels=plan.channels,
        geometry=plan.geometry,
        pieces=plan.pieces(shard),
        signals_digest=digest,
        sfreq=plan.recipe.sfreq,
        preparation=plan.recipe.preparation,
        whole=plan.recipe.whole,
        missing=plan.recipe.missing,
    )
