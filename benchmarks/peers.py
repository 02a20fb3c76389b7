"""Three streaming libraries for any data: how each stores windows, and how it is read.

python -m benchmarks.peers PEER WINDOWS.npy OUT     # in the environment of the peer

Each uses the settings that its manual gives for data of this size: chunks or shards of 64 MB, no
compression, batches by its own loader.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

BATCH = 128
SHARD_BYTES = 64_000_000
SHUFFLED = 1000  # webdataset's buffer, in windows, as in its manual
Batches = Callable[[int], Iterator[torch.Tensor]]


class _StoredWindow:
    """Gives one window to litdata's processes, which want a function that they can pickle."""

    def __init__(self, windows: Path) -> None:
        self.windows = windows

    def __call__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.array(np.load(self.windows, mmap_mode="r")[index]))


def _write_litdata(windows: Path, out: Path) -> None:
    import litdata

    count = len(np.load(windows, mmap_mode="r"))
    litdata.optimize(
        fn=_StoredWindow(windows),
        inputs=list(range(count)),
        output_dir=str(out),
        chunk_bytes=SHARD_BYTES,
        num_workers=1,
        start_method="fork",
        verbose=False,
    )


def _litdata_batches(folder: Path, workers: int) -> Batches:
    import litdata

    dataset = litdata.StreamingDataset(str(folder), shuffle=True)
    loader = litdata.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0)
    return lambda epoch: iter(loader)


def _write_mosaic(windows: Path, out: Path) -> None:
    from streaming import MDSWriter

    stored = np.load(windows, mmap_mode="r")
    kind = f"ndarray:float32:{','.join(map(str, stored.shape[1:]))}"
    with MDSWriter(out=str(out), columns={"x": kind}, size_limit=SHARD_BYTES) as writer:
        for window in stored:
            writer.write({"x": np.array(window)})


def _mosaic_batches(folder: Path, workers: int) -> Batches:
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()  # what a reader that was killed left keeps the next from starting
    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH)
    loader: DataLoader[Any] = DataLoader(dataset, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0)
    return lambda epoch: (batch["x"] for batch in loader)


def _write_webdataset(windows: Path, out: Path) -> None:
    import webdataset

    out.mkdir()
    with webdataset.ShardWriter(str(out / "%05d.tar"), maxsize=SHARD_BYTES, verbose=0) as writer:
        for index, window in enumerate(np.load(windows, mmap_mode="r")):
            writer.write({"__key__": f"{index:08d}", "npy": np.array(window)})


def _webdataset_batches(folder: Path, workers: int) -> Batches:
    import webdataset

    shards = sorted(map(str, folder.glob("*.tar")))
    dataset = webdataset.WebDataset(shards, shardshuffle=len(shards)).shuffle(SHUFFLED).decode().to_tuple("npy")
    workers = min(workers, len(shards))  # one without a shard is an error
    loader = webdataset.WebLoader(
        dataset.batched(BATCH), batch_size=None, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda epoch: (torch.as_tensor(x) for (x,) in loader)


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "litdata": _write_litdata,
    "mosaicml-streaming": _write_mosaic,
    "webdataset": _write_webdataset,
}
READERS: dict[str, Callable[[Path, int], Batches]] = {
    "litdata": _litdata_batches,
    "mosaicml-streaming": _mosaic_batches,
    "webdataset": _webdataset_batches,
}


if __name__ == "__main__":
    WRITERS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
