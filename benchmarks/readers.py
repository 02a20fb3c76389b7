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

from benchmarks.peers import BATCH, READERS, Batches
from benchmarks.settings import GROUP


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
    """Windows of a file by their number; opened anew in each process."""

    def __init__(self, path: Path) -> None:
        self.path, self._opened, self._pid = path, None, 0

    def __len__(self) -> int:
        return len(np.load(self.path.parent / "memmap.npy", mmap_mode="r"))

    def open(self) -> Any:
        """Return what windows are taken from, in this process."""
        if self._pid != os.getpid():
            self._opened, self._pid = self.opened(), os.getpid()
        return self._opened

    def opened(self) -> Any:
        """Open the file."""
        raise NotImplementedError


class Memmap(Stored):
    """np.memmap of float32."""

    def opened(self) -> Any:
        """Map the file."""
        return np.load(self.path, mmap_mode="r")

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.array(self.open()[index]))


class Lmdb(Stored):
    """LMDB of pickled windows, as CBraMod and others keep them."""

    def opened(self) -> Any:
        """Begin to read."""
        import lmdb

        return lmdb.open(str(self.path), readonly=True, lock=False, readahead=False).begin()

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(pickle.loads(self.open().get(str(index).encode()))["sample"])


class Hdf5(Stored):
    """One dataset ``eeg`` in an HDF5 file."""

    def opened(self) -> Any:
        """Open the file."""
        import h5py
        import hdf5plugin  # noqa: F401 - registers Blosc

        return h5py.File(self.path)["eeg"]

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.open()[index])


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


def array_batches(read: Callable[[np.ndarray], np.ndarray], count: int) -> Batches:
    """Shuffled batches by one read of an array for each; sorted within a batch, which helps."""

    def batches(epoch: int) -> Iterator[torch.Tensor]:
        order = np.random.default_rng(epoch).permutation(count)
        for first in range(0, count, BATCH):
            yield torch.from_numpy(read(np.sort(order[first : first + BATCH])))

    return batches


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


def zarr_batches(lake: Path) -> Batches:
    """zarr-python's orthogonal indexing, with its own codecs or those of zarrs."""
    import zarr

    array = zarr.open_array(lake / GROUP / "eeg", mode="r")
    return array_batches(lambda rows: np.asarray(array.oindex[rows]), array.shape[0])


def zarrs_batches(lake: Path) -> Batches:
    """The codec pipeline of zarrs under zarr-python."""
    import zarr
    import zarrs  # noqa: F401 - registers the pipeline

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    return zarr_batches(lake)


def tensorstore_batches(lake: Path) -> Batches:
    """Tensorstore's fancy indexing."""
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(lake / GROUP / "eeg")}}
    store = tensorstore.open(spec).result()
    return array_batches(lambda rows: store[rows].read().result(), store.shape[0])


def memmap_batches(path: Path) -> Batches:
    """np.memmap indexed once a batch, without a DataLoader: what a careful script does."""
    windows = np.load(path, mmap_mode="r")
    return array_batches(lambda rows: windows[rows], len(windows))


def braindecode_batches(path: Path, workers: int, *, way: str, preload: bool = False) -> Batches:
    """What braindecode stored, opened again by it; its hub's Zarr has expanded itself on disk by then."""
    from benchmarks.build_ways import stored_windows

    return loader(Signals(stored_windows(way, path, preload=preload)), workers)


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
    "np.memmap": Way(lambda folder, workers: loader(Memmap(folder / "memmap.npy"), workers), "memmap.npy"),
    "LMDB, pickles": Way(lambda folder, workers: loader(Lmdb(folder / "lmdb"), workers), "lmdb"),
    "HDF5, Blosc, a window a chunk": Way(
        lambda folder, workers: loader(Hdf5(folder / "blosc.h5"), workers), "blosc.h5"
    ),
    "HDF5, gzip, a window a chunk": Way(lambda folder, workers: loader(Hdf5(folder / "one.h5"), workers), "one.h5"),
    "HDF5, gzip, the HDF5 way's": Way(lambda folder, workers: loader(Hdf5(folder / "gzip.h5"), workers), "gzip.h5"),
    "braindecode, preloaded": Way(
        lambda folder, workers: braindecode_batches(folder / "braindecode", workers, way="braindecode", preload=True),
        "braindecode",
    ),
    "braindecode, lazy": Way(
        lambda folder, workers: braindecode_batches(folder / "braindecode", workers, way="braindecode"), "braindecode"
    ),
    "braindecode, hub Zarr once expanded": Way(
        lambda folder, workers: braindecode_batches(folder / "hub.zarr", workers, way="hub"), "hub.zarr"
    ),
    "zarr-python on the same lake": Way(
        lambda folder, _: zarr_batches(folder / "float32.zarr"), "float32.zarr", uses_workers=False
    ),
    "zarrs on the same lake": Way(
        lambda folder, _: zarrs_batches(folder / "float32.zarr"), "float32.zarr", uses_workers=False
    ),
    "tensorstore on the same lake": Way(
        lambda folder, _: tensorstore_batches(folder / "float32.zarr"), "float32.zarr", uses_workers=False
    ),
    **{
        peer: Way(
            lambda folder, workers, read=read, peer=peer: read(folder / peer, workers),  # type: ignore[misc]
            peer,
            permutes=False,
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
