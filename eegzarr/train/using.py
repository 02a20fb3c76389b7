"""What a trained model says of windows: predictions as a table, and their score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import xarray as xr

from eegzarr.train.loop.run import RunFolder
from eegzarr.train.models.channels import channels_for
from eegzarr.train.models.zoo import load_model
from eegzarr.train.scoring.ensemble import baseline_predictions, matching_stream
from eegzarr.train.scoring.evaluate import PartScore, score_part
from eegzarr.train.scoring.predict import NAMES
from eegzarr.train.scoring.predict import predict as predict_stream
from eegzarr.train.task import Given


def predict(run: str | Path, windows: xr.Dataset, *, batch_size: int = 128, device: str = "cpu") -> pd.DataFrame:
    """Return what a run's best model predicts for windows, with or without a target.

    Parameters
    ----------
    run : path
        Folder of a finished run.
    windows : Dataset
        As `eegzarr.open_windows` returns it, or any selection; with the model's channels, in any order.
    batch_size : int
    device : str
        ``"cpu"``, ``"cuda"``.

    Returns
    -------
    DataFrame
        A row per window, in the order of the selection, with ``release``, ``window`` and ``subject``. A number has the
        column ``prediction``, several ``prediction NAME`` each; classes have the most probable one in ``prediction``
        and the probability of each in ``P(CLASS)``.

    Raises
    ------
    UsageError
        If the windows don't fit the model.
    """
    folder, model = RunFolder(run), load_model(run).to(device)
    options, task = folder.options(), folder.task()
    channels = channels_for(model, windows, str(run))
    stream = Given.by((), options.normalize, options.clamp or None).stream(
        windows, batch_size, target=None, with_labels=NAMES, rank=0, ranks=1
    )
    outputs: list[npt.NDArray[np.float32]] = []
    labels: list[pd.DataFrame] = []
    with torch.inference_mode():
        for x, names in stream:
            own = x if channels is None else x[:, torch.from_numpy(channels)]
            outputs.append(model(own.to(device)).float().cpu().numpy())
            labels.append(pd.DataFrame({name: np.asarray(names[name]) for name in NAMES}))
    output, table = np.concatenate(outputs), pd.concat(labels, ignore_index=True)
    if task.classes:
        table["prediction"] = np.array(task.classes, object)[output.argmax(axis=1)]
        return table.assign(**{f"P({name})": output[:, code] for code, name in enumerate(task.classes)})
    if len(task.names) == 1:
        return table.assign(prediction=output[:, 0])
    return table.assign(**{f"prediction {name}": output[:, number] for number, name in enumerate(task.names)})


def score(run: str | Path, windows: xr.Dataset, *, device: str = "cpu") -> PartScore:
    """Score a run's best model on windows, next to a constant and a linear model of the same training part.

    Windows of a challenge's recipe are scored as its evaluator does. It isn't checked whether the model has seen these
    subjects.

    Parameters
    ----------
    run : path
        Folder of a finished run; its lake must still be there, for the linear model.
    windows : Dataset
        As for `predict`.
    device : str

    Returns
    -------
    NumberScore or ClassScore
    """
    folder, where = RunFolder(run), torch.device(device)
    model = load_model(run).to(where)
    predicted = predict_stream(model, matching_stream(folder, model, windows), where)
    beside, _ = baseline_predictions(folder, windows, where)
    return score_part(predicted, beside, model)
