"""The sample's lake has the same bytes whatever Python, zarr-python, xarray and numcodecs wrote it.

`tests/digests.json` holds what they must be. After a change of the format that is meant to be one:
``EEGZARR_RENEW_DIGESTS=1 python -m pytest tests/test_bytes.py``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import zarr
from conftest import SMALL_SHARDS, tree_digests

import eegzarr
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.sample import write_sample
from eegzarr.store.codec import codec_mark, compresses_alike
from eegzarr.store.layout import Geometry
from eegzarr.store.shard import encode_shard

DIGESTS = Path(__file__).with_name("digests.json")
WRITTEN_AT = 1_700_000_000  # s; what a recording's fingerprint holds of its file
GROUP = "challenge1/R1"
# What sums up a group or is of its source: it grows with the format, and is made of what is compared.
UNCOMPARED = (
    "zarr.json",
    f"{GROUP}/zarr.json",
    f"{GROUP}/checksums/",
    f"{GROUP}/recordings/",
    f"{GROUP}/shards/receipt/c/",
)
POSITIONS = [f"{GROUP}/{axis}/c/0" for axis in "xyz"]  # computed: their last digit depends on NumPy


@pytest.fixture(scope="module")
def old_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_sample(tmp_path_factory.mktemp("bids") / "sample")
    for file in folder.rglob("*"):
        os.utime(file, (WRITTEN_AT, WRITTEN_AT))
    return folder


def digests(lake: Path, source: Path) -> dict[str, str]:
    """SHA-256 of a lake's files, with the source's path and the version of eegzarr taken out."""
    for file in lake.rglob("zarr.json"):
        text = file.read_text(encoding="utf8").replace(str(source), "SOURCE")
        file.write_text(text.replace(f'"{eegzarr.__version__}"', '"VERSION"'), encoding="utf8")
    found = {path: digest for path, digest in tree_digests(lake).items() if not path.startswith(UNCOMPARED)}
    for path in POSITIONS:
        metres = zarr.open_array(lake / path.removesuffix("/c/0"), mode="r")[:]
        found[path] = hashlib.sha256(np.round(np.asarray(metres) * 1e6).astype("<i4").tobytes()).hexdigest()
    return found


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_sample_s_lake_has_the_bytes_that_it_always_had(dtype: str, old_sample: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    eegzarr.build_lake(old_sample, lake, recipe=CHALLENGE1, workers=1, shard_size=SMALL_SHARDS, dtype=dtype)
    found = digests(lake, old_sample)
    stored = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    if os.environ.get("EEGZARR_RENEW_DIGESTS"):
        DIGESTS.write_text(json.dumps({**stored, dtype: found}, indent=1, sort_keys=True) + "\n")
        return
    changed = [path for path, digest in stored[dtype].items() if found.get(path) != digest]
    assert changed == [], "meant? Then renew the digests, as this file says at its top"


def eeg(windows: int, channels: int = 8, times: int = 100) -> np.ndarray:
    steps = np.random.default_rng(0).normal(size=(windows, channels, times))
    return np.cumsum(steps, axis=2).astype(np.float32)


def test_a_blosc_that_compresses_otherwise_is_known_by_what_it_made() -> None:
    geometry = Geometry.of(8, 100, shard_size=2**16)
    other = dataclasses.replace(geometry, clevel=1)  # stands for another version: other bytes of the same samples
    windows = eeg(geometry.windows_per_shard)
    ours, theirs = (np.frombuffer(encode_shard(windows, g), np.uint8) for g in (geometry, other))
    assert ours.tobytes() != theirs.tobytes()
    assert compresses_alike(ours, geometry, "")
    assert not compresses_alike(theirs, geometry, "")
    assert codec_mark(geometry) != codec_mark(other)


def test_shards_that_another_blosc_began_are_made_again(old_sample: Path, sample_lake: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    options = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS}

    def stop(event: object) -> None:
        if type(event).__name__ == "ShardFinished":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eegzarr.build_lake(old_sample, lake, listeners=[stop], **options)
    receipts = zarr.open_array(lake / GROUP / "build/receipts", mode="r+")
    begun = [shard for shard, text in enumerate(receipts[:].tolist()) if text]
    assert begun
    for shard in begun:
        receipts[shard] = json.dumps({**json.loads(str(receipts[shard])), "codec": "00000000"})
    finished = []
    eegzarr.build_lake(old_sample, lake, listeners=[lambda e: finished.append(getattr(e, "finished", None))], **options)
    assert {n for n in finished if n is not None} == {0}
    shard = f"{GROUP}/eeg/c/0/0/0"
    assert (lake / shard).read_bytes() == (sample_lake / shard).read_bytes()
