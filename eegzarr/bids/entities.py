"""File names of BIDS: their entities, what they are of, and which sidecars apply to which recording.

Pure functions of a dataset's list of files. See https://bids-specification.readthedocs.io, "The Inheritance Principle".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

# What a sidecar's name ends in. Those in this list apply by inheritance.
EVENTS, CHANNELS, ELECTRODES = "events.tsv", "channels.tsv", "electrodes.tsv"
SESSIONS = "sessions.tsv"
COORDINATES, EEG_JSON, SCANS = "coordsystem.json", "eeg.json", "scans.tsv"
SIDECARS = (EVENTS, CHANNELS, ELECTRODES, COORDINATES, EEG_JSON, SCANS)
_OF_A_SPACE = (ELECTRODES, COORDINATES)
_OF_THE_HEAD = ("captrak", "eeglab", "eeglab-hj", "ctf", "elektaneuromag", "4dbti", "kityokogawa", "chietiitab")


def entities_of(name: str) -> dict[str, str]:
    """Return the entities of a file's name, such as ``{"sub": "01", "task": "rest"}``, in its order."""
    *parts, last = name.rsplit("/", 1)[-1].split("_")
    found: dict[str, str] = {}
    for part in (*parts, last.partition(".")[0]):
        key, dash, value = part.partition("-")
        if dash and key.isalnum() and value:
            found.setdefault(key, value)
    return found


@dataclass(frozen=True)
class _Sidecar:
    path: str
    entities: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Inheritance:
    """The sidecars of a dataset, by folder and by what they are."""

    by_folder: dict[str, dict[str, list[_Sidecar]]] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Iterable[str]) -> Inheritance:
        """Sort a dataset's sidecars, given its files' paths relative to its root."""
        by_folder: dict[str, dict[str, list[_Sidecar]]] = {}
        for path in files:
            folder, _, name = path.rpartition("/")
            kind = name.rpartition("_")[2]
            if kind in SIDECARS:
                sidecar = _Sidecar(path, frozenset(entities_of(name).items()))
                by_folder.setdefault(folder, {}).setdefault(kind, []).append(sidecar)
        return cls(by_folder)

    def applying(self, path: str, kind: str) -> tuple[str, ...]:
        """Return the sidecars of a kind that apply to a recording, the most general first.

        A sidecar applies where it lies in the recording's folder or above it, and has no entity that the
        recording lacks. Those of electrodes and coordinate systems may also name their space.
        """
        own = set(entities_of(path).items())
        found = []
        for depth, folder in enumerate(_folders(path)):
            for sidecar in self.by_folder.get(folder, {}).get(kind, ()):
                foreign = sidecar.entities - own
                if not foreign or (kind in _OF_A_SPACE and {key for key, _ in foreign} == {"space"}):
                    # Of several in one folder the one that says most about the recording comes last.
                    found.append((depth, len(sidecar.entities & own), sidecar.path))
        return tuple(path for _, _, path in sorted(found, key=lambda one: one[:2]))

    def nearest(self, path: str, kind: str) -> str:
        """Return the most specific sidecar of a kind that applies to a recording, "" where none does."""
        found = self.applying(path, kind)
        return found[-1] if found else ""

    def electrodes(self, path: str) -> tuple[str, str]:
        """Return a recording's electrodes.tsv and the coordsystem.json of the same space, "" for what isn't there.

        Where electrodes are given in several spaces, one of the head's own, since a way leads from there to MNE's;
        else the first by name that has a coordinate system.
        """
        tables = self.applying(path, ELECTRODES)
        if not tables:
            return "", self.nearest(path, COORDINATES)
        nearest = tables[-1]
        folder = PurePosixPath(nearest).parent
        beside = [table for table in tables if PurePosixPath(table).parent == folder]
        systems = {entities_of(system).get("space", ""): system for system in self.applying(path, COORDINATES)}
        for table in sorted(beside, key=lambda path: entities_of(path).get("space", "").lower() not in _OF_THE_HEAD):
            if (system := systems.get(entities_of(table).get("space", ""))) is not None:
                return table, system
        return beside[0], ""


def _folders(path: str) -> list[str]:
    """Return the folders above a file, the dataset's root first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]
