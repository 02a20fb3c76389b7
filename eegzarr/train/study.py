"""A study of better options with Optuna.

Trials that fall behind the median of those before them are pruned. The study is a file in the
output folder: the same command goes on with it, also in the trial that was stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegzarr.errors import FitDiverged, UsageError
from eegzarr.events import EpochEnded, Event, Listener
from eegzarr.train.loop.run import RunFolder, write_json
from eegzarr.train.options import LOSSES, FitOptions

if TYPE_CHECKING:
    import optuna

STUDY, BEST = "study.journal", "best.json"
_FOLDER = "folder"  # attribute of a trial: that of its run
_AUGMENTATIONS = {
    "none": (),
    "noise": ("noise",),
    "shift": ("shift",),
    "noise+shift+channels": ("noise", "shift", "channels"),
}


@dataclass(frozen=True)
class SearchResult:
    """Trials by how they ended, and the best one."""

    finished: int
    pruned: int
    best_score: float
    best_run: str
    best_values: dict[str, Any]


def suggest(trial: optuna.Trial, options: FitOptions) -> FitOptions:
    """Return options with the values of a trial."""
    return replace(
        options,
        learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        weight_decay=trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        batch_size=trial.suggest_categorical("batch_size", [32, 64, 128]),
        loss=trial.suggest_categorical("loss", list(LOSSES)),
        augment=_AUGMENTATIONS[trial.suggest_categorical("augment", list(_AUGMENTATIONS))],
    )


def search(
    options: FitOptions,
    folder: Path,
    trials: int,
    listeners: tuple[Listener, ...] = (),
    max_memory: float | str = "85%",
) -> SearchResult:
    """Run a study until it has so many trials, finished or pruned.

    Raises
    ------
    UsageError
        If no trial came to an end.
    Stopped
        If a signal came or memory ran short; the same call goes on.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from eegzarr.train.loop.fit import fit, resume

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / STUDY))),
        study_name="eegzarr",
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=options.seed + len(list(folder.glob("trial-*")))),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        load_if_exists=True,
    )
    _take_up_stopped(study)

    def objective(trial: optuna.Trial) -> float:
        chosen = suggest(trial, options)
        run = RunFolder(trial.user_attrs.get(_FOLDER) or folder / f"trial-{trial.number:03d}")
        trial.set_user_attr(_FOLDER, str(run.path))
        for epoch, score in enumerate(_scores_before(run)):
            trial.report(score, epoch)
        watchers = [*listeners, _pruning(trial)]
        if not run.is_finished:
            go: Callable[[], Any] = (
                (lambda: resume(run.path, watchers, max_memory=max_memory))
                if run.is_begun
                else (lambda: fit(chosen, run.path, watchers, max_memory=max_memory))
            )
            try:
                go()
            except FitDiverged as error:
                raise optuna.TrialPruned(str(error)) from error
        return float(run.read_json(run.summary)["scores"]["valid"]["nrmse"])

    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    while (left := trials - len(study.get_trials(states=ended))) > 0:
        study.optimize(objective, n_trials=left)
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    if not complete:
        raise UsageError(f"every trial of {folder} was pruned: give more --trials")
    result = SearchResult(
        finished=len(complete),
        pruned=len(study.get_trials(states=(optuna.trial.TrialState.PRUNED,))),
        best_score=float(study.best_value),
        best_run=str(study.best_trial.user_attrs[_FOLDER]),
        best_values=study.best_params,
    )
    write_json(folder / BEST, {"nrmse": result.best_score, "run": result.best_run, "values": result.best_values})
    return result


def _take_up_stopped(study: optuna.Study) -> None:
    """Give trials that were stopped, or killed, a second life in their folders."""
    import optuna

    states = optuna.trial.TrialState
    for trial in study.get_trials(states=(states.RUNNING,)):
        study.tell(trial.number, state=states.FAIL)
    last = {trial.user_attrs[_FOLDER]: trial for trial in study.get_trials() if _FOLDER in trial.user_attrs}
    for trial in last.values():
        if trial.state == states.FAIL:
            study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)


def _scores_before(run: RunFolder) -> list[float]:
    import torch

    if not run.last.exists():
        return []
    return [row["valid_nrmse"] for row in torch.load(run.last, map_location="cpu", weights_only=True)["history"]]


def _pruning(trial: optuna.Trial) -> Listener:
    import optuna

    def listen(event: Event) -> None:
        if isinstance(event, EpochEnded):
            trial.report(event.valid_nrmse, event.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    return listen
