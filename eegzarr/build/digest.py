"""What the bytes of a group depend on: its signals and its labels have a digest of their own.

As long as the digest of its signals stays the same, no shard is written again, whatever changes in its labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields

import numpy as np

from eegzarr.bids.dataset import Source
from eegzarr.build.plan import Plan
from eegzarr.recipes.recipe import Preparation, Recipe
from eegzarr.store.layout import Geometry

# Raise it when labels are derived in another way: complete groups then get new ones.
LABELS_VERSION = 1


def signal_part(fingerprint: str) -> str:
    """Return the part of a recording's fingerprint that changes with its signals: its size first."""
    return fingerprint.rpartition(":")[0]


def content_part(fingerprint: str) -> str:
    """Return the part of a recording's fingerprint that a copy of it has, too."""
    return signal_part(fingerprint).partition("@")[0]


def label_part(fingerprint: str) -> str:
    """Return the part of a recording's fingerprint that changes with what labels are made from."""
    return fingerprint.rpartition(":")[2]


def signals_digest(plan: Plan) -> str:
    """SHA-256 of where the samples of each window come from, what is done to them, and how they lie in shards.

    Their files are left out: content decides, see `eegzarr.build.content`.
    """
    sha = hashlib.sha256()
    how = [_chosen(plan.geometry), plan.channels, plan.recipe.sfreq, _chosen(plan.recipe.preparation)]
    recipe = plan.recipe
    if recipe.rename or recipe.types or recipe.missing != "skip":
        how.append([recipe.rename, recipe.types, recipe.missing])
    sha.update(json.dumps(how, sort_keys=True).encode())
    for inspection in plan.inspections:
        if inspection.n_windows:
            sha.update(f"{inspection.recording.path}\0{inspection.n_windows}\n".encode())
            if recipe.preparation.touches_recordings and inspection.header is not None and inspection.header.marks:
                sha.update(repr(inspection.header.marks).encode())  # no filter goes over a join
    sha.update(plan.windows["start_sample"].to_numpy("<i8").tobytes())
    return sha.hexdigest()


def _chosen(values: Geometry | Preparation) -> dict[str, object]:
    """Return the fields that aren't the default: one that a later version adds leaves digests as they were."""
    defaults = {field.name: field.default for field in fields(values)}
    return {name: value for name, value in asdict(values).items() if value != defaults[name]}


def labels_digest(recipe: Recipe, source: Source, fingerprints: Mapping[str, str]) -> str:
    """SHA-256 of all that labels and tables are made from, except the signals."""
    sha = hashlib.sha256(f"{LABELS_VERSION}\0{recipe.to_json()}\0{source.name}\n".encode())
    sha.update(source.participants.to_csv().encode())
    sha.update(source.sessions.to_csv().encode())
    sha.update(json.dumps(dict(source.description), sort_keys=True, default=str).encode())
    for path, fingerprint in fingerprints.items():
        sha.update(f"{path}\0{label_part(fingerprint)}\n".encode())
    return sha.hexdigest()


def plan_digest(signals: str, labels: str, fingerprints: Mapping[str, str]) -> str:
    """SHA-256 over all that a group's contents depend on; a copy of the source has the same one."""
    sha = hashlib.sha256(f"{signals}\n{labels}\n".encode())
    for path, fingerprint in fingerprints.items():
        sha.update(f"{path}\0{content_part(fingerprint)}\n".encode())
    return sha.hexdigest()


def fingerprints_of(plan: Plan) -> dict[str, str]:
    """Return the fingerprint of each recording that a plan knows, by its path."""
    return {inspection.recording.path: inspection.fingerprint for inspection in plan.inspections}


def prepared_with(preparation: Preparation) -> str:
    """Return the versions of what prepares recordings, "" where nothing does: other versions filter otherwise."""
    if not preparation.touches_recordings:
        return ""
    from importlib.metadata import version

    return f"MNE {version('mne')}, SciPy {version('scipy')}, NumPy {np.__version__}"
