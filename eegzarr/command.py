"""What all commands share: errors as one line and an exit code, and ``eegzarr COMMAND``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TypeVar

from eegzarr.errors import EegzarrError, UsageError

T = TypeVar("T")
INTERRUPTED = 130
COMMANDS = {
    "build": "eegzarr.build.__main__",
    "convert": "eegzarr.convert",
    "info": "eegzarr.info",
    "monitor": "eegzarr.monitor",
    "report": "eegzarr.report",
    "sample": "eegzarr.sample",
    "train": "eegzarr.train.__main__",
    "verify": "eegzarr.verify",
}


def parsed_by(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return a parser of texts whose errors argparse words."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed


def run_command(name: str, command: Callable[[], int], again: str = "the same command goes on where it was") -> int:
    """Run a command; print what went wrong for the user as one line and return the exit code.

    `again` says what to do after an interrupt.
    """
    try:
        return command()
    except EegzarrError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted{'; ' if again else ''}{again}", file=sys.stderr)
        return INTERRUPTED


def main(argv: list[str] | None = None) -> int:
    """Run ``eegzarr COMMAND …``, which is ``python -m eegzarr.COMMAND …``."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] not in COMMANDS:
        wants_help = arguments[:1] in (["-h"], ["--help"])
        usage = f"usage: eegzarr {{{','.join(COMMANDS)}}} …\n`eegzarr COMMAND --help` tells more."
        print(usage, file=sys.stdout if wants_help else sys.stderr)
        return 0 if wants_help else 2
    return int(import_module(COMMANDS[arguments[0]]).main(arguments[1:]))
