"""Models by name from braindecode, made for the windows of a training part."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eegzarr.errors import UsageError
from eegzarr.suggest import did_you_mean
from eegzarr.train.models.checkpoint import checked_contents, read_checkpoint
from eegzarr.train.models.predictor import Predictor, build_predictor, network_class

_SHOWN = 2  # weights in a message
# What networks raise for windows that they aren't made for.
_UNFIT = (TypeError, ValueError, RuntimeError, AssertionError, KeyError, IndexError)


def default_model(device: torch.device) -> str:
    """EEGNeX on a GPU; on a CPU it trains at under 20 windows/s, so EEGNet."""
    return "EEGNeX" if device.type == "cuda" else "EEGNet"


def known_models() -> list[str]:
    """Names of the models that braindecode offers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Montage name", FutureWarning)  # braindecode's, at import
        import braindecode.models

    offered = {model: getattr(braindecode.models, model) for model in braindecode.models.__all__}
    return sorted(model for model, kind in offered.items() if inspect.isclass(kind) and issubclass(kind, nn.Module))


def make_model(spec: dict[str, Any]) -> Predictor:
    """Make a model that is still to be trained.

    Parameters
    ----------
    spec : dict
        As for `build_predictor`. It loses its ``positions`` if the network can't use them.

    Raises
    ------
    UsageError
        If braindecode has no such model, or it can't be made for these windows.
    """
    name, shape = spec["network"], (2, spec["n_chans"], spec["n_times"])
    check_known(name)
    try:
        try:
            model, output = _tried(spec)
        except _UNFIT:
            if not spec.get("positions"):
                raise
            spec["positions"] = []  # some networks know the names of one cap alone, and do without any names
            model, output = _tried(spec)
    except _UNFIT as error:
        raise UsageError(
            f"--model {name} doesn't fit windows of {shape[1]} channels, {shape[2]} samples: {error}"
        ) from error
    wanted = model.n_points or (max(1, *model.outputs) if model.outputs else 1)
    if not isinstance(output, torch.Tensor) or output.shape[0] != 2 or output.numel() != 2 * wanted:
        given = f"{tuple(output.shape[1:])}" if isinstance(output, torch.Tensor) else type(output).__name__
        kind = "each point of --soft-argmax" if model.n_points else "each class" if model.classes else "each target"
        raise UsageError(f"--model {name} gives {given} for a window where {wanted} is wanted, one for {kind}")
    if not any(weight.requires_grad for weight in model.network.parameters()):
        raise UsageError(f"--model {name} has no weights that can be trained")
    return model


def _tried(spec: dict[str, Any]) -> tuple[Predictor, Any]:
    """Return a model, and what its network makes of two windows of zeros."""
    model = build_predictor(spec).eval()
    with torch.no_grad():
        return model, model.network(torch.zeros(2, spec["n_chans"], spec["n_times"]))


def check_known(name: str) -> None:
    """Refuse the name of a model that there isn't.

    Raises
    ------
    UsageError
    """
    known = known_models()
    if ":" not in name and name not in known:
        raise UsageError(
            f"--model {name!r} isn't one of braindecode's: {', '.join(known)}.{did_you_mean(name, known)} A model of "
            "your own is given as package.module:Class"
        )
    if ":" not in name:
        return
    _look_here()
    module, _, own = name.partition(":")
    try:
        kind = network_class(name)
    except ModuleNotFoundError as error:
        here = "; Python looks for it in the current folder and in PYTHONPATH" if error.name == module else ""
        raise UsageError(f"--model {name}: there is no module {error.name}{here}") from error
    except AttributeError as error:
        raise UsageError(f"--model {name}: {module} has no {own}") from error
    except (ImportError, SyntaxError, ValueError) as error:
        raise UsageError(f"--model {name}: {error}") from error
    if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
        raise UsageError(f"--model {name} isn't a subclass of torch.nn.Module")


def _look_here() -> None:
    """Let Python find modules in the current folder, as ``python -m`` does and an installed command doesn't."""
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())


def wants_places(name: str) -> bool:
    """Return whether a model takes its channels' names and places, as ``chs_info``, and needs them."""
    parameter = inspect.signature(network_class(name)).parameters.get("chs_info")
    return parameter is not None


def load_model(checkpoint: str | Path, *, unit: str = "uV", views: int | None = None) -> Predictor:
    """Return the model of a checkpoint, ready to predict.

    Parameters
    ----------
    checkpoint : path
        ``best.pt`` of a run, or the run's folder.
    unit : {"uV", "V"}
        Of the windows that it will be given.
    views : int, optional
        For test-time augmentation; default as in the run.

    Raises
    ------
    UsageError
        If the folder holds no run with a finished epoch, or its file is damaged.
    """
    path = Path(checkpoint)
    path = path / "best.pt" if path.is_dir() else path
    remedy = f"copy it again, or train again with --config {path.parent / 'config.json'}"
    saved = read_checkpoint(path, remedy)
    with checked_contents(path, remedy):
        spec = saved["spec"] | {"unit": unit}
        check_known(spec["network"])
        model = build_predictor(spec if views is None else spec | {"views": views})
        load_weights(model, saved["model"], spec, str(path))
    return model.eval()


def load_weights(model: Predictor, weights: dict[str, torch.Tensor], spec: dict[str, Any], named: str) -> None:
    """Give a model its saved weights.

    Raises
    ------
    UsageError
        If they aren't this model's, and were saved by another version of braindecode.
    ValueError
        If they aren't this model's.
    """
    try:
        model.load_state_dict(weights)
    except (RuntimeError, AttributeError, TypeError) as error:  # the latter ones for what is no weights at all
        before, here = spec.get("braindecode"), version("braindecode")
        if before not in (None, here):
            raise UsageError(
                f"{named} holds a {spec['network']} of braindecode {before}, and that of braindecode {here} has other "
                f"weights: pip install braindecode=={before}"
            ) from error
        raise ValueError(f"its weights aren't those of a {spec['network']}{_unlike(model, weights)}") from error


def _unlike(model: Predictor, weights: dict[str, torch.Tensor]) -> str:
    """Return which weights are missing, additional or of another shape, in words."""
    if not isinstance(weights, dict):
        return ""
    own, saved = (
        {name: tuple(getattr(value, "shape", ())) for name, value in one.items()}
        for one in (model.state_dict(), weights)
    )
    wrong = [name for name in (own | saved) if own.get(name) != saved.get(name)]
    told = ", ".join(f"{name} is {_shape(saved.get(name))}, not {_shape(own.get(name))}" for name in wrong[:_SHOWN])
    return (f": {told}" if told else "") + (f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else "")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else " x ".join(map(str, shape)) or "a number"
