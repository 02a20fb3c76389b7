"""Train on a lake: ``python -m eegzarr.train LAKE --recipe challenge1``."""

from __future__ import annotations

import argparse
import ast
import shlex
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegzarr.command import run_command
from eegzarr.errors import UsageError
from eegzarr.train.options import DEVICES, LOSSES, OPTIMIZERS, PRECISIONS, SPLITS, FitOptions, read_options
from eegzarr.train.stop import parse_share

if TYPE_CHECKING:
    from eegzarr.events import Listener
    from eegzarr.train.fit import FitSummary

_NUMBERS = {
    "epochs": (int, "at most so many (default: %s)"),
    "patience": (int, "stop after so many epochs without a better validation score (default: %s)"),
    "batch-size": (int, "windows in a batch of each process (default: %s)"),
    "epoch-windows": (int, "windows between validations; 0 for the whole training part (default: %s)"),
    "learning-rate": (float, "(default: %s)"),
    "weight-decay": (float, "(default: %s)"),
    "warmup": (float, "share of all steps over which the rate rises; then it falls along a cosine (default: %s)"),
    "clip": (float, "largest norm of the gradient; 0 for any (default: %s)"),
    "crop": (float, "seconds that the model sees of a window (default: 2 for challenge2, else all)"),
    "tta": (int, "average predictions over so many crops or shifts (default: %s)"),
    "threads": (int, "of PyTorch on the CPU (default: its own choice)"),
    "seed": (int, "of weights, shuffling and augmentation (default: %s)"),
    "split-seed": (int, "of the split by subject (default: %s)"),
}
_CHOICES = {
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "precision": PRECISIONS,
    "device": DEVICES,
    "split": SPLITS,
}


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


def add_fit_options(parser: argparse.ArgumentParser) -> None:
    """Add what `fit_options` reads."""
    parser.add_argument("--config", metavar="FILE", help="config.json of a run, whose options are the defaults")
    parser.add_argument("--recipe", default=argparse.SUPPRESS, help="whose windows to train on (default: challenge1)")
    parser.add_argument(
        "--releases", nargs="+", default=argparse.SUPPRESS, metavar="R", help="default: all of the recipe"
    )
    parser.add_argument(
        "--model",
        default=argparse.SUPPRESS,
        help="of braindecode.models (default: EEGNeX on a GPU, else EEGNet)",
    )
    parser.add_argument(
        "--model-arg", action="append", default=[], metavar="KEY=VALUE", help="for the model; repeatable"
    )
    parser.add_argument(
        "--residual",
        action="store_true",
        default=argparse.SUPPRESS,
        help="learn what a ridge on band power and time bins leaves over",
    )
    parser.add_argument(
        "--augment",
        nargs="+",
        default=argparse.SUPPRESS,
        metavar="NAME[:P]",
        help="noise, shift, channels, … each with its probability (default of each: 0.5)",
    )
    defaults = FitOptions(lake="")
    for name, (kind, told) in _NUMBERS.items():
        default = getattr(defaults, name.replace("-", "_"))
        text = told % default if "%s" in told else told
        parser.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, help=text)
    for name, known in _CHOICES.items():
        parser.add_argument(f"--{name}", choices=known, default=argparse.SUPPRESS, help=f"(default: {known[0]})")
    parser.add_argument(
        "--keep-excluded",
        action="store_true",
        dest="keep_start_kit_exclusions",
        default=argparse.SUPPRESS,
        help="use also the nine subjects that the start kit leaves out",
    )


def fit_options(arguments: argparse.Namespace) -> FitOptions:
    """Return the options that a command line gives, over those of its ``--config``."""
    names = (*FitOptions.__dataclass_fields__,)
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name, None) is not None}
    given |= {name: tuple(given[name]) for name in ("releases", "augment") if name in given}
    if arguments.model_arg:
        given["model_arguments"] = _key_values(arguments.model_arg)
    if arguments.config:
        return replace(read_options(Path(arguments.config)), **given)
    if "lake" not in given:
        raise UsageError("name the lake to train on, as in python -m eegzarr.train LAKE")
    return FitOptions(**given)


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
        from eegzarr.train.fit import fit, resume
        from eegzarr.watch.run import RunFiles
        from eegzarr.watch.training import FitProgress
    except ModuleNotFoundError as error:
        raise UsageError(f"training needs {error.name}: pip install 'eegzarr[train]'") from error

    settings: dict[str, float] = {"checkpoint_interval": arguments.checkpoint_interval, "max_memory": max_memory}
    command = f"python -m eegzarr.train {shlex.join(given)}"
    with RunFiles(Path(run), command) as files, FitProgress() as progress:
        watchers: list[Listener] = [files, progress]
        summary = resume(run, watchers, **settings) if options is None else fit(options, run, watchers, **settings)
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
            f"  NRMSE {score.nrmse:.3f} ({score.low:.3f} to {score.high:.3f}) on {score.windows:,} windows of "
            f"{score.subjects} {names[part]} subjects; ridge {score.ridge:.3f}, constant {score.constant:.3f}"
        )
        if score.nrmse_by_subject is not None:
            lines.append(f"    {score.nrmse_by_subject:.3f} for the subjects' mean predictions")
    return "\n".join(lines)


def _key_values(texts: list[str]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"--model-arg {text!r} must be KEY=VALUE")
        try:
            pairs[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            pairs[key] = value
    return pairs


if __name__ == "__main__":
    sys.exit(main())
