"""To the field's other tools."""

from __future__ import annotations

import mne
import numpy as np
import pandas as pd
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.recordings import MICROVOLTS


def label_table(windows: xr.Dataset) -> pd.DataFrame:
    """Return the labels of windows as a table, one row a window, without their signals.

    Parameters
    ----------
    windows : Dataset
        As `eegzarr.open_windows` returns it, or a selection of it.
    """
    names = [str(name) for name, variable in windows.coords.items() if variable.dims == ("window",)]
    loaded = windows[names].load()
    columns = {name: loaded[name].to_numpy() for name in names}
    return pd.DataFrame(
        {name: values.astype(object) if values.dtype.kind == "T" else values for name, values in columns.items()}
    )


def to_mne(windows: xr.Dataset) -> mne.EpochsArray:
    """Load windows into MNE.

    Parameters
    ----------
    windows : Dataset
        As `eegzarr.open_windows` returns it, or a selection of it; its signals are loaded.

    Returns
    -------
    EpochsArray
        In V, with the labels as metadata and, where electrode positions are known, a
        montage. Event samples are those of the anchor in the window's recording; an event's
        code is its response type, numbered from 1 in alphabetical order.

    Raises
    ------
    UsageError
        If there is no window.
    """
    if not windows.sizes.get("window"):
        raise UsageError("to_mne needs at least one window: the selection is empty")
    labels = label_table(windows)
    sfreq = float(windows.attrs["sampling_rate"])
    channels = [str(name) for name in windows["channel"].to_numpy()]
    info = mne.create_info(channels, sfreq, "eeg")
    positions = np.stack([np.asarray(windows[axis].to_numpy(), float) for axis in "xyz"], axis=1)
    if np.isfinite(positions).all():
        info.set_montage(mne.channels.make_dig_montage(dict(zip(channels, positions, strict=True)), coord_frame="head"))
    tmin = float(windows["time"].to_numpy()[0])
    events, event_id = _events(labels, round(tmin * sfreq), sfreq)
    return mne.EpochsArray(
        windows["eeg"].transpose("window", "channel", "time").to_numpy().astype(np.float64) / MICROVOLTS,
        info,
        events=events,
        event_id=event_id,
        tmin=tmin,
        metadata=labels,
        baseline=None,
        proj=False,
        verbose="error",
    )


def _events(labels: pd.DataFrame, offset: int, sfreq: float) -> tuple[np.ndarray, dict[str, int]]:
    kinds = labels["response_type"].where(labels["response_type"] != "", "window").astype(str)
    event_id = {kind: code for code, kind in enumerate(sorted(set(kinds)), 1)}
    samples = np.round(labels["start"].to_numpy() * sfreq).astype(int) - offset
    # MNE wants every event at a sample of its own; windows of several recordings can share one.
    recording = pd.factorize(labels["release"].astype(str) + "/" + labels["recording"].astype(str))[0]
    longest = samples.max() - samples.min() + 1
    shifted = samples + recording * longest if recording.max() else samples
    if len(np.unique(shifted)) < len(shifted):
        shifted = np.arange(len(shifted))
    return np.column_stack([shifted, np.zeros_like(shifted), kinds.map(event_id).to_numpy()]), event_id
