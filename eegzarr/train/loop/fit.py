"""Fit a model to a lake, or resume a fit that was stopped."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from eegzarr.errors import UsageError
from eegzarr.events import FitEnded, Listener, tell
from eegzarr.machine.memory import as_share
from eegzarr.train.loop.learner import Learner
from eegzarr.train.loop.optimize import choose_device
from eegzarr.train.loop.parts import Parts, make_parts
from eegzarr.train.loop.position import Position
from eegzarr.train.loop.ranks import Ranks, joined_ranks, local_rank
from eegzarr.train.loop.resuming import check_resumable, check_same_windows
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.loop.stop import MemoryGuard, StopSignals
from eegzarr.train.loop.training import Streams, Surroundings, Training, training_streams
from eegzarr.train.models.checkpoint import checked_contents
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.evaluate import evaluated_streams, notes_on_windows
from eegzarr.train.scoring.summary import FitSummary


def fit(
    options: FitOptions,
    run: str | Path,
    listeners: Iterable[Listener] = (),
    *,
    checkpoint_interval: float = 60.0,
    max_memory: float | str = "85%",
    timeout: float = 300.0,
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
    max_memory : float or str
        Share of the machine's memory in use above which look-ahead shrinks, and then the fit stops.
    timeout : float
        Seconds that the processes of a torchrun wait for one that doesn't come.

    Raises
    ------
    UsageError
        If an option or the lake's windows don't allow it; nothing is written then.
    LakeError
        If the lake can't be read.
    FitStopped, FitInterrupted
        If memory ran short, a process of several hangs, or a signal came; its state is saved and `resume` continues it.
    """
    return _fit(
        options,
        RunFolder(run),
        tuple(listeners),
        checkpoint_interval,
        as_share(max_memory, "--max-memory"),
        timeout,
        is_new=True,
    )


def resume(
    run: str | Path,
    listeners: Iterable[Listener] = (),
    *,
    checkpoint_interval: float = 60.0,
    max_memory: float | str = "85%",
    timeout: float = 300.0,
) -> FitSummary:
    """Resume a run from its last checkpoint, with the run's own options; see `fit`.

    Raises
    ------
    UsageError
        If there is no run, it is finished, its checkpoint is damaged, or its lake, its options or the number
        of processes have changed.
    FitDiverged
        If it diverged before.
    """
    folder = RunFolder(run)
    options = folder.options()
    share = as_share(max_memory, "--max-memory")
    return _fit(options, folder, tuple(listeners), checkpoint_interval, share, timeout, is_new=False)


def _fit(
    options: FitOptions,
    folder: RunFolder,
    watchers: tuple[Listener, ...],
    interval: float,
    max_memory: float,
    timeout: float,
    is_new: bool,
) -> FitSummary:
    _check_folder(folder, is_new)  # in vain if another process begins now, but soon
    if options.threads:
        torch.set_num_threads(options.threads)
    options = replace(options, threads=torch.get_num_threads())
    device = choose_device(options.device, local_rank())
    parts = make_parts(options)
    evaluated = evaluated_streams(parts, options.batch_size)
    parts = replace(parts, notes=(*parts.notes, *notes_on_windows(parts, evaluated)))
    with joined_ranks(device, timeout) as ranks:
        watchers = watchers if ranks.is_first else ()
        streams = training_streams(options, parts, evaluated, ranks)
        with StopSignals() as signals, MemoryGuard(max_memory) as guard:
            around = Surroundings(watchers=watchers, signals=signals, guard=guard, interval=interval)
            training = _fresh(options, folder, parts, ranks, streams, around) if is_new else None
            with folder.locked() if ranks.is_first else nullcontext():
                if ranks.is_first:
                    _check_folder(folder, is_new)  # no other process can begin here now
                if training is None:
                    training = _resumed(options, folder, parts, ranks, streams, around)
                if ranks.is_first and not folder.last.exists():
                    folder.begin(options, training.learner.spec, parts.subjects(), parts.plan_digests, device)
                return _run(training, watchers)


def _check_folder(folder: RunFolder, is_new: bool) -> None:
    if is_new and folder.is_begun:
        raise UsageError(
            f"--out {folder.path} holds a run: resume it with --resume {folder.path}, or give another folder"
        )
    if not is_new and folder.is_finished:
        raise UsageError(f"{folder.path} is finished: its scores are in {folder.summary}")
    if not is_new:
        folder.check_not_diverged()


def _fresh(
    options: FitOptions, folder: RunFolder, parts: Parts, ranks: Ranks, streams: Streams, around: Surroundings
) -> Training:
    return Training(
        options=options,
        folder=folder,
        parts=parts,
        ranks=ranks,
        streams=streams,
        surroundings=around,
        learner=Learner.fresh(options, parts, streams.train, ranks),
        position=Position(),
    )


def _resumed(
    options: FitOptions, folder: RunFolder, parts: Parts, ranks: Ranks, streams: Streams, around: Surroundings
) -> Training:
    """Return a run as its last checkpoint has it; one that has none yet, from its beginning."""
    check_same_windows(folder, options, parts)
    if not folder.last.exists():
        return _fresh(options, folder, parts, ranks, streams, around)
    saved = folder.read_last()
    check_resumable(saved, options, ranks, folder)
    with checked_contents(folder.last, folder.remedy):
        streams.resume(saved["stream"], saved["windows"])
        return Training(
            options=options,
            folder=folder,
            parts=parts,
            ranks=ranks,
            streams=streams,
            surroundings=around,
            learner=Learner.restored(options, saved, ranks),
            position=Position.of(saved),
            seconds_before=float(saved["seconds"]),
        )


def _run(training: Training, watchers: tuple[Listener, ...]) -> FitSummary:
    """Train, and emit how it ended."""
    try:
        summary = training.run()
    except BaseException as error:
        tell(watchers, FitEnded(finished=False, reason=str(error) or type(error).__name__))
        raise
    tell(watchers, FitEnded(finished=True, reason="finished"))
    return summary
