"""Figures of a run that isn't finished, so that one that is broken off goes on where it was.

The journal is a file with a line of JSON for each figure, after a line that says what run they are of.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Figure = TypeVar("Figure")


def begin(journal: Path, run: dict[str, object]) -> int:
    """Keep the journal of a run like this one, or begin a new one; return how many figures are there.

    Parameters
    ----------
    journal : Path
    run : dict
        All that the figures depend on: the commit, the source, the settings.
    """
    about = json.dumps(run)
    lines = _lines(journal)
    if not lines or lines[0] != about:
        lines = [about]
    # A line that was broken off is no line.
    journal.write_text("".join(f"{line}\n" for line in lines))
    return len(lines) - 1


def once(journal: Path, name: str, measure: Callable[[], Figure]) -> Figure:
    """Return a figure from the journal, or measure it and keep it there.

    Parameters
    ----------
    journal : Path
    name : str
        Tells it from all others of the run.
    measure : callable
        Returns what JSON can hold.
    """
    for line in _lines(journal)[1:]:
        kept = json.loads(line)
        if kept["name"] == name:
            figure: Figure = kept["figure"]
            return figure
    figure = measure()
    with journal.open("a") as file:
        file.write(json.dumps({"name": name, "figure": figure}) + "\n")
    return figure


def _lines(journal: Path) -> list[str]:
    """Return the lines that are whole."""
    text = journal.read_text() if journal.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()
