"""Whether a run can resume from its checkpoint: all that decides about steps must be unchanged."""

from __future__ import annotations

import json
from typing import Any

from eegzarr.errors import UsageError
from eegzarr.train.loop.parts import Parts
from eegzarr.train.loop.ranks import Ranks
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.options import FitOptions, option_name, option_text, options_json

_FREE = {"lake"}  # may have moved: its windows are recognised by their digests


def check_resumable(saved: dict[str, Any], options: FitOptions, parts: Parts, ranks: Ranks, folder: RunFolder) -> None:
    """Refuse to resume with other options, another lake or another number of processes.

    Raises
    ------
    UsageError
    """
    anew = f"start a new run with --config {folder.config} --out NEW"
    if folder.read_json(folder.config)["plan_digests"] != parts.plan_digests:
        raise UsageError(f"{options.lake} was rebuilt or has other releases since {folder.path} began: {anew}")
    changed = changed_options(saved.get("options", {}), options)
    if changed:
        told = ", ".join(f"{name} (was {option_text(was)}, is {option_text(now)})" for name, was, now in changed)
        raise UsageError(f"{folder.config} was changed since the run began: {told}. Put it back, or {anew}")
    processes = saved.get("processes", ranks.count)
    if processes != ranks.count:
        with_as_many = f"torchrun --nproc-per-node {processes} -m eegzarr.train" if processes > 1 else "eegzarr.train"
        raise UsageError(
            f"{folder.path} was trained by {processes} processes, which shared its batches, not by {ranks.count}: "
            f"resume it with {with_as_many} --resume {folder.path}, or {anew}"
        )


def changed_options(before: dict[str, Any], options: FitOptions) -> list[tuple[str, Any, Any]]:
    """Return the options that differ from saved ones: as on a command line, what it was and what it is."""
    now: dict[str, Any] = json.loads(json.dumps(options_json(options)))
    then: dict[str, Any] = json.loads(json.dumps(before))
    names = [name for name in now if name in then and name not in _FREE and then[name] != now[name]]
    return [(option_name(name), then[name], now[name]) for name in names]
