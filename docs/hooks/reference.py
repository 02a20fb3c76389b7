"""Fills in the reference pages from the code: a page can't fall behind what it is about.

``{{ commands }}`` becomes the help of every command, ``{{ public MODULE }}`` the docstrings of all
that the module makes public, ``{{ file PATH }}`` the contents of a file of the repository.
"""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import eegzarr
from eegzarr.command import COMMANDS, load_command

_ROOT = Path(__file__).parents[2]
_WIDTH = "78"  # columns of the commands' help


def on_config(config: Any, **_: Any) -> Any:
    """Put the version at the foot of each page (called by MkDocs)."""
    config.copyright = f"eegzarr {eegzarr.__version__}"
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks in a page (called by MkDocs)."""
    markdown = re.sub(
        r"^\{\{ commands \}\}$",
        lambda _: _commands(),
        markdown,
        flags=re.MULTILINE,
    )
    markdown = re.sub(
        r"^\{\{ file (\S+) \}\}$",
        # Its links are seen from the repository, those of pages from docs.
        lambda mark: (
            (_ROOT / mark[1]).read_text("utf8").replace("](docs/", "](")
        ),
        markdown,
    )
    return re.sub(
        r"^\{\{ public (\S+) \}\}$",
        lambda mark: _public(mark[1]),
        markdown,
        flags=re.MULTILINE,
    )


def _commands() -> str:
    return "\n\n".join(
        f"## {name}\n\n```text\n{_help(name)}\n```" for name in COMMANDS
    )


def _help(command: str) -> str:
    text = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _WIDTH
    try:
        with redirect_stdout(text):
            load_command(command)(["--help"], f"eegzarr {command}")
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(
            COLUMNS=before
        )
    return text.getvalue().rstrip()


def _public(module: str) -> str:
    """Return a directive for each public class and function; mkdocstrings finds them where they are defined."""
    package = import_module(module)
    things = [
        getattr(package, name)
        for name in package.__all__
        if not name.startswith("__")
    ]
    return "\n\n".join(f"::: {_place(thing)}" for thing in things)


def _place(thing: object) -> str:
    """Return where an object is defined; a package that is a function has it in its module ``api``."""
    if isinstance(thing, ModuleType):
        return f"{thing.__name__}.api.{thing.__name__.rpartition('.')[2]}"
    return f"{thing.__module__}.{thing.__qualname__}"
