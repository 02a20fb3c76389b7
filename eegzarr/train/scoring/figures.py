"""Figures of a run: its curves, and its predictions beside the truth and beside the baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eegzarr.train.scoring.evaluate import PARTS, PartScore
from eegzarr.train.scoring.numbers import NumberScore
from eegzarr.train.task import Task

if TYPE_CHECKING:
    from eegzarr.train.scoring.classes import ClassScore

_POINTS = 5000  # more can't be distinguished
_BASELINE = "#bbbbbb"
_MOST_NUMBERED = 12  # classes whose counts are written into their fields


def draw_curves(history: Sequence[dict[str, Any]], references: Mapping[str, float], task: Task, path: Path) -> None:
    """Draw the training loss and the validation score over epochs, beside the baselines."""
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["train_loss"] for row in history], marker=".")
    left.set(xlabel="epoch", ylabel=f"training loss ({'cross-entropy' if task.classes else 'SD of the target'})")
    right.plot(epochs, [row["valid_score"] for row in history], marker=".", label="model")
    for (name, value), style in zip(references.items(), ("--", ":"), strict=True):
        right.axhline(value, color="grey", linestyle=style, label=name)
    right.set(xlabel="epoch", ylabel=f"validation {task.metric}")
    right.legend()
    figure.savefig(path, dpi=120)


def draw_predictions(rows: Sequence[dict[str, Any]], scores: Mapping[str, PartScore], task: Task, folder: Path) -> None:
    """Draw ``confusion.png`` of classes; of numbers ``scatter.png``, ``residuals.png``: a panel a part and target."""
    if task.classes:
        told = {part: score for part, score in scores.items() if not isinstance(score, NumberScore)}
        _draw_confusion(told, folder / "confusion.png")
        return
    parts = {part: [row for row in rows if row["part"] == part] for part in dict.fromkeys(r["part"] for r in rows)}
    for name, draw in (("scatter.png", _scatter), ("residuals.png", _residuals)):
        figure = Figure(figsize=(4.2 * len(parts), 3.8 * len(task.names)), layout="constrained")
        panels = figure.subplots(len(task.names), len(parts), squeeze=False)
        for (part, members), column in zip(parts.items(), panels.T, strict=True):
            chosen = np.random.default_rng(0).permutation(len(members))[:_POINTS]
            for target, axes in zip(task.names, column, strict=True):
                own = f" {target}" if len(task.names) > 1 else ""
                target_values, guess, ridge = (
                    np.array([members[i][f"{kind}{own}"] for i in chosen]) for kind in ("target", "prediction", "ridge")
                )
                _draw_beside_ridge(draw, axes, target_values, guess, ridge)
                axes.set_title(f"{part}: {target}")
        figure.savefig(folder / name, dpi=120)


_Draw = Callable[[Axes, npt.NDArray, npt.NDArray, dict[str, Any]], None]


def _draw_beside_ridge(draw: _Draw, axes: Axes, target: npt.NDArray, model: npt.NDArray, ridge: npt.NDArray) -> None:
    draw(axes, target, ridge, {"color": _BASELINE, "label": "ridge"})
    draw(axes, target, model, {"label": "model"})
    axes.legend(markerscale=3)


def _scatter(axes: Axes, target: npt.NDArray, prediction: npt.NDArray, style: dict[str, Any]) -> None:
    axes.scatter(target, prediction, s=4, alpha=0.4, **style)
    ends = [float(target.min()), float(target.max())]
    axes.plot(ends, ends, color="grey", linestyle="--")
    axes.set(xlabel="target", ylabel="prediction")


def _residuals(axes: Axes, target: npt.NDArray, prediction: npt.NDArray, style: dict[str, Any]) -> None:
    axes.scatter(prediction, prediction - target, s=4, alpha=0.4, **style)
    axes.axhline(0, color="grey", linestyle="--")
    axes.set(xlabel="prediction", ylabel="prediction − target")


def _draw_confusion(scores: Mapping[str, ClassScore], path: Path) -> None:
    """Draw which classes were taken for which: shares of each row, and counts."""
    figure = Figure(figsize=(4.6 * len(scores), 4.2), layout="constrained")
    for axes, (part, score) in zip(figure.subplots(1, len(scores), squeeze=False)[0], scores.items(), strict=True):
        counts = np.array(score.confusion)
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        places = range(len(score.classes))
        axes.set_xticks(places, score.classes, rotation=45, ha="right")
        axes.set_yticks(places, score.classes)
        for row, column in np.ndindex(counts.shape) if len(places) <= _MOST_NUMBERED else ():
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=color)
        axes.set(xlabel="predicted", ylabel="class")
        axes.set_title(f"{PARTS[part]}: {score.balanced_accuracy:.3f}, {score.baselines}", fontsize=8)
    figure.savefig(path, dpi=120)
