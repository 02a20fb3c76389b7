"""What every section of the benchmarks needs to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GROUP = "challenge1/R1"  # of every lake that is measured
BATCH = 128
RECORDINGS = 40  # of those readers that keep whole recordings: preloaded they take 60 MB each
# From the number of an epoch to its batches: tensors, or arrays in an environment without PyTorch.
Batches = Callable[[int], Iterator[Any]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a run of the benchmarks measures, and on what.

    Attributes
    ----------
    source : Path
        BIDS folder with the contrast change detection task at 100 Hz.
    formats : Path
        Where `benchmarks.formats` keeps the source's windows in every format.
    scratch : Path
        For all else that is written; removed at the end.
    journal : Path
        What is measured so far (see `benchmarks.journal`).
    repeat : int
        Turns, in each of which everything is measured once.
    seconds : float
        s that a reader is measured for in a turn.
    warm_up : float
        s that a reader reads at most before it is measured.
    sizes : tuple of float
        Sizes of what is built, as multiples of the source.
    patience : float
        s that a way of building may take over all turns; a slower one stays out of further turns.
    memory_limit : str
        For eegzarr's builds.
    smoke : bool
        Run everything, measure nothing well: several commands at a time, no warming up.
    """

    source: Path
    formats: Path
    scratch: Path
    journal: Path
    repeat: int = 3
    seconds: float = 2.0
    warm_up: float = 15.0
    sizes: tuple[float, ...] = (0.25, 0.5, 1, 4)
    patience: float = 120.0
    memory_limit: str = "2GiB"
    smoke: bool = False
