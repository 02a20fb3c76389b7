"""Libraries with environments of their own: how each stores windows, and how it is read.

python -m benchmarks.peers PEER SOURCE WINDOWS.npy OUT     # in the environment of the peer

litdata, mosaicml-streaming and webdataset stream any data. Each uses the settings that its manual gives for
data of this size: chunks or shards of 64 MB, no compression, batches by its own loader. Lance takes the rows of
a batch at once. NeuralSet keeps whole recordings, mapped, as its extractor prepares them, and cuts windows from them.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.blocks import array_batches
from benchmarks.settings import BATCH, RECORDINGS, Batches

SHARD_BYTES = 64_000_000
SHUFFLED = 1000  # webdataset's buffer, in windows, as in its manual
LANCE_ROWS = 512  # in a piece of what is written
EVENTS = "events.json"


class _StoredWindow:
    """Gives one window to litdata's processes, which want a function that they can pickle."""

    def __init__(self, windows: Path) -> None:
        self.windows = windows

    def __call__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.array(np.load(self.windows, mmap_mode="r")[index]))


def _write_litdata(source: Path, windows: Path, out: Path) -> None:
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


def _write_mosaic(source: Path, windows: Path, out: Path) -> None:
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


def _write_webdataset(source: Path, windows: Path, out: Path) -> None:
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


def _write_lance(source: Path, windows: Path, out: Path) -> None:
    import lance
    import pyarrow as pa

    stored = np.load(windows, mmap_mode="r")
    size = int(np.prod(stored.shape[1:]))
    schema = pa.schema([("x", pa.list_(pa.float32(), size))])
    pieces = (
        pa.record_batch([pa.FixedSizeListArray.from_arrays(np.ravel(stored[first : first + LANCE_ROWS]), size)], schema)
        for first in range(0, len(stored), LANCE_ROWS)
    )
    lance.write_dataset(pieces, str(out), schema=schema)
    (out / "shape.json").write_text(json.dumps(stored.shape[1:]))


def _lance_batches(folder: Path, workers: int) -> Batches:
    import lance

    dataset, shape = lance.dataset(str(folder)), json.loads((folder / "shape.json").read_text())

    def read(rows: np.ndarray) -> np.ndarray:
        taken = dataset.take(rows.tolist(), columns=["x"])["x"].combine_chunks()
        found: np.ndarray = taken.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shape)
        return found

    arrays = array_batches(read, dataset.count_rows())
    return lambda epoch: map(torch.as_tensor, arrays(epoch))


def _write_neuralset(source: Path, windows: Path, out: Path) -> None:
    """Events of some recordings, as NeuralSet's studies give them, and its extractor's cache of these recordings."""
    from benchmarks.build_ways import annotated_recordings

    events: list[dict[str, Any]] = []
    for recording, trials in islice(annotated_recordings(source), RECORDINGS):
        path, raw = Path(recording.description["path"]), recording.raw
        about = {"timeline": path.stem, "subject": path.name.partition("_")[0]}
        of_file = {"filepath": str(path), "frequency": raw.info["sfreq"], "start": 0.0, "duration": raw.duration}
        events.append({"type": "Eeg", **about, **of_file})
        events += [
            {"type": "Stimulus", **about, "start": float(onset), "duration": 0.01} for onset in trials["stimulus_onset"]
        ]
    out.mkdir()
    (out / EVENTS).write_text(json.dumps(events))
    _neuralset_windows(out).prepare()


def _neuralset_windows(folder: Path) -> Any:
    import mne
    import neuralset
    import pandas as pd
    from neuralset.events import standardize_events

    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    mne.set_log_level("error")
    events = standardize_events(pd.DataFrame(json.loads((folder / EVENTS).read_text())))
    extractor = neuralset.extractors.EegExtractor(scale_factor=1e6, infra={"folder": str(folder / "cache")})
    cut = {"trigger_query": 'type == "Stimulus"', "start": 0.5, "duration": 2.0}
    return neuralset.Segmenter(extractors={"eeg": extractor}, **cut).apply(events)


def _neuralset_batches(folder: Path, workers: int) -> Batches:
    windows = _neuralset_windows(folder)
    windows.prepare()  # channels by their names, from the cache
    loader = windows.build_dataloader(
        batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda epoch: (batch.data["eeg"] for batch in loader)


WRITERS: dict[str, Callable[[Path, Path, Path], None]] = {
    "litdata": _write_litdata,
    "mosaicml-streaming": _write_mosaic,
    "webdataset": _write_webdataset,
    "lance": _write_lance,
    "neuralset": _write_neuralset,
}
READERS: dict[str, Callable[[Path, int], Batches]] = {
    "litdata": _litdata_batches,
    "mosaicml-streaming": _mosaic_batches,
    "webdataset": _webdataset_batches,
    "lance": _lance_batches,
    "neuralset": _neuralset_batches,
}


if __name__ == "__main__":
    WRITERS[sys.argv[1]](*map(Path, sys.argv[2:]))
