"""Waiting for a cluster that may be gone: what for is said after a while, and no wait is for ever."""

from __future__ import annotations

import queue
from typing import Any

from dask.distributed import Client, Future
from distributed.comm import CommClosedError

from eegzarr.errors import BuildStopped
from eegzarr.events import Listener, Noticed, tell
from eegzarr.machine.waits import NOTICE, PATIENCE, Waited

LOOK = 2.0  # s between looks at a cluster from which nothing comes
ANSWER = 30.0  # s that a scheduler may take to answer
TASK = 3600.0  # s without any result while there are workers: a recording takes minutes at most


class Waiting:
    """Looks after what a build waits for.

    Parameters
    ----------
    client : Client
    watchers : tuple of callable
        Told what is waited for.
    """

    def __init__(self, client: Client, watchers: tuple[Listener, ...]) -> None:
        self._client, self._watchers = client, watchers
        self._since: Waited | None = None
        self._what = ""
        self._was_told = False
        self._without_result = _waited()

    def threads(self) -> int:
        """Return how many threads the cluster's workers have together, 0 where it doesn't answer."""
        return sum(self.workers().values())

    def workers(self) -> dict[str, int]:
        """Return the threads of each of the cluster's workers, by their addresses; none where it doesn't answer."""
        scheduler = self._client.scheduler
        if self._client.status != "running" or scheduler is None:
            return {}
        try:
            return dict(self._client.sync(scheduler.ncores, callback_timeout=ANSWER))
        except (OSError, TimeoutError, CommClosedError):
            return {}

    def progressed(self) -> None:
        """Note that a result has come."""
        self._since, self._was_told, self._without_result = None, False, _waited()

    def check(self) -> None:
        """Say what is waited for where that takes long, and stop where it takes too long.

        Raises
        ------
        BuildStopped
        """
        without_result = self._without_result.seconds()
        if self._client.status != "running":
            what = "the Dask scheduler, which doesn't answer"
        elif not self.threads():
            what = "a worker: the Dask cluster has none"
        else:
            self._since = None
            if without_result > TASK:
                raise BuildStopped(
                    f"no task has ended for {TASK / 60:.0f} min: see that the source and the lake can be read, and "
                    f"run the same command again"
                )
            return
        if self._since is None or what != self._what:
            self._since, self._what, self._was_told = _waited(), what, False
        waited = self._since.seconds()
        if waited >= NOTICE and not self._was_told:
            self._was_told = True
            tell(self._watchers, Noticed(message=f"waiting for {what}; the build stops after {PATIENCE / 60:g} min"))
        if waited >= PATIENCE:
            raise BuildStopped(
                f"waited {PATIENCE / 60:g} min for {what}: see that the cluster runs, and run the same command again"
            )


def _waited() -> Waited:
    return Waited(longest=2 * (LOOK + ANSWER))


def result_of(client: Client, future: Future, watchers: tuple[Listener, ...]) -> Any:
    """Return a task's result, and give up where the cluster is gone.

    Raises
    ------
    BuildStopped
    """
    done = Results()
    done.expect(future)
    waiting = Waiting(client, watchers)
    while done.next() is None:
        waiting.check()
    return future.result()


class Results:
    """Futures in the order in which they end."""

    def __init__(self) -> None:
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()

    def expect(self, future: Future) -> None:
        """Have a future come when it has ended, however."""
        future.add_done_callback(self._ended.put)

    def next(self) -> Future | None:
        """Return the next future that has ended, None where none has for a while."""
        try:
            return self._ended.get(timeout=LOOK)
        except queue.Empty:
            return None
