"""What it costs to look whether a batch is still held before its memory is used again.

python -m benchmarks.buffers LAKE … [--turns 40]     # warm; prints a table

Beside it, buffers that are used again in turn without looking: right only as long as nobody keeps a batch.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median, quantiles

import numpy.typing as npt
import torch

import eegzarr
from benchmarks.measure import table
from benchmarks.settings import GROUP
from eegzarr.stream import WindowStream
from eegzarr.stream.decoding import batches
from eegzarr.stream.decoding.buffers import BufferPool

_AHEAD = 2  # as a stream decodes by default
_EPOCHS = 1  # a turn: what drifts on the machine meets both alike


def _ring(size: int) -> type[BufferPool]:
    """Return a kind of pool that has so many buffers, and gives them in turn."""

    class Ring(BufferPool):
        def __init__(self, shape: tuple[int, ...], dtype: str, *, pin_memory: bool) -> None:
            super().__init__(shape, dtype, pin_memory=pin_memory)
            self._turns = itertools.cycle([torch.empty(shape, dtype=self._dtype) for _ in range(size)])

        def take(self, count: int) -> tuple[torch.Tensor, npt.NDArray]:
            given = next(self._turns)[:count]
            return given, given.numpy()

    return Ring


@contextmanager
def _used(kind: type[BufferPool]) -> Iterator[None]:
    before, batches.BufferPool = batches.BufferPool, kind  # type: ignore[misc]
    try:
        yield
    finally:
        batches.BufferPool = before  # type: ignore[misc]


def _rate(stream: WindowStream, kept: int) -> float:
    """Return windows a second of some epochs, of which a loop keeps the last few batches."""
    began, windows, last = time.perf_counter(), 0, deque[torch.Tensor](maxlen=kept)
    for _ in range(_EPOCHS):
        for x, _y in stream:
            x[:, 0, 0].sum()
            windows += len(x)
            last.append(x)
    return windows / (time.perf_counter() - began)


def _compared(lake: str, kept: int, turns: int, batch_size: int) -> list[str]:
    """Measure both kinds in turns, each by a stream that has given an epoch before; return a row of the table."""
    windows = eegzarr.open_windows(lake, GROUP.split("/")[0])
    ways: list[tuple[WindowStream, list[float]]] = []
    for kind in (BufferPool, _ring(_AHEAD + kept)):
        stream = WindowStream(windows, batch_size, shuffle=True, ahead=_AHEAD, dtype=str(windows["eeg"].dtype))
        with _used(kind):
            _rate(stream, kept)  # its pool stays
        ways.append((stream, []))
    for turn in range(turns):
        for stream, rates in ways if turn % 2 else reversed(ways):
            rates.append(_rate(stream, kept))
    ratios = [looks / blind for looks, blind in zip(*(rates for _, rates in ways), strict=True)]
    first, _, third = quantiles(ratios, n=4)
    told = [f"{median(rates):,.0f}" for _, rates in ways]
    return [lake, str(kept), *told, f"{median(ratios):.3f}", f"{first:.3f}–{third:.3f}"]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lakes", nargs="+", metavar="LAKE")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    rows = [_compared(lake, kept, arguments.turns, arguments.batch_size) for lake in arguments.lakes for kept in (1, 4)]
    print(table(["lake", "batches kept", "looks, windows/s", "doesn't look", "ratio", "its middle half"], rows))


if __name__ == "__main__":
    main()
