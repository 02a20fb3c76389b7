"""``eegzarr COMMAND …``, which is ``python -m eegzarr.COMMAND …``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

import cyclopts

from eegzarr.cli.output import lasting_output
from eegzarr.cli.run import Command, Invocation, make_app, run_app, run_command
from eegzarr.errors import UsageError
from eegzarr.suggest import did_you_mean

_ABOUT = "EEG recordings to deep-learning training, without running out of memory."
_MORE = "eegzarr COMMAND --help says more about a command; eegzarr completion completes them in your shell."


@dataclass(frozen=True)
class Listed:
    """A command in the list: the module that has it as ``main``, and what it does.

    The line is repeated here, because a command takes long to import.
    """

    module: str
    summary: str


COMMANDS = {
    "build": Listed("eegzarr.build.__main__", "Cut recordings into labelled windows and write them into a lake."),
    "completion": Listed("eegzarr.completion", "Print a script that completes eegzarr's commands in a shell."),
    "convert": Listed("eegzarr.convert", "Write windows that another program has cached into a lake."),
    "cut": Listed("eegzarr.cut.__main__", "Cut windows of any recipe from a lake's whole recordings."),
    "ensemble": Listed("eegzarr.train.ensemble", "Score the mean prediction of several runs."),
    "info": Listed("eegzarr.info", "Show what is in a lake."),
    "monitor": Listed("eegzarr.monitor", "Watch a build or a training."),
    "recipe": Listed("eegzarr.recipe", "Show what a recipe finds in a dataset, without building anything."),
    "report": Listed("eegzarr.report", "Write a page about a lake."),
    "sample": Listed("eegzarr.sample.__main__", "Simulate a small dataset like HBN-EEG."),
    "search": Listed("eegzarr.train.search", "Search for better options of a training."),
    "submit": Listed("eegzarr.train.submission", "Pack runs for the EEG Foundation Challenge and score the archive."),
    "train": Listed("eegzarr.train.__main__", "Fit a model to the windows of a lake and score it."),
    "verify": Listed("eegzarr.verify", "Compare everything in a lake with its checksums, and repair it."),
}


def load_command(name: str) -> Command:
    """Import a command of `COMMANDS`."""
    command: Command = import_module(COMMANDS[name].module).main
    return command


def main(argv: Sequence[str] | None = None, name: str = "eegzarr") -> int:
    """Run ``eegzarr COMMAND …``; return its exit code."""
    arguments = tuple(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        return load_command(arguments[0])(arguments[1:], f"{name} {arguments[0]}")
    with lasting_output():
        return run_command(name, lambda: _front_door(name, arguments), again="")


def _front_door(name: str, arguments: tuple[str, ...]) -> int:
    """Show the commands or the version, or say that there is no such command."""
    word = arguments[0] if arguments else "--help"
    if not word.startswith("-"):
        raise UsageError(
            f"there is no command {word!r}.{did_you_mean(word, COMMANDS)} There are {', '.join(COMMANDS)}."
        )
    app = make_app(name, help=_ABOUT, help_epilogue=_MORE, usage=f"Usage: {name} COMMAND ...")
    for command, listed in COMMANDS.items():
        app.command(f"{listed.module}:main", name=command, help=listed.summary)  # not imported for the list
    return run_app(app, arguments, Invocation(name, arguments))


def whole_app() -> cyclopts.App:
    """Return all commands with all their options, which imports them."""
    app = make_app("eegzarr", help=_ABOUT)
    for command in COMMANDS:
        app.command(load_command(command).app(command), name=command)
    return app
