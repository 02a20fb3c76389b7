"""The training, validation and test parts of a run: disjoint in subjects, by construction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from eegzarr.challenge.rules import SCORED_TASK, SEEN_SECONDS, VALIDATION_RELEASE
from eegzarr.errors import UsageError
from eegzarr.recipes.classes import classes_of
from eegzarr.store.group import read_attributes
from eegzarr.store.layout import group_path
from eegzarr.store.open import open_windows, recipes
from eegzarr.stream.splits import drop_start_kit_exclusions, kfold_by_subject, split_by_subject, without_subjects
from eegzarr.train.loop.where import where_holds
from eegzarr.train.options import FitOptions
from eegzarr.train.task import AS_STORED, TARGET, Given, Task


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Windows of each part; no subject is in two.

    Attributes
    ----------
    test : Dataset or None
        None where a release is the validation part: then there is no other.
    notes : tuple of str
        What a user should know about the split.
    plan_digests : dict of str to str
        Of each group, to tell whether a lake is still the same.
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
    windows = open_windows(options.lake, options.recipe, list(options.releases) or None)
    _check_number(windows, options)
    digests = plan_digests(options)
    releases = list(digests)
    notes = []
    if not options.keep_start_kit_exclusions:
        windows, excluded = drop_start_kit_exclusions(windows)
        if excluded:
            notes.append(f"{excluded} subjects left out, as in the challenge's start kit (--keep-excluded)")
    if options.recipe in SEEN_SECONDS:
        notes.append(
            f"scored as the challenge's evaluator does: {SEEN_SECONDS[options.recipe]:g} s of each window of the task "
            f"{SCORED_TASK[options.recipe]}, where it draws them"
        )
    train, valid, test = _split(options, windows, releases, notes)
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


def _recipe_targets(windows: xr.Dataset) -> tuple[str, ...]:
    named = json.loads(windows.attrs.get("recipe") or "{}").get("target", TARGET)
    return (named,) if isinstance(named, str) else tuple(named)


def task_of(parts: Parts) -> Task:
    """Return what is predicted."""
    return Task.of(parts.given.stream(parts.train, 1, rank=0, ranks=1), parts.names)


def given_by(options: FitOptions) -> Given:
    """Return how the windows of a run are given to its models."""
    return Given.by(options.target, options.normalize, options.clamp or None)


def _check_number(windows: xr.Dataset, options: FitOptions) -> None:
    """Refuse windows whose target is no number: what is fitted here are regressions."""
    if "target" not in windows.coords:
        raise UsageError(
            f"{options.lake}/{options.recipe} has no single target to fit: its recipe predicts several or none"
        )
    if (classes := classes_of(windows["target"].attrs)) is not None:
        raise UsageError(
            f"the target of {options.lake}/{options.recipe} is a class ({', '.join(classes.values())}), and "
            f"eegzarr.train fits numbers: train a classifier on eegzarr.stream.WindowStream, which gives the codes"
        )


def plan_digests(options: FitOptions) -> dict[str, str]:
    """Return the digest of each group's plan, by release: which windows a lake has.

    Raises
    ------
    LakeError
        If the lake can't be read.
    """
    releases = list(options.releases) or recipes(options.lake).get(options.recipe, [])
    return {
        release: str((read_attributes(options.lake, group_path(options.recipe, release)) or {}).get("plan_digest"))
        for release in releases
    }


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
    at_least = 2 if _belongs_to_person(windows, options.target or (TARGET,)) else 1
    train, valid, test = split_by_subject(windows, options.fractions, seed=options.split_seed, at_least=at_least)
    if options.folds:
        rest, _ = without_subjects(windows, test["subject"].to_numpy().tolist())
        train, valid = kfold_by_subject(rest, options.folds, seed=options.split_seed)[options.fold]
    return train, valid, test


def _belongs_to_person(windows: xr.Dataset, targets: Sequence[str]) -> bool:
    """Tell whether the windows of a subject all have one target."""
    labels = [name for name in targets if name in windows.variables]
    columns = windows.reset_coords()[["subject", *labels]].to_dataframe()
    return bool((columns.groupby("subject")[labels].nunique() <= 1).all(axis=None)) if labels else False
