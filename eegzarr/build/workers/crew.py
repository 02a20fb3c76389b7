"""Which workers of a cluster can do a build's tasks: those with the same versions that see the same folders.

Each task asks that first. A worker that joined late, or lost a mount, is then found by the first task that it is given,
before it reads or writes anything in a place of its own, and the task goes to another worker.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from dask.distributed import Client, Future, get_worker

from eegzarr import __version__
from eegzarr.build.task import ShardTask
from eegzarr.build.workers.waiting import Waiting
from eegzarr.errors import BuildStopped
from eegzarr.events import Listener, Noticed, tell
from eegzarr.machine.waits import Wait
from eegzarr.store.codec import codec_mark, codec_version
from eegzarr.store.layout import EEG, METADATA, Geometry
from eegzarr.store.receipt import Receipt


def version() -> str:
    """Return what must be the same in all processes of a build."""
    # Of the codec, what it makes: its shards would be a mixture, though of the same samples.
    return f"eegzarr {__version__} with {codec_version()} ({codec_mark(Geometry.of(129, 200))})"


@dataclass(frozen=True)
class Unfit:
    """What a worker answers that can't do a task which others may be able to do; no error, which Dask would retry.

    Attributes
    ----------
    why : str
        Follows the worker's address in a sentence.
    address : str
    """

    why: str
    address: str


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a worker must have for a task.

    Attributes
    ----------
    version : str
        See `version`.
    source : str
        The source's folder; what is in a bucket isn't looked for.
    lake, group, digest : str
        The group that is written to, and of what signals it says to be; "" where nothing is written.
    """

    version: str
    source: str
    lake: str = ""
    group: str = ""
    digest: str = ""

    @classmethod
    def of(cls, task: ShardTask) -> Needs:
        """Return what a shard's task takes."""
        needs = cls(version=version(), source=task.source_root)
        if not task.is_kept or task.wanted is not None:  # a repair may have to restore the group's metadata, too
            return needs
        return cls(**vars(needs) | {"lake": task.lake, "group": task.group, "digest": task.signals_digest})

    def unmet(self) -> str:
        """Return why this process can't do the task, "" where it can."""
        own = version()
        if own != self.version:
            return f"has {own}, and the build {self.version}"
        if "://" not in self.source and not Path(self.source).exists():
            return f"doesn't see the source {self.source}"
        if self.lake and "://" not in self.lake:
            return self._unlike_group()
        return ""

    def _unlike_group(self) -> str:
        place = Path(self.lake) / self.group
        try:
            attributes = json.loads((place / METADATA).read_text(encoding="utf8")).get("attributes", {})
        except (OSError, ValueError):
            return f"doesn't see the lake {self.lake}"
        if attributes.get("signals_digest", self.digest) != self.digest:  # lakes of eegzarr 0.1 have none
            return f"sees another lake at {self.lake}"
        return ""


def done_where_fit(needs: Needs, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function on a worker, if it can do it and what it depends on is done; else return an `Unfit`."""
    if why := needs.unmet():
        return Unfit(why, get_worker().address)
    done = [value for argument in arguments if isinstance(argument, dict) for value in argument.values()]
    return next((value for value in done if isinstance(value, Unfit)), None) or function(*arguments)


class Crew:
    """The workers that tasks are given to: all of a cluster's, until a task finds that one can't do it.

    Parameters
    ----------
    client : Client
    watchers : tuple of callable
        Told which workers are left out, and of long waits.
    """

    def __init__(self, client: Client, watchers: tuple[Listener, ...] = ()) -> None:
        self._client, self._watchers = client, watchers
        self.waiting = Waiting(client, watchers)
        self._unfit: dict[str, str] = {}
        self._allowed: dict[Any, set[str]] = {}  # of tasks that not every worker may do, by their keys

    def submit(self, needs: Needs, function: Callable[..., Any], *arguments: Any, retries: int) -> Future:
        """Give a task to the workers that can do it, under the name of its function.

        Raises
        ------
        BuildStopped
            If there are workers, and none can.
        """
        call = (done_where_fit, needs, function, *arguments)
        options: dict[str, Any] = {"key": f"{function.__name__}-{uuid4().hex}", "retries": retries}
        if not self._unfit:
            return self._client.submit(*call, **options)
        there = self.waiting.workers()
        fit = set(there) - set(self._unfit)
        if there and not fit:
            if lost := needs.unmet():
                raise BuildStopped(f"the build {lost}: restore it, and run the same command again")
            told = "; ".join(f"{address} {why}" for address, why in self._unfit.items())
            raise BuildStopped(
                f"no worker of the Dask cluster can do the build's tasks: {told}. Mend it, and run the same command "
                f"again"
            )
        future = self._client.submit(*call, **options, workers=sorted(fit) or None)
        self._allowed[future.key] = fit
        return future

    def leave_out(self, unfit: Unfit) -> None:
        """Give no more tasks to a worker."""
        if unfit.address not in self._unfit:
            self._unfit[unfit.address] = unfit.why
            message = f"the worker {unfit.address} {unfit.why}: it is given no more tasks"
            tell(self._watchers, Noticed(message=message))

    def was_refused(self, future: Future) -> bool:
        """Return whether a task has ended on a worker that couldn't do it."""
        return bool(self._unfit) and future.status == "finished" and isinstance(future.result(), Unfit)

    def is_stranded(self, future: Future) -> bool:
        """Return whether all workers that may do a task are gone, while others are there."""
        allowed = self._allowed.get(future.key)
        if not allowed:
            return False
        there = set(self.waiting.workers())
        return bool(there - set(self._unfit)) and not (allowed & there)


def check_written(task: ShardTask, receipt: Receipt, watchers: tuple[Listener, ...]) -> None:
    """Wait until this process sees a shard that a worker has written: a network's file system may take a minute.

    Raises
    ------
    BuildStopped
        If it doesn't come: the worker has another folder at the lake's path.
    """
    if not task.is_kept or "://" in task.lake:
        return
    path = Path(task.lake) / task.group / EEG / task.geometry.shard_key(task.shard)
    wait: Wait | None = None
    while not (path.exists() and path.stat().st_size == receipt.nbytes):
        wait = wait or Wait(f"{path}, which a worker has written where this process can't see it", watchers)
        wait.once_more()
