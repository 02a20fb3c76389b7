"""What is done across channels: bad ones interpolated, a reference subtracted (MNE's ways).

Both are the same for every sample, so they are done on windows, and need no whole recording in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecordingError
from eegzarr.recipes.recipe import Preparation
from eegzarr.recordings.boundary import boundary
from eegzarr.recordings.header import Header
from eegzarr.recordings.positions import electrode_positions
from eegzarr.recordings.types import listed

_FEWEST = 4  # good channels that a sphere can be fitted to


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How the channels of a recording's windows are combined.

    Attributes
    ----------
    channels : tuple of str
        Channels that must be read: those of the windows first, then what only the mixing needs.
    bad : array of int, shape (bad,)
        Rows of channels that are interpolated.
    weights : array of float32, shape (bad, channel)
        What each of the read channels gives to them.
    eeg : array of int
        Rows that a reference is subtracted from: MNE leaves bad channels alone, and so do we.
    reference : array of int
        Rows whose average is the reference; none for no new reference.
    """

    channels: tuple[str, ...]
    bad: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    eeg: npt.NDArray[np.int64]
    reference: npt.NDArray[np.int64]

    def apply(self, windows: npt.NDArray[np.float32]) -> None:
        """Mix windows in place, (window, channel, time), with a row for each of `channels`."""
        for window in windows:
            if self.bad.size:
                window[self.bad] = self.weights @ window
            if self.reference.size:
                window[self.eeg] -= window[self.reference].mean(axis=0)


def check_mixing(header: Header, preparation: Preparation) -> None:
    """Refuse a recording whose channels can't be combined as asked.

    Raises
    ------
    RecordingError
        If the reference isn't there, or bad channels can't be interpolated.
    """
    bad = [name for name in header.bads if name in header.channels]
    good = [name for name in header.channels if name not in header.bads]
    if preparation.interpolate_bads and bad:
        unknown = np.isnan(electrode_positions(header, header.channels)).any(axis=1)
        if lacking := [header.channels[row] for row in np.flatnonzero(unknown).tolist()]:
            raise RecordingError(f"can't interpolate bad channels: no position for {listed(lacking)}")
        if len(good) < _FEWEST:
            raise RecordingError(f"can't interpolate bad channels from {len(good)} good ones")
    elif preparation.reference == "average" and not good:
        raise RecordingError("has no good EEG channel to average")
    if preparation.reference not in ("", "average"):
        header.check((preparation.reference,))


def mixing(header: Header, channels: tuple[str, ...], preparation: Preparation) -> Mixing:
    """Decide how windows of some channels are mixed from a recording's.

    The average is over all good EEG channels of the recording, whether or not its windows have them; a bad channel
    that was interpolated is a good one.

    Raises
    ------
    RecordingError
        If the reference isn't there, or bad channels can't be interpolated.
    """
    bad = tuple(name for name in header.bads if name in header.channels) if preparation.interpolate_bads else ()
    good = tuple(name for name in header.channels if name not in header.bads)
    asked = preparation.reference
    average = (*good, *bad) if asked == "average" else ()
    if asked not in ("", "average"):
        average = (asked,)
    # What is interpolated for nobody to see isn't read for it.
    seen = [name for name in bad if name in channels or name in average]
    read = tuple(dict.fromkeys((*channels, *average, *(good if seen else ()))))
    place = {name: row for row, name in enumerate(read)}
    weights = np.zeros((len(seen), len(read)), np.float32)
    if seen:
        weights[:, [place[name] for name in good]] = _interpolation(header, good, bad)[[bad.index(n) for n in seen]]
    order = header.channels
    return Mixing(
        channels=read,
        bad=np.array([place[name] for name in seen], np.int64),
        weights=weights,
        # MNE leaves bad channels as they are.
        eeg=np.array([place[name] for name in channels if name in (*good, *bad)], np.int64),
        reference=np.array([place[name] for name in order if name in average], np.int64)
        if asked == "average"
        else np.array([place[name] for name in average], np.int64),
    )


def _interpolation(header: Header, good: tuple[str, ...], bad: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Return what each good channel gives to each bad one, (bad, good): spherical splines, as MNE has them."""
    import mne

    places = dict(zip(header.channels, electrode_positions(header, header.channels), strict=True))
    names = [*good, *bad]
    with boundary("interpolation"):
        info = mne.create_info(names, header.sfreq, "eeg")
        montage = mne.channels.make_dig_montage(
            {name: places[name].astype(float) for name in names}, coord_frame="head"
        )
        # A unit in one good channel at a time shows what it gives to the others.
        raw = mne.io.RawArray(np.eye(len(names), len(good)), info, verbose="error")
        raw.set_montage(montage, verbose="error")
        raw.info["bads"] = list(bad)
        raw.interpolate_bads(verbose="error")
        weights: npt.NDArray[np.float64] = raw.get_data()[len(good) :]
    return weights
