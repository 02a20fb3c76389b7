"""What a run is determined by: one value, stored with the run as JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from eegzarr.challenge.rules import SEEN_SECONDS
from eegzarr.errors import BatchTooLarge, UsageError
from eegzarr.suggest import did_you_mean

Loss = Literal["auto", "mse", "mae", "huber", "cross-entropy"]
Normalized = Literal["channel", "window", "recording", "robust"]
ClassWeights = Literal["balanced", "none"]
Optimizer = Literal["adamw", "adam", "nadam", "radam", "rmsprop", "sgd"]
Precision = Literal["auto", "float32", "bfloat16", "bf16", "float16"]
Device = Literal["auto", "cpu", "cuda"]
LOSSES, OPTIMIZERS, PRECISIONS, DEVICES = map(get_args, (Loss, Optimizer, Precision, Device))
SPLITS = ("auto", "fractions", "challenge")  # or one that the lake keeps
_SHARES = ("releases", "fractions", "folds", "split_seed")  # which a split of the lake leaves nothing to say
CLASS_WEIGHTS, NORMALIZED = get_args(ClassWeights), get_args(Normalized)
NUMBER_LOSSES = ("mse", "mae", "huber")
_COUNTS = ("epoch_windows", "valid_windows", "soft_argmax", "threads", "seed", "split_seed")
_RENAMED = {"keep_start_kit_exclusions": "--keep-excluded", "model_arguments": "--model-arg"}


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """The options of a run, which are stored with it.

    Parameters
    ----------
    lake : str
        What to train on: path or URL.
    recipe : str
        Whose windows to train on.
    releases : tuple of str
        Releases to train on. Default: all of the recipe.
    target : tuple of str
        Label to predict: a number, or text, whose values are classes; several for several numbers. Default: the
        recipe's target.
    where : str
        Condition on labels that the windows to train on fulfil, such as "peak_to_peak < 500".
    valid_where : str
        The same for the windows that are scored.
    normalize : {"channel", "window", "recording", "robust"}
        channel: by the training part's scale of each channel, which the model keeps. window: by the window itself.
        recording: by mean and standard deviation of the recording, robust: by its median and quartiles; then the model
        takes windows normalised so.
    clamp : float
        Largest distance of a sample from its mean in standard deviations; 0 for any.
    model : str
        A class of braindecode.models, or package.module:Class of your own. Default: EEGNeX on a GPU, else EEGNet.
    model_arguments : dict
        Extra arguments of that class.
    init_from : str
        Begin with the weights of this run's best model, where they fit: pretrained on another recipe or target.
    residual : bool
        Let the network learn what a ridge on band power and time bins leaves over.
    soft_argmax : int
        Predict a number as the weighted mean of this many values, spread evenly over the targets of training, whose
        weights are the softmax of the network's outputs: for reaction times. 0: the network's output is the number.
    crop : float or None
        Seconds that the model sees of a window, anywhere in training. Default: 2 for the recipe challenge2, else all.
    augment : tuple of str
        NAME[:PROBABILITY] of noise, shift, channels and others, applied in this order; the probability is 0.5 by
        default.
    tta : int
        Average the predictions over this many crops or shifts in evaluation; 1 for none.
    loss : {"auto", "mse", "mae", "huber", "cross-entropy"}
        Of numbers in standard deviations of the target; huber turns linear at 1. auto: mse for numbers,
        cross-entropy for classes.
    class_weights : {"balanced", "none"}
        balanced: the loss counts each class alike, however few windows it has.
    optimizer : {"adamw", "adam", "nadam", "radam", "rmsprop", "sgd"}
        Of torch.optim.
    learning_rate : float
        The highest rate.
    weight_decay : float
        Of the optimizer.
    warmup : float
        Share of all steps over which the rate rises from 0; then it falls to 0 along a cosine.
    clip : float
        Largest norm of the gradient; 0 for any.
    precision : {"auto", "float32", "bfloat16", "bf16", "float16"}
        Of the network's arithmetic; bf16 is bfloat16; auto is bfloat16 or else float16 on a GPU, float32 on a CPU.
    device : {"auto", "cpu", "cuda"}
        Where to train.
    threads : int
        Of PyTorch on the CPU; 0 for its own choice, which the run then keeps, since sums are rounded in an order that
        depends on it.
    epochs : int
        Train for at most this many.
    patience : int
        Stop after this many epochs without a better validation score.
    batch_size : int
        Windows in a batch of each process.
    accumulate : int
        Take a step after this many batches, with the mean of their gradients.
    balance : str
        Label whose values are drawn equally often in training, such as "subject" or "target".
    ema : float
        Score and keep a running mean of the weights; each step keeps this share of it, such as 0.999; 0 for none.
    compile : bool
        Compile the network with torch.compile.
    epoch_windows : int
        Windows between two validations; 0 for all of the training part. The next epoch begins where the
        last one ended, so that every window is seen before any is seen twice.
    valid_windows : int
        Score an epoch on this many windows of the validation part, spread evenly over its subjects; 0 for all. The
        scores at the end are always of all.
    split : str
        challenge: R5 is the validation part and all other releases are trained on. fractions: shares of the subjects.
        auto: challenge, if the lake has R5 and another release; else fractions. Or the name of a split that the lake
        keeps, with the parts train and valid, and maybe test.
    fractions : tuple of float
        Shares of the subjects for training, validation and test.
    folds : int
        Cross-validation over subjects: the subjects outside the test part make this many folds, one run per fold.
    fold : int
        The fold that is the validation part.
    seed : int
        Of weights, shuffling and augmentation.
    split_seed : int
        Of the split by subject.
    keep_start_kit_exclusions : bool
        Use also the nine subjects that the challenge's start kit leaves out.
    """

    lake: str
    recipe: str = "challenge1"
    releases: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    where: str = ""
    valid_where: str = ""
    normalize: Normalized = "channel"
    clamp: float = 20.0
    model: str = ""
    model_arguments: dict[str, Any] = field(default_factory=dict)
    init_from: str = ""
    residual: bool = False
    soft_argmax: int = 0
    crop: float | None = None
    augment: tuple[str, ...] = ()
    tta: int = 1
    loss: Loss = "auto"
    class_weights: ClassWeights = "balanced"
    optimizer: Optimizer = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup: float = 0.05
    clip: float = 1.0
    precision: Precision = "auto"
    device: Device = "auto"
    threads: int = 0
    epochs: int = 10
    patience: int = 8
    batch_size: int = 64
    accumulate: int = 1
    balance: str = ""
    ema: float = 0.0
    compile: bool = False
    epoch_windows: int = 0
    valid_windows: int = 0
    split: str = "auto"
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    folds: int = 0
    fold: int = 0
    seed: int = 2025
    split_seed: int = 2025
    keep_start_kit_exclusions: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "lake", os.fspath(self.lake))
        for name in ("releases", "target", "augment", "fractions"):
            if isinstance(getattr(self, name), str):
                raise UsageError(f"{option_name(name)} takes several: give a list, such as [{getattr(self, name)!r}]")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if twice := sorted({one for one in self.target if self.target.count(one) > 1}):
            raise UsageError(f"--target names {', '.join(twice)} twice")
        for name in ("epochs", "patience", "batch_size", "accumulate", "tta"):
            if getattr(self, name) < 1:
                raise UsageError(f"{option_name(name)} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay", "clip", "clamp", *_COUNTS):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{option_name(name)} must be at least 0, got {getattr(self, name)}")
        if self.soft_argmax and (self.soft_argmax < 2 or self.residual):
            why = "which --residual doesn't allow" if self.residual else "and needs at least 2"
            raise UsageError(f"--soft-argmax {self.soft_argmax} predicts a mean of values, {why}")
        if not 0 <= self.warmup < 1:
            raise UsageError(f"--warmup is a share of all steps, from 0 to below 1, got {self.warmup}")
        if not 0 <= self.ema < 1:
            raise UsageError(f"--ema is a share of the mean that each step keeps, from 0 to below 1, got {self.ema}")
        if self.epoch_windows and self.epoch_windows < self.step_windows:
            raise BatchTooLarge(f"--epoch-windows {self.epoch_windows} is less than a batch of {self.step_windows}")
        if self.crop is not None and not 0 < self.crop < float("inf"):
            raise UsageError(f"--crop must be a number of seconds above 0, got {self.crop}")
        seen = SEEN_SECONDS.get(self.recipe)
        if self.crop is not None and seen is not None and self.crop > seen:
            raise UsageError(f"--crop {self.crop:g}: of a window of {self.recipe} the evaluator gives {seen:g} s")
        if self.folds and not (self.folds >= 2 and 0 <= self.fold < self.folds):
            raise UsageError(
                f"--folds must be at least 2 and the fold one of them, got fold {self.fold} of {self.folds}"
            )
        choices = {"loss": LOSSES, "optimizer": OPTIMIZERS, "precision": PRECISIONS, "device": DEVICES}
        choices |= {"class_weights": CLASS_WEIGHTS, "normalize": NORMALIZED}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                given = getattr(self, name)
                raise UsageError(
                    f"{option_name(name)} must be one of {', '.join(known)}, got {given!r}."
                    f"{did_you_mean(str(given), known)}"
                )

        if self.is_kept_split:
            self._check_kept_split()

    def _check_kept_split(self) -> None:
        if not self.split:
            raise UsageError(f"--split must be one of {', '.join(SPLITS)}, or the name of a split that the lake keeps")
        defaults = {option.name: option.default for option in fields(self)}
        if more := [option_name(name) for name in _SHARES if getattr(self, name) != defaults[name]]:
            raise UsageError(f"--split {self.split} says which windows each part has: leave out {', '.join(more)}")

    @property
    def is_kept_split(self) -> bool:
        """Whether the parts are those of a split that the lake keeps."""
        return self.split not in SPLITS

    @property
    def step_windows(self) -> int:
        """Windows of a process that a step is taken with."""
        return self.batch_size * self.accumulate

    @property
    def crop_seconds(self) -> float | None:
        """Seconds that the model sees of a window, None for all."""
        return SEEN_SECONDS.get(self.recipe) if self.crop is None else self.crop


def read_options(path: Path) -> FitOptions:
    """Return the options of a run's ``config.json``.

    Raises
    ------
    UsageError
        If it isn't there or holds something else.
    """
    try:
        stored = json.loads(path.read_text())["options"]
        known = {f.name for f in fields(FitOptions)}
        values: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in stored.items() if name in known
        }
        return FitOptions(**values)
    except FileNotFoundError as error:
        raise UsageError(f"{path.parent} holds no run: {path.name} is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} isn't the configuration of a run: {error}") from error


def options_json(options: FitOptions) -> dict[str, Any]:
    """Return options as `read_options` takes them."""
    return asdict(options)


def option_name(name: str) -> str:
    """Return the name of an option as it is given on a command line."""
    return _RENAMED.get(name) or f"--{name.replace('_', '-')}"


def option_text(value: Any) -> str:
    """Return the value of an option as it is given on a command line."""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value in ("", None) else str(value)
