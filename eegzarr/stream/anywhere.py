"""Crops at any offset of whole recordings, for training without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import xarray as xr

from eegzarr.build.whole.kept import Kept
from eegzarr.errors import LakeError, RecordingError, UsageError
from eegzarr.recordings.header import Header
from eegzarr.store.integers import BEYOND
from eegzarr.store.layout import EVENTS_TSV, FIRST_TILE, OBSERVED, RECORDINGS, TILE_SAMPLES, open_dataset, open_store
from eegzarr.store.provenance import Part
from eegzarr.store.tiles.signals import CutRecordings, Tiles
from eegzarr.stream.counts import whole
from eegzarr.stream.selection import Selection
from eegzarr.stream.statistics import lacks_statistics
from eegzarr.stream.targets import NOT_READABLE

TOO_SHORT = "recording shorter than the crop"
NO_STRETCH = "no stretch of its recording as long as the crop"
WITHOUT_STATISTICS = "recording without statistics to normalise by"


@dataclass(frozen=True, eq=False)
class Anywhere:
    """Where crops of each window's recording can begin: in one stretch, outside of bad times.

    Attributes
    ----------
    recording : array of int64, shape (window,)
        Which of the recordings each window is of.
    first, places : array of int64, shape (recording,)
        The number of each recording's first place, counted over all recordings, and how many it has.
    begin, number : array of int64, shape (span,)
        Position of the first place of each span of places, and its number.
    """

    recording: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    begin: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]

    def drawn(self, generator: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw a position for each window, each place of its recording equally likely."""
        count = self.places[self.recording]
        chosen = self.first[self.recording] + np.minimum(
            (generator.random(len(count)) * count).astype(np.int64), count - 1
        )
        span = np.searchsorted(self.number, chosen, side="right") - 1
        return self.begin[span] + chosen - self.number[span]

    def without(self, left_out: npt.NDArray[np.bool_]) -> Anywhere:
        """Return the same for fewer windows."""
        return replace(self, recording=self.recording[~left_out])


@dataclass(frozen=True)
class _Recorded:
    """A recording: where its first sample is on the line of tiles, where crops of it can begin, or why none can."""

    first: int
    places: list[tuple[int, int]]
    why_none: str


def anywhere_in(selection: Selection, n_times: int, *, by_recording: bool = False) -> tuple[Selection, Anywhere]:
    """Return a selection whose windows are named by positions, and where crops of their recordings can begin.

    Windows of recordings without a place for a crop are left out, and counted. Whether the windows themselves are whole
    doesn't matter: a recording may be shorter than one.

    Parameters
    ----------
    by_recording : bool
        Whether crops are normalised by statistics of their recording, which are those of its valid windows.

    Raises
    ------
    UsageError
        If the windows aren't those of whole recordings, nor cut from such, or times were picked from them.
    """
    sources, window = [], selection.window.copy()
    recordings: list[_Recorded] = []
    recording = np.zeros(len(window), np.int64)
    for number, source in enumerate(selection.sources):
        if not isinstance(source, Part) or not source.lake:
            raise UsageError("anywhere=True reads whole recordings from a lake, and these windows are in memory")
        if tuple(source.times) != tuple(range(source.times[0], source.times[-1] + 1)):
            raise UsageError("anywhere=True takes samples as they follow each other: select no times before")
        tiles, recorded = _recorded(source, n_times)
        own = selection.source == number
        if source.cut is None:
            source = replace(source, cut=_uncut(source, tiles))
            window[own] *= tiles.geometry.n_times
        sources.append(source)
        firsts = [one.first for one in recorded]
        recording[own] = len(recordings) + np.searchsorted(firsts, window[own], side="right") - 1
        recordings += recorded
    begin, end = np.array([span for one in recordings for span in one.places], np.int64).reshape(-1, 2).T
    counts = np.array([sum(b - a for a, b in one.places) for one in recordings], np.int64)
    where = Anywhere(recording, np.cumsum(counts) - counts, counts, begin, np.cumsum(end - begin) - (end - begin))
    found = replace(selection, sources=tuple(sources), window=window)
    why = np.array([one.why_none for one in recordings], object)
    for reason in dict.fromkeys(filter(None, why.tolist())):
        left_out = why[where.recording] == reason
        found, where = found.without(left_out, reason), where.without(left_out)
    if not by_recording:
        return found, where
    lacking = lacks_statistics(found)
    return found.without(lacking, WITHOUT_STATISTICS), where.without(lacking)


def _recorded(source: Part, n_times: int) -> tuple[Tiles, list[_Recorded]]:
    """Return the tiles of a source, and its recordings in their order."""
    store = open_store(source.lake, read_only=True)
    windows = open_dataset(store, source.group)
    try:
        table = open_dataset(store, f"{source.group}/{RECORDINGS}")
        texts = list(zip(table[OBSERVED].to_numpy().tolist(), table[EVENTS_TSV].to_numpy().tolist(), strict=True))
    except KeyError:
        raise UsageError(
            f"anywhere=True needs whole recordings, and {source.lake}/{source.group} holds windows: build the recipe "
            f"continuous, or cut windows from it"
        ) from None
    tiles = Tiles.of(source.lake, source.group)
    if tiles.digest != source.digest:
        raise LakeError(f"{source.lake}/{source.group} was rebuilt while it was open: open it again")
    counts, size, lost = table["windows"].to_numpy(), tiles.geometry.n_times, _lost(windows, table)
    sfreq = float(windows.attrs["sampling_rate"])
    recorded = []
    for (observed, events), count, tile in zip(texts, counts, np.cumsum(counts) - counts, strict=True):
        if count:
            gone = [(n * size, (n + 1) * size) for n in np.flatnonzero(lost[tile : tile + count]).tolist()]
            header, begin = _header(Kept(observed, events)).at(sfreq), int(tile) * size
            places = _places(header, gone, n_times)
            short = TOO_SHORT if header.n_times < n_times else NO_STRETCH
            why_none = "" if places else NOT_READABLE if _places(header, [], n_times) else short
            recorded.append(_Recorded(begin, [(begin + a, begin + b) for a, b in places], why_none))
    return tiles, recorded


def _lost(windows: xr.Dataset, table: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Return which tiles have no samples: their recording can't be read, or one was more than the type holds.

    A tile that isn't full is invalid in any case. In a recording with samples that the type doesn't hold, such tiles
    count as lost, too: rarely, and at its end.
    """
    invalid = ~windows["valid"].to_numpy()
    row = windows["recording"].to_numpy()
    is_full = windows[TILE_SAMPLES].to_numpy() == windows.sizes["time"]
    reasons = [str(reason).startswith(BEYOND) for reason in table["reason"].to_numpy().tolist()]
    doubted = (table["status"].to_numpy() == "unreadable") | np.array(reasons, bool)
    lost: npt.NDArray[np.bool_] = invalid & (is_full | doubted[row])
    return lost


def _header(kept: Kept) -> Header:
    """Return the header of a recording, with its bad times as far as its annotations can be read."""
    observed = kept.restored()
    try:
        return observed.header_for(events=True)
    except RecordingError:
        return observed.header_for(events=False)


def _places(header: Header, lost: Sequence[tuple[int, int]], n_times: int) -> list[tuple[int, int]]:
    """Return the spans of samples, end excluded, at which a crop can begin: in one stretch, outside of bad times."""
    parts = list(header.spans)
    for first, stop in (*header.bad_times, *lost):
        parts = [one for a, b in parts for one in ((a, min(b, first)), (max(a, stop), b)) if one[0] < one[1]]
    return [(a, b - n_times + 1) for a, b in parts if b - a >= n_times]


def _uncut(source: Part, tiles: Tiles) -> CutRecordings:
    """Return the recordings of a group of whole recordings, as if its tiles were cut from it."""
    store = open_store(source.lake, read_only=True)
    table = open_dataset(store, f"{source.group}/{RECORDINGS}")
    counts = table["windows"].to_numpy()
    first = np.where(counts > 0, np.cumsum(counts) - counts, -1)
    sfreq = float(open_dataset(store, source.group).attrs["sampling_rate"])
    return CutRecordings.of(source.digest, source.group, sfreq, tiles, table.assign({FIRST_TILE: ("recording", first)}))


def checked_views(views: object, *, is_random: bool) -> int:
    """Return the number of views.

    Raises
    ------
    UsageError
        If it is none, or they would all be the same.
    """
    number = whole("views", views, 1)
    if number > 1 and not is_random:
        raise UsageError("views of one recording are random crops: give crop=, and anywhere=True or random_crop=True")
    return number


def interleaved(offsets: Sequence[npt.NDArray[np.int64]], chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the offsets of all views of the chosen windows, window by window."""
    return np.stack([of_view[chosen] for of_view in offsets], axis=1).reshape(-1)
