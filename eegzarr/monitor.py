"""Watch a build or a training: ``python -m eegzarr.monitor RUN_OR_LAKE``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from eegzarr.cli.run import Command
from eegzarr.errors import UsageError

if TYPE_CHECKING:
    from eegzarr.watch.view import View


def monitor(run_or_lake: str, /, *, once: bool = False, interval: float = 1.0, wait: float = 0.0) -> int:
    """Watch a build or a training.

    Shows how far it is, its speed, memory and time left, from the files that it writes. It only reads: close it and
    open it as you like.

    Parameters
    ----------
    run_or_lake
        Folder of a training, or a lake that is being built.
    once
        Print one view and exit.
    interval
        Seconds between views.
    wait
        Seconds to wait for the run to begin.
    """
    from rich.console import Console
    from rich.live import Live

    from eegzarr.watch.monitor import draw
    from eegzarr.watch.view import look

    if not 0 < interval < float("inf"):
        raise UsageError(f"--interval must be above 0 s, got {interval}")
    console = Console()
    view = _first_view(run_or_lake, wait)
    if once or not console.is_terminal:
        console.print(draw(view))
        return 0
    with Live(draw(view), console=console, refresh_per_second=4) as live:
        while not view.is_over:
            time.sleep(interval)
            view = look(run_or_lake)
            live.update(draw(view))
    return 0


def _first_view(path: str, patience: float) -> View:
    from eegzarr.watch.view import look

    deadline = time.monotonic() + patience
    while True:
        try:
            return look(path)
        except UsageError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.2)


main = Command("eegzarr.monitor", monitor, again="")

if __name__ == "__main__":
    raise SystemExit(main())
