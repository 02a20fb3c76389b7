"""Models by name from braindecode, made for the windows of a training part."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eegzarr.errors import UsageError
from eegzarr.train.models.predictor import Regressor, build_predictor


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


def make_model(spec: dict[str, Any]) -> Regressor:
    """Make a model that is still to be trained.

    Parameters
    ----------
    spec : dict
        As for `eegzarr.train.models.predictor.build_predictor`.

    Raises
    ------
    UsageError
        If braindecode has no such model, or it can't be made for these windows.
    """
    name, shape = spec["network"], (2, spec["n_chans"], spec["n_times"])
    known = known_models()
    if name not in known:
        raise UsageError(f"--model {name!r} is none of braindecode's: {', '.join(known)}")
    try:
        model = build_predictor(spec)
        model.eval()
        with torch.no_grad():
            output = model.network(torch.zeros(shape))
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise UsageError(
            f"--model {name} doesn't fit windows of {shape[1]} channels, {shape[2]} samples: {error}"
        ) from (error)
    if not isinstance(output, torch.Tensor) or output.shape[0] != 2 or output.numel() != 2:
        raise UsageError(f"--model {name} gives no single number for a window, so it can't predict a target")
    return model


def set_scales(
    model: Regressor, statistics: dict[str, npt.NDArray[np.float64]], targets: npt.NDArray[np.float32]
) -> None:
    """Give a model the scales of its training part.

    Parameters
    ----------
    statistics : dict
        ``mean`` and ``std`` (channel,) in uV. A channel that doesn't vary, such as the reference, isn't scaled.
    targets : array of float, shape (window,)

    Raises
    ------
    UsageError
        If the targets don't vary.
    """
    if targets.std() == 0:
        raise UsageError("the targets of the training subjects don't vary: there is nothing to learn")
    std = np.where(statistics["std"] > 0, statistics["std"], 1.0)
    scales = {
        "channel_mean": torch.as_tensor(statistics["mean"], dtype=torch.float32)[:, None],
        "channel_std": torch.as_tensor(std, dtype=torch.float32)[:, None],
        "target_mean": torch.tensor(float(targets.mean())),
        "target_std": torch.tensor(float(targets.std())),
    }
    model.load_state_dict({**model.state_dict(), **scales})


def load_model(checkpoint: str | Path, *, unit: str = "uV", views: int | None = None) -> Regressor:
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
        If the folder holds no run with a finished epoch.
    """
    path = Path(checkpoint)
    path = path / "best.pt" if path.is_dir() else path
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path.parent} holds no finished epoch of a run: {path.name} is missing") from error
    spec = saved["spec"] | {"unit": unit}
    known_models()  # braindecode is imported without its warnings
    model = build_predictor(spec if views is None else spec | {"views": views})
    model.load_state_dict(saved["model"])
    return model.eval()
