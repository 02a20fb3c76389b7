"""The training, validation and test parts of a run: disjoint in subjects, by construction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from eegzarr.challenge.rules import SCORED_TASK, SEEN_SECONDS, VALIDATION_RELEASE
from eegzarr.errors import UsageError
from eegzarr.store.group import read_attributes
from eegzarr.store.layout import group_path
from eegzarr.store.open import open_windows, recipes
from eegzarr.stream.splits import drop_start_kit_exclusions, kfold_by_subject, split_by_subject, without_subjects
from eegzarr.stream.stored import list_splits, open_split
from eegzarr.stream.targets import recipe_target
from eegzarr.suggest import did_you_mean
from eegzarr.train.loop.where import where_holds
from eegzarr.train.loop.who import people, told_apart
from eegzarr.train.options import SPLITS, FitOptions
from eegzarr.train.task import AS_STORED, TARGET, Given, Task

_PARTS = {"train": "training", "valid": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Windows of each part; no subject is in two, but where a split that the lake keeps says so.

    Attributes
    ----------
    test : Dataset or None
        None where a release is the validation part: then there is no other.
    notes : tuple of str
        What a user should know about the split.
    plan_digests : dict of str to str
        Of each group, to check that a lake is still the same.
    given : Given
        How its windows are given to a model.
    names : tuple of str
        Of the targets, for people.
    """

    train: xr.Dataset
    valid: xr.Dataset
    test: xr.Dataset | None
    notes: tuple[str, ...]
    plan_digests: dict[str, str]
    given: Given = AS_STORED
    names: tuple[str, ...] = (TARGET,)

    def subjects(self) -> dict[str, list[str]]:
        """Return the subjects of each part, sorted."""
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        return {
            name: [] if part is None else sorted(set(part["subject"].to_numpy().tolist()))
            for name, part in parts.items()
        }


def make_parts(options: FitOptions) -> Parts:
    """Open a lake's windows and split them as the options say.

    Raises
    ------
    UsageError
        If they can't be split so.
    LakeError
        If the lake can't be read.
    """
    notes: list[str] = []
    if options.is_kept_split:
        train, valid, test = kept_parts(options, notes)
        windows, digests = train, plan_digests(options, _releases_of(train, valid, test))
    else:
        windows = open_windows(options.lake, options.recipe, list(options.releases) or None)
        digests = plan_digests(options, options.releases)
        if not options.keep_start_kit_exclusions:
            windows, excluded = drop_start_kit_exclusions(windows)
            if excluded:
                notes.append(f"{excluded} subjects left out, as in the challenge's start kit (--keep-excluded)")
        train, valid, test = _split(options, windows, list(digests), notes)
    _check_predicts(windows, options)
    if options.recipe in SEEN_SECONDS:
        notes.append(
            f"scored as the challenge's evaluator does: {SEEN_SECONDS[options.recipe]:g} s of each window of the task "
            f"{SCORED_TASK[options.recipe]}, where it draws them"
        )
    train = where_holds(train, options.where, "--where", "training", notes)
    valid = where_holds(valid, options.valid_where, "--valid-where", "validation", notes)
    if test is not None:
        test = where_holds(test, options.valid_where, "--valid-where", "test", notes)
    return Parts(
        train=train,
        valid=valid,
        test=test,
        notes=tuple(notes),
        plan_digests=digests,
        given=given_by(options),
        names=options.target or _recipe_targets(windows),
    )


def spread_over_subjects(windows: xr.Dataset, count: int) -> xr.Dataset:
    """Return at most `count` windows, spread evenly over the subjects and over the windows of each; all, if it is 0.

    Of each subject there is one at least.
    """
    if not 0 < count < windows.sizes["window"]:
        return windows
    names, subject = np.unique(windows["subject"].to_numpy().astype(str), return_inverse=True)
    own = np.bincount(subject)
    quotas = np.arange(1, own.max() + 1)
    quota = max(1, int((np.minimum(own[:, None], quotas).sum(axis=0) <= count).sum()))
    chosen = [
        places[np.linspace(0, len(places) - 1, min(quota, len(places))).round().astype(int)]
        for places in (np.flatnonzero(subject == code) for code in range(len(names)))
    ]
    return windows.isel(window=np.sort(np.concatenate(chosen)))


def _recipe_targets(windows: xr.Dataset) -> tuple[str, ...]:
    named = json.loads(windows.attrs.get("recipe") or "{}").get("target", TARGET)
    return (named,) if isinstance(named, str) else tuple(named)


def task_of(parts: Parts) -> Task:
    """Return what is predicted."""
    return Task.of(parts.given.stream(parts.train, 1, rank=0, ranks=1), parts.names)


def given_by(options: FitOptions) -> Given:
    """Return how the windows of a run are given to its models."""
    return Given.by(options.target, options.normalize, options.clamp or None)


def _check_predicts(windows: xr.Dataset, options: FitOptions) -> None:
    """Refuse windows of a recipe that predicts nothing, where no label is named."""
    if not options.target and recipe_target(windows, TARGET) is None:
        raise UsageError(f"the recipe of {options.lake}/{options.recipe} predicts nothing: name a label with --target")


def plan_digests(options: FitOptions, releases: Sequence[str]) -> dict[str, str]:
    """Return the digest of each group's plan, by release: which windows a lake has.

    Parameters
    ----------
    releases : sequence of str
        All that the lake has of the recipe, where it is empty.

    Raises
    ------
    LakeError
        If the lake can't be read.
    """
    return {
        release: str((read_attributes(options.lake, group_path(options.recipe, release)) or {}).get("plan_digest"))
        for release in releases or recipes(options.lake).get(options.recipe, [])
    }


def kept_parts(options: FitOptions, notes: list[str]) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset | None]:
    """Return the parts of a split that the lake keeps, as they are.

    Raises
    ------
    UsageError
        If there is no such split, or it has other parts than are trained on and scored.
    LakeError
        If it is damaged, or the lake has other windows now.
    """
    name, there = options.split, list_splits(options.lake, options.recipe)
    if name not in there:
        kept = f"a split that {options.lake} keeps of {options.recipe} ({', '.join(there) or 'there is none'})"
        raise UsageError(
            f"--split must be one of {', '.join(SPLITS)}, or {kept}, got {name!r}."
            f"{did_you_mean(name, [*SPLITS, *there])}"
        )
    parts = {
        part: windows for part, windows in open_split(options.lake, options.recipe, name).items() if len(windows.window)
    }
    if not {"train", "valid"} <= set(parts) or not set(parts) <= set(_PARTS):
        raise UsageError(
            f"the split {name!r} has windows in the parts {', '.join(parts) or '(none)'}; training needs train and "
            "valid, and takes test: store it again with these names"
        )
    notes.append(f"the split {name} of the lake, as it was stored")
    for part in ("valid", "test"):
        if part in parts and (shared := people(parts["train"]) & people(parts[part])):
            notes.append(f"{len(shared)} subjects of the {_PARTS[part]} part are in the training part, too")
    parts = dict(zip(parts, told_apart(*parts.values()), strict=True))
    return parts["train"], parts["valid"], parts.get("test")


def _releases_of(*parts: xr.Dataset | None) -> list[str]:
    """Return the releases that the windows of some parts are of."""
    return sorted(
        {name for part in parts if part is not None for name in part["release"].to_numpy().astype(str).tolist()}
    )


def _split(
    options: FitOptions, windows: xr.Dataset, releases: list[str], notes: list[str]
) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset | None]:
    has_validation_release = VALIDATION_RELEASE in releases and len(releases) > 1
    if options.split == "challenge" and not has_validation_release:
        raise UsageError(
            f"--split challenge validates on {VALIDATION_RELEASE} and trains on other releases; "
            f"{options.lake} gives {', '.join(releases)}"
        )
    if options.split == "challenge" or (options.split == "auto" and has_validation_release and not options.folds):
        release = windows["release"].to_numpy()
        valid = windows.isel(window=release == VALIDATION_RELEASE)
        train = windows.isel(window=release != VALIDATION_RELEASE)
        # Nobody should be in two releases; if somebody is, they are for validation.
        train, shared = without_subjects(train, valid["subject"].to_numpy().tolist())
        notes.append(f"validation on {VALIDATION_RELEASE}, training on the other releases, as in the challenge")
        if shared:
            notes.append(f"{shared} subjects of {VALIDATION_RELEASE} left out of training")
        return train, valid, None
    (windows,) = told_apart(windows)
    at_least = 2 if _belongs_to_person(windows, options.target or (TARGET, *_recipe_targets(windows))) else 1
    train, valid, test = split_by_subject(windows, options.fractions, seed=options.split_seed, at_least=at_least)
    if options.folds:
        rest, _ = without_subjects(windows, test["subject"].to_numpy().tolist())
        train, valid = kfold_by_subject(rest, options.folds, seed=options.split_seed)[options.fold]
    return train, valid, test


def _belongs_to_person(windows: xr.Dataset, targets: Sequence[str]) -> bool:
    """Return whether a target is the same in all windows of a subject."""
    labels = [name for name in targets if name in windows.variables]
    columns = windows.reset_coords()[["subject", *labels]].to_dataframe()
    return bool((columns.groupby("subject")[labels].nunique() <= 1).all().any()) if labels else False
