"""Waiting for what may never come: what for is said after a while, and no wait is for ever."""

from __future__ import annotations

import time

from eegzarr.errors import BuildStopped
from eegzarr.events import Listener, Noticed, tell

NOTICE = 30.0  # s of waiting before it is said
PATIENCE = 600.0  # s before it is given up
SHORTEST_LOOK, LONGEST_LOOK = 0.01, 1.0  # s between looks at what is in use


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
        self._began = time.monotonic()
        self._look = SHORTEST_LOOK
        self._was_told = False

    def once_more(self) -> None:
        """Wait a little, longer each time; say it where that takes long already.

        Raises
        ------
        BuildStopped
            If it has taken too long.
        """
        waited = time.monotonic() - self._began
        if waited >= PATIENCE:
            raise BuildStopped(f"waited {PATIENCE / 60:g} min for {self._what}: run the same command again")
        if waited >= NOTICE and not self._was_told:
            self._was_told = True
            message = f"waiting for {self._what}; this stops after {PATIENCE / 60:g} min"
            tell(self._watchers, Noticed(message=message))
        time.sleep(self._look)
        self._look = min(2 * self._look, LONGEST_LOOK)
