"""Options of a fit on a command line, for training and for searching."""

from __future__ import annotations

import argparse
import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

from eegzarr.errors import UsageError
from eegzarr.train.options import DEVICES, LOSSES, OPTIMIZERS, PRECISIONS, SPLITS, FitOptions, read_options

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
        action=argparse.BooleanOptionalAction,
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
    parser.add_argument(
        "--fractions",
        nargs=3,
        type=float,
        default=argparse.SUPPRESS,
        metavar=("TRAIN", "VALID", "TEST"),
        help=f"shares of the subjects (default: {' '.join(map(str, defaults.fractions))})",
    )
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
    given |= {name: tuple(given[name]) for name in ("releases", "augment", "fractions") if name in given}
    if arguments.model_arg:
        given["model_arguments"] = _key_values(arguments.model_arg)
    if arguments.config:
        return replace(read_options(Path(arguments.config)), **given)
    if "lake" not in given:
        raise UsageError("name the lake to train on, as in python -m eegzarr.train LAKE")
    return FitOptions(**given)


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
