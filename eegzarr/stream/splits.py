"""Splits that never let a subject stand on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import xarray as xr

from eegzarr.challenge.rules import START_KIT_EXCLUSIONS
from eegzarr.errors import UsageError


def drop_start_kit_exclusions(windows: xr.Dataset) -> tuple[xr.Dataset, int]:
    """Return windows without the start kit's nine subjects, and how many of these were there."""
    return without_subjects(windows, START_KIT_EXCLUSIONS)


def without_subjects(windows: xr.Dataset, names: Iterable[str]) -> tuple[xr.Dataset, int]:
    """Return windows without those of some subjects, and how many of these were there."""
    subject = _labels(windows, "subject")
    there = set(subject.tolist())
    out = set(names) & there
    return (windows if not out else _with_subjects(windows, subject, there - out)), len(out)


def split_by_subject(
    windows: xr.Dataset, fractions: Sequence[float] = (0.8, 0.1, 0.1), *, seed: int = 2025, at_least: int = 1
) -> tuple[xr.Dataset, ...]:
    """Split windows into parts with disjoint subjects.

    Parameters
    ----------
    windows : Dataset
        With the coordinate ``subject``.
    fractions : sequence of float
        Share of the subjects that each part gets; they add up to 1.
    seed : int
        Which subjects go where depends on the seed and on the set of subjects alone.
    at_least : int
        Subjects in each part, whatever its share, if there are enough: 2 for a target that
        belongs to the person, since one subject's has no spread to score by.

    Returns
    -------
    tuple of Dataset
        One a fraction, in order, windows in their stored order.

    Raises
    ------
    UsageError
        If the fractions aren't shares of 1, or there are fewer subjects than parts.
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.ndim != 1 or not shares.size or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise UsageError(f"fractions must be positive and add up to 1, got {tuple(fractions)}")
    subject = _labels(windows, "subject")
    names = _shuffled_names(subject, len(shares), seed)
    bounds = _bounds(shares, len(names), at_least)
    return tuple(_with_subjects(windows, subject, names[first:stop]) for first, stop in pairwise(bounds))


def kfold_by_subject(windows: xr.Dataset, folds: int, *, seed: int = 2025) -> list[tuple[xr.Dataset, xr.Dataset]]:
    """Return (training, validation) for each fold; every subject is in one validation part.

    Parameters
    ----------
    windows : Dataset
        With the coordinate ``subject``.
    folds : int
        At least 2.
    seed : int
        As for `split_by_subject`.

    Raises
    ------
    UsageError
        If there are fewer than 2 folds, or fewer subjects than folds.
    """
    if folds < 2:
        raise UsageError(f"cross-validation needs at least 2 folds, got {folds}")
    subject = _labels(windows, "subject")
    names = _shuffled_names(subject, folds, seed)
    held_out = [names[fold::folds] for fold in range(folds)]
    return [
        (_with_subjects(windows, subject, np.setdiff1d(names, out)), _with_subjects(windows, subject, out))
        for out in held_out
    ]


def split_by_release(windows: xr.Dataset, parts: Sequence[str | Sequence[str]]) -> tuple[xr.Dataset, ...]:
    """Split windows into parts of whole releases, as the challenge does with R5 for validation.

    Parameters
    ----------
    windows : Dataset
        With the coordinates ``release`` and ``subject``.
    parts : sequence of str, or of sequences of str
        The release or releases of each part, e.g. ``(["R1", "R2"], "R5")``; others are left out.

    Raises
    ------
    UsageError
        If a release isn't there or stands in two parts, or a subject has windows in two parts.
    """
    named = [[part] if isinstance(part, str) else list(part) for part in parts]
    subject, release = _labels(windows, "subject"), _labels(windows, "release")
    there = sorted(set(release.tolist()))
    for name in (wanted := [name for part in named for name in part]):
        if name not in there:
            raise UsageError(f"there is no release {name!r} among the windows; there are {', '.join(there)}")
        if wanted.count(name) > 1:
            raise UsageError(f"release {name!r} stands in more than one part")
    rows = [np.flatnonzero(np.isin(release.astype(str), part)) for part in named]
    seen: dict[str, int] = {}
    for number, own in enumerate(rows):
        for name in sorted(set(subject[own].tolist())):
            if seen.setdefault(name, number) != number:
                raise UsageError(
                    f"subject {name} has windows in {named[seen[name]]} and in {named[number]}: "
                    f"leave it out of one, or split with split_by_subject"
                )
    return tuple(windows.isel(window=own) for own in rows)


def _labels(windows: xr.Dataset, name: str) -> np.ndarray:
    if name not in windows.coords:
        raise UsageError(f"windows have no coordinate {name!r} to split by")
    return windows[name].to_numpy().astype(object)


def _shuffled_names(subject: np.ndarray, parts: int, seed: int) -> np.ndarray:
    names = np.array(sorted(set(subject.tolist())), dtype=object)
    if len(names) < parts:
        raise UsageError(f"{len(names)} subjects can't be split into {parts} parts")
    return names[np.random.default_rng(seed).permutation(len(names))]


def _bounds(shares: np.ndarray, subjects: int, at_least: int) -> np.ndarray:
    """Split `subjects` by shares, with at least so many in each part, or as many as there are for each."""
    least = min(at_least, subjects // len(shares))
    sizes = np.maximum(least, np.floor(shares * subjects)).astype(int)
    while sizes.sum() > subjects:
        sizes[np.argmax(sizes)] -= 1
    while sizes.sum() < subjects:
        sizes[np.argmax(shares * subjects - sizes)] += 1
    return np.concatenate([[0], np.cumsum(sizes)])


def _with_subjects(windows: xr.Dataset, subject: np.ndarray, names: Iterable[str]) -> xr.Dataset:
    chosen = set(names)
    return windows.isel(window=np.flatnonzero([name in chosen for name in subject.tolist()]))
