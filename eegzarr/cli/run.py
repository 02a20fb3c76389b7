"""A command: a function whose signature is its options, and whose errors are a line and an exit code."""

from __future__ import annotations

import atexit
import gc
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cyclopts
import docstring_parser
from cyclopts import exceptions

from eegzarr.cli.help import OPTIONS, Columns
from eegzarr.cli.output import lasting_output
from eegzarr.cli.signature import annotated
from eegzarr.errors import EegzarrError, UsageError
from eegzarr.suggest import did_you_mean

INTERRUPTED = 130
GOES_ON = "the same command resumes"


@dataclass(frozen=True)
class Invocation:
    """How a command was called; a command that has a parameter of this type is given it."""

    name: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join([*self.name.split(), *self.arguments])


@dataclass(frozen=True)
class Command:
    """A command, callable with its arguments.

    Parameters
    ----------
    module : str
        What ``python -m`` runs it by.
    function : callable
        Its parameters are the options, its docstring the help; returns the exit code.
    again : str
        What to do after an interrupt.
    usage : str
        What follows the name in the usage line, where the signature doesn't say it.
    epilogue : str
        What the help ends with.
    """

    module: str
    function: Callable[..., int]
    again: str = GOES_ON
    usage: str = ""
    epilogue: str = ""

    def __post_init__(self) -> None:
        annotated(self.function)

    def __call__(self, argv: Sequence[str] | None = None, name: str | None = None) -> int:
        """Run with these arguments, default those of the process; return the exit code.

        `name` is how the command was called, default ``python -m MODULE``.
        """
        called = name or f"python -m {self.module}"
        arguments = tuple(sys.argv[1:] if argv is None else argv)
        with lasting_output():
            return run_command(called.removeprefix("python -m "), lambda: self._run(called, arguments), self.again)

    def app(self, name: str) -> cyclopts.App:
        """Return the command as cyclopts knows it."""
        return make_app(
            name,
            default_command=self.function,
            help=_prose(self.function),
            usage=f"Usage: {name} {self.usage}" if self.usage else None,
            help_epilogue=self.epilogue or None,
        )

    def _run(self, name: str, arguments: tuple[str, ...]) -> int:
        return run_app(self.app(name), arguments, Invocation(name, arguments))


def make_app(name: str, **settings: Any) -> cyclopts.App:
    """Return an app with what is the same for all commands."""
    from eegzarr import __version__

    app = cyclopts.App(
        name=name,
        version=f"eegzarr {__version__}",
        help_format="plaintext",
        help_formatter=Columns(),
        group_parameters=cyclopts.Group(OPTIONS),
        # A list takes one value or more: --releases R1 R2. Of an option that is given twice the last counts. Only what
        # says so has a --no-… form.
        default_parameter=cyclopts.Parameter(
            negative=(), consume_multiple=(1, None), short_alias=False, allow_repeating=True
        ),
        suppress_keyboard_interrupt=False,
        **settings,
    )
    for flag in ("--help", "--version"):
        app[flag].show = False  # the columns have them among the options
    return app


def run_app(app: cyclopts.App, arguments: Sequence[str], invocation: Invocation) -> int:
    """Parse and call; a mistake in the arguments is a UsageError of one line."""
    try:
        function, bound, filled = app.parse_args(list(arguments), exit_on_error=False, print_error=False)
    except exceptions.CycloptsError as error:
        raise UsageError(f"{_one_line(error)} See {invocation.name} --help.") from error
    given = dict.fromkeys((name for name, kind in filled.items() if kind is Invocation), invocation)
    return int(function(*bound.args, **bound.kwargs, **given) or 0)


def run_command(name: str, command: Callable[[], int], again: str = GOES_ON) -> int:
    """Run a command; print what went wrong for the user as one line and return the exit code.

    `again` says what to do after an interrupt.
    """
    # When the process ends. Python would look through all that is left once more: 0.2 s with 1,200 modules.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    try:
        return command()
    except EegzarrError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted{'; ' if again else ''}{again}", file=sys.stderr)
        return INTERRUPTED


def _prose(function: Callable[..., int]) -> str:
    """Return what a docstring says before its parameters, a line for each paragraph."""
    parsed = docstring_parser.parse(function.__doc__ or "", docstring_parser.DocstringStyle.NUMPYDOC)
    text = f"{parsed.short_description or ''}\n\n{parsed.long_description or ''}"
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def _one_line(error: exceptions.CycloptsError) -> str:
    """Return a message with what there is instead."""
    text = " ".join(str(error).split())
    cause = error.__cause__ or error.__context__
    if isinstance(cause, UsageError):
        return str(cause) if str(cause).endswith(".") else f"{cause}."
    if isinstance(error, exceptions.UnusedCliTokensError):
        return f"there is no use for {' '.join(map(repr, error.unused_tokens or []))}."
    choices = _choices(error)
    if isinstance(error, exceptions.CoercionError) and error.token is not None and choices:
        option = error.token.keyword or error.argument.name  # type: ignore[union-attr]
        value = error.token.value
        return f"{option} must be one of {', '.join(choices)}, got {value!r}.{did_you_mean(value, choices)}"
    return text if text.endswith((".", "?")) else f"{text}."


def _choices(error: exceptions.CycloptsError) -> list[str]:
    return [] if error.argument is None else list(error.argument.get_choices() or [])
