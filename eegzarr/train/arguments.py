"""Options of a fit on a command line, for training and for searching."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eegzarr.cli.signature import F, options_of
from eegzarr.errors import UsageError
from eegzarr.train.options import FitOptions, read_options


def takes_fit_options(*, folds: bool) -> Callable[[F], F]:
    """Give a command the options of `FitOptions`, as ``**options``; `folds` is that of a training alone."""
    # model_arguments come as KEY=VALUE; a fold is chosen by the cross-validation.
    without = ("lake", "model_arguments", "fold", *(() if folds else ("folds",)))
    return options_of(
        FitOptions,
        leave_out=without,
        renamed={"keep_start_kit_exclusions": "--keep-excluded"},
        negative={"residual": "--no-residual", "compile": "--no-compile"},
    )


def fit_options(
    lake: str | None, options: dict[str, Any], config: Path | None = None, model_arg: Sequence[str] = ()
) -> FitOptions:
    """Return the options that a command line gives, over those of its ``--config``."""
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
    }
    if lake is not None:
        given["lake"] = lake
    if model_arg:
        given["model_arguments"] = _key_values(model_arg)
    if config is not None:
        return replace(read_options(config), **given)
    if lake is None:
        raise UsageError("name the lake to train on, as in python -m eegzarr.train LAKE")
    return FitOptions(**given)


def _key_values(texts: Sequence[str]) -> dict[str, Any]:
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
