"""Train on a lake: ``python -m eegzarr.train LAKE --recipe challenge1``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from eegzarr.amounts import counted, duration, memory
from eegzarr.cli.run import Command, Invocation
from eegzarr.errors import UsageError
from eegzarr.extras import needs
from eegzarr.machine.memory import parse_share
from eegzarr.train.arguments import fit_options, takes_fit_options
from eegzarr.train.options import option_name

if TYPE_CHECKING:
    from eegzarr.events import Listener
    from eegzarr.train.options import FitOptions
    from eegzarr.train.scoring.summary import FitSummary


@takes_fit_options(folds=True)
def train(
    lake: str | None = None,
    /,
    *,
    out: Annotated[str | None, Parameter(alias="-o", metavar="RUN")] = None,
    resume: Annotated[str | None, Parameter(metavar="RUN")] = None,
    config: Path | None = None,
    checkpoint_interval: float = 60.0,
    max_memory: str = "85%",
    timeout: float = 300.0,
    tmux: bool = False,
    seeds: int = 1,
    log: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = (),
    model_arg: tuple[str, ...] = (),
    invocation: Annotated[Invocation, Parameter(parse=False)],
    **options: Any,
) -> int:
    """Fit a model to the windows of a lake and score it.

    The model is one of braindecode's. It is fitted on some subjects and scored on others, next to a constant and a
    ridge. On several GPUs: torchrun --nproc-per-node N -m eegzarr.train LAKE …

    Parameters
    ----------
    lake
        Path or URL; not needed with --resume or --config.
    out
        Folder of the run. Default: runs/RECIPE-DATE.
    resume
        Continue a run where its last checkpoint is.
    config
        config.json of a run, whose options become the defaults.
    checkpoint_interval
        Seconds of training that kill -9 loses at most.
    max_memory
        Share of the machine's memory in use above which the training stops.
    timeout
        Seconds that the processes of a torchrun wait for one that hangs.
    tmux
        Start in a tmux session, with the monitor beside it.
    seeds
        Train with this many seeds, one run per seed, and report how far their scores spread.
    log
        Also send the scores of epochs to these trackers.
    model_arg
        An extra argument of the model; repeatable.
    """
    share = parse_share(max_memory)
    _check_above_zero("--checkpoint-interval", checkpoint_interval)
    _check_above_zero("--timeout", timeout)
    if resume:
        new = [*map(option_name, options), *_names(config=config, model_arg=model_arg)]
        _check_resumed_alone(resume, has_place=bool(lake or out), options=new)
    chosen = None if resume else fit_options(lake, options, config, model_arg)
    run: str = resume or out or f"runs/{chosen.recipe if chosen else ''}-{datetime.now():%Y%m%d-%H%M%S}"
    if tmux:
        from eegzarr.watch.tmux import start_beside_monitor

        rest = [text for text in invocation.arguments if text != "--tmux"]
        return start_beside_monitor(rest if resume or out else [*rest, "--out", run], run)
    _check_lake(chosen)
    _check_several_runs(seeds, folds=chosen.folds if chosen else 0, is_resumed=bool(resume))
    settings = {"checkpoint_interval": checkpoint_interval, "max_memory": share, "timeout": timeout}
    with needs("train", "training"):
        return _train(chosen, run, str(invocation), settings, seeds, log)


def _check_above_zero(option: str, seconds: float) -> None:
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{option} must be above 0 s, got {seconds}")


def _check_resumed_alone(run: str, *, has_place: bool, options: list[str]) -> None:
    """Refuse a run that is resumed together with options that it has already."""
    if has_place:
        raise UsageError("--resume RUN continues with the run's own options: leave out LAKE and --out")
    if options:
        raise UsageError(
            f"--resume RUN continues with the run's own options: leave out {', '.join(options)}, or start a new run "
            f"with --config {run}/config.json {options[0]} … --out NEW"
        )


def _check_several_runs(seeds: int, *, folds: int, is_resumed: bool) -> None:
    """Refuse several seeds or folds where only one run can be trained."""
    if seeds < 1 or (seeds > 1 and (is_resumed or folds)):
        raise UsageError(f"--seeds {seeds}: at least 1, and neither with --resume nor with --folds")
    if (seeds > 1 or folds) and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        several = "--seeds" if seeds > 1 else "--folds"
        raise UsageError(f"{several} trains one run after another, each in one process: leave out torchrun")


def _names(**given: object) -> list[str]:
    """Return the names of the options that are given."""
    return [option_name(name) for name, value in given.items() if value]


def _check_lake(chosen: FitOptions | None) -> None:
    from eegzarr.store.whole import check_whole_lake

    if chosen is not None:
        check_whole_lake(chosen.lake, "python -m eegzarr.train {lake} --recipe {recipe}")


def _train(
    chosen: FitOptions | None, run: str, command: str, settings: dict[str, float], seeds: int, log: Sequence[str]
) -> int:
    from eegzarr.train.loop.fit import fit, resume
    from eegzarr.train.loop.run import RunFolder
    from eegzarr.train.scoring.crossval import cross_validate
    from eegzarr.train.scoring.seeds import fit_seeds
    from eegzarr.watch.run import RunFiles
    from eegzarr.watch.trackers import trackers
    from eegzarr.watch.training import FitProgress

    def fit_or_resume(options: FitOptions | None, folder: Path) -> FitSummary:
        with trackers(log, folder) as sent, RunFiles(folder, command) as files, FitProgress() as progress:
            watchers: list[Listener] = [files, progress, *sent]
            is_one_of_several = options is not None and (options.folds or seeds > 1)
            if options is None or (is_one_of_several and RunFolder(folder).is_begun):
                return resume(folder, watchers, **settings)
            return fit(options, folder, watchers, **settings)

    if chosen is not None and chosen.folds:
        result = cross_validate(chosen, run, fit_or_resume)
        print(
            f"{run}: {result.score} on the "
            f"{result.subjects} subjects outside the test part, each predicted by the fold that left it out; "
            f"folds {', '.join(f'{score:.3f}' for score in result.folds)}"
        )
        print(f"  next: python -m eegzarr.train.ensemble {shlex.join(result.runs)}")
        return 0
    if chosen is not None and seeds > 1:
        spread = fit_seeds(chosen, seeds, run, fit_or_resume)
        print("\n".join([f"{run}:", *(f"  {line}" for line in spread.lines())]))
        print(f"  next: python -m eegzarr.train.ensemble {shlex.join(spread.runs)}")
        return 0
    summary = fit_or_resume(chosen, Path(run))
    if summary.scores:  # the first of several processes
        print(describe(summary))
    return 0


def describe(summary: FitSummary) -> str:
    """Return what a run reached, in a few lines."""
    lines = [
        f"{summary.run}: {summary.model} for {summary.recipe}, best epoch {summary.best_epoch} of {summary.epochs}, "
        f"{duration(summary.seconds)}, peak memory {memory(summary.peak_memory)}"
    ]
    names = {"valid": "validation", "test": "test"}
    for part, score in summary.scores.items():
        lines.append(
            f"  {score.score} on {counted(score.windows, 'window')} of "
            f"{counted(score.subjects, f'{names[part]} subject')}; "
            f"{score.baselines}"
        )
        lines += [f"    {line}" for line in score.details]
    return "\n".join(lines)


main = Command(
    "eegzarr.train",
    train,
    again="",
    usage="LAKE [OPTIONS]",
    epilogue="Exit codes: 0 done; 1 failed; 2 usage; 75 stopped by the memory guard or a full disk, 130 interrupted: "
    "continue with --resume RUN.",
)

if __name__ == "__main__":
    raise SystemExit(main())
