"""Predictions of a model for the windows of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import nn

from eegzarr.stream.stream import WindowStream

NAMES = ("release", "window", "subject")  # what `evaluation_stream` gives beside x and y


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Targets and predictions of windows, (window,) each, with what names a window."""

    release: npt.NDArray
    window: npt.NDArray[np.int64]
    subject: npt.NDArray
    target: npt.NDArray[np.float32]
    prediction: npt.NDArray[np.float32]


def evaluation_stream(windows: xr.Dataset, batch_size: int) -> WindowStream:
    """Return a stream of whole windows in their stored order, with their names."""
    return WindowStream(windows, batch_size, with_labels=NAMES)


def predict(
    model: nn.Module,
    stream: WindowStream,
    device: torch.device,
    *,
    precision: torch.dtype = torch.float32,
    scale: float = 1.0,
    between: Callable[[], None] = lambda: None,
) -> Predictions:
    """Predict every window of an `evaluation_stream`.

    Parameters
    ----------
    model : Module
        Takes (batch, channel, time), gives (batch, 1).
    scale : float
        Multiplies the stored microvolts, for a model that takes another unit.
    between : callable
        Called after each batch; it may raise.
    """
    model.eval()
    columns: dict[str, list[npt.NDArray]] = {name: [] for name in (*NAMES, "target", "prediction")}
    autocast = torch.autocast(device.type, precision, enabled=precision != torch.float32)
    with torch.inference_mode(), autocast:
        for x, y, labels in stream:
            x = x.to(device)
            output = model(x if scale == 1.0 else x * scale)
            columns["target"].append(y.numpy())
            columns["prediction"].append(output.float().reshape(-1).cpu().numpy())
            for name in NAMES:
                columns[name].append(np.asarray(labels[name]))
            between()
    return Predictions(**{name: np.concatenate(values) for name, values in columns.items()})


def mean_prediction(members: Iterable[Predictions]) -> Predictions:
    """Return the mean prediction of several models for the same windows in the same order."""
    each = list(members)
    first = each[0]
    mean = np.stack([one.prediction for one in each]).astype(np.float64).mean(axis=0).astype(np.float32)
    return Predictions(
        release=first.release, window=first.window, subject=first.subject, target=first.target, prediction=mean
    )
