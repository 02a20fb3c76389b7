"""The events of long work, for those who watch it.

A build or a fit calls its listeners with them; progress bars, logs and monitors are listeners. Work never prints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """Some recordings' headers and events were read."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class BuildBegan:
    """The plan is made; `finished` shards of an earlier run are there already."""

    group: str
    recordings: int
    skipped: int
    windows: int
    shards: int
    finished: int
    windows_finished: int
    workers: int


@dataclass(frozen=True, kw_only=True)
class ShardFinished:
    """One more shard and its receipt are written."""

    shard: int
    windows: int
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class MemorySampled:
    """Memory at one moment, in bytes.

    `tree` is the proportional set size of this process and all below it.
    """

    tree: int
    limit: int | None
    machine_used_share: float


@dataclass(frozen=True, kw_only=True)
class Noticed:
    """Something worth a line in the log."""

    message: str


@dataclass(frozen=True, kw_only=True)
class FitBegan:
    """A fit begins, or resumes: `epoch` and `batch` count those that were done before."""

    run: str
    recipe: str
    model: str
    device: str
    train_windows: int
    valid_windows: int
    test_windows: int
    epochs: int
    batches: int
    epoch: int
    batch: int


@dataclass(frozen=True, kw_only=True)
class BatchEnded:
    """Training batches were taken, the last of them number `batch` of its epoch.

    `windows`, `seconds` and `waited` (s, for data) count from the epoch's beginning in this process.
    """

    epoch: int
    batch: int
    batches: int
    loss: float
    windows: int
    seconds: float
    waited: float


@dataclass(frozen=True, kw_only=True)
class EpochEnded:
    """Scores of one epoch; losses of numbers are in standard deviations of the target.

    `metric` names what the scores are: "NRMSE", or "balanced accuracy" of classes.
    """

    epoch: int
    epochs: int
    train_loss: float
    metric: str
    valid_score: float
    best_score: float
    learning_rate: float
    windows_per_second: float
    share_waiting: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FitEnded:
    """A fit is over: finished, or stopped with its state saved."""

    finished: bool
    reason: str


Event = Inspected | BuildBegan | ShardFinished | MemorySampled | Noticed | FitBegan | BatchEnded | EpochEnded | FitEnded
Listener = Callable[[Event], None]


def tell(listeners: tuple[Listener, ...], event: Event) -> None:
    """Give an event to every listener."""
    for listener in listeners:
        listener(event)
