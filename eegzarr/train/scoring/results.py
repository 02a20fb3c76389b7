"""The end of a fit: its best model is scored, and all that a finished run has is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from eegzarr.train.loop.parts import Parts
from eegzarr.train.loop.run import RunFolder, write_csv, write_json
from eegzarr.train.models.zoo import load_model
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.card import write_card
from eegzarr.train.scoring.evaluate import PartScore, evaluate
from eegzarr.train.scoring.predict import EvaluationStream
from eegzarr.train.scoring.summary import FitSummary


def score_best(
    folder: RunFolder,
    parts: Parts,
    evaluated: dict[str, EvaluationStream],
    device: torch.device,
    between: Callable[[], None],
) -> dict[str, PartScore]:
    """Score a run's best model, and write and draw its predictions.

    In float32, however it was trained: so an archive or another program scores it the same.
    """
    from eegzarr.train.scoring.figures import draw_predictions  # matplotlib takes a second to load

    folder.check_not_diverged()
    model = load_model(folder.best).to(device)
    scores, rows = evaluate(model, parts, evaluated, device, torch.float32, between)
    write_csv(folder.predictions, rows)
    draw_predictions(rows, scores, folder.task(), folder.path)
    return scores


def write_results(summary: FitSummary, history: list[dict[str, Any]], options: FitOptions, folder: RunFolder) -> None:
    """Write the curves, the card and, last, the summary, with which a run counts as finished."""
    from eegzarr.train.scoring.figures import draw_curves

    write_csv(folder.metrics, history)
    draw_curves(history, summary.scores["valid"].references, folder.task(), folder.path / "curves.png")
    write_card(summary, options, folder)
    write_json(folder.summary, asdict(summary))
