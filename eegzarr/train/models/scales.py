"""The scales of a training part, such that artefacts don't move them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.store.open import RECIPE_NAME, open_recordings
from eegzarr.store.provenance import lake_of
from eegzarr.store.quality import FLAT_BELOW, channel_deviations
from eegzarr.train.models.predictor import Predictor

FEATURE_CLAMP = 5.0  # robust standard deviations of a ridge's feature
_SMALLEST = 1e-4  # of the largest channel's scale: below it a channel holds the rounding of a flat one


def channel_scales(windows: xr.Dataset) -> dict[str, npt.NDArray[np.float64]]:
    """Return ``mean`` and ``std`` in uV, (channel,), for the recordings of a selection.

    The median over recordings of each recording's own, from the tables of recordings, so that no signal is
    read: an artefact of 20 mV in one recording moves that recording's moments and no scale. A recording in
    which a channel is flat says nothing about it. A channel that is flat in all of them has the scale of the
    median channel.
    """
    lake, recipe = lake_of(windows), windows.attrs[RECIPE_NAME]
    release, recording = windows["release"].to_numpy().astype(object), windows["recording"].to_numpy()
    means, deviations = [], []
    for name in sorted(set(release.tolist())):
        table = open_recordings(lake, recipe, name).isel(recording=np.unique(recording[release == name]))
        means.append(table["mean"].to_numpy())
        deviations.append(channel_deviations(table))
    return robust_scales(np.concatenate(means), np.concatenate(deviations))


def robust_scales(
    means: npt.NDArray[np.float64], deviations: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float64]]:
    """Return ``mean`` and ``std``, (channel,), of recordings' means and standard deviations, (recording, channel)."""
    lives = np.isfinite(deviations) & (deviations >= FLAT_BELOW)
    # Where a channel is never that large, such as in a lake of another unit, any variation counts.
    lives = np.where(lives.any(axis=0), lives, np.isfinite(deviations) & (deviations > 0))
    mean, std = (_median_where(values, lives) for values in (means, deviations))
    varies = std > _SMALLEST * std.max(initial=0.0)
    typical = float(np.median(std[varies])) if varies.any() else 1.0
    return {"mean": mean, "std": np.where(varies, std, typical)}


def set_scales(model: Predictor, scales: dict[str, npt.NDArray[np.float64]] | None, targets: npt.NDArray) -> None:
    """Give a model the scales of its training part, or how frequent its classes are there.

    Parameters
    ----------
    scales : dict
        As `channel_scales` returns them; None for windows that are normalised otherwise.
    targets : array of float or int, shape (window,) or (window, target)

    Raises
    ------
    UsageError
        If the targets don't vary.
    """
    if np.any(np.ptp(targets, axis=0) == 0):
        raise UsageError("the targets of the training subjects don't vary: there is nothing to learn")
    values = (
        {}
        if scales is None
        else {
            "channel_mean": torch.as_tensor(scales["mean"], dtype=torch.float32)[:, None],
            "channel_std": torch.as_tensor(scales["std"], dtype=torch.float32)[:, None],
        }
    )
    if model.classes:
        counts = np.bincount(targets, minlength=len(model.classes))
        values["class_shares"] = torch.as_tensor(counts / len(targets), dtype=torch.float32)
    else:
        own = targets.astype(np.float64)  # squares of very small or large float32 leave its range
        values["target_mean"] = torch.as_tensor(own.mean(axis=0), dtype=torch.float32)
        values["target_std"] = torch.as_tensor(own.std(axis=0), dtype=torch.float32)
        if model.n_points:
            smallest, largest = (float((end - own.mean()) / own.std()) for end in (own.min(), own.max()))
            values["points"] = torch.linspace(smallest, largest, model.n_points)
    model.load_state_dict({**model.state_dict(), **values})


def _median_where(values: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the median of each column over its chosen rows, 0 where there is none."""
    masked = np.ma.median(np.ma.array(values, mask=~chosen), axis=0)
    return np.asarray(np.ma.filled(masked, 0.0), np.float64)
