"""Names from outside, made safe: what becomes a label, a group or a file of a lake.

A label is a folder on a disk and a key in a bucket, and several machines that read the same lake have
different rules for both: the strictest of them holds everywhere.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable

_LONGEST = 200  # bytes; file systems take 255, and writers append suffixes
_METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # no file can have these on Windows
_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')


def safe_name(name: str) -> str:
    """Return a name as a file, a key and a label can have it; itself where it is safe."""
    safe = unicodedata.normalize("NFC", name).strip()
    safe = _UNSAFE.sub("_", safe).lstrip(".").rstrip(". ")
    safe = re.sub(r"^__+", "_", safe)  # Zarr keeps names that begin with two for itself
    if name in _METADATA or _DEVICES.fullmatch(safe) or safe.endswith(".partial"):
        safe = f"{safe.replace('.', '_')}_"
    if len(safe.encode()) > _LONGEST:
        digest = hashlib.sha256(safe.encode()).hexdigest()[:8]
        safe = f"{safe.encode()[: _LONGEST - 9].decode(errors='ignore')}_{digest}"
    return safe or "unnamed"


def label_names(given: Iterable[str], taken: Collection[str], prefix: str) -> dict[str, str]:
    """Return the label that each column of a table becomes: its own name where that is safe and free.

    No two labels differ in their case alone, since the file systems of macOS and Windows treat them as equal.

    Parameters
    ----------
    given : iterable of str
        Columns of one table, in its order.
    taken : collection of str
        Labels, axes and tables that a lake has already.
    prefix : str
        Put before the name of a column that is like one of them, such as ``participant``.
    """
    used = {name.casefold() for name in taken}
    names = {}
    for name in given:
        label = safe_name(name)
        if label.casefold() in used:
            label = f"{prefix}_{label}"
        first, number = label, 2
        while label.casefold() in used:
            label, number = f"{first}_{number}", number + 1
        used.add(label.casefold())
        names[name] = label
    return names


def renamed(names: dict[str, str]) -> str:
    """Return what `label_names` changed, for people; "" where nothing."""
    return ", ".join(f"{old!r} is now {new!r}" for old, new in names.items() if old != new)
