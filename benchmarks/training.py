"""Training: windows a second, and the share of its time that a model waits for data.

python -m benchmarks.training FOLDER MODEL WAY [--workers N] [--seconds S]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import column, in_turns, lines, middle, table
from benchmarks.readers import WAYS
from benchmarks.settings import Settings
from eegzarr.train.models import make_model

SFREQ = 100.0
# EEGNeX is what the challenge's baselines train; EEGNet is fast enough on a CPU for the reader to matter.
MODELS = ("EEGNeX", "EEGNet")
READERS = {"eegzarr": 0, "LMDB, pickles": 2, "HDF5, gzip, the HDF5 way's": 2}
LEAST_BATCHES = 2
Figures = dict[str, Any]


def run(settings: Settings) -> Figures:
    """Train each model from each reader."""
    jobs = {}
    for model in MODELS[1:] if settings.smoke else MODELS:
        for way, workers in READERS.items():
            if not settings.smoke or way == "eegzarr":
                command = [sys.executable, "-m", "benchmarks.training", str(settings.formats), model, way]
                command += ["--workers", str(workers), "--seconds", str(settings.seconds)]
                jobs[f"{model} from {way}"] = partial(_figures, command)
    return in_turns(jobs, settings.repeat, title="training", journal=settings.journal)


def _figures(command: list[str]) -> Figures:
    return lines(command)[0]


def measured_training(folder: Path, model: str, way: str, workers: int, seconds: float) -> Figures:
    """Train for some batches, on a GPU where torch sees one; the targets are zeros, which take as long as others."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batches = WAYS[way].batches(folder, workers)
    endless = (x for epoch in range(sys.maxsize) for x in batches(epoch))
    x = next(endless)
    spec = {"network": model, "arguments": {}, "n_chans": x.shape[1], "n_times": x.shape[2], "sfreq": SFREQ}
    network = make_model({**spec, "residual": False, "views": 1, "unit": "uV"}).network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters())
    waited, windows, done = 0.0, 0, 0
    began = time.perf_counter()
    while done < LEAST_BATCHES or time.perf_counter() - began < seconds:
        asked = time.perf_counter()
        x = next(endless)
        waited += time.perf_counter() - asked
        loss = network(x.to(device, non_blocking=True)).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()  # else what waits for the GPU would pass for waiting for data
        windows, done = windows + len(x), done + 1
    wall = time.perf_counter() - began
    return {"windows_per_s": windows / wall, "share_waiting": waited / wall, "device": device.type}


def report(figures: Figures) -> str:
    """Return the table of a run."""
    rows = [
        [
            name,
            runs[0]["device"],
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
    parser.add_argument("model")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(json.dumps(measured_training(given.folder, given.model, given.way, given.workers, given.seconds)))


if __name__ == "__main__":
    main()
