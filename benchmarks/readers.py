"""Every way of reading shuffled windows that is compared, as batches of float32 tensors.

What a way reads is in the folder that `benchmarks.formats` wrote.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.blocks import READERS as BLOCK_READERS
from benchmarks.blocks import array_batches, zarr_batches
from benchmarks.peers import READERS
from benchmarks.settings import BATCH, GROUP, Batches


@dataclass(frozen=True)
class Way:
    """One way of reading.

    Attributes
    ----------
    batches : callable
        From the folder of formats and a number of DataLoader workers to a function that gives
        the batches of an epoch, by its number.
    stored : str
        The format, by its name in the folder.
    uses_workers : bool
        Whether it goes through PyTorch's DataLoader; else it has threads of its own.
    permutes : bool
        Whether its order is a random permutation by construction.
    environment : str
        The peer whose environment it needs; "" for eegzarr's.
    """

    batches: Callable[[Path, int], Batches]
    stored: str
    uses_workers: bool = True
    permutes: bool = True
    environment: str = ""


class Stored(Dataset[torch.Tensor]):
    """Windows of a file by their number; opened again in each process.

    Parameters
    ----------
    path : Path
    opened : callable
        Opens the file: returns what windows are taken from.
    window : callable
        Takes one by its number.
    """

    def __init__(self, path: Path, opened: Callable[[Path], Any], window: Callable[[Any, int], np.ndarray]) -> None:
        self._path, self._open, self._window = path, opened, window
        self._opened, self._pid = None, 0

    def __len__(self) -> int:
        return len(np.load(self._path.parent / "memmap.npy", mmap_mode="r"))

    def __getitem__(self, index: int) -> torch.Tensor:
        if self._pid != os.getpid():
            self._opened, self._pid = self._open(self._path), os.getpid()
        return torch.from_numpy(self._window(self._opened, index))


def memmap(path: Path) -> Stored:
    """np.memmap of float32."""
    return Stored(path, lambda path: np.load(path, mmap_mode="r"), lambda windows, index: np.array(windows[index]))


def lmdb_pickles(path: Path) -> Stored:
    """LMDB of pickled windows, as CBraMod and others keep them."""

    def begin(path: Path) -> Any:
        import lmdb

        return lmdb.open(str(path), readonly=True, lock=False, readahead=False).begin()

    return Stored(path, begin, lambda transaction, index: pickle.loads(transaction.get(str(index).encode()))["sample"])


def hdf5(path: Path) -> Stored:
    """One dataset ``eeg`` in an HDF5 file."""

    def open_file(path: Path) -> Any:
        import h5py
        import hdf5plugin  # noqa: F401 - registers Blosc

        return h5py.File(path)["eeg"]

    return Stored(path, open_file, lambda windows, index: windows[index])


class Signals(Dataset[torch.Tensor]):
    """The signals of a braindecode dataset, which gives labels too."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.as_tensor(np.asarray(self.dataset[index][0], np.float32))


def loader(dataset: Dataset[torch.Tensor], workers: int) -> Batches:
    """Shuffled batches by PyTorch's DataLoader."""
    made = DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda epoch: iter(made)


def tensors(arrays: Batches) -> Batches:
    """Batches of arrays as tensors of the same memory."""
    return lambda epoch: map(torch.from_numpy, arrays(epoch))


def eegzarr_batches(lake: Path | str, **options: Any) -> Batches:
    """WindowStream, from a folder or a bucket."""
    import eegzarr
    from eegzarr.train import WindowStream

    stream = WindowStream(eegzarr.open_windows(lake, "challenge1"), BATCH, **options)

    def batches(epoch: int) -> Iterator[torch.Tensor]:
        stream.set_epoch(epoch)
        return (x for x, _ in stream)

    return batches


class Numbered(Dataset[torch.Tensor]):
    """The signals of a WindowDataset, a batch for each list of numbers."""

    def __init__(self, lake: Path) -> None:
        import eegzarr
        from eegzarr.stream import WindowDataset

        self.dataset = WindowDataset(eegzarr.open_windows(lake, "challenge1"))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.as_tensor(self.dataset[index][0])

    def __getitems__(self, indices: list[int]) -> list[torch.Tensor]:
        return [torch.as_tensor(sample[0]) for sample in self.dataset.__getitems__(indices)]


def zarrs_batches(lake: Path) -> Batches:
    """The codec pipeline of zarrs under zarr-python."""
    import zarr
    import zarrs  # noqa: F401 - registers the pipeline

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    return tensors(zarr_batches(lake))


def tensorstore_batches(lake: Path) -> Batches:
    """Tensorstore's fancy indexing."""
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(lake / GROUP / "eeg")}}
    store = tensorstore.open(spec).result()
    return tensors(array_batches(lambda rows: store[rows].read().result(), store.shape[0]))


def memmap_batches(path: Path) -> Batches:
    """np.memmap indexed once a batch, without a DataLoader: what a careful script does."""
    windows = np.load(path, mmap_mode="r")
    return tensors(array_batches(lambda rows: windows[rows], len(windows)))


def braindecode_batches(path: Path, workers: int, *, way: str, preload: bool = False) -> Batches:
    """What braindecode stored, opened again by it; its hub's Zarr has expanded itself on disk by then."""
    from benchmarks.build_ways import stored_windows

    return loader(Signals(stored_windows(way, path, preload=preload)), workers)


def automatic_batches(folder: Path, workers: int) -> Batches:
    """braindecode's windows out of MNE's cache of decoded recordings, which was filled when the format was written."""
    from benchmarks.build_ways import automatic_windows

    return loader(Signals(automatic_windows(folder)), workers)


def _own(lake: str, *, shuffle: str = "global", dtype: str = "float32") -> Way:
    """Return eegzarr's own way with one of its lakes."""
    return Way(
        lambda folder, _: eegzarr_batches(folder / lake, shuffle=shuffle, dtype=dtype),
        lake,
        uses_workers=False,
        permutes=shuffle == "global",
    )


# By name, as the tables show it.
WAYS: dict[str, Way] = {
    "eegzarr": _own("float32.zarr"),
    "eegzarr, block shuffle": _own("float32.zarr", shuffle="block"),
    "eegzarr, uncompressed": _own("float32-none.zarr"),
    "eegzarr, float16": _own("float16.zarr", dtype="float16"),
    "eegzarr, float16 to float32": _own("float16.zarr"),
    "eegzarr, float16, uncompressed": _own("float16-none.zarr", dtype="float16"),
    "eegzarr, int16": _own("int16.zarr"),
    "eegzarr, int16 as stored": _own("int16.zarr", dtype="int16"),
    "eegzarr, int16, cut from whole recordings": _own("cut.zarr"),
    "eegzarr, WindowDataset": Way(
        lambda folder, workers: loader(Numbered(folder / "float32.zarr"), workers), "float32.zarr"
    ),
    "np.memmap, a batch an index": Way(
        lambda folder, _: memmap_batches(folder / "memmap.npy"), "memmap.npy", uses_workers=False
    ),
    "np.memmap": Way(lambda folder, workers: loader(memmap(folder / "memmap.npy"), workers), "memmap.npy"),
    "LMDB, pickles": Way(lambda folder, workers: loader(lmdb_pickles(folder / "lmdb"), workers), "lmdb"),
    "HDF5, Blosc, a window a chunk": Way(
        lambda folder, workers: loader(hdf5(folder / "blosc.h5"), workers), "blosc.h5"
    ),
    "HDF5, gzip, a window a chunk": Way(lambda folder, workers: loader(hdf5(folder / "one.h5"), workers), "one.h5"),
    "HDF5, gzip, the HDF5 way's": Way(lambda folder, workers: loader(hdf5(folder / "gzip.h5"), workers), "gzip.h5"),
    "braindecode, preloaded": Way(
        lambda folder, workers: braindecode_batches(folder / "braindecode", workers, way="braindecode", preload=True),
        "braindecode",
    ),
    "braindecode, lazy": Way(
        lambda folder, workers: braindecode_batches(folder / "braindecode", workers, way="braindecode"), "braindecode"
    ),
    "braindecode, MNE's preload='auto'": Way(
        lambda folder, workers: automatic_batches(folder / "auto", workers), "auto"
    ),
    "braindecode, hub Zarr once expanded": Way(
        lambda folder, workers: braindecode_batches(folder / "hub.zarr", workers, way="hub"), "hub.zarr"
    ),
    "zarr-python on the same lake": Way(
        lambda folder, _: tensors(zarr_batches(folder / "float32.zarr")), "float32.zarr", uses_workers=False
    ),
    "zarrs on the same lake": Way(
        lambda folder, _: zarrs_batches(folder / "float32.zarr"), "float32.zarr", uses_workers=False
    ),
    "tensorstore on the same lake": Way(
        lambda folder, _: tensorstore_batches(folder / "float32.zarr"), "float32.zarr", uses_workers=False
    ),
    **{
        name: Way(
            lambda folder, _, read=read: read(folder / "float32.zarr"),  # type: ignore[misc]
            "float32.zarr",
            uses_workers=False,
            permutes=not name.startswith("annbatch"),
            environment="annbatch",
        )
        for name, read in BLOCK_READERS.items()
    },
    **{
        peer: Way(
            lambda folder, workers, read=read, peer=peer: read(folder / peer, workers),  # type: ignore[misc]
            peer,
            uses_workers=peer != "lance",
            permutes=peer in ("lance", "neuralset"),
            environment=peer,
        )
        for peer, read in READERS.items()
    },
}
# From a bucket: its URL holds the lakes of the folder of formats.
BUCKET_WAYS: dict[str, Callable[[str], Batches]] = {
    "eegzarr": lambda url: eegzarr_batches(f"{url}/float32.zarr", shuffle=True),
    "eegzarr, float16": lambda url: eegzarr_batches(f"{url}/float16.zarr", shuffle=True, dtype="float16"),
}
