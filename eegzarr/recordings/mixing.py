"""What is done across channels: bad and missing ones interpolated, a reference subtracted (MNE's ways).

Both are the same for every sample, so they are done on windows, and need no whole recording in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecordingError
from eegzarr.recipes.montage import Missing
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
        Channels that must be read: those of the windows first, then what only the mixing needs. Each has a row.
    rows : int
        Those of `channels`, and after them one for each channel that the recording lacks and that is interpolated.
    bad : array of int, shape (bad,)
        Rows of channels that are interpolated.
    weights : array of float32, shape (bad, row)
        What each row gives to them.
    eeg : array of int
        Rows that a reference is subtracted from: MNE leaves bad channels alone, and so do we.
    reference : array of int
        Rows whose average is the reference; none for no new reference.
    wanted : array of int, shape (channel,)
        Rows of the windows' channels, -1 for one that stays without a signal.
    """

    channels: tuple[str, ...]
    rows: int
    bad: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    eeg: npt.NDArray[np.int64]
    reference: npt.NDArray[np.int64]
    wanted: npt.NDArray[np.int64]

    @property
    def is_in_place(self) -> bool:
        """Whether the rows are the windows' channels, and no others."""
        return self.rows == len(self.wanted) and np.array_equal(self.wanted, np.arange(self.rows))

    def apply(self, windows: npt.NDArray[np.float32]) -> None:
        """Mix windows in place, (window, row, time)."""
        windows[:, len(self.channels) :] = 0
        for window in windows:
            if self.bad.size:
                window[self.bad] = self.weights @ window
            if self.reference.size:
                window[self.eeg] -= window[self.reference].mean(axis=0)

    def give(self, windows: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None:
        """Copy mixed windows into windows of the wanted channels, (window, channel, time)."""
        for row, place in enumerate(self.wanted.tolist()):
            out[:, row] = windows[:, place] if place >= 0 else np.nan


def check_mixing(
    header: Header, preparation: Preparation, channels: tuple[str, ...] = (), missing: Missing = "skip"
) -> None:
    """Refuse a recording whose channels can't be combined as asked.

    Parameters
    ----------
    channels : tuple of str
        Of the windows, where a recipe names them.
    missing : {"skip", "nan", "interpolate"}
        What is done without one of them.

    Raises
    ------
    RecordingError
        If the reference isn't there, bad or missing channels can't be interpolated, or all of them are missing.
    """
    bad = [name for name in header.bads if name in header.channels]
    good = [name for name in header.channels if name not in header.bads]
    lacking = header.lacking(channels) if missing != "skip" else ()
    if lacking and len(lacking) == len(channels):
        raise RecordingError(
            f"has none of the {len(channels)} channels; its EEG channels are {listed([*header.channels])}"
        )
    filled = lacking if missing == "interpolate" else ()
    if (preparation.interpolate_bads and bad) or filled:
        what = f"channels that it lacks ({listed([*filled])})" if filled else "bad channels"
        located = (*header.channels, *filled)
        unknown = np.isnan(electrode_positions(header, located)).any(axis=1)
        if unplaced := [located[row] for row in np.flatnonzero(unknown).tolist()]:
            raise RecordingError(f"can't interpolate {what}: no position for {listed(unplaced)}")
        if len(good) < _FEWEST:
            raise RecordingError(f"can't interpolate {what} from {len(good)} good ones")
    elif preparation.reference == "average" and not good:
        raise RecordingError("has no good EEG channel to average")
    if preparation.reference not in ("", "average"):
        header.check((preparation.reference,))


def mixing(header: Header, channels: tuple[str, ...], preparation: Preparation, missing: Missing = "skip") -> Mixing:
    """Decide how windows of some channels are mixed from a recording's.

    The average is over all good EEG channels of the recording, whether or not its windows have them; a bad channel
    that was interpolated is a good one, and so is one that was missing.

    Raises
    ------
    RecordingError
        If the reference isn't there, or bad or missing channels can't be interpolated.
    """
    lacking = header.lacking(channels) if missing != "skip" else ()
    filled = lacking if missing == "interpolate" else ()
    bad = tuple(name for name in header.bads if name in header.channels) if preparation.interpolate_bads else ()
    good = tuple(name for name in header.channels if name not in header.bads)
    asked = preparation.reference
    average = (*good, *bad, *filled) if asked == "average" else ()
    if asked not in ("", "average"):
        average = (asked,)
    # Nothing is read for a channel that would be interpolated and then not used.
    seen = [name for name in (*bad, *filled) if name in channels or name in average]
    wanted = tuple(name for name in channels if name not in lacking)
    needed = [name for name in (*average, *(good if seen else ())) if name not in filled]
    read = tuple(dict.fromkeys((*wanted, *needed)))
    place = {name: row for row, name in enumerate((*read, *filled))}
    weights = np.zeros((len(seen), len(place)), np.float32)
    if seen:
        interpolated = (*bad, *filled)
        weights[:, [place[name] for name in good]] = _interpolation(header, good, interpolated)[
            [interpolated.index(name) for name in seen]
        ]
    order = (*header.channels, *filled)
    return Mixing(
        channels=read,
        rows=len(place),
        bad=np.array([place[name] for name in seen], np.int64),
        weights=weights,
        # MNE leaves bad channels as they are.
        eeg=np.array([place[name] for name in channels if name in (*good, *bad, *filled)], np.int64),
        reference=np.array([place[name] for name in order if name in average], np.int64)
        if asked == "average"
        else np.array([place[name] for name in average], np.int64),
        wanted=np.array([place.get(name, -1) for name in channels], np.int64),
    )


def _interpolation(header: Header, good: tuple[str, ...], bad: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Return what each good channel gives to each bad one, (bad, good): spherical splines, as MNE has them."""
    import mne

    # A bad channel that stays as it is gives nothing, but says where the head is.
    kept = [name for name in header.channels if name not in (*good, *bad)]
    names = [*good, *bad, *kept]
    places = dict(zip(names, electrode_positions(header, tuple(names)), strict=True))
    with boundary("interpolation"):
        info = mne.create_info(names, header.sfreq, "eeg")
        montage = mne.channels.make_dig_montage(
            {name: places[name].astype(float) for name in names}, coord_frame="head"
        )
        # A unit in one good channel at a time shows what it gives to the others.
        raw = mne.io.RawArray(np.eye(len(names), len(good)), info, verbose="error")
        raw.set_montage(montage, verbose="error")
        raw.info["bads"] = [*bad, *kept]
        raw.interpolate_bads(exclude=kept, verbose="error")
        weights: npt.NDArray[np.float64] = raw.get_data()[len(good) : len(good) + len(bad)]
    return weights
