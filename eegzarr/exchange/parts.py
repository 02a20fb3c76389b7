"""Windows of one object of MNE or braindecode, read a few at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.bids.recordings import named_recording
from eegzarr.errors import RecordingError, SourceError, UsageError
from eegzarr.recordings.boundary import boundary
from eegzarr.recordings.foreign import MICROVOLTS

if TYPE_CHECKING:
    from braindecode.datasets import EEGWindowsDataset

_AT_ONCE = 16 * 2**20  # bytes of float64 that MNE is asked for: its copy beside our shard


class Part(ABC):
    """Windows of one object of another library, of its EEG channels alone."""

    def __init__(self, info: mne.Info, times: npt.NDArray, count: int, labels: pd.DataFrame) -> None:
        self.picks = mne.pick_types(info, eeg=True, exclude=())
        if not len(self.picks):
            raise UsageError("windows without an EEG channel can't be written: set the channels' types in MNE")
        self.info = mne.pick_info(info, self.picks)
        self.times = times
        self.count = count
        self.labels = labels
        self.name = "windows"

    @abstractmethod
    def volts(self, first: int, stop: int) -> npt.NDArray:
        """Return windows, (window, channel, time)."""

    def checked_volts(self, first: int, stop: int) -> npt.NDArray:
        """Return windows, or name those that can't be read."""
        windows = f"{self.name}: windows {first} to {stop - 1}"
        try:
            with boundary(windows):
                return self.volts(first, stop)
        except RecordingError as error:
            raise SourceError(f"{windows} can't be read: {str(error).removeprefix('unreadable: ')}") from error

    def read(self, first: int, out: npt.NDArray[np.float32]) -> None:
        """Fill `out` with windows from `first` on, in uV."""
        step = max(1, _AT_ONCE // (out[0].size * 8))
        for begin in range(0, len(out), step):
            stop = min(begin + step, len(out))
            volts = self.checked_volts(first + begin, first + stop)
            np.multiply(volts, MICROVOLTS, out=out[begin:stop], casting="same_kind")


class EpochsPart(Part):
    """MNE's Epochs, without those that it rejects; as braindecode's windows, with a description."""

    def __init__(self, epochs: mne.BaseEpochs, description: pd.Series | None = None) -> None:
        epochs.drop_bad(verbose="error")
        names = {code: name for name, code in epochs.event_id.items()}
        codes = epochs.events[:, 2]
        labels = pd.DataFrame() if epochs.metadata is None else epochs.metadata.reset_index(drop=True)
        # Events count samples of the recording, also where epochs were decimated or resampled.
        recorded = float(np.ravel(getattr(epochs, "_raw_sfreq", epochs.info["sfreq"]))[0])
        start = epochs.events[:, 0] / recorded + float(epochs.times[0])
        if "i_start_in_trial" in labels:  # braindecode's, where its recording begins at 0
            start = labels["i_start_in_trial"].to_numpy() / epochs.info["sfreq"]
        defaults: dict[str, Any] = {
            "event": [names.get(code, str(code)) for code in codes.tolist()],
            "event_code": codes,
            "start": start,
            **(_entities(epochs) if description is None else {}),
        }
        labels = labels.assign(**{name: value for name, value in defaults.items() if name not in labels})
        super().__init__(epochs.info, epochs.times, len(epochs), labels)
        self._epochs = epochs

    def volts(self, first: int, stop: int) -> npt.NDArray:
        whole = len(self.picks) == len(self._epochs.ch_names)
        item = slice(first, stop)
        return self._epochs.get_data(picks=None if whole else self.picks, item=item, copy=False, verbose="error")


class RawPart(Part):
    """Windows of a braindecode EEGWindowsDataset: places in a Raw."""

    def __init__(self, dataset: EEGWindowsDataset) -> None:
        self._raw, self._places = dataset.raw, np.asarray(dataset.crop_inds)[:, 1:].astype(np.int64)
        lengths = set((self._places[:, 1] - self._places[:, 0]).tolist())
        if len(lengths) > 1:
            raise UsageError(f"windows of one length are wanted; these have {sorted(lengths)} samples")
        sfreq = float(self._raw.info["sfreq"])
        times = np.arange(lengths.pop() if lengths else 0) / sfreq
        labels = dataset.metadata.reset_index(drop=True)
        if "start" not in labels:
            labels = labels.assign(start=self._places[:, 0] / sfreq)
        super().__init__(self._raw.info, times, len(self._places), labels)

    def volts(self, first: int, stop: int) -> npt.NDArray:
        places = self._places[first:stop].tolist()
        return np.stack([self._raw.get_data(self.picks, start, end, verbose="error") for start, end in places])


def _entities(epochs: mne.BaseEpochs) -> dict[str, str]:
    """Return what the measurement info, or a file name like those of BIDS, says about the recording."""
    told = named_recording(str(epochs.filename or ""))
    subject = (epochs.info["subject_info"] or {}).get("his_id", "")
    return {
        "subject": told.subject or str(subject).removeprefix("sub-"),
        "session": told.session,
        "task": told.task,
        "run": told.run,
    }
