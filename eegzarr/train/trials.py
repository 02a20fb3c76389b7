"""What a study varies between its trials, and what must be the same in all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegzarr.errors import UsageError
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.options import NUMBER_LOSSES, FitOptions, option_name, option_text, options_json

if TYPE_CHECKING:
    import optuna

SEARCHED = ("learning_rate", "weight_decay", "batch_size", "loss", "augment")
FOLDER, REASON = "folder", "reason"  # attributes of a trial: that of its run, and why it was pruned
_AUGMENTATIONS = {
    "none": (),
    "noise": ("noise",),
    "shift": ("shift",),
    "noise+shift+channels": ("noise", "shift", "channels"),
}
_SAME = "same"  # attribute of a study
_FREE = ("lake", "device", "threads")  # where its trials run; the lake's windows are recognised by their digests


def suggest(trial: optuna.Trial, options: FitOptions, kept: Collection[str] = ()) -> FitOptions:
    """Return options with the values of a trial, except those that are kept unchanged.

    Raises
    ------
    BatchTooLarge
        If the batch is larger than an epoch.
    """
    draws: dict[str, Callable[[], Any]] = {
        "learning_rate": lambda: trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "weight_decay": lambda: trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        "batch_size": lambda: trial.suggest_categorical("batch_size", [32, 64, 128]),
        "loss": lambda: trial.suggest_categorical("loss", list(NUMBER_LOSSES)),
        "augment": lambda: _AUGMENTATIONS[trial.suggest_categorical("augment", list(_AUGMENTATIONS))],
    }
    drawn = {name: draw() for name, draw in draws.items() if name not in kept}
    return replace(options, **drawn)


def check_something_to_search(kept: Collection[str]) -> None:
    """Refuse a study that has nothing to vary.

    Raises
    ------
    UsageError
    """
    if not set(SEARCHED) - set(kept):
        raise UsageError(f"{', '.join(map(option_name, SEARCHED))} are all given: leave out those to search for")


def check_same_study(
    study: optuna.Study, folder: Path, options: FitOptions, kept: Collection[str], digests: dict[str, str]
) -> None:
    """Refuse to add trials whose scores can't be compared with those that a study has.

    Raises
    ------
    UsageError
        If the lake's windows or an option that isn't searched are others.
    """
    now = _what_is_the_same(options_json(options), kept, digests)
    before = study.user_attrs.get(_SAME) or _of_first_trial(study, kept)
    if before is None:
        study.set_user_attr(_SAME, now)
        return
    anew = "their scores can't be compared. Give another --out"
    was, given = (set(one["options"]) & set(SEARCHED) for one in (before, now))
    if was != given:
        names = ", ".join(map(option_name, sorted(was ^ given)))
        raise UsageError(f"{folder} is a study with {names} {'given' if was - given else 'searched'}: {anew}")
    differ = [name for name, value in now["options"].items() if before["options"].get(name, value) != value]
    if differ:
        told = ", ".join(
            f"{option_name(name)} {option_text(before['options'][name])}, not {option_text(now['options'][name])}"
            for name in differ
        )
        raise UsageError(f"{folder} is a study with {told}: {anew}")
    if before["plan_digests"] != digests:
        raise UsageError(f"{folder} is a study of other windows than those of {options.lake}: {anew}")


def _what_is_the_same(options: dict[str, Any], kept: Collection[str], digests: dict[str, str]) -> dict[str, Any]:
    varies = {*_FREE, *(set(SEARCHED) - set(kept))}
    fixed = {name: value for name, value in options.items() if name not in varies}
    same: dict[str, Any] = json.loads(json.dumps({"options": fixed, "plan_digests": digests}))
    return same


def _of_first_trial(study: optuna.Study, kept: Collection[str]) -> dict[str, Any] | None:
    """Return what a study was begun with that didn't note it, None if it has no trial yet."""
    for trial in study.get_trials():
        run = RunFolder(trial.user_attrs.get(FOLDER, ""))
        if run.is_begun:
            content = run.read_json(run.config)
            return _what_is_the_same(content["options"], kept, content["plan_digests"])
    return None
