"""What determines a sample, to the byte."""

from __future__ import annotations

from dataclasses import dataclass

from eegzarr.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class SampleSize:
    """What determines a sample, to the byte.

    Parameters
    ----------
    subjects : int
        Simulated persons.
    runs : int
        Runs of the contrast change detection task for each.
    trials : int
        Trials in a run.
    seed : int
        The same seed gives the same bytes; more subjects leave the first ones as they are.
    """

    subjects: int = 6
    runs: int = 2
    trials: int = 24
    seed: int = 2025

    def __post_init__(self) -> None:
        for name in ("subjects", "runs", "trials"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise UsageError(f"--seed must not be negative, got {self.seed}")
