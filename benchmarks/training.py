"""Training: windows a second, and the share of its time that a step waits for data.

python -m benchmarks.training FOLDER STEP WAY [--workers N] [--seconds S]

STEP is a model's name, or a number of ms: a step that takes so long elsewhere, as on a GPU, and leaves
the processor to the reader.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import column, in_turns, lines, middle, recall_pages, table
from benchmarks.readers import WAYS
from benchmarks.settings import Settings
from eegzarr.train.models.zoo import make_model

SFREQ = 100.0
# EEGNeX is what the challenge's baselines train; EEGNet is fast enough on a CPU for the reader to matter.
MODELS = ("EEGNeX", "EEGNet")
ELSEWHERE = ("10", "5", "2")  # ms
READERS = {"eegzarr": 0, "LMDB, pickles": 2, "HDF5, gzip, the HDF5 way's": 2}
READERS_ELSEWHERE = {"eegzarr": 0, "np.memmap": 2, **READERS}
LEAST_BATCHES = 2
WARM_UP = 3.0  # s, at most
Figures = dict[str, Any]
Step = Callable[[torch.Tensor], object]


def run(settings: Settings) -> Figures:
    """Train each model from each reader, and wait for steps that take so long elsewhere."""
    models, elsewhere = (MODELS[1:], ELSEWHERE[:1]) if settings.smoke else (MODELS, ELSEWHERE)
    asked = [(model, model, READERS) for model in models]
    asked += [(ms, f"a step of {ms} ms elsewhere", READERS_ELSEWHERE) for ms in elsewhere]
    jobs = {}
    for step, told, readers in asked:
        for way, workers in readers.items():
            if not settings.smoke or way == "eegzarr":
                command = [sys.executable, "-m", "benchmarks.training", str(settings.formats), step, way]
                command += ["--workers", str(workers), "--seconds", str(settings.seconds)]
                jobs[f"{told}, {way}"] = partial(_figures, command, settings.formats / WAYS[way].stored)
    return in_turns(jobs, settings.repeat, title="training", journal=settings.journal)


def _figures(command: list[str], stored: Path) -> Figures:
    recall_pages(stored)
    # As for readers: idle threads would spin on the cores that decode.
    return lines(command, OMP_WAIT_POLICY="passive")[0]


def measured_training(
    folder: Path, make_step: Callable[[torch.Tensor, torch.device], Step], way: str, workers: int, seconds: float
) -> Figures:
    """Take some batches' steps, on a GPU where torch sees one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batches = WAYS[way].batches(folder, workers)
    endless = (x for epoch in range(sys.maxsize) for x in batches(epoch))
    x = next(endless)
    step = make_step(x, device)
    began = time.perf_counter()
    while time.perf_counter() - began < min(seconds, WARM_UP):
        next(endless)
    waited, windows, done = 0.0, 0, 0
    began = time.perf_counter()
    while done < LEAST_BATCHES or time.perf_counter() - began < seconds:
        asked = time.perf_counter()
        x = next(endless)
        waited += time.perf_counter() - asked
        step(x)
        windows, done = windows + len(x), done + 1
    wall = time.perf_counter() - began
    return {"windows_per_s": windows / wall, "share_waiting": waited / wall, "device": device.type}


def network_step(model: str) -> Callable[[torch.Tensor, torch.device], Step]:
    """Return what makes a network's step: forward and backward; the targets are zeros, which take as long as others."""

    def make(x: torch.Tensor, device: torch.device) -> Step:
        spec = {"network": model, "arguments": {}, "n_chans": x.shape[1], "n_times": x.shape[2], "sfreq": SFREQ}
        network = make_model({**spec, "residual": False, "views": 1, "unit": "uV"}).network.to(device).train()
        optimizer = torch.optim.AdamW(network.parameters())

        def step(x: torch.Tensor) -> None:
            loss = network(x.to(device, non_blocking=True)).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize()  # else what waits for the GPU would pass for waiting for data

        return step

    return make


def step_elsewhere(ms: float) -> Callable[[torch.Tensor, torch.device], Step]:
    """Return what makes a step that takes so many ms and no processor."""
    return lambda x, device: lambda x: time.sleep(ms / 1000)


def report(figures: Figures) -> str:
    """Return the table of a run."""
    rows = [
        [
            name,
            runs[0]["device"] if name.startswith(MODELS) else "",
            middle(column(runs, "windows_per_s")),
            middle([100 * share for share in column(runs, "share_waiting")]),
        ]
        for name, runs in figures.items()
    ]
    return table(["training", "device", "windows/s", "waiting for data, %"], rows)


def main() -> None:
    """Train and print figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("step", help="a model, or ms")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    make_step = step_elsewhere(float(given.step)) if given.step.isdigit() else network_step(given.step)
    print(json.dumps(measured_training(given.folder, make_step, given.way, given.workers, given.seconds)))


if __name__ == "__main__":
    main()
