"""To the field's other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
import xarray as xr

from eegzarr.errors import UsageError
from eegzarr.extras import needs
from eegzarr.recipes.recipe import recipe_from_json
from eegzarr.recordings.foreign import MICROVOLTS
from eegzarr.store.provenance import check_dimensions
from eegzarr.store.table import label_table, no_label, sampling_rate

if TYPE_CHECKING:
    from braindecode.datasets import BaseConcatDataset, WindowsDataset


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
        code is the label ``event``, or else its response type, numbered from 1 in alphabetical
        order.

    Raises
    ------
    UsageError
        If there is no window.
    """
    check_dimensions(windows["eeg"])
    if 0 in windows["eeg"].shape:
        raise UsageError("to_mne needs at least one window, channel and sample: the selection is empty")
    labels = label_table(windows)
    info = mne_info(windows)
    sfreq = float(info["sfreq"])
    times = windows["time"].to_numpy()
    if len(times) > 1 and times[0] > times[-1]:
        raise UsageError("MNE's times ascend, these descend: sort them with .sortby('time')")
    tmin = float(times[0])
    events, event_id = _events(labels, _first_time(windows), sfreq)
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


def to_braindecode(windows: xr.Dataset, target: str = "target") -> BaseConcatDataset[Any]:
    """Load windows into braindecode, one WindowsDataset a recording.

    Scripts that take what braindecode's windowers give take this: ``split("subject")``,
    ``get_metadata()``, a DataLoader over it, skorch. All signals are loaded, as float64: select
    before, or stream with `eegzarr.train.WindowStream`, which never holds more than a few batches.

    Parameters
    ----------
    windows : Dataset
        As `eegzarr.open_windows` returns it, or a selection of it.
    target : str
        The label that each item gives as its target.

    Returns
    -------
    BaseConcatDataset
        Signals in V, as MNE has them. Labels that are the same all over a recording are in
        the descriptions, the others in the metadata.

    Raises
    ------
    UsageError
        If there is no window, no such label, or braindecode isn't installed.
    """
    with needs("train", "to_braindecode"):
        from braindecode.datasets import BaseConcatDataset, WindowsDataset
    check_dimensions(windows["eeg"])
    if target not in windows.coords or windows[target].dims != ("window",):
        raise no_label(windows, target, "predict")
    if not windows.sizes["window"]:
        raise UsageError("to_braindecode needs at least one window: the selection is empty")
    release, recording = windows["release"].to_numpy().astype(object), windows["recording"].to_numpy()
    codes, _ = pd.factorize(pd.Series([f"{r}/{n}" for r, n in zip(release, recording, strict=True)]))
    return BaseConcatDataset(
        [
            _one_recording(windows.isel(window=np.flatnonzero(codes == code)), target, WindowsDataset)
            for code in range(codes.max() + 1)
        ]
    )


def _one_recording(windows: xr.Dataset, target: str, kind: type[WindowsDataset]) -> WindowsDataset:
    epochs = to_mne(windows)
    labels = epochs.metadata
    first = np.round(np.nan_to_num(labels["start"].to_numpy()) * epochs.info["sfreq"]).astype(int)
    varying = ["window", "start", *(name for name in labels if labels[name].nunique(dropna=False) > 1)]
    description = labels.drop(columns=list(dict.fromkeys(varying)) + ["target"] * ("target" not in varying)).iloc[0]
    # braindecode saves descriptions as JSON, which has no NaN.
    description = description.astype(object).where(description.notna(), None)
    epochs.metadata = pd.DataFrame(
        {
            "i_window_in_trial": 0,
            "i_start_in_trial": first,
            "i_stop_in_trial": first + len(epochs.times),
            "target": labels[target].to_numpy(),
            **{name: labels[name].to_numpy() for name in varying if name != "target"},
        }
    )
    dataset = kind(epochs, description=description)
    # As braindecode's windowers note it: without, what `save` writes can't be loaded again.
    dataset.window_kwargs = [(kind.__name__, {"targets_from": "metadata"})]
    return dataset


def mne_info(windows: xr.Dataset) -> mne.Info:
    """Return what MNE wants to know of channels: names, rate and, where known, positions."""
    channels = [str(name) for name in windows["channel"].to_numpy()]
    info = mne.create_info(channels, sampling_rate(windows), "eeg")
    positions = np.stack([np.asarray(windows[axis].to_numpy(), float) for axis in "xyz"], axis=1)
    if np.isfinite(positions).all():
        info.set_montage(mne.channels.make_dig_montage(dict(zip(channels, positions, strict=True)), coord_frame="head"))
    return info


def _first_time(windows: xr.Dataset) -> float:
    """Return the time of the sample that the label ``start`` is of, in s: also where it was not selected."""
    if "recipe" not in windows.attrs:
        return float(windows["time"].to_numpy()[0])
    recipe = recipe_from_json(windows.attrs["recipe"])
    return 0.0 if recipe.anchor == "recording" else recipe.span.start


def _events(labels: pd.DataFrame, first_time: float, sfreq: float) -> tuple[np.ndarray, dict[str, int]]:
    named = labels["event"] if "event" in labels else labels["response_type"]
    kinds = named.astype(str).where(named != "", "window")
    event_id = {kind: code for code, kind in enumerate(sorted(set(kinds)), 1)}
    samples = np.round(np.nan_to_num(labels["start"].to_numpy()) * sfreq).astype(int) - round(first_time * sfreq)
    # MNE wants every event at a sample of its own; windows of several recordings can share one.
    recording = pd.factorize(labels["release"].astype(str) + "/" + labels["recording"].astype(str))[0]
    longest = samples.max() - samples.min() + 1
    shifted = samples + recording * longest if recording.max() else samples
    if len(np.unique(shifted)) < len(shifted):
        shifted = np.arange(len(shifted))
    return np.column_stack([shifted, np.zeros_like(shifted), kinds.map(event_id).to_numpy()]), event_id
