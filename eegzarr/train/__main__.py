"""Train on a lake: ``python -m eegzarr.train LAKE --recipe challenge1``."""

from __future__ import annotations

import argparse
import ast
import signal
import sys
from datetime import datetime
from types import FrameType
from typing import Any

from eegzarr.command import run_command
from eegzarr.errors import UsageError


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = _parse(argv)
    return run_command("eegzarr.train", lambda: _train(arguments), again="")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eegzarr.train", description="Fit a braindecode model to the windows of a lake."
    )
    parser.add_argument("lake", metavar="LAKE")
    parser.add_argument("--recipe", default="challenge1", help="whose windows to train on (default: %(default)s)")
    parser.add_argument("--releases", nargs="+", default=(), metavar="R", help="default: all of the recipe")
    parser.add_argument("--model", default="", help="of braindecode.models (default: EEGNeX on a GPU, else EEGNet)")
    parser.add_argument(
        "--model-arg",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="for the model; repeatable",
    )
    parser.add_argument("--out", metavar="RUN", help="folder of the run (default: runs/RECIPE-DATE)")
    for name, kind in (
        ("epochs", int),
        ("patience", int),
        ("batch-size", int),
        ("learning-rate", float),
        ("weight-decay", float),
        ("seed", int),
    ):
        parser.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS)
    parser.add_argument(
        "--keep-excluded", action="store_true", help="train also on the nine subjects that the start kit leaves out"
    )
    return parser.parse_args(argv)


def _train(arguments: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        from eegzarr.train.fit import FitOptions, fit
        from eegzarr.watch.training import FitProgress
    except ModuleNotFoundError as error:
        raise UsageError(f"training needs {error.name}: pip install 'eegzarr[train]'") from error

    given = {
        name: getattr(arguments, name)
        for name in ("epochs", "patience", "batch_size", "learning_rate", "weight_decay", "seed")
        if hasattr(arguments, name)
    }
    options = FitOptions(
        lake=arguments.lake,
        recipe=arguments.recipe,
        releases=tuple(arguments.releases),
        model=arguments.model,
        model_arguments=_key_values(arguments.model_arg),
        keep_start_kit_exclusions=arguments.keep_excluded,
        **given,
    )
    run = arguments.out or f"runs/{options.recipe}-{datetime.now():%Y%m%d-%H%M%S}"
    with FitProgress() as progress:
        summary = fit(options, run, [progress])
    if summary.excluded_subjects:
        print(f"{summary.excluded_subjects} subjects left out, as in the challenge's start kit (--keep-excluded)")
    print(
        f"{summary.run}: {summary.model}, best epoch {summary.best_epoch}, "
        f"NRMSE {summary.valid_nrmse:.3f} on the validation subjects, {summary.test_nrmse:.3f} on the test subjects, "
        f"{summary.seconds:.0f} s (a constant prediction scores 1)"
    )
    return 0


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


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
