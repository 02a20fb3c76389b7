"""Crops at any offset of whole recordings, for training without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eegzarr.build.whole.kept import Kept
from eegzarr.errors import LakeError, RecordingError, UsageError
from eegzarr.recordings.header import Header
from eegzarr.store.layout import EVENTS_TSV, FIRST_TILE, OBSERVED, RECORDINGS, open_dataset, open_store
from eegzarr.store.provenance import Part
from eegzarr.store.tiles.signals import CutRecordings, Tiles
from eegzarr.stream.selection import Selection

TOO_SHORT = "recording shorter than the crop"


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


def anywhere_in(selection: Selection, n_times: int) -> tuple[Selection, Anywhere]:
    """Return a selection whose windows are named by positions, and where crops of their recordings can begin.

    Windows of recordings without a place for a crop are left out, and counted.

    Raises
    ------
    UsageError
        If the windows aren't those of whole recordings, nor cut from such, or times were picked from them.
    """
    sources, window = [], selection.window.copy()
    spans: list[tuple[int, int]] = []
    owner: list[int] = []
    recording = np.zeros(len(window), np.int64)
    recordings = 0
    for number, source in enumerate(selection.sources):
        if not isinstance(source, Part) or not source.lake:
            raise UsageError("anywhere=True reads whole recordings from a lake, and these windows are in memory")
        if tuple(source.times) != tuple(range(source.times[0], source.times[-1] + 1)):
            raise UsageError("anywhere=True takes samples as they follow each other: select no times before")
        tiles, firsts, legal = _places(source, n_times)
        own = selection.source == number
        if source.cut is None:
            source = replace(source, cut=_uncut(source, tiles))
            window[own] *= tiles.geometry.n_times
        sources.append(source)
        recording[own] = recordings + np.searchsorted(firsts, window[own], side="right") - 1
        for row, places in enumerate(legal):
            spans += places
            owner += [recordings + row] * len(places)
        recordings += len(firsts)
    begin, end = np.array(spans, np.int64).reshape(-1, 2).T
    length = end - begin
    count = np.bincount(np.array(owner, np.int64), length, minlength=recordings).astype(np.int64)
    kept = count[recording] > 0
    where = Anywhere(recording[kept], np.cumsum(count) - count, count, begin, np.cumsum(length) - length)
    return _only(replace(selection, sources=tuple(sources), window=window), kept), where


def _places(source: Part, n_times: int) -> tuple[Tiles, npt.NDArray[np.int64], list[list[tuple[int, int]]]]:
    """Return the tiles of a source, where its recordings begin, and spans of places where a crop of each can."""
    try:
        table = open_dataset(open_store(source.lake, read_only=True), f"{source.group}/{RECORDINGS}")
        texts = list(zip(table[OBSERVED].to_numpy().tolist(), table[EVENTS_TSV].to_numpy().tolist(), strict=True))
    except KeyError:
        raise UsageError(
            f"anywhere=True needs whole recordings, and {source.lake}/{source.group} holds windows: build the recipe "
            f"continuous, or cut windows from it"
        ) from None
    tiles = Tiles.of(source.lake, source.group)
    if tiles.digest != source.digest:
        raise LakeError(f"{source.lake}/{source.group} was rebuilt while it was open: open it again")
    counts = table["windows"].to_numpy()
    sfreq = float(open_dataset(open_store(source.lake, read_only=True), source.group).attrs["sampling_rate"])
    firsts, legal = [], []
    for (observed, events), count, tile in zip(texts, counts, np.cumsum(counts) - counts, strict=True):
        if count:
            begin = int(tile) * tiles.geometry.n_times
            firsts.append(begin)
            legal.append([(begin + a, begin + b) for a, b in _spans(Kept(observed, events), sfreq, n_times)])
    return tiles, np.array(firsts, np.int64), legal


def _spans(kept: Kept, sfreq: float, n_times: int) -> list[tuple[int, int]]:
    """Return the spans of samples, end excluded, at which a crop of a recording can begin."""
    observed = kept.restored()
    try:
        header = observed.header_for(events=True)
    except RecordingError:  # its annotations can't be read
        header = observed.header_for(events=False)
    return [(a, b - n_times + 1) for a, b in _good(header.at(sfreq)) if b - a >= n_times]


def _good(header: Header) -> list[tuple[int, int]]:
    """Return the stretches of a recording without its bad times."""
    parts = list(header.spans)
    for first, stop in header.bad_times:
        parts = [one for a, b in parts for one in ((a, min(b, first)), (max(a, stop), b)) if one[0] < one[1]]
    return parts


def _uncut(source: Part, tiles: Tiles) -> CutRecordings:
    """Return the recordings of a group of whole recordings, as if its tiles were cut from it."""
    store = open_store(source.lake, read_only=True)
    table = open_dataset(store, f"{source.group}/{RECORDINGS}")
    counts = table["windows"].to_numpy()
    first = np.where(counts > 0, np.cumsum(counts) - counts, -1)
    sfreq = float(open_dataset(store, source.group).attrs["sampling_rate"])
    return CutRecordings.of(source.digest, source.group, sfreq, tiles, table.assign({FIRST_TILE: ("recording", first)}))


def _only(selection: Selection, kept: npt.NDArray[np.bool_]) -> Selection:
    """Return a selection of some of its windows."""
    targets = selection.targets
    left_out = int((~kept).sum())
    return replace(
        selection,
        source=selection.source[kept],
        window=selection.window[kept],
        recording=selection.recording[kept],
        targets=targets if targets.values is None else replace(targets, values=targets.values[kept]),
        labels={name: values[kept] for name, values in selection.labels.items()},
        weighed=None if selection.weighed is None else selection.weighed[kept],
        left_out={**selection.left_out, **({TOO_SHORT: left_out} if left_out else {})},
    )


def check_views(views: int, *, is_random: bool) -> None:
    """Refuse views that would all be the same.

    Raises
    ------
    UsageError
    """
    if views < 1:
        raise UsageError(f"views must be at least 1, got {views}")
    if views > 1 and not is_random:
        raise UsageError("views of one recording are random crops: give crop=, and anywhere=True or random_crop=True")


def interleaved(offsets: Sequence[npt.NDArray[np.int64]], chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the offsets of all views of the chosen windows, window by window."""
    return np.stack([of_view[chosen] for of_view in offsets], axis=1).reshape(-1)
