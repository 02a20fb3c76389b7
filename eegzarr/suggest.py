"""Suggestions for names that are unknown: one function for commands, options, recipes, models, releases and labels."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_ALIKE = 0.6  # of difflib's ratio: "chalenge1" is 0.95 of challenge1, "windows" is 0.46 of "recordings"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` is most probably a misspelling of, None if there is none."""
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=_ALIKE)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean X?" for a message that ends in a sentence, "" if nothing is alike."""
    found = closest(name, known)
    return f" Did you mean {found}?" if found is not None and found != name else ""
