"""Train on a lake: ``python -m eegzarr.train LAKE --recipe challenge1``."""

from __future__ import annotations

import argparse
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from eegzarr.command import run_command
from eegzarr.errors import UsageError
from eegzarr.machine.memory import parse_share
from eegzarr.train.arguments import add_fit_options, fit_options
from eegzarr.train.options import FitOptions

if TYPE_CHECKING:
    from eegzarr.events import Listener
    from eegzarr.train.score.results import FitSummary


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    given = sys.argv[1:] if argv is None else argv
    arguments = make_parser().parse_args(given)
    return run_command("eegzarr.train", lambda: _train(arguments, given), again="")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of ``eegzarr.train``."""
    parser = argparse.ArgumentParser(
        prog="python -m eegzarr.train",
        description="Fit a braindecode model to the windows of a lake. Several GPUs: "
        "torchrun --nproc-per-node N -m eegzarr.train LAKE …",
        epilog="Exit codes: 0 done; 1 failed; 2 usage; 75 stopped by the memory guard or a full disk, "
        "130 interrupted: go on with --resume RUN.",
    )
    parser.add_argument("lake", metavar="LAKE", nargs="?", help="not needed with --resume")
    parser.add_argument("--out", metavar="RUN", help="folder of the run (default: runs/RECIPE-DATE)")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run where its last checkpoint is")
    parser.add_argument(
        "--checkpoint-interval", type=float, default=60.0, metavar="S", help="seconds that kill -9 loses (default: 60)"
    )
    parser.add_argument(
        "--max-memory", default="85%", metavar="SHARE", help="of the machine in use, then stop (default: 85%%)"
    )
    parser.add_argument("--tmux", action="store_true", help="start in a tmux session, with the monitor beside it")
    add_fit_options(parser)
    parser.add_argument(
        "--folds", type=int, default=argparse.SUPPRESS, metavar="N", help="cross-validation over subjects: N runs"
    )
    return parser


def _train(arguments: argparse.Namespace, given: list[str]) -> int:
    max_memory = parse_share(arguments.max_memory)
    if not 0 < arguments.checkpoint_interval < float("inf"):
        raise UsageError(f"--checkpoint-interval must be above 0 s, got {arguments.checkpoint_interval}")
    if arguments.resume and (arguments.lake or arguments.out):
        raise UsageError("--resume RUN goes on with the run's own options: leave out LAKE and --out")
    options = None if arguments.resume else fit_options(arguments)
    recipe = options.recipe if options else ""
    run: str = arguments.resume or arguments.out or f"runs/{recipe}-{datetime.now():%Y%m%d-%H%M%S}"
    if arguments.tmux:
        from eegzarr.watch.tmux import start_beside_monitor

        rest = [text for text in given if text != "--tmux"]
        return start_beside_monitor(rest if arguments.resume or arguments.out else [*rest, "--out", run], run)
    try:
        from eegzarr.train.loop.fit import fit, resume
        from eegzarr.train.loop.run import RunFolder
        from eegzarr.train.score.crossval import cross_validate
        from eegzarr.watch.run import RunFiles
        from eegzarr.watch.training import FitProgress
    except ModuleNotFoundError as error:
        raise UsageError(f"training needs {error.name}: pip install 'eegzarr[train]'") from error

    command = f"python -m eegzarr.train {shlex.join(given)}"

    def fit_or_resume(chosen: FitOptions | None, folder: Path) -> FitSummary:
        settings = {"checkpoint_interval": arguments.checkpoint_interval, "max_memory": max_memory}
        with RunFiles(folder, command) as files, FitProgress() as progress:
            watchers: list[Listener] = [files, progress]
            if chosen is None or (chosen.folds and RunFolder(folder).is_begun):
                return resume(folder, watchers, **settings)
            return fit(chosen, folder, watchers, **settings)

    if options is not None and options.folds:
        result = cross_validate(options, run, fit_or_resume)
        print(
            f"{run}: {result.score} on the "
            f"{result.subjects} subjects outside the test part, each predicted by the fold that left it out; "
            f"folds {', '.join(f'{score:.3f}' for score in result.folds)}"
        )
        print(f"  next: python -m eegzarr.train.ensemble {shlex.join(result.runs)}")
        return 0
    summary = fit_or_resume(options, Path(run))
    if summary.scores:  # the first of several processes
        print(describe(summary))
    return 0


def describe(summary: FitSummary) -> str:
    """Return what a run reached, in a few lines."""
    lines = [
        f"{summary.run}: {summary.model} for {summary.recipe}, best epoch {summary.best_epoch} of {summary.epochs}, "
        f"{summary.seconds:.0f} s, peak memory {summary.peak_memory / 2**20:,.0f} MiB"
    ]
    names = {"valid": "validation", "test": "test"}
    for part, score in summary.scores.items():
        lines.append(
            f"  {score.score} on {score.windows:,} windows of {score.subjects} {names[part]} "
            f"subject{'s' * (score.subjects != 1)}; "
            f"{score.baselines}"
        )
        if score.nrmse_by_subject is not None:
            lines.append(f"    {score.nrmse_by_subject:.3f} for the subjects' mean predictions")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
