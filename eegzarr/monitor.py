"""Watch a build or a training: ``python -m eegzarr.monitor RUN_OR_LAKE``."""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console
from rich.live import Live

from eegzarr.command import run_command
from eegzarr.errors import UsageError
from eegzarr.watch.monitor import draw
from eegzarr.watch.view import View, look


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m eegzarr.monitor",
        description="Show how far a build or a training is, its speed, memory and time left, from the files that it "
        "writes. It only reads: close it and open it as you like.",
    )
    parser.add_argument("path", metavar="RUN_OR_LAKE")
    parser.add_argument("--once", action="store_true", help="print one view and exit")
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="between views (default: 1 s)")
    parser.add_argument("--wait", type=float, default=0.0, metavar="S", help="for the run to begin (default: 0 s)")
    arguments = parser.parse_args(argv)
    return run_command("eegzarr.monitor", lambda: _monitor(arguments), again="")


def _monitor(arguments: argparse.Namespace) -> int:
    if not 0 < arguments.interval < float("inf"):
        raise UsageError(f"--interval must be above 0 s, got {arguments.interval}")
    console = Console()
    view = _first_view(arguments.path, arguments.wait)
    if arguments.once or not console.is_terminal:
        console.print(draw(view))
        return 0
    with Live(draw(view), console=console, refresh_per_second=4) as live:
        while not view.is_over:
            time.sleep(arguments.interval)
            view = look(arguments.path)
            live.update(draw(view))
    return 0


def _first_view(path: str, patience: float) -> View:
    deadline = time.monotonic() + patience
    while True:
        try:
            return look(path)
        except UsageError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
