"""Epoch after epoch, in one run: what the first, the second and the tenth give, of eegzarr and of what others use.

python -m benchmarks.epochs SOURCE --out DIR [--earlier CHECKOUT] [--turns 3] [--epochs 10] [--only NAME …]

SOURCE is a BIDS folder with the contrast change detection task at 100 Hz. DIR gets a float32 lake, a float16 lake and a
memory map of their windows, which a later run uses again. Every reader runs in a process of its own, in turns, with all
files in the page cache, and gives shuffled batches of 128 windows and their targets. The first epoch of a process
includes opening, checksums and whatever is compiled. A sum over each batch is all that is done with it.

braindecode reads its windows when they are asked for, out of the recordings, or out of MNE's cache of decoded
recordings (``preload="auto"`` of MNE 1.13), which an earlier epoch has filled. Its epochs take long and are alike after
the second, so that it gets three.

With ``--earlier`` an earlier eegzarr streams the same lakes: ``git worktree add CHECKOUT COMMIT``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

import eegzarr
from benchmarks.measure import progress, recall_pages, table
from benchmarks.settings import BATCH
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.store.kinds import Dtype
from eegzarr.stream import WindowDataset, WindowStream

MEMMAP, CACHE = "memmap.npy", "mne-cache"
EARLIER = {"earlier WindowStream, float32": "float32", "earlier WindowStream, float16": "float16"}
SLOW, SLOW_EPOCHS = "braindecode", 3
Batch = tuple[torch.Tensor, torch.Tensor]


def prepare(source: Path, out: Path) -> None:
    """Write the lakes and the memory map, as far as they aren't there."""
    dtypes: tuple[Dtype, ...] = ("float32", "float16")
    for dtype in dtypes:
        eegzarr.build_lake(source, out / dtype, recipe=CHALLENGE1, dtype=dtype)
    windows = eegzarr.open_windows(out / "float32", CHALLENGE1.name)
    if not (out / MEMMAP).exists():
        mapped = np.lib.format.open_memmap(out / MEMMAP, "w+", "float32", windows["eeg"].shape)
        first = 0
        for x in WindowStream(windows, BATCH, target=None):
            mapped[first : first + len(x)] = x.numpy()
            first += len(x)
        mapped.flush()
    (out / CACHE).mkdir(exist_ok=True)


def streamed(out: Path, dtype: str) -> Iterable[Batch]:
    """WindowStream of a lake of a type, in the same type."""
    windows = eegzarr.open_windows(out / dtype, CHALLENGE1.name)
    return WindowStream(windows, BATCH, shuffle="global", dtype=dtype)


def by_number(out: Path, workers: int) -> Iterable[Batch]:
    """WindowDataset through a DataLoader."""
    dataset = WindowDataset(eegzarr.open_windows(out / "float32", CHALLENGE1.name))
    return DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


class Mapped:
    """np.memmap, indexed once a batch."""

    def __init__(self, out: Path) -> None:
        self._x = np.load(out / MEMMAP, mmap_mode="r")
        self._y = torch.from_numpy(eegzarr.open_windows(out / "float32", CHALLENGE1.name)["target"].to_numpy())

    def __iter__(self) -> Iterator[Batch]:
        for rows in torch.randperm(len(self._x)).split(BATCH):
            yield torch.from_numpy(self._x[rows.numpy()]), self._y[rows]


def braindecode_lazily(out: Path, source: Path, preload: bool | str, workers: int = 0) -> Iterable[Batch]:
    """braindecode's windows through a DataLoader, read when they are asked for."""
    import mne

    from benchmarks.build_ways import annotated_recordings, braindecode_windows

    mne.set_log_level("error")
    mne.set_cache_dir(str(out / CACHE))
    dataset = braindecode_windows(list(annotated_recordings(source, preload=preload)))
    made = DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return _Pairs(made)


class _Pairs:
    """x and y of braindecode's batches, which also say where windows are."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        for x, y, _ in self._batches:
            yield x, y


# By name, as the table shows it: (DIR, SOURCE) to what gives an epoch each time that it is iterated.
READERS: dict[str, Callable[[Path, Path], Iterable[Batch]]] = {
    "WindowStream, float32": lambda out, _: streamed(out, "float32"),
    "WindowStream, float16": lambda out, _: streamed(out, "float16"),
    "np.memmap, a batch an index": lambda out, _: Mapped(out),
    "WindowDataset, DataLoader": lambda out, _: by_number(out, 0),
    "WindowDataset, DataLoader, 2 workers": lambda out, _: by_number(out, 2),
    "braindecode, lazily": lambda out, source: braindecode_lazily(out, source, preload=False),
    "braindecode, MNE's preload='auto'": lambda out, source: braindecode_lazily(out, source, preload="auto"),
    "braindecode, preload='auto', 2 workers": lambda out, source: braindecode_lazily(out, source, "auto", workers=2),
}


def rates(name: str, out: Path, source: Path, epochs: int) -> list[float]:
    """Return the windows/s of each of some epochs, the first with all that comes before it."""
    found = []
    begun = time.perf_counter()
    batches = READERS[name](out, source)
    for _ in range(epochs):
        count = 0
        for x, y in batches:
            x.sum()
            count += len(y)
        found.append(count / (time.perf_counter() - begun))
        begun = time.perf_counter()
    return found


def report(figures: dict[str, list[list[float]]]) -> str:
    """Return a table of medians, with the least and the most of all turns."""
    rows = []
    for name, runs in figures.items():
        last = len(runs[0])
        shown = (0, min(1, last - 1), last - 1)
        rows.append([name, *(_cell([run[epoch] for run in runs]) for epoch in shown), str(last)])
    return table(["windows/s", "first epoch", "second", "last", "which is the"], rows)


def _cell(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def _run(name: str, arguments: argparse.Namespace) -> list[float]:
    """Return the windows/s of a reader's epochs, measured in a process of its own."""
    source, out, epochs = arguments.source, arguments.out, arguments.epochs
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}  # as all other readers are measured
    if name in EARLIER:
        script, dtype = Path(__file__).with_name("earlier.py"), EARLIER[name]
        command = [sys.executable, str(script), str((out / dtype).resolve()), dtype, str(epochs)]
        environment["PYTHONPATH"] = str(arguments.earlier.resolve())
    else:
        count = min(epochs, SLOW_EPOCHS) if name.startswith(SLOW) else epochs
        command = [sys.executable, "-m", "benchmarks.epochs", str(source), "--out", str(out)]
        command += ["--epochs", str(count), "--reader", name]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    found: list[float] = json.loads(told.splitlines()[-1])
    return found


def main() -> None:
    """Measure all readers in turns, and print and store what they gave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--earlier", type=Path, metavar="CHECKOUT")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=READERS, default=list(READERS), metavar="NAME")
    parser.add_argument("--reader", choices=READERS, metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reader is not None:
        print(json.dumps(rates(arguments.reader, arguments.out, arguments.source, arguments.epochs)))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    prepare(arguments.source, arguments.out)
    earlier = [] if arguments.earlier is None else list(EARLIER)
    figures: dict[str, list[list[float]]] = {name: [] for name in [*arguments.only, *earlier]}
    for turn in range(arguments.turns):
        for name in figures:
            progress(f"turn {turn + 1}: {name}")
            for path in (arguments.source, arguments.out):
                recall_pages(path)
            figures[name].append(_run(name, arguments))
    (arguments.out / "epochs.json").write_text(json.dumps(figures, indent=2))
    print(report(figures))


if __name__ == "__main__":
    main()
