"""Fills in pages from the code: a page can't fall behind what it is about.

``{{ commands }}`` becomes the help of every command, ``{{ file PATH }}`` the contents of a file of the repository.
"""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stdout
from pathlib import Path
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
    return re.sub(
        r"^\{\{ file (\S+) \}\}$",
        # Its links are seen from the repository, those of pages from docs.
        lambda mark: (
            (_ROOT / mark[1]).read_text("utf8").replace("](docs/", "](")
        ),
        markdown,
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
