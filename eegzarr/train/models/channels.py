"""Whether a model fits windows, and which of their channels it takes, by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.store.provenance import LAKE
from eegzarr.train.models.predictor import Predictor

_SHOWN = 5


def channels_for(
    model: Predictor, windows: xr.Dataset, named: str, trained_on: Sequence[str] | None = None
) -> npt.NDArray[np.int64] | None:
    """Return the channels of windows that a model takes, in its order; None for all, as they are stored.

    Parameters
    ----------
    model : Predictor
    windows : Dataset
    named : str
        The model, for messages.
    trained_on : sequence of str, optional
        Names of the model's channels, for a model that was saved without them.

    Raises
    ------
    UsageError
        If channels are missing, or the sampling rate or the length of the windows is another.
    """
    where, sfreq = windows.attrs[LAKE], float(windows.attrs["sampling_rate"])
    if sfreq != model.sfreq:
        raise UsageError(f"{named} takes windows at {model.sfreq:g} Hz, those of {where} have {sfreq:g} Hz")
    if windows.sizes["time"] < model.n_times:
        raise UsageError(
            f"{named} takes windows of {model.n_times / sfreq:g} s, those of {where} "
            f"have {windows.sizes['time'] / sfreq:g} s"
        )
    wanted = list(model.channels or trained_on or ())
    there = [str(name) for name in windows["channel"].to_numpy()]
    if not wanted:
        raise UsageError(
            f"{named} was saved without the names of its channels, and the lake that it was trained on can't be "
            f"opened: nothing says whether those of {where} are the same"
        )
    place = {name: number for number, name in enumerate(there)}
    missing = [name for name in wanted if name not in place]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise UsageError(
            f"{named} takes {len(wanted)} channels; {where} doesn't have {', '.join(missing[:_SHOWN])}{more}, "
            f"it has {', '.join(there[:_SHOWN])}{' …' if len(there) > _SHOWN else ''}"
        )
    return None if wanted == there else np.array([place[name] for name in wanted], np.int64)
