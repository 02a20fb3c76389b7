"""A lake that was tampered with gives what it holds or one line: no crash, no hang, no memory beyond its size."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from tampering import resealed, zstd_bomb

import eegzarr
from eegzarr.cut.api import cut_lake
from eegzarr.errors import LakeError
from eegzarr.sample import write_sample
from eegzarr.store.crc import crc32c
from eegzarr.store.engine import LakeEntrypoint
from eegzarr.store.layout import Geometry
from eegzarr.store.open import open_recordings
from eegzarr.store.reading.checked import checked_frame
from eegzarr.store.verify import verify_lake

GROUP = "challenge1/R1"
# A minutes-long run, such as EEGZARR_FUZZ_MINUTES=10, reads other examples and more of them.
MINUTES = float(os.environ.get("EEGZARR_FUZZ_MINUTES", "0"))


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory, and forbids pages, as Linux does")
@pytest.mark.parametrize("only", ["frames,shards,tiles,receipts", "metadata,chunks,splits"])
@pytest.mark.timeout(0 if MINUTES else 300)
def test_a_tampered_lake_is_read_or_refused(only: str, every_kind_of_group: Path) -> None:
    command = [sys.executable, Path(__file__).with_name("hostile.py"), every_kind_of_group, "--only", only]
    size = ["--minutes", MINUTES / 2, "--examples", 100] if MINUTES else ["--examples", 8]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2"}  # or address space is no measure of memory
    read = subprocess.run([*map(str, [*command, *size])], capture_output=True, text=True, env=environment, check=False)
    print(read.stdout)
    assert read.returncode == 0, read.stderr[-5000:]
    counts = json.loads(read.stdout)
    assert counts["found"] == 0
    assert sum(count for kind, count in counts.items() if "refused" in kind) > 1


@pytest.fixture(scope="module")
def every_kind_of_group(sample_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's lake, with one of whole recordings in integers, a group that was cut from it, and a split."""
    folder = tmp_path_factory.mktemp("kinds")
    lake = Path(shutil.copytree(sample_lake, folder / "lake.zarr"))
    eegzarr.build_lake(write_sample(folder / "bids", subjects=1), lake, recipe="continuous", dtype="int16", workers=1)
    cut_lake(lake, "challenge2")
    windows = eegzarr.open_windows(lake, "challenge1")
    parts = dict(zip(("train", "test"), eegzarr.split_by_subject(windows, (0.5, 0.5)), strict=True))
    eegzarr.store_split(lake, "challenge1", "paper", parts)
    return lake


@pytest.fixture
def lake(sample_lake: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_lake, tmp_path / "lake.zarr"))


def rewrite(lake: Path, path: str, **fields: object) -> None:
    metadata = json.loads((lake / GROUP / path / "zarr.json").read_text())
    (lake / GROUP / path / "zarr.json").write_text(json.dumps({**metadata, **fields}))


def chunks(*shape: int) -> dict[str, object]:
    return {"name": "regular", "configuration": {"chunk_shape": shape}}


BOMBS = [(2**36, 1), (2**36, 2**13), (0, 2**13), (2**17, 2**13)]  # bytes that are claimed, blocks of 128 KiB


@pytest.mark.parametrize("path", ["age/c/0", "subject/c/0", "recordings/path/c/0", "recordings/mean/c/0/0"])
def test_a_chunk_that_becomes_gigabytes_is_refused(path: str, lake: Path) -> None:
    for claimed, blocks in BOMBS:
        bomb = zstd_bomb(claimed, blocks)
        (lake / GROUP / path).write_bytes(bomb + struct.pack("<I", crc32c(bomb)))
        with pytest.raises(LakeError, match=r"is damaged: its [\d,]+ bytes claim to become"):
            if path.startswith("recordings"):
                open_recordings(lake, "challenge1", "R1").load()
            else:
                eegzarr.open_windows(lake, "challenge1")[path.partition("/")[0]].to_numpy()


def test_a_codec_that_may_make_anything_of_a_label_is_refused(lake: Path) -> None:
    metadata = json.loads((lake / GROUP / "age/zarr.json").read_text())
    codecs = {
        "blosc": {"typesize": 4, "cname": "lz4", "clevel": 5, "shuffle": "shuffle", "blocksize": 0},
        "gzip": {"level": 5},
        "zstd": {"level": 3, "checksum": False},  # once more
    }
    for name, configuration in codecs.items():
        more = [*metadata["codecs"], {"name": name, "configuration": configuration}]
        rewrite(lake, "age", codecs=more)
        with pytest.raises(LakeError, match=f"age is stored with bytes, zstd, crc32c, {name}"):
            eegzarr.open_windows(lake, "challenge1")


def test_a_blosc_buffer_of_a_url_that_claims_more_is_refused(lake: Path) -> None:
    shard = lake / GROUP / "eeg/c/0/0/0"
    content = bytearray(shard.read_bytes())
    array = zarr.open_array(lake / GROUP / "eeg", mode="r")
    frames = array.shards[0] // array.chunks[0]
    offset, length = struct.unpack_from("<QQ", content, len(content) - 16 * frames - 4)
    for field, claim in ((4, 2**31 - 1), (12, 2**31 - 1), (12, 17)):  # decoded bytes, and encoded ones
        changed = bytearray(content)
        struct.pack_into("<I", changed, offset + field, claim)
        body = bytes(changed[offset : offset + length - 4])
        struct.pack_into("<I", changed, offset + length - 4, crc32c(body))
        shard.write_bytes(changed)
        for place in (f"file://{lake}", str(lake)):
            opened = LakeEntrypoint().open_dataset(place, group=GROUP)
            with pytest.raises(LakeError, match="is no Blosc buffer of its windows"):
                opened["eeg"][: array.chunks[0]].to_numpy()


def test_a_split_of_more_windows_than_there_are_is_refused(lake: Path) -> None:
    windows = eegzarr.open_windows(lake, "challenge1")
    eegzarr.store_split(lake, "challenge1", "paper", {"train": windows})
    path = lake / ".splits/challenge1/paper/zarr.json"
    node = json.loads(path.read_text())
    count = windows.sizes["window"]
    for runs in ([["R1", 0, 2**50]], [["R1", -5, 3]], [["R1", 0, count]] * 2**20, [["R2", 0, 1]], [[0]], "x"):
        path.write_bytes(
            resealed(json.dumps(node | {"attributes": node["attributes"] | {"parts": {"a": runs}}}).encode())
        )
        with pytest.raises(LakeError, match=r"the split 'paper' (has|claims)|is damaged"):
            eegzarr.open_split(lake, "challenge1", "paper")


def test_windows_that_have_no_shards_are_not_believed(lake: Path) -> None:
    many = 10**12
    for name in (lake / GROUP).glob("*/zarr.json"):
        if json.loads(name.read_text()).get("dimension_names") == ["window"]:
            rewrite(lake, name.parent.name, shape=[many])
    rewrite(lake, "eeg", shape=[many, 129, 200])
    with pytest.raises(LakeError, match="claims 1,000,000,000,000 entries"):
        eegzarr.open_windows(lake, "challenge1")
    assert verify_lake(lake)


def test_recordings_that_are_not_stored_are_not_believed(lake: Path) -> None:
    for name in (lake / GROUP / "recordings").glob("*/zarr.json"):
        shape = json.loads(name.read_text())["shape"]
        rewrite(lake, f"recordings/{name.parent.name}", shape=[10**12, *shape[1:]])
    with pytest.raises(LakeError, match=r"claims (129|1),000,000,000,000 entries, and has the files of fewer"):
        eegzarr.open_windows(lake, "challenge1")["flat_channels"].load()


def test_a_chunk_larger_than_any_memory_is_refused(lake: Path) -> None:
    rewrite(lake, "age", chunk_grid=chunks(2**40))
    with pytest.raises(LakeError, match="age claims chunks"):
        eegzarr.open_windows(lake, "challenge1")


def test_a_frame_whose_header_reaches_beyond_it_is_not_decoded() -> None:
    geometry = Geometry.of(3, 40)
    header = bytes([2, 1, 36, 4]) + np.array([3 * 40 * 4, 3 * 40 * 4, 2**31], "<u4").tobytes()
    body = header + bytes(100)
    stored = np.frombuffer(body + crc32c(body).to_bytes(4, "little"), np.uint8)
    with pytest.raises(LakeError, match="no Blosc buffer"):
        checked_frame(stored, len(stored), geometry, "frame 0")


def test_a_table_of_checksums_reads_no_file_outside_of_its_group(lake: Path) -> None:
    table = f"{GROUP}/checksums"
    names = zarr.open_array(lake / table / "file", mode="r+")
    names[0] = "../../../secret"
    assert "names '../../../secret', which lies outside" in " ".join(map(str, verify_lake(lake)))


def test_a_label_that_is_damaged_is_named_when_it_is_read(lake: Path) -> None:
    path = lake / GROUP / "age/c/0"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    windows = eegzarr.open_windows(lake, "challenge1")
    assert windows.variables["sex"].to_numpy().size == windows.sizes["window"]
    with pytest.raises(LakeError, match=r"R1/age is damaged .*python -m eegzarr.verify"):
        windows.variables["age"].to_numpy()
