"""Which options help: runs that differ from a plain one in a single thing, over several seeds.

python -m benchmarks.ablation LAKE --out DIR [--recipe challenge1] [--seeds 3] [--epochs 4] …

Test-time augmentation and ensembles need no training of their own: they are scored with the
plain runs' models. A run that is finished in DIR is not trained again, one that was stopped goes on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eegzarr.train.loop.fit import fit, resume
from eegzarr.train.loop.parts import make_parts
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.models.zoo import load_model
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.metrics import nrmse
from eegzarr.train.scoring.predict import Predictions, evaluation_stream, mean_prediction, predict
from eegzarr.watch.training import FitProgress

_VIEWS = 5
_TRAINED: dict[str, dict[str, Any]] = {
    "plain": {},
    "Huber loss": {"loss": "huber"},
    "residual over the ridge": {"residual": True},
    "augmentation": {"augment": ("noise:0.5", "shift:0.5", "channels:0.5")},
}


def run_of(options: FitOptions, folder: Path) -> RunFolder:
    """Return the finished run of some options, trained here unless it was before."""
    run = RunFolder(folder)
    if not run.is_finished:
        with FitProgress() as progress:
            if run.is_begun:
                resume(folder, [progress], max_memory=1.0)
            else:
                fit(options, folder, [progress], max_memory=1.0)
    return run


def main() -> None:
    """Train what is missing, then print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="challenge1")
    parser.add_argument("--model", default="")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--epoch-windows", type=int, default=0)
    arguments = parser.parse_args()
    plain = FitOptions(
        lake=arguments.lake,
        recipe=arguments.recipe,
        model=arguments.model,
        epochs=arguments.epochs,
        epoch_windows=arguments.epoch_windows,
    )
    # Seed by seed: a table of what is there so far is one of whole rows.
    scores: dict[str, list[float]] = {}
    ridges: list[float] = []
    for seed in range(arguments.seeds):
        for name, change in _TRAINED.items():
            options = replace(plain, seed=seed, **change)
            run = run_of(options, arguments.out / f"{name.replace(' ', '-').lower()}-{seed}")
            part = run.read_json(run.summary)["scores"]["test"]
            scores.setdefault(name, []).append(part["nrmse"])
            ridges.append(part["ridge"])
    test = make_parts(plain).test
    assert test is not None
    stream = evaluation_stream(test, plain.batch_size)

    def predictions(seed: int, views: int) -> Predictions:
        return predict(load_model(arguments.out / f"plain-{seed}", views=views), stream, torch.device("cpu"))

    single = [predictions(seed, 1) for seed in range(arguments.seeds)]
    averaged = [predictions(seed, _VIEWS) for seed in range(arguments.seeds)]
    scores[f"TTA, {_VIEWS} views"] = [nrmse(p.target, p.prediction) for p in averaged]
    pairs = [mean_prediction(pair) for pair in combinations(single, 2)]
    scores["ensemble of two seeds"] = [nrmse(p.target, p.prediction) for p in pairs]
    everything = mean_prediction(single)
    print(table(scores, arguments.seeds))
    print(f"\nEnsemble of all {arguments.seeds} seeds: {nrmse(everything.target, everything.prediction):.3f}; ", end="")
    print(
        f"ridge {np.mean(ridges):.3f}; {len(single[0].target):,} windows of {len(set(single[0].subject))} test subjects"
    )


def table(scores: dict[str, list[float]], seeds: int) -> str:
    """Return scores as Markdown; changes are paired by seed, but for the ensembles."""
    lines = ["| variant | NRMSE, each seed | mean | change from plain |", "|---|---|---|---|"]
    base = np.array(scores["plain"])
    for name, values in scores.items():
        each = ", ".join(f"{value:.3f}" for value in values)
        change = f"{np.mean(values) - base.mean():+.3f}"
        if len(values) == seeds and name not in ("plain", "ensemble of two seeds"):
            change += f" ± {np.std(np.array(values) - base, ddof=1):.3f}" if seeds > 1 else ""
        lines.append(f"| {name} | {each} | {np.mean(values):.3f} | {'' if name == 'plain' else change} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
