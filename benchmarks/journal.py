"""Figures of a run that isn't finished, so that one that is broken off goes on where it was.

A journal is a file with a line of JSON for each figure; each run has its own, named by all that its
figures depend on, so that another run between doesn't lose them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Figure = TypeVar("Figure")


def begin(folder: Path, run: dict[str, object]) -> Path:
    """Return the journal of a run; it has lines if one like it was broken off.

    Parameters
    ----------
    folder : Path
        Where journals lie.
    run : dict
        All that the figures depend on: the commit, the source, the settings.
    """
    digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
    journal = folder / f"journal-{digest[:12]}.jsonl"
    text = journal.read_text() if journal.exists() else ""
    journal.write_text(text[: text.rfind("\n") + 1])  # a line that was broken off is no line
    return journal


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
    for line in journal.read_text().splitlines() if journal.exists() else ():
        kept = json.loads(line)
        if kept["name"] == name:
            figure: Figure = kept["figure"]
            return figure
    figure = measure()
    with journal.open("a") as file:
        file.write(json.dumps({"name": name, "figure": figure}) + "\n")
    return figure
