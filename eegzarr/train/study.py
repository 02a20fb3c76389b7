"""A study of better options with Optuna.

Trials that fall behind the median of those before them are pruned. The study is a file in the
output folder: the same command continues it, also in the trial that was stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegzarr.errors import BatchTooLarge, FitDiverged, UsageError
from eegzarr.events import EpochEnded, Event, Listener
from eegzarr.train.loop.parts import make_parts, task_of
from eegzarr.train.loop.run import RunFolder, write_json
from eegzarr.train.options import FitOptions
from eegzarr.train.trials import FOLDER, REASON, check_same_study, check_something_to_search, suggest

if TYPE_CHECKING:
    import optuna

STUDY, BEST = "study.journal", "best.json"


@dataclass(frozen=True)
class SearchResult:
    """Trials by how they ended, and the best one.

    Attributes
    ----------
    pruned : dict of str to int
        How many trials were given up, by reason.
    metric : str
        What `best_score` is: "NRMSE" or "balanced accuracy".
    """

    finished: int
    pruned: dict[str, int]
    metric: str
    best_score: float
    best_run: str
    best_values: dict[str, Any]

    @property
    def given_up(self) -> str:
        """The trials that were given up, in words."""
        return _reasons(self.pruned)


def search(
    options: FitOptions,
    folder: Path,
    trials: int,
    listeners: tuple[Listener, ...] = (),
    max_memory: float | str = "85%",
    *,
    kept: Collection[str] = (),
) -> SearchResult:
    """Run a study until it has `trials` trials, finished or pruned.

    Parameters
    ----------
    kept : collection of str
        Options that are not searched: all trials have those of `options`.

    Raises
    ------
    UsageError
        If no trial came to an end, nothing is left to search, or the study is one of other windows or
        options, whose scores can't be compared.
    Stopped
        If a signal came or memory ran short; the same call continues.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    parts = make_parts(options)
    task, digests = task_of(parts), parts.plan_digests
    if task.classes:
        kept = {*kept, "loss"}  # there is one of classes
    check_something_to_search(kept)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / STUDY))),
        study_name="eegzarr",
        direction="maximize" if task.larger_is_better else "minimize",
        sampler=optuna.samplers.TPESampler(seed=options.seed + len(list(folder.glob("trial-*")))),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        load_if_exists=True,
    )
    check_same_study(study, folder, options, kept, digests)
    _take_up_stopped(study)

    def objective(trial: optuna.Trial) -> float:
        run = RunFolder(trial.user_attrs.get(FOLDER) or folder / f"trial-{trial.number:03d}")
        trial.set_user_attr(FOLDER, str(run.path))
        _run_trial(trial, run, options, kept, listeners, max_memory)
        return float(run.read_json(run.summary)["scores"]["valid"][task.metric_key])

    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    while (left := trials - len(study.get_trials(states=ended))) > 0:
        study.optimize(objective, n_trials=left)
    result = _result(study, folder, task.metric)
    best = {"metric": task.metric, "score": result.best_score}
    write_json(folder / BEST, {**best, "run": result.best_run, "values": result.best_values})
    return result


def _run_trial(
    trial: optuna.Trial,
    run: RunFolder,
    options: FitOptions,
    kept: Collection[str],
    listeners: tuple[Listener, ...],
    max_memory: float | str,
) -> None:
    """Fit with the values of a trial, or resume its run; a fit that diverges or doesn't fit in memory is pruned."""
    import optuna

    from eegzarr.train.loop.fit import fit, resume

    for epoch, score in enumerate(_scores_before(run)):
        trial.report(score, epoch)
    watchers = [*listeners, _pruning(trial)]
    try:
        chosen = suggest(trial, options, kept)
        if not run.is_finished and run.is_begun:
            resume(run.path, watchers, max_memory=max_memory)
        elif not run.is_finished:
            fit(chosen, run.path, watchers, max_memory=max_memory)
    except (FitDiverged, BatchTooLarge) as error:
        trial.set_user_attr(REASON, "diverged" if isinstance(error, FitDiverged) else str(error))
        raise optuna.TrialPruned(str(error)) from error


def _result(study: optuna.Study, folder: Path, metric: str) -> SearchResult:
    """Return what came of a study's trials.

    Raises
    ------
    UsageError
        If all were pruned.
    """
    import optuna

    pruned = Counter(
        str(trial.user_attrs.get(REASON, "behind the other trials"))
        for trial in study.get_trials(states=(optuna.trial.TrialState.PRUNED,))
    )
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    if not complete:
        raise UsageError(f"every trial of {folder} was given up: {_reasons(pruned)}. Give more --trials")
    return SearchResult(
        finished=len(complete),
        pruned=dict(pruned),
        metric=metric,
        best_score=float(study.best_value),
        best_run=str(study.best_trial.user_attrs[FOLDER]),
        best_values=study.best_params,
    )


def _take_up_stopped(study: optuna.Study) -> None:
    """Put trials that were stopped or killed back into the queue, with their folders."""
    import optuna

    states = optuna.trial.TrialState
    for trial in study.get_trials(states=(states.RUNNING,)):
        study.tell(trial.number, state=states.FAIL)
    last = {trial.user_attrs[FOLDER]: trial for trial in study.get_trials() if FOLDER in trial.user_attrs}
    for trial in last.values():
        if trial.state == states.FAIL:
            study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)


def _scores_before(run: RunFolder) -> list[float]:
    if not run.last.exists():
        return []
    return [row["valid_score"] for row in run.read_last()["history"]]


def _reasons(pruned: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(pruned.items(), key=lambda one: -one[1]))


def _pruning(trial: optuna.Trial) -> Listener:
    import optuna

    def listen(event: Event) -> None:
        if isinstance(event, EpochEnded):
            trial.report(event.valid_score, event.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    return listen
