"""From the field's other tools into a lake: MNE's Epochs and braindecode's windows, a part at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.build.summary import BuildSummary
from eegzarr.errors import UsageError
from eegzarr.events import Listener
from eegzarr.exchange.parts import EpochsPart, Part, RawPart
from eegzarr.exchange.write import GivenWindows, write_windows
from eegzarr.store.kinds import Compression, Dtype

if TYPE_CHECKING:
    from braindecode.datasets import BaseConcatDataset, EEGWindowsDataset, WindowsDataset

_PLACES_IN_TRIAL = ("i_window_in_trial", "i_start_in_trial", "i_stop_in_trial")


def from_mne(
    epochs: mne.BaseEpochs | Sequence[mne.BaseEpochs],
    lake: str | Path,
    recipe: str,
    release: str,
    *,
    target: str | None = None,
    dtype: Dtype = "float32",
    step: str | float | None = None,
    compression: Compression = "lz4",
    overwrite: bool = False,
    shard_size: int | str | None = None,
    listeners: Sequence[Listener] = (),
) -> BuildSummary:
    """Write MNE's Epochs into the group ``<recipe>/<release>`` of a lake.

    Epochs that are not loaded are read a few at a time: no more than a shard is in memory.

    Parameters
    ----------
    epochs : Epochs or sequence of Epochs
        Several, such as one a recording, need the same EEG channels, rate and times. Channels
        of other types are left out, those marked bad are not. Epochs that MNE rejects are
        dropped first.
    lake : path or URL
    recipe, release : str
        Names of the group, as for `eegzarr.open_windows`.
    target : str, optional
        Column of the metadata to predict, or an expression of them; default ``target`` where
        there is one, else ``event_code``.
    dtype, step, compression, overwrite, shard_size, listeners
        As for `eegzarr.exchange.write.write_windows`.

    Returns
    -------
    BuildSummary

    Raises
    ------
    UsageError
        If the epochs don't fit together, or the target isn't there.
    LakeError, BuildStopped
        As for `eegzarr.build_lake`.

    Notes
    -----
    Columns of the metadata become labels; ``subject``, ``session``, ``task``, ``run`` and
    ``recording`` say which windows belong together. Without them the subject is that of the
    measurement info, or of a BIDS file name. ``event`` and ``event_code`` are each epoch's
    name and number, and ``start``, if the metadata have none, is from its event's sample.
    """
    several = [epochs] if isinstance(epochs, mne.BaseEpochs) else list(epochs)
    if not several or not all(isinstance(one, mne.BaseEpochs) for one in several):
        raise UsageError("from_mne takes Epochs of MNE, or a list of them")
    given = _given([EpochsPart(one) for one in several], "mne.Epochs")
    chosen = target or ("target" if "target" in given.labels else "event_code")
    return write_windows(
        lake,
        recipe,
        release,
        given,
        target=chosen,
        dtype=dtype,
        step=step,
        compression=compression,
        overwrite=overwrite,
        shard_size=shard_size,
        listeners=listeners,
    )


def from_braindecode(
    windows: BaseConcatDataset[Any] | WindowsDataset | EEGWindowsDataset,
    lake: str | Path,
    recipe: str,
    release: str,
    *,
    target: str = "target",
    source: str = "braindecode",
    dtype: Dtype = "float32",
    step: str | float | None = None,
    compression: Compression = "lz4",
    overwrite: bool = False,
    shard_size: int | str | None = None,
    listeners: Sequence[Listener] = (),
) -> BuildSummary:
    """Write braindecode's windows into the group ``<recipe>/<release>`` of a lake.

    Windows that are not loaded are read a few at a time. Transforms are not applied.

    Parameters
    ----------
    windows : BaseConcatDataset, WindowsDataset or EEGWindowsDataset
        As braindecode's windowers return them, with the same channels, rate and times. Each
        dataset is a recording; its description's entries and its metadata's columns become labels.
    lake, recipe, release, dtype, step, compression, overwrite, shard_size, listeners
        As for `from_mne`.
    target : str
        Label to predict; default the windows' own target.
    source : str
        Where they come from, for people.

    Raises
    ------
    UsageError
        If they aren't windows or don't fit together, or the target isn't there.
    LakeError, BuildStopped
        As for `eegzarr.build_lake`.
    """
    parts = [_braindecode_part(one) for one in _leaves(windows)]
    return write_windows(
        lake,
        recipe,
        release,
        _given(parts, source),
        target=target,
        dtype=dtype,
        step=step,
        compression=compression,
        overwrite=overwrite,
        shard_size=shard_size,
        listeners=listeners,
    )


def _leaves(windows: Any) -> list[Any]:
    """Return the datasets of windows below a BaseConcatDataset, in order."""
    if hasattr(windows, "datasets"):
        return [leaf for one in windows.datasets for leaf in _leaves(one)]
    if not (hasattr(windows, "crop_inds") and hasattr(windows, "metadata")):
        raise UsageError(
            f"from_braindecode takes windows, and a {type(windows).__name__} has none: cut them with "
            "braindecode.preprocessing.create_windows_from_events first"
        )
    return [windows]


def _braindecode_part(dataset: Any) -> Part:
    if dataset.targets_from != "metadata":
        raise UsageError("windows whose target is a channel can't be written: a lake has one target a window")
    description = dataset.description if dataset.description is not None else pd.Series(dtype=object)
    part: Part = RawPart(dataset) if hasattr(dataset, "raw") else EpochsPart(dataset.windows, description)
    known = {str(name): value for name, value in description.items() if name not in part.labels}
    labels = part.labels.drop(columns=[name for name in _PLACES_IN_TRIAL if name in part.labels])
    part.labels = labels.assign(**{name: [value] * part.count for name, value in known.items()})
    return part


def _given(parts: list[Part], source: str) -> GivenWindows:
    """Join parts one after another; a part whose labels name no recording is one by itself."""
    parts = [part for part in parts if part.count]
    if not parts:
        raise UsageError(f"{source} has no window to write")
    first = parts[0]
    for number, part in enumerate(parts[1:], 1):
        _check_alike(first, part, number)
    labels = [
        part.labels if "recording" in part.labels else part.labels.assign(recording=f"part {number}")
        for number, part in enumerate(parts)
    ]
    bounds = np.cumsum([0, *(part.count for part in parts)])

    def read(begin: int, out: npt.NDArray[np.float32]) -> None:
        done = 0
        while done < len(out):
            number = int(np.searchsorted(bounds, begin + done, side="right")) - 1
            many = min(len(out) - done, int(bounds[number + 1]) - begin - done)
            parts[number].read(begin + done - int(bounds[number]), out[done : done + many])
            done += many

    for number, part in enumerate(parts):
        part.name = f"{source}, part {number}"
    return GivenWindows(
        source=source,
        channels=tuple(first.info["ch_names"]),
        sfreq=float(first.info["sfreq"]),
        start=float(first.times[0]),
        n_times=len(first.times),
        labels=pd.concat(labels, ignore_index=True),
        fingerprint="",
        read=read,
        positions=_positions(first.info),
    )


def _check_alike(first: Part, part: Part, number: int) -> None:
    if part.info["ch_names"] != first.info["ch_names"]:
        raise UsageError(f"part {number} has other channels than part 0: pick the same ones, in one order")
    if part.info["sfreq"] != first.info["sfreq"]:
        raise UsageError(
            f"part {number} is sampled at {part.info['sfreq']:g} Hz, part 0 at {first.info['sfreq']:g} Hz: resample one"
        )
    if len(part.times) != len(first.times) or not np.allclose(part.times, first.times):
        raise UsageError(
            f"part {number} has windows of {len(part.times)} samples from {part.times[0]:g} s, part 0 of "
            f"{len(first.times)} from {first.times[0]:g} s: cut them alike"
        )


def _positions(info: mne.Info) -> npt.NDArray[np.float32] | None:
    """Return electrode positions in m where the info has them all."""
    positions = np.array([channel["loc"][:3] for channel in info["chs"]], dtype=np.float32)
    return positions if np.isfinite(positions).all() and np.any(positions, axis=1).all() else None
