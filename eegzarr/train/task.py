"""What a model predicts: numbers, or one of several classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.stream.shape import Normalize
from eegzarr.stream.stream import WindowStream
from eegzarr.stream.targets import Target

TARGET = "target"  # the label that a lake has of its recipe's own


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is predicted of a window, and how it is scored.

    Attributes
    ----------
    names : tuple of str
        Of the targets, for people: several only of numbers.
    classes : tuple of str
        In the order of their codes; empty for numbers.
    """

    names: tuple[str, ...] = (TARGET,)
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, stream: WindowStream, names: Sequence[str]) -> Task:
        """Return the task that the targets of a stream are.

        Raises
        ------
        UsageError
            If no model here predicts such targets.
        """
        classes, targets = stream.classes, stream.targets
        assert targets is not None  # a fit has a target
        if targets.ndim == 2 and targets.shape[1] == 1:
            raise UsageError("a list of one target: name the label alone")
        if classes is not None and targets.ndim == 2:
            raise UsageError("several targets must all be numbers: predict one of classes at a time, with --target")
        count = 1 if targets.ndim == 1 else targets.shape[1]
        own = tuple(names) if len(names) == count else tuple(f"{TARGET}_{i}" for i in range(count))
        return cls(names=own, classes=tuple(classes or ()))

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Task:
        """Return the task of a saved model; those of early runs predict one number."""
        return cls(names=tuple(spec.get("targets") or (TARGET,)), classes=tuple(spec.get("classes") or ()))

    @property
    def n_outputs(self) -> int:
        """Numbers that a model gives for a window."""
        return len(self.classes) or len(self.names)

    @property
    def metric(self) -> str:
        """What models are compared by, for people."""
        return "balanced accuracy" if self.classes else "NRMSE"

    @property
    def metric_key(self) -> str:
        """Its name in ``summary.json``."""
        return "balanced_accuracy" if self.classes else "nrmse"

    @property
    def larger_is_better(self) -> bool:
        """Whether a larger value of the metric is the better one."""
        return bool(self.classes)

    @property
    def baseline(self) -> str:
        """What every score compares a model with: a linear model of simple features."""
        return "logistic" if self.classes else "ridge"

    def is_better(self, score: float, other: float) -> bool:
        """Return whether a score is better than another one."""
        return score > other if self.larger_is_better else score < other


@dataclass(frozen=True, kw_only=True)
class Given:
    """How a run's windows are given to its models: with what as y, and normalised by what.

    Attributes
    ----------
    target : str or sequence of str
        As for a `WindowStream`.
    normalize : {"recording", "robust"} or None
        What the stream normalises by; None where the model has scales of its own.
    clamp : float or None
        Largest absolute value after the stream's normalising.
    """

    target: Target = TARGET
    normalize: Normalize | None = None
    clamp: float | None = None

    @classmethod
    def by(cls, labels: Sequence[str], normalize: str, clamp: float | None) -> Given:
        """Return how windows are given by the options of a run: labels to predict, none for the recipe's own."""
        target: Target = TARGET if not labels else labels[0] if len(labels) == 1 else list(labels)
        if normalize in NORMALIZED_BY_STREAM:
            return cls(target=target, normalize=normalize, clamp=clamp)  # type: ignore[arg-type]
        return cls(target=target)

    def stream(self, windows: xr.Dataset, batch_size: int, **options: Any) -> WindowStream:
        """Return windows as a model takes them; `options` are those of a `WindowStream`."""
        return WindowStream(
            windows, batch_size, **{"target": self.target, "normalize": self.normalize, "clamp": self.clamp} | options
        )


AS_STORED = Given()
NORMALIZED_BY_STREAM = ("recording", "robust")  # by numbers of the lake, which a model alone hasn't
