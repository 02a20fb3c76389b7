"""xarray's engine ``eegzarr``: a group of a lake whose signals are decoded where they lie.

zarr-python reads every frame of a shard into fresh memory before it decodes it; here frames
are decoded from the page cache straight into the result, by threads. All else of the Dataset is
what `xarray.open_zarr` gives.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendEntrypoint

from eegzarr.errors import LakeError
from eegzarr.machine.system import usable_cores
from eegzarr.store.complete import check_complete
from eegzarr.store.group import check_windows, stored_geometry
from eegzarr.store.integers import to_microvolts
from eegzarr.store.layout import EEG, SIGNALS, Geometry, lake_url, open_dataset, open_store
from eegzarr.store.private import indexing
from eegzarr.store.reading.checked import decode_frame
from eegzarr.store.reading.damage import damage_named
from eegzarr.store.reading.fetched import RemoteReader
from eegzarr.store.reading.read import WindowDecoder, WindowReader
from eegzarr.store.reading.stored import StoredSignals
from eegzarr.store.tiles.signals import cut_signals, open_reader

_REQUESTS = 8  # threads that wait for a bucket: beyond what is fetched ahead
_FRAMES_FOR_THREADS = 4  # with fewer, starting threads takes longer than they save


class LakeEntrypoint(BackendEntrypoint):
    """``xarray.open_dataset(lake, engine="eegzarr", group="challenge1/R1")``."""

    description = "Signals of an eegzarr lake, faster than through zarr-python"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = ("filename_or_obj", "drop_variables", "group")

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
    ) -> xr.Dataset:
        """Open a complete group, lazily.

        Raises
        ------
        LakeError
            If the group isn't there or is still being built.
        """
        lake = lake_url(filename_or_obj)
        if not group:
            raise LakeError(f'{lake} is opened by group: give one, such as group="challenge1/R1"')
        digest = str(check_complete(lake, group).get("plan_digest", ""))
        with damage_named(f"{lake}/{group}", but=()):
            dataset = open_dataset(open_store(lake, read_only=True), group, drop_variables)
            if SIGNALS in dataset.attrs:
                return dataset.assign({EEG: cut_signals(lake, group, dataset)})
            if EEG not in dataset:
                return dataset
            return dataset.assign({EEG: signals(lake, group, dataset[EEG].variable, digest)})


def signals(lake: str, group: str, stored: xr.Variable, digest: str) -> xr.Variable:
    """Return a group's signals as a lazy variable that this engine reads.

    Parameters
    ----------
    stored : Variable
        As xarray opens it.
    digest : str
        The group's `plan_digest`: should it be another one when signals are read, they are refused.
    """
    geometry = stored_geometry(lake, group)
    if geometry is None:
        raise LakeError(f"{lake}/{group} has no array of signals")
    check_windows(lake, group, stored.shape[0], geometry)
    lazy = indexing.LazilyIndexedArray(SignalArray(lake, group, digest, stored.shape[0], geometry))
    preferred = dict(zip(stored.dims, (geometry.windows_per_shard, *stored.shape[1:]), strict=True))
    encoding = {**_encoding(stored), "preferred_chunks": preferred}
    return xr.Variable(stored.dims, lazy, stored.attrs, encoding)


class SignalArray(StoredSignals):
    """Signals that are decoded as they are indexed; of a lake in a bucket, frames are fetched side by side.

    Where only some channels or times are asked for, each thread has a frame in memory beside the result.
    """

    def __init__(self, lake: str, group: str, digest: str, n_windows: int, geometry: Geometry) -> None:
        shape = (n_windows, geometry.n_channels, geometry.n_times)
        super().__init__(lake, group, digest, shape, np.dtype(np.float32 if geometry.step else geometry.dtype))
        self._geometry = geometry
        self._opened: tuple[int, WindowReader, WindowDecoder] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __getitem__(self, key: indexing.ExplicitIndexer) -> npt.NDArray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray:
        numbers, channels, times = (np.arange(size)[part] for size, part in zip(self.shape, key, strict=True))
        is_one, numbers = numbers.ndim == 0, np.atleast_1d(numbers)
        is_whole = channels.shape + times.shape == self.shape[1:] and _ascend(channels) and _ascend(times)
        out = np.empty((len(numbers), *channels.shape, *times.shape), self.dtype)
        reader, decoder = self._open()
        reader.check_files_of(numbers)  # touching what a truncated file no longer has would end the process
        step = self._geometry.step

        def decode(run: slice) -> None:
            chosen = numbers[run]
            if is_whole and not step:
                self._decode(reader, decoder, chosen, out[run])
                return
            windows = np.empty((len(chosen), *self.shape[1:]), self._geometry.dtype)
            self._decode(reader, decoder, chosen, windows)
            picked = windows[:, key[1]][..., key[2]]
            if step:
                to_microvolts(picked, step, out=out[run])
            else:
                out[run] = picked

        runs = list(_runs(numbers, self._geometry.windows_per_frame))
        if isinstance(reader, RemoteReader):
            for run in runs:
                reader.prefetch(int(numbers[run.start]) // self._geometry.windows_per_frame, numbers[run].tolist())
        threads = min(_REQUESTS if isinstance(reader, RemoteReader) else usable_cores(), len(runs))
        if len(runs) < _FRAMES_FOR_THREADS or threads == 1:
            for run in runs:
                decode(run)
        else:
            with ThreadPoolExecutor(threads, thread_name_prefix="eegzarr-engine") as pool:
                list(pool.map(decode, runs))
        return out[0] if is_one else out

    def _decode(
        self, reader: WindowReader, decoder: WindowDecoder, numbers: npt.NDArray[np.int64], rows: npt.NDArray
    ) -> None:
        """Decode windows of one frame into `rows`."""
        per_frame = self._geometry.windows_per_frame
        if len(numbers) == per_frame and numbers[0] % per_frame == 0 and _ascend(numbers):
            number = int(numbers[0]) // per_frame
            decode_frame(reader.frame(number), rows, reader.name, int(numbers[0]))
            if isinstance(reader, RemoteReader):
                reader.forget(number)  # all of it was wanted
        else:
            decoder.decode(np.zeros(len(numbers), np.int32), numbers, rows)

    def _open(self) -> tuple[WindowReader, WindowDecoder]:
        # A reader holds locks and maps: a forked process opens its own.
        if self._opened is None or self._opened[0] != os.getpid():
            reader = open_reader(self.lake, self.group, self.digest)
            self._opened = os.getpid(), reader, WindowDecoder([reader])
        return self._opened[1:]


def _encoding(stored: xr.Variable) -> dict[Any, Any]:
    """Return how signals that are opened would be stored again: those of integers as floats.

    Else xarray would round what is joined from several groups to the step of the first.
    """
    if stored_type(stored).kind == "f":
        return stored.encoding
    return {name: stored.encoding[name] for name in ("chunks", "preferred_chunks", "shards") if name in stored.encoding}


def stored_type(variable: xr.Variable) -> np.dtype:
    """Return the type that a variable which xarray has opened is stored in."""
    return np.dtype(variable.encoding.get("dtype", variable.dtype))


def _runs(numbers: npt.NDArray[np.int64], per_frame: int) -> Iterator[slice]:
    """Return slices of consecutive numbers that lie in one frame."""
    edges = [0, *(np.flatnonzero(np.diff(numbers // per_frame)) + 1).tolist(), len(numbers)]
    return (slice(a, b) for a, b in pairwise(edges) if a < b)


def _ascend(numbers: npt.NDArray[np.int64]) -> bool:
    return bool(np.all(np.diff(numbers) > 0))
