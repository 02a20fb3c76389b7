"""Augmentation: braindecode's transforms on a batch, on the device that it lies on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from eegzarr.errors import UsageError
from eegzarr.suggest import did_you_mean

# On windows in standard deviations of each channel; arguments as in the papers that braindecode cites.
_TRANSFORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "noise": ("GaussianNoise", {"std": 0.1}),
    "channels": ("ChannelsDropout", {"p_drop": 0.2}),
    "shuffle": ("ChannelsShuffle", {"p_shuffle": 0.1}),
    "mask": ("SmoothTimeMask", {"mask_len_samples": 20}),
    "sign": ("SignFlip", {}),
    "reverse": ("TimeReverse", {}),
    "scale": ("AmplitudeScale", {"interval": (0.8, 1.25)}),
    "surrogate": ("FTSurrogate", {"phase_noise_magnitude": 0.3}),
}
_SHIFT = "shift"
_SHIFT_REACH = 10  # samples to either side: 0.1 s at 100 Hz, about the precision of latencies
AUGMENTATIONS = (_SHIFT, *_TRANSFORMS)
_DEFAULT_PROBABILITY = 0.5
_PURPOSE = 2  # of random numbers, beside those of eegzarr.stream.order


@dataclass(frozen=True)
class Step:
    """One augmentation, and the probability with which a window gets it."""

    name: str
    probability: float


def parse_augmentation(text: str) -> Step:
    """Return the augmentation of a text such as ``noise`` or ``noise:0.3``.

    Raises
    ------
    UsageError
        If there is none of this name, or the probability isn't one.
    """
    name, _, share = text.partition(":")
    if name not in AUGMENTATIONS:
        raise UsageError(
            f"--augment {text!r}: there is no {name!r}; there are {', '.join(AUGMENTATIONS)}."
            f"{did_you_mean(name, AUGMENTATIONS)}"
        )
    try:
        probability = float(share) if share else _DEFAULT_PROBABILITY
    except ValueError:
        probability = -1.0
    if not 0 <= probability <= 1:
        raise UsageError(f"--augment {text!r}: the probability must be from 0 to 1, as in {name}:0.5")
    return Step(name, probability)


class Augmentation:
    """Applies steps to batches; which windows get what depends on seed, step number and rank alone.

    So a resumed run augments as the uninterrupted one did, and no generator has to be saved.

    Parameters
    ----------
    steps : sequence of Step
    seed, rank : int
    """

    def __init__(self, steps: Sequence[Step], seed: int, rank: int = 0) -> None:
        self._seed, self._rank = seed, rank
        self._transforms = [_make(step) for step in steps]

    def __call__(self, x: torch.Tensor, number: int) -> torch.Tensor:
        """Return an augmented copy of a batch, (batch, channel, time), of the given number in the run."""
        seeds = np.random.SeedSequence([self._seed, number, self._rank, _PURPOSE]).generate_state(
            max(1, len(self._transforms))
        )
        for transform, seed in zip(self._transforms, seeds.tolist(), strict=False):
            x = transform(x, np.random.RandomState(seed))
        return x


def _make(step: Step) -> Callable[[torch.Tensor, np.random.RandomState], torch.Tensor]:
    if step.name == _SHIFT:
        return lambda x, rng: _shift(x, step.probability, rng)
    import braindecode.augmentation

    kind, arguments = _TRANSFORMS[step.name]
    transform = getattr(braindecode.augmentation, kind)(probability=step.probability, **arguments)

    def apply(x: torch.Tensor, rng: np.random.RandomState) -> torch.Tensor:
        transform.rng = rng
        augmented: torch.Tensor = transform(x)
        return augmented

    return apply


def _shift(x: torch.Tensor, probability: float, rng: np.random.RandomState) -> torch.Tensor:
    """Shift windows in time, repeating their first or last sample."""
    batch, _, n_times = x.shape
    reach = min(_SHIFT_REACH, n_times - 1)
    offset = rng.randint(-reach, reach + 1, batch) * (rng.uniform(size=batch) < probability)
    source = np.clip(np.arange(n_times) + offset[:, None], 0, n_times - 1)
    index = torch.as_tensor(source, device=x.device)[:, None, :].expand(x.shape)
    return x.gather(-1, index)
