"""Streaming: shuffled batches of 128 from eegzarr beside its peers, in one run, in turns.

python -m benchmarks.stream SOURCE [--repeat 3] [--seconds 2]

Every reader gives the same windows as float32 tensors (eegzarr from float16 also as float16) in
a random order; the consumer takes the sum of each batch. Each peer runs at the best of 0, 1 and 2
DataLoader workers. The limit is numcodecs' Blosc decoding the same frames, whole and in order,
into reused memory on all cores.
"""

from __future__ import annotations

import argparse
import os
import pickle
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import tensorstore
import torch
import zarr
from numcodecs import blosc
from torch.utils.data import DataLoader, Dataset

import eegzarr
from benchmarks.measure import middle, progress, size_on_disk
from eegzarr.recipe import CHALLENGE1
from eegzarr.store.read import LocalReader
from eegzarr.train import WindowStream

BATCH = 128
GROUP = "challenge1/R1"
Batches = Callable[[int], Iterator[torch.Tensor]]


class Stored(Dataset[torch.Tensor]):
    """Windows of a file by their number; opened anew in each process."""

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.count, self._opened, self._pid = path, count, None, 0

    def __len__(self) -> int:
        return self.count

    def open(self) -> Any:
        """Return what windows are taken from, in this process."""
        if self._pid != os.getpid():
            self._opened, self._pid = self.opened(), os.getpid()
        return self._opened

    def opened(self) -> Any:
        """Open the file."""
        return None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_pid": 0}


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
        return lmdb.open(str(self.path), readonly=True, lock=False, readahead=False).begin()

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(pickle.loads(self.open().get(str(index).encode()))["sample"])


class Hdf5(Stored):
    """One dataset ``eeg`` in an HDF5 file."""

    def opened(self) -> Any:
        """Open the file."""
        return h5py.File(self.path)["eeg"]

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.open()[index])


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
    stream = WindowStream(eegzarr.open_windows(lake, "challenge1"), BATCH, **options)

    def batches(epoch: int) -> Iterator[torch.Tensor]:
        stream.set_epoch(epoch)
        return (x for x, _ in stream)

    return batches


def rate(batches: Batches, seconds: float) -> float:
    """Windows a second of epochs that last `seconds` at least, after a batch to warm up."""
    count, epoch, began = 0, 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for x in batches(epoch):
            x.sum()
            count += len(x)
            if time.perf_counter() - began > 2 * seconds:
                break
        epoch += 1
    return count / (time.perf_counter() - began)


def limit(lake: Path, seconds: float) -> float:
    """Windows a second that Blosc decodes on all cores, frame after frame, into reused memory."""
    reader = LocalReader(str(lake), GROUP)
    geometry = reader.geometry
    windows = eegzarr.open_windows(lake, "challenge1").sizes["window"]
    frames = [reader.frame(number).content for number in range(windows // geometry.windows_per_frame)]
    cores = len(os.sched_getaffinity(0))
    blosc.use_threads = False
    end = time.perf_counter() + seconds

    def decode(core: int) -> int:
        row = np.empty((geometry.windows_per_frame, geometry.n_channels, geometry.n_times), geometry.dtype)
        done = 0
        while time.perf_counter() < end:
            for frame in frames[core::cores]:
                blosc.decompress(frame, row)
                done += 1
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        total = sum(pool.map(decode, range(cores)))
    return total * geometry.windows_per_frame / (time.perf_counter() - began)


def braindecode_lazy(source: Path) -> Dataset[Any]:
    """Windows of braindecode that read their BDF when asked for."""
    import mne
    import pandas as pd
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_windows_from_events
    from eegdash.hbn.windows import build_trial_table

    mne.set_log_level("error")
    parts = []
    for path in sorted(source.glob("sub-*/eeg/*task-contrastChangeDetection*_eeg.bdf"))[:40]:
        raw = mne.io.read_raw_bdf(path)
        trials = build_trial_table(pd.read_csv(str(path).replace("_eeg.bdf", "_events.tsv"), sep="\t"))
        onset = trials.dropna(subset=["stimulus_onset", "response_onset"])["stimulus_onset"]
        onset = onset[np.round(onset * 100) + 250 <= raw.n_times]
        raw.set_annotations(mne.Annotations(onset, np.zeros(len(onset)), ["stimulus_anchor"] * len(onset)))
        parts.append(RawDataset(raw, {"path": str(path)}))
    return create_windows_from_events(
        BaseConcatDataset(parts),
        mapping={"stimulus_anchor": 0},
        trial_start_offset_samples=50,
        trial_stop_offset_samples=250,
        window_size_samples=200,
        window_stride_samples=100,
        on_overlapping_events="ignore",
    )


class First(Dataset[torch.Tensor]):
    """The signals of a dataset that gives labels too."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.as_tensor(np.asarray(self.dataset[index][0], np.float32))


def prepare(source: Path, scratch: Path) -> dict[str, Path]:
    """Write the same windows in every format."""
    paths = {
        name: scratch / name for name in ("float32.zarr", "float16.zarr", "memmap.npy", "lmdb", "gzip.h5", "one.h5")
    }
    for dtype in ("float32", "float16"):
        eegzarr.build_lake(source, paths[f"{dtype}.zarr"], recipe=CHALLENGE1, dtype=dtype)
    windows = np.asarray(zarr.open_array(paths["float32.zarr"] / GROUP / "eeg", mode="r")[:])
    np.save(paths["memmap.npy"], windows)
    environment = lmdb.open(str(paths["lmdb"]), map_size=4 * windows.nbytes)
    with environment.begin(write=True) as transaction:
        for index, window in enumerate(windows):
            transaction.put(str(index).encode(), pickle.dumps({"sample": window, "label": 0.0}))
    environment.close()
    with h5py.File(paths["gzip.h5"], "w") as file:  # chunks as h5py guesses them
        file.create_dataset("eeg", data=windows, compression="gzip", compression_opts=4)
    with h5py.File(paths["one.h5"], "w") as file:
        file.create_dataset("eeg", data=windows, chunks=(1, *windows.shape[1:]), compression="gzip", compression_opts=4)
    return paths


def contenders(paths: dict[str, Path], source: Path) -> dict[str, list[Batches]]:
    """Return each way with the settings of which the best counts."""
    count = eegzarr.open_windows(paths["float32.zarr"], "challenge1").sizes["window"]
    array = zarr.open_array(paths["float32.zarr"] / GROUP / "eeg", mode="r")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(paths["float32.zarr"] / GROUP / "eeg")}}
    store = tensorstore.open(spec).result()
    workers = (0, 1, 2)
    return {
        "eegzarr, float32": [eegzarr_batches(paths["float32.zarr"], shuffle="global")],
        "eegzarr, float32, block": [eegzarr_batches(paths["float32.zarr"], shuffle="block")],
        "eegzarr, float16 as float16": [eegzarr_batches(paths["float16.zarr"], shuffle="global", dtype="float16")],
        "eegzarr, float16 as float32": [eegzarr_batches(paths["float16.zarr"], shuffle="global")],
        "LMDB, pickles": [loader(Lmdb(paths["lmdb"], count), n) for n in workers],
        "np.memmap": [loader(Memmap(paths["memmap.npy"], count), n) for n in workers],
        "HDF5, gzip, a window a chunk": [loader(Hdf5(paths["one.h5"], count), n) for n in workers],
        "HDF5, gzip, as the HDF5 way writes it": [loader(Hdf5(paths["gzip.h5"], count), n) for n in (0, 2)],
        "braindecode, lazy from BDF": [loader(First(braindecode_lazy(source)), n) for n in workers],
        "zarr-python, the same lake": [array_batches(lambda i: np.asarray(array.oindex[i]), count)],
        "tensorstore, the same lake": [array_batches(lambda i: store[i].read().result(), count)],
    }


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory(prefix="eegzarr-bench-") as scratch:
        progress("writing the windows in every format")
        paths = prepare(arguments.source, Path(scratch))
        ways = contenders(paths, arguments.source)
        best = {}
        for name, settings in ways.items():
            progress(f"choosing a setting for {name}")
            trials = [rate(setting, arguments.seconds / 4) for setting in settings]
            best[name] = settings[int(np.argmax(trials))]
        rates: dict[str, list[float]] = {}
        limits: dict[str, list[float]] = {"float32": [], "float16": []}
        for turn in range(arguments.repeat):
            progress(f"turn {turn + 1} of {arguments.repeat}")
            for dtype, measured in limits.items():
                measured.append(limit(paths[f"{dtype}.zarr"], arguments.seconds))
            for name, batches in best.items():
                rates.setdefault(name, []).append(rate(batches, arguments.seconds))
        sizes = {name: size_on_disk(path) / 1e6 for name, path in paths.items()}
    report(rates, limits, sizes)


def report(rates: dict[str, list[float]], limits: dict[str, list[float]], sizes: dict[str, float]) -> None:
    """Print the table, with each way's ratio to eegzarr in the same turn."""
    reference = rates["eegzarr, float32"]
    print(f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}\n")
    print("| reader, random windows, warm | windows/s | eegzarr float32 is |")
    print("|---|---|---|")
    for name, measured in rates.items():
        ratio = statistics.median(a / b for a, b in zip(reference, measured, strict=True))
        print(f"| {name} | {middle(measured)} | {ratio:.1f} × |")
    for dtype, measured in limits.items():
        own = rates["eegzarr, float32" if dtype == "float32" else "eegzarr, float16 as float16"]
        share = statistics.median(a / b for a, b in zip(own, measured, strict=True))
        print(f"| limit: Blosc, {dtype} | {middle(measured)} | {share:.2f} of it |")
    print("\nMB on disk: " + ", ".join(f"{name} {size:.0f}" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
