"""From windows to predictions: the module that a run saves and a submission ships.

It imports only torch and braindecode, because its text is copied into ``submission.py``: what
the challenge's evaluator runs is what scored in the run. The one function that it has of eegzarr is copied with it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from eegzarr.stream.alone import normalized_alone

MICROVOLTS = {"uV": 1.0, "V": 1e6}
_BANDS = ((1.0, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 45.0))  # Hz: delta to low gamma
_TIME_BINS = 8
_SHAPE = ("n_chans", "n_times", "sfreq", "n_outputs")
_SHIFT = 0.02  # s between neighbouring views of one window


class LinearReadout(nn.Module):
    """A linear prediction from simple features: the baseline, and what a residual network adds to.

    The features of a channel are its means over eighths of the window and the logarithm of its
    power in five bands.

    Parameters
    ----------
    n_chans : int
    sfreq : float
        Hz.
    limit : float or None
        A feature further than this many standard deviations from its mean counts as being at that distance.
    n_outputs : int
        Numbers to predict, or classes.
    """

    feature_mean: torch.Tensor
    feature_std: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, n_chans: int, sfreq: float, limit: float | None = None, n_outputs: int = 1) -> None:
        super().__init__()
        self.sfreq = sfreq
        self.limit = limit
        count = n_chans * (_TIME_BINS + len(_BANDS))
        self.register_buffer("feature_mean", torch.zeros(count))
        self.register_buffer("feature_std", torch.ones(count))
        self.register_buffer("weight", torch.zeros(count, *_outputs(n_outputs)))
        self.register_buffer("bias", torch.zeros(_outputs(n_outputs)))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, feature) of windows in uV, (batch, channel, time)."""
        bins = nn.functional.adaptive_avg_pool1d(x, _TIME_BINS)
        power = torch.fft.rfft(x, dim=-1).abs().square() / x.shape[-1] ** 2
        frequency = torch.fft.rfftfreq(x.shape[-1], 1 / self.sfreq).to(x.device)
        bands = [power[..., (frequency >= low) & (frequency < high)].sum(-1) for low, high in _BANDS]
        return torch.cat([bins.flatten(1), *(torch.log(band + 1e-6) for band in bands)], dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return predictions, (batch,) or (batch, output): as `Predictor.from_scaled`."""
        return self.standardized(self.features(x)) @ self.weight + self.bias

    def standardized(self, features: torch.Tensor) -> torch.Tensor:
        """Return features in standard deviations from their mean, none further than the limit."""
        features = (features - self.feature_mean) / self.feature_std
        return features if self.limit is None else features.clamp(-self.limit, self.limit)


def _outputs(count: int) -> tuple[int, ...]:
    """Return the shape of a window's prediction: none for a single number."""
    return () if count == 1 else (count,)


class Predictor(nn.Module):
    """A network that takes windows as they are stored and predicts in the target's own unit, or classes.

    Standardising input and output is part of the model: a checkpoint needs no further numbers,
    and the optimizer sees quantities near 1.

    Parameters
    ----------
    network : Module
        Takes (batch, channel, time), gives (batch, output).
    n_chans, n_times : int
        What the network takes. Longer windows are cropped.
    sfreq : float
        Hz.
    residual : bool
        The network predicts what a linear read-out leaves over.
    views : int
        Predictions to average: over crops of a longer window, else over shifts of the window.
    unit : {"uV", "V"}
        Of the windows.
    clamp : float or None
        Largest distance of a sample from its channel's mean, in standard deviations: what lies
        further is set to it, since no EEG does.
    feature_clamp : float or None
        As `clamp`, for the features of the linear read-out.
    channels : list of str or None
        Names of the channels, in the order that it takes them; None for a model that was saved without.
    targets : list of str
        Names of the numbers that it predicts, or of the target whose classes it predicts.
    classes : list of str
        In the order of the outputs; empty for numbers.
    normalize : {"channel", "window", "recording", "robust"}
        By what windows are scaled: the scales of the model, or the window itself; with the others the
        model takes windows that are normalised already.
    points : int
        The network gives several outputs for one number: their softmax weighs `points` that are spread evenly
        over the targets of training, and the prediction is their weighted mean (soft-argmax). 0 for none.
    """

    channel_mean: torch.Tensor
    channel_std: torch.Tensor
    target_mean: torch.Tensor
    target_std: torch.Tensor
    class_shares: torch.Tensor
    points: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        n_chans: int,
        n_times: int,
        sfreq: float,
        residual: bool = False,
        views: int = 1,
        unit: str = "uV",
        clamp: float | None = None,
        feature_clamp: float | None = None,
        channels: list[str] | None = None,
        targets: list[str] | None = None,
        classes: list[str] | None = None,
        normalize: str = "channel",
        points: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.clamp = clamp
        self.feature_clamp = feature_clamp
        self.channels = channels
        self.normalize = normalize
        self.targets = targets or ["target"]
        self.classes = classes or []
        count = len(self.classes) or len(self.targets)
        self.outputs = _outputs(count)
        self.n_times = n_times
        self.sfreq = sfreq
        self.views = views
        self.microvolts = MICROVOLTS[unit]
        self.readout = LinearReadout(n_chans, sfreq, feature_clamp, count) if residual else None
        self.register_buffer("channel_mean", torch.zeros(n_chans, 1))
        self.register_buffer("channel_std", torch.ones(n_chans, 1))
        of_numbers = () if self.classes else self.outputs
        self.register_buffer("target_mean", torch.zeros(of_numbers))
        self.register_buffer("target_std", torch.ones(of_numbers))
        if self.classes:
            self.register_buffer("class_shares", torch.zeros(count))  # of the training part's windows
        self.n_points = points
        if points:
            self.register_buffer("points", torch.zeros(points))  # in standard deviations of the target

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return predictions for windows, (batch, channel, time).

        Returns
        -------
        Tensor, shape (batch, output)
            Numbers in the target's own unit, or the probability of each class.
        """
        x = x.float() * self.microvolts
        return self.in_own_unit([self.standardized(view) for view in self.seen(x)])

    def in_own_unit(self, views: list[torch.Tensor]) -> torch.Tensor:
        """Return the mean prediction, (batch, output), of what `from_scaled` gives for several views."""
        if self.classes:
            # A class that no window of the training part had was never learned.
            is_unknown = (self.class_shares == 0) & (self.class_shares > 0).any()
            return torch.stack([view.masked_fill(is_unknown, -torch.inf).softmax(-1) for view in views]).mean(0)
        predicted: torch.Tensor = torch.stack(views).mean(0) * self.target_std + self.target_mean
        return predicted.reshape(len(predicted), -1)

    def standardized(self, x: torch.Tensor) -> torch.Tensor:
        """Return what `from_scaled` does, for `n_times` samples in uV."""
        return self.from_scaled(self.scaled(x))

    def from_scaled(self, scaled: torch.Tensor) -> torch.Tensor:
        """Return predictions for `scaled` windows.

        Returns
        -------
        Tensor, shape (batch,) or (batch, output)
            Numbers in standard deviations of the target from its mean, without a dimension for a single one; or
            logits of classes.
        """
        output: torch.Tensor = self.network(scaled).float()
        if self.n_points:
            output = (output.reshape(len(scaled), -1).softmax(-1) * self.points).sum(-1)
        output = output.reshape(len(scaled), *self.outputs)
        if self.readout is None:
            return output
        linear: torch.Tensor = self.readout(scaled * self.channel_std + self.channel_mean)
        return output + linear

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        """Return windows in uV in standard deviations of each channel from its mean.

        NaN, for a channel that a recording doesn't have, becomes 0: the channel's mean.
        """
        scaled = normalized_alone(x) if self.normalize == "window" else (x - self.channel_mean) / self.channel_std
        scaled = torch.where(scaled.isnan(), 0.0, scaled)
        return scaled if self.clamp is None else scaled.clamp(-self.clamp, self.clamp)

    def clamped(self, x: torch.Tensor) -> torch.Tensor:
        """Return windows in uV without what no EEG is: see `clamp`."""
        return self.scaled(x) * self.channel_std + self.channel_mean

    def seen(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the parts of windows, (batch, channel, `n_times`) each, that are predicted from."""
        room = x.shape[-1] - self.n_times
        if self.views == 1:
            return [x[..., room // 2 : room // 2 + self.n_times]]
        if room:
            starts = [round(view * room / (self.views - 1)) for view in range(self.views)]
            return [x[..., start : start + self.n_times] for start in starts]
        step = max(1, round(_SHIFT * self.sfreq))
        reach = step * (self.views // 2)
        padded = nn.functional.pad(x, (reach, reach), mode="replicate")
        starts = [min(2 * reach, view * step) for view in range(self.views)]
        return [padded[..., start : start + self.n_times] for start in starts]


class Ensemble(nn.Module):
    """The mean of the predictions of several models."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return predictions, (batch, output), for windows, (batch, channel, time)."""
        return torch.stack([member(x) for member in self.members]).mean(0)


class OneOutput(nn.Module):
    """One of the numbers that a model of several predicts."""

    def __init__(self, model: nn.Module, place: int) -> None:
        super().__init__()
        self.model = model
        self.place = place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return its predictions, (batch, 1), for windows, (batch, channel, time)."""
        predicted: torch.Tensor = self.model(x)
        return predicted[:, self.place : self.place + 1]


def network_class(name: str) -> Callable[..., nn.Module]:
    """Return a class of ``braindecode.models`` by its name, or any by ``package.module:Class``."""
    if ":" in name:
        module, _, own = name.partition(":")
        found: Callable[..., nn.Module] = getattr(importlib.import_module(module), own)
        return found
    import braindecode.models

    known: Callable[..., nn.Module] = getattr(braindecode.models, name)
    return known


def channel_infos(names: list[str], positions: list[list[float] | None]) -> list[dict[str, Any]]:
    """Return what models ask for as ``chs_info``: names, and places in m, zero where unknown, as MNE has them."""
    return [
        {"ch_name": name, "kind": "eeg", "loc": np.array([*(place or (0.0, 0.0, 0.0)), *[0.0] * 9])}
        for name, place in zip(names, positions, strict=True)
    ]


def build_predictor(spec: dict[str, Any]) -> Predictor:
    """Make a model, still without weights, from what a run saved about it.

    Parameters
    ----------
    spec : dict
        ``network`` (see `network_class`), its ``arguments``, the ``positions`` of electrodes if it asks for them, and
        the arguments of `Predictor`.
        Models of early runs have no ``clamp``, ``feature_clamp``, ``channels``, ``targets`` and ``classes``.
    """
    targets, classes = spec.get("targets") or ["target"], spec.get("classes") or []
    shape = {"n_chans": spec["n_chans"], "n_times": spec["n_times"], "sfreq": spec["sfreq"]}
    offered = {**shape, "n_outputs": spec.get("points") or len(classes) or len(targets)}
    if spec.get("channels") and spec.get("positions"):
        offered["chs_info"] = channel_infos(spec["channels"], spec["positions"])
    kind = network_class(spec["network"])
    taken = inspect.signature(kind).parameters
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values())
    # braindecode's models may pass what they don't name to a base class, whose own names are the only sure ones.
    shared = {name: value for name, value in offered.items() if name in taken or (takes_all and name in _SHAPE)}
    network = kind(**shared, **spec["arguments"])
    return Predictor(
        network,
        **shape,
        residual=spec["residual"],
        views=spec["views"],
        unit=spec["unit"],
        clamp=spec.get("clamp"),
        feature_clamp=spec.get("feature_clamp"),
        channels=spec.get("channels"),
        targets=targets,
        classes=classes,
        normalize=spec.get("normalize", "channel"),
        points=spec.get("points", 0),
    )
