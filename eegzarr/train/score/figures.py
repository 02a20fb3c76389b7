"""Figures of a run: its curves, and its predictions beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_POINTS = 5000  # more are no longer told apart


def draw_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the training loss and the validation score over epochs."""
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["train_loss"] for row in history], marker=".")
    left.set(xlabel="epoch", ylabel="training loss (SD of the target)")
    right.plot(epochs, [row["valid_nrmse"] for row in history], marker=".", label="model")
    right.axhline(1.0, color="grey", linestyle="--", label="constant")
    right.set(xlabel="epoch", ylabel="validation NRMSE")
    right.legend()
    figure.savefig(path, dpi=120)


def draw_predictions(rows: Sequence[dict[str, Any]], target_name: str, folder: Path) -> None:
    """Draw ``scatter.png``, predictions over targets, and ``residuals.png``, a panel a part."""
    parts = {part: [row for row in rows if row["part"] == part] for part in dict.fromkeys(r["part"] for r in rows)}
    for name, draw in (("scatter.png", _scatter), ("residuals.png", _residuals)):
        figure = Figure(figsize=(4.2 * len(parts), 3.8), layout="constrained")
        for axes, (part, members) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts.items(), strict=True):
            chosen = np.random.default_rng(0).permutation(len(members))[:_POINTS]
            target = np.array([members[i]["target"] for i in chosen])
            prediction = np.array([members[i]["prediction"] for i in chosen])
            draw(axes, target, prediction)
            axes.set_title(f"{part}: {target_name}")
        figure.savefig(folder / name, dpi=120)


def _scatter(axes: Axes, target: np.ndarray, prediction: np.ndarray) -> None:
    axes.scatter(target, prediction, s=4, alpha=0.4)
    ends = [float(target.min()), float(target.max())]
    axes.plot(ends, ends, color="grey", linestyle="--")
    axes.set(xlabel="target", ylabel="prediction")


def _residuals(axes: Axes, target: np.ndarray, prediction: np.ndarray) -> None:
    axes.scatter(prediction, prediction - target, s=4, alpha=0.4)
    axes.axhline(0, color="grey", linestyle="--")
    axes.set(xlabel="prediction", ylabel="prediction − target")
