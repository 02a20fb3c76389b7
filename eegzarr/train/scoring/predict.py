"""Predictions of a model for the windows of a part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import nn

from eegzarr.challenge.score import first_samples, scored_windows, seen_samples
from eegzarr.store.open import RECIPE_NAME, open_windows
from eegzarr.store.provenance import lake_of
from eegzarr.stream.stream import WindowStream
from eegzarr.train.task import AS_STORED, Given

NAMES = ("release", "window", "subject")  # what names a prediction


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Targets and predictions of windows, with what names a window.

    Attributes
    ----------
    target : array, shape (window,) or (window, target)
        Numbers, or codes of classes.
    prediction : array of float32, shape (window,), (window, target) or (window, class)
        Numbers, or probabilities of classes.
    """

    release: npt.NDArray
    window: npt.NDArray[np.int64]
    subject: npt.NDArray
    target: npt.NDArray
    prediction: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class EvaluationStream:
    """Windows to be scored, in their stored order, each as a model is to see it.

    Of a challenge's recipe: the windows that its evaluator scores, and of each the samples that it gives.
    Each comes once, in one of the processes that the stream is shared out to.

    Attributes
    ----------
    stream : WindowStream
        Of whole windows.
    n_times : int
        Samples of a window that a model sees.
    first : dict of str to array, or None
        By release, the first sample that is seen of each window of it; None where all are.
    channels : array of int, or None
        Which of the stored channels, and in which order; None for all, as they are.
    """

    stream: WindowStream
    n_times: int
    first: dict[str, npt.NDArray[np.int64]] | None
    channels: npt.NDArray[np.int64] | None

    @property
    def n_windows(self) -> int:
        """Windows that are scored, over all processes."""
        return self.stream.n_windows

    @property
    def batches(self) -> int:
        """Batches of this process: as its turns come, without those that fill up the last one."""
        rank, ranks = self.stream.ranks
        return len(range(rank, -(-self.n_windows // self.stream.batch_size), ranks))

    @property
    def targets(self) -> npt.NDArray:
        """Their targets, (window,) or (window, target)."""
        assert self.stream.targets is not None  # it has a target
        return self.stream.targets

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, dict[str, Any]]]:
        own = self.batches
        for number, (x, y, labels) in enumerate(self.stream):
            if number < own:
                yield self._seen(x, labels), y, labels

    def _seen(self, x: torch.Tensor, labels: dict[str, Any]) -> torch.Tensor:
        if self.channels is not None:
            x = x[:, torch.from_numpy(self.channels)]
        if self.first is None:
            return x
        names = zip(labels["release"], np.asarray(labels["window"]).tolist(), strict=True)
        starts = [int(self.first[release][window]) for release, window in names]
        return torch.stack([row[:, start : start + self.n_times] for row, start in zip(x, starts, strict=True)])


def evaluation_stream(
    windows: xr.Dataset,
    batch_size: int,
    channels: npt.NDArray[np.int64] | None = None,
    given: Given = AS_STORED,
    classes: Sequence[str] | None = None,
    rank: int = 0,
    ranks: int = 1,
) -> EvaluationStream:
    """Return what is scored of a part.

    Parameters
    ----------
    windows : Dataset
    batch_size : int
    channels : array of int, optional
        See `EvaluationStream`.
    given : Given
        How they are given to the model.
    classes : sequence of str, optional
        Those of the model, where windows of another lake may have others.
    rank, ranks : int
        Which share of the batches to give; all by default, also to one of several processes.

    Raises
    ------
    UsageError
        If no window of it has a target.
    """
    recipe = str(windows.attrs[RECIPE_NAME])
    scored = scored_windows(windows, recipe)
    stored = windows.sizes["time"]
    n_times = seen_samples(recipe, stored, float(windows.attrs["sampling_rate"]))
    stream = given.stream(
        scored, batch_size, classes=classes or None, with_labels=NAMES, rank=rank, ranks=ranks, uneven="pad"
    )
    first = _first_samples(scored, stored - n_times) if n_times < stored else None
    return EvaluationStream(stream=stream, n_times=n_times, first=first, channels=channels)


def _first_samples(windows: xr.Dataset, room: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return for each release of a selection, by the number of a window in it, the first sample that is seen."""
    lake, recipe = lake_of(windows), windows.attrs[RECIPE_NAME]
    first = {}
    for release in sorted(set(windows["release"].to_numpy().astype(object).tolist())):
        # Of all windows of the release, not of the selection: one that is left out has its draw, too.
        recording = open_windows(lake, recipe, [release])["recording"].to_series().reset_index(drop=True)
        first[release] = first_samples(recording.groupby(recording).cumcount().to_numpy().astype(np.int64), room)
    return first


def predict(
    model: nn.Module,
    stream: EvaluationStream,
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
        Takes (batch, channel, time), gives (batch, output).
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
            columns["prediction"].append(output.float().cpu().numpy())
            for name in NAMES:
                columns[name].append(np.asarray(labels[name]))
            between()
    whole = {name: np.concatenate(values) for name, values in columns.items()}
    if whole["prediction"].shape[1] == 1:
        whole["prediction"] = whole["prediction"][:, 0]
    return Predictions(**whole)


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of several sets of windows as those of one."""
    return Predictions(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Predictions)}
    )


def mean_prediction(members: Iterable[Predictions]) -> Predictions:
    """Return the mean prediction of several models for the same windows in the same order."""
    each = list(members)
    first = each[0]
    mean = np.stack([one.prediction for one in each]).astype(np.float64).mean(axis=0).astype(np.float32)
    return Predictions(
        release=first.release, window=first.window, subject=first.subject, target=first.target, prediction=mean
    )
