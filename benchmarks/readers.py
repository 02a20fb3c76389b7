"""One way of reading shuffled windows, measured in a process of its own.

python -m benchmarks.readers WAY FOLDER --workers N --seconds S [--touch]

FOLDER is what `benchmarks.formats` wrote. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader, Dataset

BATCH = 128
COLD_WINDOWS = 5000
WARM_UP_WINDOWS = 60_000
LONGEST_WARM_UP = 15.0  # s; an epoch, but for the slowest
GROUP = "challenge1/R1"
Batches = Callable[[int], Iterator[torch.Tensor]]


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


def eegzarr_batches(lake: Path, **options: Any) -> Batches:
    """WindowStream."""
    import eegzarr
    from eegzarr.train import WindowStream

    stream = WindowStream(eegzarr.open_windows(lake, "challenge1"), BATCH, **options)

    def batches(epoch: int) -> Iterator[torch.Tensor]:
        stream.set_epoch(epoch)
        return (x for x, _ in stream)

    return batches


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


def braindecode_windows(folder: Path, *, preload: bool) -> Any:
    """What braindecode saved of some recordings, opened again."""
    from braindecode.datautil import load_concat_dataset

    return load_concat_dataset(folder / "braindecode", preload=preload)


def braindecode_hub(folder: Path) -> Any:
    """The Zarr format of braindecode's hub; an epoch of it has expanded it on disk."""
    from braindecode.datasets import BaseConcatDataset

    return BaseConcatDataset._load_from_zarr_inline(folder / "hub.zarr", preload=False)


# Each way: how its batches come from the folder of formats and a number of DataLoader workers.
WAYS: dict[str, Callable[[Path, int], Batches]] = {
    "eegzarr": lambda folder, _: eegzarr_batches(folder / "float32.zarr", shuffle="global"),
    "eegzarr, block shuffle": lambda folder, _: eegzarr_batches(folder / "float32.zarr", shuffle="block"),
    "eegzarr, float16": lambda folder, _: eegzarr_batches(folder / "float16.zarr", shuffle="global", dtype="float16"),
    "eegzarr, float16 to float32": lambda folder, _: eegzarr_batches(folder / "float16.zarr", shuffle="global"),
    "np.memmap": lambda folder, workers: loader(Memmap(folder / "memmap.npy"), workers),
    "LMDB, pickles": lambda folder, workers: loader(Lmdb(folder / "lmdb"), workers),
    "HDF5, Blosc, a window a chunk": lambda folder, workers: loader(Hdf5(folder / "blosc.h5"), workers),
    "HDF5, gzip, a window a chunk": lambda folder, workers: loader(Hdf5(folder / "one.h5"), workers),
    "HDF5, gzip, the HDF5 way's": lambda folder, workers: loader(Hdf5(folder / "gzip.h5"), workers),
    "braindecode, preloaded": lambda folder, workers: loader(
        Signals(braindecode_windows(folder, preload=True)), workers
    ),
    "braindecode, lazy": lambda folder, workers: loader(Signals(braindecode_windows(folder, preload=False)), workers),
    "braindecode, hub Zarr once expanded": lambda folder, workers: loader(Signals(braindecode_hub(folder)), workers),
    "zarr-python on the same lake": lambda folder, _: zarr_batches(folder / "float32.zarr"),
    "zarrs on the same lake": lambda folder, _: zarrs_batches(folder / "float32.zarr"),
    "tensorstore on the same lake": lambda folder, _: tensorstore_batches(folder / "float32.zarr"),
}
WITHOUT_WORKERS = ("eegzarr", "zarr", "tensorstore")  # they have threads of their own


def anonymous_memory() -> int:
    """Bytes of anonymous memory of this process and its children, from smaps_rollup."""
    total = 0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                total += 1024 * int(line.split()[1])
    return total


def cpu_seconds() -> float:
    """User and system time of this process and its living children."""
    times = [process.cpu_times() for process in (psutil.Process(), *psutil.Process().children(recursive=True))]
    return sum(t.user + t.system for t in times)


def measured(make: Callable[[], Batches], seconds: float, *, touch: bool, warm: bool) -> dict[str, float]:
    """Measure one way: batches delivered, or delivered and every sample of them added up."""
    idle = anonymous_memory()
    began = time.perf_counter()
    batches = make()
    running = batches(0)
    next(running)
    first = time.perf_counter() - began
    epoch = 0
    if warm:
        _warm_up(running, batches)
        epoch = 100
    count, cpu, memory, wall = 0, cpu_seconds(), 0, 0.0
    began = time.perf_counter()
    ended = False
    while not ended:
        epoch += 1
        for x in batches(epoch) if warm else running:
            (x if touch else x[:, 0, 0]).sum()
            count += len(x)
            # A cold reader is warm after its first epoch: it is measured for the most of that.
            ended = time.perf_counter() - began > seconds if warm else count >= COLD_WINDOWS
            if ended:
                # Within the epoch, while its buffers and workers are alive.
                wall, cpu, memory = time.perf_counter() - began, cpu_seconds() - cpu, anonymous_memory() - idle
                break
        ended = ended or not warm
    wall = wall or time.perf_counter() - began
    return {
        "windows_per_s": count / wall,
        "cpu_us_per_window": 1e6 * cpu / count,
        "anonymous_mb": memory / 1e6,
        "first_batch_s": first,
    }


def _warm_up(running: Iterator[torch.Tensor], batches: Batches) -> None:
    """Take batches until everything was read once and what is done once is done."""
    count, epoch, end = 0, 0, time.perf_counter() + LONGEST_WARM_UP
    while count < WARM_UP_WINDOWS and time.perf_counter() < end:
        for x in batches(epoch) if epoch else running:
            count += len(x)
            if time.perf_counter() > end:
                break
        epoch += 1


def blosc_limit(lake: Path, seconds: float) -> float:
    """Windows a second that Blosc decodes on all cores, frame after frame, into reused memory."""
    from numcodecs import blosc

    import eegzarr
    from eegzarr.store.read import LocalReader

    reader = LocalReader(str(lake), GROUP)
    geometry = reader.geometry
    windows = eegzarr.open_windows(lake, "challenge1").sizes["window"]
    frames = [reader.frame(number).content for number in range(max(1, windows // geometry.windows_per_frame))]
    blosc.use_threads = False

    def decode(frame: memoryview, rows: np.ndarray) -> None:
        blosc.decompress(frame, rows)

    shape = (geometry.windows_per_frame, geometry.n_channels, geometry.n_times)
    return geometry.windows_per_frame * _on_all_cores(frames, np.zeros(shape, geometry.dtype), decode, seconds)


def memcpy_limit(folder: Path, seconds: float) -> float:
    """float32 windows a second that all cores copy from the page cache into reused memory."""
    windows = np.load(folder / "memmap.npy", mmap_mode="r")

    def copy(window: np.ndarray, row: np.ndarray) -> None:
        row[:] = window

    return _on_all_cores(list(windows), np.zeros(windows.shape[1:], windows.dtype), copy, seconds)


def _on_all_cores(
    parts: list[Any], target: np.ndarray, work: Callable[[Any, np.ndarray], None], seconds: float
) -> float:
    cores = len(os.sched_getaffinity(0))
    end = time.perf_counter() + seconds

    def run(core: int) -> int:
        own, done = target.copy(), 0
        while True:
            for part in parts[core::cores] or parts:
                work(part, own)
                done += 1
                if time.perf_counter() > end:
                    return done

    with ThreadPoolExecutor(cores) as pool:
        return sum(pool.map(run, range(cores))) / seconds


LIMITS: dict[str, Callable[[Path, float], float]] = {
    "limit: Blosc, float32": lambda folder, seconds: blosc_limit(folder / "float32.zarr", seconds),
    "limit: Blosc, float16": lambda folder, seconds: blosc_limit(folder / "float16.zarr", seconds),
    "limit: memcpy from the page cache": memcpy_limit,
}


def main() -> None:
    """Measure one way and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=[*WAYS, *LIMITS])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--touch", action="store_true", help="the consumer adds up every sample")
    parser.add_argument("--cold", action="store_true", help="measure the first epoch alone, from its second batch on")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.way in LIMITS:
        print(json.dumps({"windows_per_s": LIMITS[arguments.way](arguments.folder, arguments.seconds)}))
        return
    # What a training script has imported anyway isn't counted: neither as time nor as memory.
    if arguments.way.startswith("braindecode"):
        import braindecode.datautil  # noqa: F401
    elif arguments.way.startswith("eegzarr"):
        import eegzarr.store.open
        import eegzarr.train  # noqa: F401
    make = WAYS[arguments.way]
    print(
        json.dumps(
            measured(
                lambda: make(arguments.folder, arguments.workers),
                arguments.seconds,
                touch=arguments.touch,
                warm=not arguments.cold,
            )
        )
    )


if __name__ == "__main__":
    main()
