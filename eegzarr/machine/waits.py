"""Waiting for what may never come: a message says for what after a while, and no wait lasts for ever."""

from __future__ import annotations

import time
from collections.abc import Callable

from eegzarr.errors import BuildStopped
from eegzarr.events import Listener, Noticed, tell

NOTICE = 30.0  # s of waiting before it is said
PATIENCE = 600.0  # s before it is given up
SHORTEST_LOOK, LONGEST_LOOK = 0.01, 1.0  # s between looks at what is in use


class Waited:
    """How long something was waited for; it counts only while this process runs, not while Ctrl-Z has stopped it.

    Parameters
    ----------
    longest : float
        s between two looks, at most; a longer pause wasn't waiting.
    clock : callable
        Gives seconds.
    """

    def __init__(self, longest: float = 10 * LONGEST_LOOK, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest, self._clock = longest, clock
        self._seconds, self._looked = 0.0, clock()

    def seconds(self) -> float:
        """Return the seconds until now; to be called at each look."""
        now = self._clock()
        self._seconds += min(now - self._looked, self._longest)
        self._looked = now
        return self._seconds


class Wait:
    """One wait for something that another process has.

    Parameters
    ----------
    what : str
        What is waited for, as a message names it.
    watchers : tuple of callable
        Told of a long wait.
    """

    def __init__(self, what: str, watchers: tuple[Listener, ...]) -> None:
        self._what, self._watchers = what, watchers
        self._waited = Waited()
        self._look = SHORTEST_LOOK
        self._was_told = False

    def once_more(self) -> None:
        """Wait a little, longer each time; say it where that takes long already.

        Raises
        ------
        BuildStopped
            If it has taken too long.
        """
        waited = self._waited.seconds()
        if waited >= PATIENCE:
            raise BuildStopped(f"waited {PATIENCE / 60:g} min for {self._what}: run the same command again")
        if waited >= NOTICE and not self._was_told:
            self._was_told = True
            message = f"waiting for {self._what}; this stops after {PATIENCE / 60:g} min"
            tell(self._watchers, Noticed(message=message))
        time.sleep(self._look)
        self._look = min(2 * self._look, LONGEST_LOOK)
