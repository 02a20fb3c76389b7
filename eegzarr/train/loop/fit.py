"""Fit a model to a lake, or go on with a fit that was stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from eegzarr.errors import UsageError
from eegzarr.events import FitEnded, Listener, tell
from eegzarr.train.loop.optimize import choose_device
from eegzarr.train.loop.parts import make_parts
from eegzarr.train.loop.ranks import joined_ranks, local_rank
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.loop.stop import MemoryGuard, StopSignals
from eegzarr.train.loop.training import Training
from eegzarr.train.options import FitOptions
from eegzarr.train.score.results import FitSummary


def fit(
    options: FitOptions,
    run: str | Path,
    listeners: Iterable[Listener] = (),
    *,
    checkpoint_interval: float = 60.0,
    max_memory: float = 0.85,
) -> FitSummary:
    """Train a model on subjects, keep the epoch that predicts unseen subjects best, and score it.

    Parameters
    ----------
    options : FitOptions
    run : path
        Folder to write; see `eegzarr.train.loop.run.RunFolder`.
    listeners : iterable of callable
        Called with events of `eegzarr.events`.
    checkpoint_interval : float
        Seconds of training that a killed process loses at most.
    max_memory : float
        Share of the machine's memory in use above which look-ahead shrinks, and then the fit stops.

    Raises
    ------
    UsageError
        If an option or the lake's windows don't allow it; nothing is written then.
    LakeError
        If the lake can't be read.
    FitStopped, FitInterrupted
        If memory ran short or a signal came; its state is saved and `resume` goes on.
    """
    folder = RunFolder(run)
    if folder.is_begun:
        raise UsageError(f"--out {run} holds a run: go on with --resume {run}, or give another folder")
    return _fit(options, folder, tuple(listeners), checkpoint_interval, max_memory)


def resume(
    run: str | Path,
    listeners: Iterable[Listener] = (),
    *,
    checkpoint_interval: float = 60.0,
    max_memory: float = 0.85,
) -> FitSummary:
    """Go on with a run where its last checkpoint is; as `fit`, with the run's own options.

    Raises
    ------
    UsageError
        If there is no run, it is finished, or its lake has changed.
    """
    folder = RunFolder(run)
    options = folder.options()
    if folder.is_finished:
        raise UsageError(f"{run} is finished: its scores are in {folder.summary}")
    return _fit(options, folder, tuple(listeners), checkpoint_interval, max_memory)


def _fit(
    options: FitOptions, folder: RunFolder, watchers: tuple[Listener, ...], interval: float, max_memory: float
) -> FitSummary:
    if options.threads:
        torch.set_num_threads(options.threads)
    options = replace(options, threads=torch.get_num_threads())
    device = choose_device(options.device, local_rank())
    parts = make_parts(options)
    with joined_ranks(device) as ranks:
        watchers = watchers if ranks.is_first else ()
        with StopSignals() as signals, MemoryGuard(max_memory) as guard:
            training = Training(options, folder, parts, ranks, watchers, signals, guard, interval)
            if ranks.is_first and not folder.is_begun:
                folder.begin(options, training.learner.spec, parts.subjects(), parts.plan_digests, device)
            if not ranks.is_first:
                return training.run()
            with folder.locked():
                try:
                    summary = training.run()
                except BaseException as error:
                    tell(watchers, FitEnded(finished=False, reason=str(error) or type(error).__name__))
                    raise
                tell(watchers, FitEnded(finished=True, reason="finished"))
                return summary
