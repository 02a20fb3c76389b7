"""How weights change: losses, optimizers, the schedule of the rate, and precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from eegzarr.errors import BatchTooLarge, UsageError

_PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
}
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def make_loss(name: str, class_shares: torch.Tensor | None = None, *, weighted: bool = True) -> Loss:
    """Return a loss of predictions and targets, both in standard deviations of the target; or of logits and classes.

    Parameters
    ----------
    name : str
        ``"auto"`` is the cross-entropy for classes, the mean squared error for numbers.
    class_shares : Tensor, shape (class,), optional
        How frequent classes are in the training part; None for numbers.
    weighted : bool
        Count the windows of a class by the inverse of its frequency in the training part.

    Raises
    ------
    UsageError
        If the loss is one of numbers and the target is classes, or the other way round.
    """
    is_of_classes = name == "cross-entropy"
    if name != "auto" and is_of_classes != (class_shares is not None):
        given, there = ("classes", "a number") if is_of_classes else ("numbers", "a class")
        raise UsageError(f"--loss {name} is for {given}, and the target is {there}: leave out --loss")
    if class_shares is not None:
        weights = torch.where(class_shares > 0, 1 / (class_shares.clamp(min=1e-12) * (class_shares > 0).sum()), 0.0)
        return _mean_cross_entropy(weights if weighted else None)
    losses: dict[str, Loss] = {
        "auto": nn.functional.mse_loss,
        "mse": nn.functional.mse_loss,
        "mae": nn.functional.l1_loss,
        "huber": nn.functional.huber_loss,
    }
    return losses[name]


def _mean_cross_entropy(weights: torch.Tensor | None) -> Loss:
    """Return a loss of logits and classes, of which the mean over the pieces of a batch is that of the batch.

    PyTorch's own divides by the weights that a batch happens to have: then several processes, or accumulated batches,
    would take other steps than one large batch.
    """

    def loss(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, classes, weights, reduction="sum") / len(classes)

    return loss


def make_optimizer(name: str, model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Return a PyTorch optimizer of a model's weights."""
    kinds = {
        "adamw": torch.optim.AdamW,
        "adam": torch.optim.Adam,
        "nadam": torch.optim.NAdam,
        "radam": torch.optim.RAdam,
        "rmsprop": torch.optim.RMSprop,
    }
    if name == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=learning_rate, weight_decay=weight_decay, momentum=0.9, nesterov=True
        )
    return kinds[name](model.parameters(), lr=learning_rate, weight_decay=weight_decay)


def rate_share(step: int, steps: int, warmup: float) -> float:
    """Return the share of the full learning rate at a step, from 0 on: a line up, then a cosine down to 0.

    A function of the step only, so that there is no schedule to save.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device of an option.

    Raises
    ------
    UsageError
        If there is no GPU that PyTorch can use, and one was asked for.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no GPU here; leave --device out")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the network's arithmetic on a device."""
    if name != "auto":
        return _PRECISIONS[name]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def compiled(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a network that torch.compile compiles when it is first run.

    Raises
    ------
    UsageError
        If nothing can be compiled here, as without a C++ compiler.
    """
    with compiling(device):
        torch.compile(lambda x: x + 1)(torch.ones(2, device=device))
    return torch.compile(network)  # type: ignore[return-value]


@contextmanager
def compiling(device: torch.device) -> Iterator[None]:
    """Turn what torch.compile raises inside the ``with`` where it can't compile into one line.

    Raises
    ------
    UsageError
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        told = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise UsageError(
            f"--compile: torch.compile doesn't work on {device} here ({told[:200]}). It needs a C++ compiler, such as "
            "g++, and on a GPU Triton; or leave --compile out"
        ) from error


@contextmanager
def fitting_batch(windows: int, device: torch.device) -> Iterator[None]:
    """Turn a lack of memory inside the ``with`` into one line.

    Raises
    ------
    BatchTooLarge
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On a GPU it has a class of its own, on a CPU it is known by its text alone.
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
        if not is_memory:
            raise
        raise BatchTooLarge(
            f"a batch of {windows} windows doesn't fit into the memory of {device}: give a smaller --batch-size"
        ) from error
