"""Classes as integers, as in the CF conventions: codes, and the attributes that say what they mean.

See https://cfconventions.org, "Flags": ``flag_values`` are the codes and ``flag_meanings`` their names, separated by
blanks, so that a name's own blanks become ``_``. ``classes`` has the names as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MISSING = -1  # the code of a class that isn't known: the array's _FillValue, never one of flag_values
_NO_WORD = re.compile(r"[^A-Za-z0-9_\-.+@]+")


def coded(names: npt.NDArray[np.object_], classes: Sequence[str]) -> npt.NDArray[np.int16]:
    """Return the code of each name, `MISSING` for a name that isn't a class."""
    code = {name: number for number, name in enumerate(classes)}
    return np.array([code.get(name, MISSING) for name in names.tolist()], np.int16)


def flags(codes: npt.NDArray[np.integer[Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Return the attributes of an array of codes.

    ``_FillValue`` is there where a class is missing: readers of CF give NaN then, and integers where all are known.
    """
    words = _distinct([_NO_WORD.sub("_", name).strip("_") or "unnamed" for name in classes])
    missing = {"_FillValue": MISSING} if (codes == MISSING).any() else {}
    return {
        "flag_values": list(range(len(classes))),
        "flag_meanings": " ".join(words),
        "classes": list(classes),
        **missing,
    }


def classes_of(attributes: Mapping[str, Any]) -> dict[int, str] | None:
    """Return the name of each code by an array's attributes, None if it has no classes."""
    if "flag_values" not in attributes or "flag_meanings" not in attributes:
        return None
    values = np.ravel(attributes["flag_values"]).tolist()
    told = attributes.get("classes")
    names = str(attributes["flag_meanings"]).split()
    if told is not None and len(np.ravel(told)) == len(values):
        names = list(map(str, np.ravel(told).tolist()))
    return dict(zip(map(int, values), names, strict=False))


def names_of(codes: npt.NDArray, classes: Mapping[int, str]) -> npt.NDArray[np.object_]:
    """Return the class of each code, "" where it is missing: -1, or NaN where a reader has decoded it."""
    return np.array([classes.get(code, "") for code in np.nan_to_num(codes, nan=MISSING).tolist()], object)


def _distinct(words: list[str]) -> list[str]:
    """Return words that are all different."""
    taken: set[str] = set()
    made = []
    for word in words:
        own, number = word, 2
        while own in taken:
            own, number = f"{word}_{number}", number + 1
        taken.add(own)
        made.append(own)
    return made
