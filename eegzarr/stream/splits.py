"""Splits that never have a subject, or another group of windows, on both sides.

Two sites may both have a subject 00: if a name is in several releases or datasets, these distinguish it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import xarray as xr

from eegzarr.challenge.rules import START_KIT_EXCLUSIONS
from eegzarr.errors import UsageError
from eegzarr.recipes.montage import without_montage
from eegzarr.store.table import no_label
from eegzarr.stream.counts import whole

_COUNTED = ("subject", "session", "release", "recording", "task", "run")
_MOST_STRATA, _FIFTHS, _LEAST_FOLDS = 10, 5, 2


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
    shares = _shares(fractions)
    subject = _people(windows)
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
    if whole("folds", folds, 0) < _LEAST_FOLDS:
        raise UsageError(f"cross-validation needs at least 2 folds, got {folds}")
    subject = _people(windows)
    names = _shuffled_names(subject, folds, seed)
    held_out = [names[fold::folds] for fold in range(folds)]
    return [
        (_with_subjects(windows, subject, np.setdiff1d(names, out)), _with_subjects(windows, subject, out))
        for out in held_out
    ]


def split_by(
    windows: xr.Dataset,
    label: str,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    *,
    stratify: str | None = None,
    seed: int = 2025,
) -> tuple[xr.Dataset, ...]:
    """Split windows into parts that share no value of a label, such as a site or a subject.

    Parameters
    ----------
    windows : Dataset
    label : str
        Coordinate along ``window``; subjects of the same name in several releases are different ones.
    fractions : sequence of float
        Share of the values that each part gets; they add up to 1.
    stratify : str, optional
        Label whose values each part gets in like proportion, such as a diagnosis: by the most frequent one
        of each value of `label`. Numbers with more than 10 values are cut into fifths.
    seed : int
        Which values go where depends on the seed, the sets of values and their strata alone.

    Returns
    -------
    tuple of Dataset
        One per fraction, in order, windows in their stored order.

    Raises
    ------
    UsageError
        If the fractions aren't shares of 1, a label isn't there, or there are fewer values than parts.
    """
    shares = _shares(fractions)
    values = _people(windows) if label == "subject" else _labels(windows, label).astype(str)
    if stratify is None:
        names = _shuffled_names(values, len(shares), seed, label)
        bounds = _bounds(shares, len(names), 1)
        return tuple(_with_subjects(windows, values, names[first:stop]) for first, stop in pairwise(bounds))
    strata = _strata(_labels(windows, stratify))
    table = pd.DataFrame({"value": values, "stratum": strata})
    stratum = table.groupby("value")["stratum"].agg(lambda own: str(own.value_counts(sort=False).idxmax()))
    names = _shuffled_names(values, len(shares), seed, label)
    # Strata one after another, and each value to the part that is furthest behind its share: so every part
    # has its share of each stratum, and of all.
    names = names[np.argsort(stratum[names].to_numpy(), kind="stable")]
    parts: list[list[str]] = [[] for _ in shares]
    total = np.zeros(len(shares))
    own = np.zeros(len(shares))
    before = None
    for name in names.tolist():
        if stratum[name] != before:
            before, own = stratum[name], np.zeros(len(shares))
        behind = (own + 1) / shares
        part = int(np.lexsort((total / shares, np.round(behind, 9)))[0])
        parts[part].append(name)
        own[part] += 1
        total[part] += 1
    for part in range(len(parts)):
        if not parts[part]:
            largest = int(np.argmax([len(one) for one in parts]))
            parts[part].append(parts[largest].pop())
    return tuple(_with_subjects(windows, values, part) for part in parts)


def split_by_release(windows: xr.Dataset, parts: Sequence[str | Sequence[str]]) -> tuple[xr.Dataset, ...]:
    """Split windows into parts of whole releases, as the challenge does with R5 for validation.

    Parameters
    ----------
    windows : Dataset
        With the coordinates ``release`` and ``subject``.
    parts : sequence of str, or of sequences of str
        The release or releases of each part, e.g. ``(["R1", "R2"], "R5")``; others are left out.
        Subjects of the same name in two releases are different ones: a site's 00 isn't another's.

    Raises
    ------
    UsageError
        If a release is missing or in two parts.
    """
    return _split_by_name(windows, "release", parts)


def split_by_session(windows: xr.Dataset, parts: Sequence[str | Sequence[str]]) -> tuple[xr.Dataset, ...]:
    """Split windows into parts of whole sessions, to train on some days and test on others.

    Parameters
    ----------
    windows : Dataset
        With the coordinate ``session``.
    parts : sequence of str, or of sequences of str
        The session or sessions of each part, e.g. ``(["1", "2"], "3")``; others are left out. A subject has
        windows in several parts: that is what is tested.

    Raises
    ------
    UsageError
        If a session is missing or in two parts.
    """
    return _split_by_name(windows, "session", parts)


def _split_by_name(windows: xr.Dataset, label: str, parts: Sequence[str | Sequence[str]]) -> tuple[xr.Dataset, ...]:
    if isinstance(parts, str) or not isinstance(parts, Iterable):
        raise UsageError(f"parts are a list of {label}s, such as (['1', '2'], '3'), got {parts!r:.60}")
    several = [[part] if isinstance(part, str) or not isinstance(part, Iterable) else list(part) for part in parts]
    named = [[str(name) for name in part] for part in several]
    values = _labels(windows, label).astype(str)
    there = sorted(set(values.tolist()))
    for name in (wanted := [name for part in named for name in part]):
        if name not in there:
            raise UsageError(f"there is no {label} {name!r} among the windows; there are {', '.join(there)}")
        if wanted.count(name) > 1:
            raise UsageError(f"{label} {name!r} is in more than one part")
    return tuple(windows.isel(window=np.flatnonzero(np.isin(values, part))) for part in named)


def _people(windows: xr.Dataset) -> np.ndarray:
    """Return whose each window is, (window,): the subject, with release or dataset where these share a name."""
    subject = _labels(windows, "subject")
    for label in ("release", "dataset"):
        if label not in windows.coords:
            continue
        origin = _labels(windows, label).astype(str)
        if label == "release":
            origin = np.array([without_montage(name) for name in origin.tolist()], object)
        pairs = set(zip(origin.tolist(), subject.tolist(), strict=True))
        if len(pairs) > len(set(subject.tolist())):
            subject = np.array([f"{place}/{name}" for place, name in zip(origin, subject, strict=True)], object)
    return subject


def _shares(fractions: Sequence[float]) -> np.ndarray:
    try:
        shares = np.asarray(fractions, dtype=float)
    except (TypeError, ValueError):
        raise UsageError(f"fractions must be numbers, such as (0.8, 0.1, 0.1), got {fractions!r:.60}") from None
    if shares.ndim != 1 or not shares.size or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        told = ", ".join(f"{share:g}" for share in np.ravel(shares).tolist()) or "none"
        raise UsageError(f"fractions must be positive and add up to 1, got {told}")
    return shares


def _strata(values: np.ndarray) -> np.ndarray:
    series = pd.Series(values).infer_objects()
    if pd.api.types.is_numeric_dtype(series) and series.nunique() > _MOST_STRATA:
        return pd.qcut(series, _FIFTHS, labels=False, duplicates="drop").fillna(-1).astype(int).astype(str).to_numpy()
    return series.astype(object).where(series.notna(), "").astype(str).to_numpy()  # unknown is a stratum, too


def _labels(windows: xr.Dataset, name: str) -> np.ndarray:
    if not isinstance(windows, xr.Dataset | xr.DataArray):
        raise UsageError(f"windows must be a Dataset of windows, got {type(windows).__name__}: split each by itself")
    if name not in windows.coords or windows[name].dims not in (("window",), ()):
        raise no_label(windows, name, "split by")
    return np.broadcast_to(windows[name].to_numpy().astype(object), windows.sizes["window"])


def _shuffled_names(subject: np.ndarray, parts: int, seed: int, kind: str = "subject") -> np.ndarray:
    names = np.array(sorted(set(subject.tolist())), dtype=object)
    if len(names) < parts:
        several = f"{kind}s" if kind in _COUNTED else f"values of {kind!r}"
        raise UsageError(f"{len(names)} {several} can't be split into {parts} parts")
    return names[np.random.default_rng(whole("seed", seed, 0)).permutation(len(names))]


def _bounds(shares: np.ndarray, subjects: int, at_least: int) -> np.ndarray:
    """Split `subjects` by shares, with at least this many in each part, or as many as there are for each."""
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
