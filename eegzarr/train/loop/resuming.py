"""Whether a run can resume: all that decides about its steps must be unchanged, and nothing may be missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from eegzarr.errors import UsageError
from eegzarr.train.loop.parts import Parts, make_parts
from eegzarr.train.loop.position import Position
from eegzarr.train.loop.ranks import Ranks
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.models.checkpoint import read_checkpoint
from eegzarr.train.options import FitOptions, option_name, option_text, options_json

_FREE = {"lake"}  # may have moved: its windows are recognised by their digests
_PARTS = (
    *("model", "spec", "optimizer", "scaler", "notes", "made_by"),
    *(field.name for field in fields(Position)),
    *("stream", "windows", "seconds", "options", "processes"),
)


def check_same_windows(folder: RunFolder, options: FitOptions, parts: Parts) -> None:
    """Refuse to resume on other windows than the run began with, or with other subjects in its parts.

    Raises
    ------
    UsageError
    """
    anew = _anew(folder)
    if folder.read_json(folder.config).get("plan_digests") != parts.plan_digests:
        raise UsageError(f"{options.lake} was rebuilt or has other releases since {folder.path} began: {anew}")
    if not folder.subjects.exists():
        raise UsageError(f"{folder.subjects}, which says who is in which part, is missing: copy it again, or {anew}")
    if folder.read_json(folder.subjects) != parts.subjects():
        raise UsageError(f"{folder.subjects} names other subjects than {options.lake} gives to these parts: {anew}")


def check_begun_alike(runs: Sequence[RunFolder], wanted: Sequence[FitOptions]) -> None:
    """Refuse to add to several runs, as seeds and folds are, whose scores can't be compared.

    Parameters
    ----------
    runs : sequence of RunFolder
        Some of which may be begun, or finished.
    wanted : sequence of FitOptions
        Those of each.

    Raises
    ------
    UsageError
        If one was begun with other options, or on other windows than the lake has now.
    """
    begun = [(run, options) for run, options in zip(runs, wanted, strict=True) if run.is_begun]
    if not begun:
        return
    digests = make_parts(begun[0][1]).plan_digests
    for run, options in begun:
        changed = changed_options(options_json(replace(run.options(), threads=options.threads)), options)
        if changed or run.options().lake != options.lake:
            told = ", ".join(f"{name} {option_text(was)}, not {option_text(now)}" for name, was, now in changed)
            raise UsageError(
                f"{run.path} was begun with other options ({told or 'another lake'}): give another --out, or remove it"
            )
        if run.read_json(run.config).get("plan_digests") != digests:
            raise UsageError(
                f"{run.path} was trained on other windows than {options.lake} has now: give another --out, or remove it"
            )


def check_resumable(saved: dict[str, Any], options: FitOptions, ranks: Ranks, folder: RunFolder) -> None:
    """Refuse to resume from something else than a checkpoint of this run, or with other options or processes.

    Raises
    ------
    UsageError
    """
    anew = _anew(folder)
    wanted = [*_PARTS, *(["average"] if options.ema else [])]
    if missing := [name for name in wanted if name not in saved]:
        raise UsageError(
            f"{folder.last} isn't a checkpoint to resume from, it lacks {', '.join(missing)}: {folder.remedy}"
        )
    known = {option.name for option in fields(FitOptions)}
    if unknown := [option_name(name) for name in saved["options"] if name not in known]:
        raise UsageError(
            f"{folder.path} was begun by another version of eegzarr, with {', '.join(unknown)}: resume it there"
        )
    if changed := changed_options(saved["options"], options):
        told = ", ".join(f"{name} (was {option_text(was)}, is {option_text(now)})" for name, was, now in changed)
        raise UsageError(f"{folder.config} was changed since the run began: {told}. Put it back, or {anew}")
    spec, before = _plain(saved["spec"]), folder.read_json(folder.config).get("model")
    if spec != before:
        names = [name for name in spec if not isinstance(before, dict) or before.get(name) != spec[name]]
        raise UsageError(
            f"{folder.last} holds another model than {folder.config} tells of: {', '.join(names) or 'it has less'} "
            f"{'differ' if len(names) > 1 else 'differs'}. Put back what belongs to this run, or {anew}"
        )
    processes = saved["processes"]
    if processes != ranks.count:
        with_as_many = f"torchrun --nproc-per-node {processes} -m eegzarr.train" if processes > 1 else "eegzarr.train"
        raise UsageError(
            f"{folder.path} was trained by {processes} processes, which shared its batches, not by {ranks.count}: "
            f"resume it with {with_as_many} --resume {folder.path}, or {anew}"
        )
    if saved["best_epoch"] >= 0:
        _check_best(folder, saved)


def _check_best(folder: RunFolder, saved: dict[str, Any]) -> None:
    """Refuse to resume where the best model so far, which no later epoch may be better than, is gone or another."""
    remedy = (
        f"copy it again, or remove {folder.last.name} and give --resume {folder.path} again to train from the beginning"
    )
    if not folder.best.exists():
        raise UsageError(f"{folder.best}, the model of epoch {saved['best_epoch']}, is missing: {remedy}")
    best = read_checkpoint(folder.best, remedy, needs_outline=True)
    # A run that was killed after an epoch's score may have saved a later one, which is trained again.
    is_it = best.get("epoch", -1) >= saved["best_epoch"] and _plain(best.get("spec")) == _plain(saved["spec"])
    if best.get("epoch") == saved["best_epoch"]:
        is_it = is_it and best.get("valid_score") == saved["best"]
    if not is_it:
        raise UsageError(f"{folder.best} isn't the model of epoch {saved['best_epoch']} of this run: {remedy}")


def changed_options(before: dict[str, Any], options: FitOptions) -> list[tuple[str, Any, Any]]:
    """Return the options that differ from saved ones: as on a command line, what it was and what it is.

    One that the saved ones don't name is newer than they are, and had its default.
    """
    defaults = options_json(FitOptions(lake=options.lake))
    now, then = _plain(options_json(options)), _plain(defaults | before)
    names = [name for name in now if name not in _FREE and then[name] != now[name]]
    return [(option_name(name), then[name], now[name]) for name in names]


def _plain(content: Any) -> Any:
    """Return a value as JSON has it: lists for tuples."""
    return json.loads(json.dumps(content))


def _anew(folder: RunFolder) -> str:
    return f"start a new run with --config {folder.config} --out NEW"
