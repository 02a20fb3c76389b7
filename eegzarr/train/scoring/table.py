"""Predictions as rows of ``predictions.csv``, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.train.scoring.predict import Predictions
from eegzarr.train.task import Task


def prediction_rows(part: str, predictions: Predictions, baseline: Predictions, task: Task) -> list[dict[str, Any]]:
    """Return predictions, and the baseline's beside them, as rows.

    Of several targets each has its columns; of classes there is the name of the most probable one, and the
    probability of each.
    """
    columns: dict[str, npt.NDArray] = {
        "release": predictions.release,
        "window": predictions.window,
        "subject": predictions.subject,
    }
    if task.classes:
        names = np.array(task.classes, object)
        columns["target"] = names[predictions.target]
        columns["prediction"] = names[predictions.prediction.argmax(axis=1)]
        columns[task.baseline] = names[baseline.prediction.argmax(axis=1)]
        columns |= {_probability(name): predictions.prediction[:, code] for code, name in enumerate(task.classes)}
    elif len(task.names) == 1:
        columns |= {"target": predictions.target, "prediction": predictions.prediction, "ridge": baseline.prediction}
    else:
        for number, name in enumerate(task.names):
            columns[f"target {name}"] = predictions.target[:, number]
            columns[f"prediction {name}"] = predictions.prediction[:, number]
            columns[f"ridge {name}"] = baseline.prediction[:, number]
    columns["part"] = np.full(len(predictions.window), part, object)
    lists = {name: values.tolist() for name, values in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def read_predictions(path: Path, task: Task, part: str) -> Predictions:
    """Return a part's predictions from the file that a run wrote."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table = table[table["part"] == part]
    if task.classes:
        code = {name: number for number, name in enumerate(task.classes)}
        target: npt.NDArray = np.array([code[name] for name in table["target"]], np.int64)
        prediction: npt.NDArray = table[[_probability(name) for name in task.classes]].to_numpy().astype(np.float32)
    elif len(task.names) == 1:
        target, prediction = (table[name].to_numpy().astype(np.float32) for name in ("target", "prediction"))
    else:
        target, prediction = (
            table[[f"{kind} {name}" for name in task.names]].to_numpy().astype(np.float32)
            for kind in ("target", "prediction")
        )
    return Predictions(
        release=table["release"].to_numpy(),
        window=table["window"].to_numpy().astype(np.int64),
        subject=table["subject"].to_numpy(),
        target=target,
        prediction=prediction,
    )


def _probability(name: str) -> str:
    return f"P({name})"
