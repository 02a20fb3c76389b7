"""Readers of a lake that need a newer Python and no PyTorch: arrays, not tensors.

annbatch reads blocks of successive windows, some at a time, and mixes what it holds. zarr-python since 3.3 has a
second way to run codecs, which decodes in threads of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.settings import BATCH, GROUP, Batches

BLOCK = 32  # windows: a frame of the lake
HELD_BLOCKS = 32  # 1,024 windows: annbatch's own default, of 512 windows a block, would hold more than all of R1
FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"


def array_batches(read: Callable[[np.ndarray], np.ndarray], count: int) -> Batches:
    """Shuffled batches by one read for each; sorted within a batch, which helps."""

    def batches(epoch: int) -> Iterator[np.ndarray]:
        order = np.random.default_rng(epoch).permutation(count)
        for first in range(0, count, BATCH):
            yield read(np.sort(order[first : first + BATCH]))

    return batches


def zarr_batches(lake: Path) -> Batches:
    """zarr-python's orthogonal indexing, with the codecs that are configured."""
    array = _signals(lake)
    return array_batches(lambda rows: np.asarray(array.oindex[rows]), array.shape[0])


def fused_batches(lake: Path) -> Batches:
    """zarr-python's orthogonal indexing, with its second way to run codecs."""
    import zarr

    zarr.config.set({"codec_pipeline.path": FUSED})
    return zarr_batches(lake)


def annbatch_batches(lake: Path) -> Batches:
    """annbatch's loader, with the codecs of zarrs, as its manual says."""
    import zarr
    import zarrs  # noqa: F401 - registers the pipeline
    from annbatch import Loader

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    loader = Loader(shuffle=True, chunk_size=BLOCK, preload_nchunks=HELD_BLOCKS, batch_size=BATCH)
    loader.add_dataset(_signals(lake))
    return lambda epoch: (batch["X"] for batch in loader)


def _signals(lake: Path) -> Any:
    import zarr

    return zarr.open_array(lake / GROUP / "eeg", mode="r")


# By name, as the tables show it.
READERS: dict[str, Callable[[Path], Batches]] = {
    "zarr-python 3.4 on the same lake": zarr_batches,
    "zarr-python 3.4, fused, on the same lake": fused_batches,
    "annbatch on the same lake": annbatch_batches,
}
