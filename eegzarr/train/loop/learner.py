"""What learns in a fit: the network, its loss and its optimizer, and one step of them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from eegzarr.store.open import selection_statistics
from eegzarr.stream.stream import WindowStream
from eegzarr.train.loop.optimize import choose_precision, make_loss, make_optimizer, rate_share
from eegzarr.train.loop.parts import Parts
from eegzarr.train.loop.ranks import Ranks
from eegzarr.train.models.augment import Augmentation, parse_augmentation
from eegzarr.train.models.predictor import Regressor
from eegzarr.train.models.ridge import fit_ridge
from eegzarr.train.models.zoo import default_model, make_model, set_scales
from eegzarr.train.options import FitOptions


class Learner:
    """A model between steps.

    What a step does depends on the options, the weights and the number of the step alone.
    """

    def __init__(self, options: FitOptions, parts: Parts, ranks: Ranks) -> None:
        self.options, self.ranks = options, ranks
        self.spec = _model_spec(options, parts, ranks.device)
        _seed_everything(options.seed, 0)
        self.model = make_model(self.spec)
        self.loss = make_loss(options.loss)
        self.precision = choose_precision(options.precision, ranks.device)
        steps = [parse_augmentation(text) for text in options.augment]
        self.augmentation = Augmentation(steps, options.seed, ranks.rank)

    def begin(self, parts: Parts, stream: WindowStream, saved: dict[str, Any] | None) -> None:
        """Take the scales of a training part, and the weights that were saved or those that a ridge gives."""
        set_scales(self.model, selection_statistics(parts.train), stream.targets)
        if saved is not None:
            self.model.load_state_dict(saved["model"])
        elif self.model.readout is not None:
            self.model.readout.load_state_dict(fit_ridge(parts.train, self.model).state_dict())
        device, options = self.ranks.device, self.options
        self.model.to(device)
        self.optimizer = make_optimizer(options.optimizer, self.model, options.learning_rate, options.weight_decay)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == torch.float16)
        core = _Standardized(self.model)
        self.core: nn.Module = core if self.ranks.count == 1 else DistributedDataParallel(core)
        if saved is not None:
            self.optimizer.load_state_dict(saved["optimizer"])
            self.scaler.load_state_dict(saved["scaler"])

    def step(self, x: torch.Tensor, y: torch.Tensor, number: int, steps: int) -> torch.Tensor:
        """Take step `number` of `steps` with a batch on the model's device; return its loss."""
        options, model = self.options, self.model
        rate = options.learning_rate * rate_share(number, steps, options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        _seed_everything(options.seed, 1 + number * self.ranks.count + self.ranks.rank)
        x = self.augmentation(model.scaled(x.float()), number)
        wanted = (y - model.target_mean) / model.target_std
        with torch.autocast(x.device.type, self.precision, enabled=self.precision != torch.float32):
            predicted = self.core(x)
        loss = self.loss(predicted, wanted)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if options.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), options.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    @property
    def learning_rate(self) -> float:
        """The rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def weights(self) -> dict[str, Any]:
        """What a model is loaded from: see `eegzarr.train.models.zoo.load_model`."""
        return {"model": {k: v.detach().cpu() for k, v in self.model.state_dict().items()}, "spec": self.spec}

    def state(self) -> dict[str, Any]:
        """What `begin` goes on from."""
        return {
            **self.weights(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }


class _Standardized(nn.Module):
    """What training runs: scaled windows to predictions in standard deviations of the target."""

    def __init__(self, model: Regressor) -> None:
        super().__init__()
        self.model = model

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        """Return predictions, (batch,), for windows in standard deviations of their channels."""
        return self.model.from_scaled(scaled)


def _model_spec(options: FitOptions, parts: Parts, device: torch.device) -> dict[str, Any]:
    sfreq = float(parts.train.attrs["sampling_rate"])
    seconds = options.crop_seconds
    return {
        "network": options.model or default_model(device),
        "arguments": options.model_arguments,
        "n_chans": parts.train.sizes["channel"],
        "n_times": parts.train.sizes["time"] if seconds is None else round(seconds * sfreq),
        "sfreq": sfreq,
        "residual": options.residual,
        "views": options.tta,
        "unit": "uV",
    }


def _seed_everything(seed: int, number: int) -> None:
    """Seed every generator that a network or an augmentation may draw from, for one step of a run."""
    drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    random.seed(drawn)
    np.random.seed(drawn)
    torch.manual_seed(drawn)
