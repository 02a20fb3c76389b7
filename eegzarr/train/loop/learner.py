"""What learns in a fit: the network, its loss and its optimizer, and one step of them."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from eegzarr.errors import UsageError
from eegzarr.store.table import sampling_rate
from eegzarr.stream.stream import WindowStream
from eegzarr.train.loop.average import WeightAverage
from eegzarr.train.loop.optimize import (
    choose_precision,
    compiled,
    compiling,
    fitting_batch,
    make_loss,
    make_optimizer,
    rate_share,
)
from eegzarr.train.loop.parts import Parts
from eegzarr.train.loop.ranks import Ranks
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.models.augment import Augmentation, parse_augmentation
from eegzarr.train.models.baseline import fit_baseline
from eegzarr.train.models.predictor import Predictor
from eegzarr.train.models.pretrained import take_weights
from eegzarr.train.models.scales import FEATURE_CLAMP, channel_scales, set_scales
from eegzarr.train.models.zoo import check_known, default_model, load_weights, make_model, wants_places
from eegzarr.train.options import FitOptions
from eegzarr.train.task import Task


class Learner:
    """A model between steps: made with `fresh` or `restored`.

    What a step does depends on the options, the weights and the number of the step alone.

    Parameters
    ----------
    options : FitOptions
    spec : dict
        See `model_spec`.
    model : Predictor
        With its scales.
    ranks : Ranks
    notes : tuple of str
        What a user should know about how it begins.
    """

    def __init__(
        self, options: FitOptions, spec: dict[str, Any], model: Predictor, ranks: Ranks, notes: tuple[str, ...] = ()
    ) -> None:
        self.options, self.spec, self.ranks, self.notes = options, spec, ranks, notes
        self.model = model.to(ranks.device)
        shares = self.model.class_shares if model.classes else None
        self.loss = make_loss(options.loss, shares, weighted=options.class_weights == "balanced")
        self.precision = choose_precision(options.precision, ranks.device)
        steps = [parse_augmentation(text) for text in options.augment]
        self.augmentation = Augmentation(steps, options.seed, ranks.rank)
        self.optimizer = make_optimizer(options.optimizer, model, options.learning_rate, options.weight_decay)
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=self.precision == torch.float16)
        core: nn.Module = _Standardized(model)
        # It gives all processes the first one's weights.
        if ranks.count > 1:
            with ranks.together():
                core = DistributedDataParallel(core)
        self.core = compiled(core, ranks.device) if options.compile else core
        # Of a compiled network the exchange of gradients is part: it is done for each piece, with the same mean.
        self._shared = core if isinstance(core, DistributedDataParallel) and not options.compile else None
        self.average = WeightAverage(self.model, options.ema) if options.ema else None

    @classmethod
    def fresh(cls, options: FitOptions, parts: Parts, stream: WindowStream, ranks: Ranks) -> Learner:
        """Return what begins to learn: with the scales of a training part, and a ridge to improve on, if asked.

        Parameters
        ----------
        stream : WindowStream
            Of the training part.

        Raises
        ------
        UsageError
            If the options name what there isn't, or the network doesn't fit the windows.
        """
        spec = model_spec(options, parts, Task.of(stream, parts.names), stream.positions, ranks.device)
        assert stream.targets is not None  # a fit has a target
        _seed_everything(options.seed, 0)
        model = make_model(spec)
        is_scaled_before = options.normalize != "channel"
        set_scales(model, None if is_scaled_before else channel_scales(parts.train), stream.targets)
        if model.readout is not None:  # in each process: none waits for another one's
            model.readout.load_state_dict(fit_baseline(parts.train, model, parts.given).state_dict())
        notes: tuple[str, ...] = ()
        if options.init_from:
            notes = (take_weights(model, options.init_from), *_seen_before(Path(options.init_from), parts))
        return cls(options, spec, model, ranks, notes)

    @classmethod
    def restored(cls, options: FitOptions, saved: dict[str, Any], ranks: Ranks) -> Learner:
        """Return what learned until `state` was called; elsewhere, what is different here is noted."""
        model = make_model(saved["spec"])
        load_weights(model, saved["model"], saved["spec"], "the checkpoint")
        learner = cls(options, saved["spec"], model, ranks, tuple(saved["notes"]))
        learner.notes += tuple(note for note in learner._elsewhere(saved["made_by"]) if note not in learner.notes)
        learner.optimizer.load_state_dict(saved["optimizer"])
        if learner.scaler.is_enabled() == bool(saved["scaler"]):  # else it was another precision's, as is noted
            learner.scaler.load_state_dict(saved["scaler"])
        if learner.average is not None:
            load_weights(learner.average.model, saved["average"], saved["spec"], "the checkpoint")
        return learner

    def _made_by(self) -> dict[str, str]:
        """What the numbers of a step depend on beside the options."""
        packages = {name: version(name) for name in ("torch", "braindecode")}
        precision = str(self.precision).removeprefix("torch.")
        return packages | {"device": self.ranks.device.type, "precision": precision}

    def _elsewhere(self, before: dict[str, str]) -> tuple[str, ...]:
        """Return a note where a run is resumed by what may compute other numbers."""
        now = self._made_by()
        differ = [f"{name} {value} (was {before[name]})" for name, value in now.items() if before[name] != value]
        if not differ:
            return ()
        return (f"resumed with {', '.join(differ)}: its steps aren't exactly those of a run that was not stopped",)

    def step(self, x: torch.Tensor, y: torch.Tensor, number: int, steps: int) -> torch.Tensor:
        """Take step `number` of `steps` with a batch; return its loss, on the model's device.

        Raises
        ------
        BatchTooLarge
            If the device's memory doesn't hold what it needs.
        """
        options, model, device = self.options, self.model, self.ranks.device
        rate = options.learning_rate * rate_share(number, steps, options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        _seed_everything(options.seed, 1 + number * self.ranks.count + self.ranks.rank)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=device)
        with fitting_batch(min(len(y), options.batch_size), device), compiling(device), self.ranks.together():
            # A copy that doesn't block could still be under way when its buffer is filled again.
            x, y = x.to(device), y.to(device)
            x = self.augmentation(model.scaled(x.float()), number)
            wanted = y if model.classes else (y - model.target_mean) / model.target_std
            pieces = list(zip(x.split(options.batch_size), wanted.split(options.batch_size), strict=True))
            for place, (some, theirs) in enumerate(pieces):
                with self._without_exchange(place < len(pieces) - 1):
                    with torch.autocast(device.type, self.precision, enabled=self.precision != torch.float32):
                        predicted = self.core(some)
                    loss = self.loss(predicted, theirs) * (len(theirs) / len(y))
                    self.ranks.come()
                    self.scaler.scale(loss).backward()
                total += loss.detach()
            if options.clip:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), options.clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.average is not None:
            self.average.take(model, number)
        return total

    def _without_exchange(self, is_more_to_come: bool) -> AbstractContextManager[None]:
        """Let processes exchange the gradients of a batch once, after its last piece."""
        return self._shared.no_sync() if is_more_to_come and self._shared is not None else nullcontext()

    @property
    def judged(self) -> Predictor:
        """The model that is scored and saved: with the mean weights, where they are kept."""
        return self.model if self.average is None else self.average.model

    @property
    def learning_rate(self) -> float:
        """The rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def weights(self) -> dict[str, Any]:
        """What a model is loaded from: see `eegzarr.train.models.zoo.load_model`."""
        return self._saved(self.judged)

    def _saved(self, model: Predictor) -> dict[str, Any]:
        return {"model": {k: v.detach().cpu() for k, v in model.state_dict().items()}, "spec": self.spec}

    def state(self) -> dict[str, Any]:
        """What `restored` resumes from."""
        return {
            **self._saved(self.model),
            **({} if self.average is None else {"average": self.average.model.state_dict()}),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "notes": list(self.notes),
            "made_by": self._made_by(),
        }


class _Standardized(nn.Module):
    """What training runs: scaled windows to predictions in standard deviations of the target, or logits."""

    def __init__(self, model: Predictor) -> None:
        super().__init__()
        self.model = model

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        """Return what `Predictor.from_scaled` does, for windows in standard deviations of their channels."""
        return self.model.from_scaled(scaled)


def model_spec(
    options: FitOptions, parts: Parts, task: Task, positions: npt.NDArray[np.float32], device: torch.device
) -> dict[str, Any]:
    """Return what a model is made from: its network, and what it is to be given.

    It is saved with the weights: the model is made from it again wherever it is used.
    """
    sfreq = sampling_rate(parts.train)
    seconds = options.crop_seconds
    network = options.model or default_model(device)
    check_known(network)
    if options.soft_argmax and task.n_outputs > 1:
        raise UsageError(f"--soft-argmax predicts one number, the target is {task.n_outputs} numbers or classes")
    return {
        "network": network,
        "braindecode": version("braindecode"),
        "arguments": options.model_arguments,
        "n_chans": parts.train.sizes["channel"],
        "n_times": parts.train.sizes["time"] if seconds is None else round(seconds * sfreq),
        "sfreq": sfreq,
        "channels": [str(name) for name in parts.train["channel"].to_numpy()],
        "residual": options.residual,
        "views": options.tta,
        "unit": "uV",
        "clamp": options.clamp or None,
        "normalize": options.normalize,
        "feature_clamp": FEATURE_CLAMP,
        "positions": _places(positions) if wants_places(network) else [],
        "points": options.soft_argmax,
        "targets": list(task.names),
        "classes": list(task.classes),
    }


def _places(positions: npt.NDArray[np.float32]) -> list[list[float] | None]:
    """Return where electrodes are, in m; None where unknown."""
    return [[float(one) for one in place] if np.isfinite(place).all() else None for place in positions]


def _seen_before(run: Path, parts: Parts) -> tuple[str, ...]:
    """Return a note on subjects that are scored, if the weights to begin with were trained on them."""
    folder, subjects = RunFolder(run if run.is_dir() else run.parent), parts.subjects()
    if not folder.subjects.exists():
        return ()
    scored = {*subjects["valid"], *subjects["test"]}
    seen = scored & set(folder.read_json(folder.subjects)["train"])
    if not seen:
        return ()
    return (
        f"{run} was trained on {len(seen)} of the {len(scored)} subjects that are scored here, so scores may be too "
        "good: give both runs one split of people that the lake keeps, with --split NAME",
    )


def _seed_everything(seed: int, number: int) -> None:
    """Seed every generator that a network or an augmentation may draw from, for one step of a run."""
    drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    random.seed(drawn)
    np.random.seed(drawn)
    torch.manual_seed(drawn)
