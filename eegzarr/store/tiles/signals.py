"""The signals of cut windows, as an array that is gathered from tiles when it is looked at."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from eegzarr.errors import LakeError
from eegzarr.machine.system import usable_cores
from eegzarr.recipes.montage import AS_THEY_ARE, Naming
from eegzarr.recipes.recipe import recipe_from_json
from eegzarr.store.complete import check_complete
from eegzarr.store.group import stored_geometry
from eegzarr.store.layout import (
    CONTENT,
    FIRST_TILE,
    RECORDINGS,
    SHARDS,
    SIGNALS,
    TILE,
    TILE_OFFSET,
    TILES_DIGEST,
    Geometry,
    open_array,
    open_dataset,
    open_store,
)
from eegzarr.store.private import indexing
from eegzarr.store.reading.compiled import compile_for
from eegzarr.store.reading.fetched import RemoteReader
from eegzarr.store.reading.local import LocalReader
from eegzarr.store.reading.mapped import requested_from
from eegzarr.store.reading.read import WindowReader
from eegzarr.store.reading.remote import FrameCache
from eegzarr.store.reading.stored import StoredSignals
from eegzarr.store.receipt import Moments, table_moments
from eegzarr.store.tiles.gather import TileGatherer

_MIB = 2**20
CACHE, _REQUESTS = 192 * _MIB, 16  # of a reader from a bucket
_CHUNK = 64 * _MIB
_TOGETHER = 64  # windows that a thread gathers at a time


@dataclass(frozen=True, eq=False)
class CutRecordings:
    """The recordings that windows were cut from, and what is known of them.

    Equal where `digest` is.

    Attributes
    ----------
    digest : str
        Of the windows and all that they were cut from.
    group : str
        Path of the group that has their labels, "" for one that isn't in a lake.
    sfreq : float
        Hz.
    row : array of int64, shape (tiled,)
        Rows of those with tiles, in the order of their tiles.
    first : array of int64, shape (tiled,)
        Position of their first sample; see `eegzarr.store.tiles.gather`.
    by_channel : tuple of Moments
        Of each recording's valid windows, in the order of `channels`.
    channels : array of int64, shape (channel,)
        Numbers of the windows' channels in the tiles.
    table : Dataset, optional
        The table of recordings of windows that no lake has.
    """

    digest: str
    group: str
    sfreq: float
    row: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    by_channel: tuple[Moments, ...]
    channels: npt.NDArray[np.int64]
    table: xr.Dataset | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CutRecordings) and (self.digest, self.group) == (other.digest, other.group)

    def __hash__(self) -> int:
        return hash((self.digest, self.group))

    def __repr__(self) -> str:
        return f"CutRecordings({self.digest!r})"

    def recording(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the rows of the recordings that positions lie in."""
        return self.row[self._place(positions)]

    def start(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return positions in s from the start of their recordings."""
        return (positions - self.first[self._place(positions)]) / self.sfreq

    def moments(self, recordings: Sequence[int], channels: list[int]) -> list[Moments]:
        """Return the moments of recordings, of channels that are named by their numbers in the tiles."""
        places = self.places(channels)
        return [self.by_channel[row].picked(places) for row in recordings]

    def places(self, channels: list[int]) -> list[int]:
        """Return where channels, given by their numbers in the tiles, are among the windows'."""
        place = {number: row for row, number in enumerate(self.channels.tolist())}
        return [place[number] for number in channels]

    def _place(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.searchsorted(self.first, positions, side="right") - 1

    @classmethod
    def of(cls, digest: str, group: str, sfreq: float, tiles: Tiles, recordings: xr.Dataset) -> CutRecordings:
        """Return those of a cut group's table of recordings."""
        tile = recordings[FIRST_TILE].to_numpy()
        row = np.flatnonzero(tile >= 0)
        row = row[np.argsort(tile[row], kind="stable")]
        first = tile[row].astype(np.int64) * tiles.geometry.n_times
        channels = tiles.numbers(list(map(str, recordings["channel"].to_numpy().tolist())))
        own = None if group else recordings
        return cls(digest, group, sfreq, row, first, tuple(table_moments(recordings)), channels, own)


class CutSignals(StoredSignals):
    """Signals of cut windows, (window, channel, time).

    Attributes
    ----------
    channels : array of int64, shape (channel,)
        Their numbers in the tiles.
    """

    def __init__(
        self,
        tiles: Tiles,
        channels: npt.NDArray[np.int64],
        shape: tuple[int, int, int],
        addresses: Callable[[], tuple[npt.NDArray[np.int64], CutRecordings]],
    ) -> None:
        super().__init__(tiles.lake, tiles.group, tiles.digest, shape, tiles.dtype)
        self.channels = channels
        self._addresses = addresses
        self._opened: tuple[int, TileGatherer] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @cached_property
    def _found(self) -> tuple[npt.NDArray[np.int64], CutRecordings]:
        return self._addresses()

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """Where each window begins; see `eegzarr.store.tiles.gather`."""
        return self._found[0]

    @property
    def recordings(self) -> CutRecordings:
        """The recordings that the windows are of."""
        return self._found[1]

    def __getitem__(self, key: indexing.ExplicitIndexer) -> npt.NDArray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray:
        numbers, channels, times = (np.arange(size)[part] for size, part in zip(self.shape, key, strict=True))
        windows, wanted, samples = np.atleast_1d(numbers), np.atleast_1d(channels), np.atleast_1d(times)
        shape = (len(windows), len(wanted), len(samples))
        if 0 in shape:
            return np.empty((*numbers.shape, *channels.shape, *times.shape), self.dtype)
        first, length = int(samples.min()), int(np.ptp(samples)) + 1
        out = np.empty((len(windows), len(wanted), length), self.dtype)
        gatherer = self._gatherer()
        compile_for(len(windows))
        begins = self.positions[windows] + first
        tile_times = gatherer.reader.geometry.n_times
        # Touching what a truncated file no longer has would end the process.
        gatherer.reader.check_files_of(np.concatenate([begins, begins + length - 1]) // tile_times)

        def gather(begin: int) -> None:
            several = slice(begin, begin + _TOGETHER)
            gatherer.gather(self.positions[windows[several]] + first, self.channels[wanted], out[several])

        runs = range(0, len(windows), _TOGETHER)
        if len(runs) == 1:
            gather(0)
        else:
            with ThreadPoolExecutor(usable_cores(), thread_name_prefix="eegzarr-cut") as pool:
                list(pool.map(gather, runs))
        gatherer.reader.check()
        picked = out if np.array_equal(samples, np.arange(first, first + length)) else out[..., samples - first]
        return picked.reshape((*numbers.shape, *channels.shape, *times.shape))

    def _gatherer(self) -> TileGatherer:
        # A reader holds locks and maps: a forked process opens its own.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), TileGatherer(open_reader(self.lake, self.group, self.digest))
        return self._opened[1]


def open_reader(lake: str, group: str, digest: str) -> WindowReader:
    """Open a group's windows by themselves, wherever the lake is."""
    if url := requested_from(lake, group):
        return RemoteReader(url, group, FrameCache(CACHE), 0, _REQUESTS, digest)
    return LocalReader(lake, group, digest)


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """A complete group of whole recordings, as far as cut windows need it.

    Attributes
    ----------
    digest : str
        Its `plan_digest`.
    state : str
        Changes when its signals do.
    naming : Naming
        Which gave the channels their names.
    """

    lake: str
    group: str
    digest: str
    state: str
    channels: tuple[str, ...]
    geometry: Geometry
    naming: Naming = AS_THEY_ARE

    @classmethod
    def of(cls, lake: str, group: str) -> Tiles:
        """Open a group of whole recordings.

        Raises
        ------
        LakeError
            If it isn't there, or isn't complete.
        """
        attributes = check_complete(lake, group)
        geometry = stored_geometry(lake, group)
        if geometry is None:
            raise LakeError(f"{lake}/{group} has no array of signals")
        store = open_store(lake, read_only=True)
        channels = open_dataset(store, group, only=["channel"])["channel"].to_numpy().tolist()
        state = hashlib.sha256(str(attributes.get("signals_digest", "")).encode())
        state.update(np.asarray(open_array(lake, f"{group}/{SHARDS}/{CONTENT}")[:]).astype("<u8").tobytes())
        return cls(
            lake=lake,
            group=group,
            digest=str(attributes.get("plan_digest", "")),
            state=state.hexdigest(),
            channels=tuple(map(str, channels)),
            geometry=geometry,
            naming=recipe_from_json(str(attributes["recipe"])).naming,
        )

    def under(self, naming: Naming) -> Tiles:
        """Return them with the names that another recipe gives to channels."""
        if naming == self.naming:
            return self
        return replace(self, channels=naming.of(self.channels), naming=naming)

    @property
    def dtype(self) -> np.dtype:
        """Type of samples that are gathered: float32 of integers, in uV."""
        return np.dtype(np.float32 if self.geometry.step else self.geometry.dtype)

    def numbers(self, channels: list[str]) -> npt.NDArray[np.int64]:
        """Return the numbers of channels among those of the tiles."""
        place = {name: number for number, name in enumerate(self.channels)}
        return np.array([place[name] for name in channels], np.int64)


def cut_signals(lake: str, group: str, dataset: xr.Dataset) -> xr.Variable:
    """Return the signals of a stored cut group, as a lazy variable.

    Parameters
    ----------
    dataset : Dataset
        The group, as xarray opens it.

    Raises
    ------
    LakeError
        If the signals aren't those that the windows were cut from.
    """
    attributes = dataset.attrs
    try:
        tiles = Tiles.of(lake, str(attributes[SIGNALS]))
    except LakeError as error:
        raise LakeError(f"{lake}/{group} was cut from {attributes[SIGNALS]}, which can't be read: {error}") from error
    if tiles.state != attributes.get(TILES_DIGEST):
        raise LakeError(
            f"{lake}/{group} was cut from {tiles.group}, whose signals have changed since. Cut it again with\n"
            f"  python -m eegzarr.cut {lake} --recipe {group.partition('/')[0]}"
        )
    tiles = tiles.under(recipe_from_json(str(attributes["recipe"])).naming)

    addresses = _Stored(lake, group, str(attributes["plan_digest"]), float(attributes["sampling_rate"]), tiles)
    shape = (dataset.sizes["window"], dataset.sizes["channel"], dataset.sizes["time"])
    channels = tiles.numbers(list(map(str, dataset["channel"].to_numpy().tolist())))
    return lazy_variable(CutSignals(tiles, channels, shape, addresses))


@dataclass(frozen=True)
class _Stored:
    """Addresses that a cut group stores, read when they are asked for; a value, so that a Dataset can be pickled."""

    lake: str
    group: str
    digest: str
    sfreq: float
    tiles: Tiles

    def __call__(self) -> tuple[npt.NDArray[np.int64], CutRecordings]:
        store = open_store(self.lake, read_only=True)
        stored = open_dataset(store, self.group, only=[TILE, TILE_OFFSET])
        if stored.attrs.get("plan_digest") != self.digest:
            raise LakeError(f"{self.lake}/{self.group} was cut again while it was open: open it again")
        tile, offset = (stored[name].to_numpy().astype(np.int64) for name in (TILE, TILE_OFFSET))
        table = open_dataset(store, f"{self.group}/{RECORDINGS}")
        recordings = CutRecordings.of(self.digest, self.group, self.sfreq, self.tiles, table)
        return tile * self.tiles.geometry.n_times + offset, recordings


def lazy_variable(signals: CutSignals) -> xr.Variable:
    """Return signals as a variable that is read when it is looked at."""
    windows, channels, times = signals.shape
    together = max(1, _CHUNK // max(1, channels * times * signals.dtype.itemsize))
    encoding = {"preferred_chunks": {"window": min(together, max(1, windows)), "channel": channels, "time": times}}
    attributes = {"long_name": "EEG", "units": "uV", "standard_name": "eeg"}
    lazy = indexing.LazilyIndexedArray(signals)
    return xr.Variable(("window", "channel", "time"), lazy, attributes, encoding)
