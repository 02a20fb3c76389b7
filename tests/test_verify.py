from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import run_command, tree_digests

from eegzarr.errors import LakeError
from eegzarr.store.verify import Fault, verify_lake

GROUP = "challenge1/R1"
SHARD = f"{GROUP}/eeg/c/{{}}/0/0"


@pytest.fixture
def lake(sample_lake: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_lake, tmp_path / "lake.zarr"))


def flip(path: Path, rng: np.random.Generator) -> bytes:
    """Flip one bit of a file; return what it was."""
    content = bytearray(before := path.read_bytes())
    place = int(rng.integers(len(content) * 8))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    return before


def places(faults: list[Fault]) -> set[str]:
    return {fault.path for fault in faults}


def test_a_sound_lake_has_no_fault(sample_lake: Path) -> None:
    read = []
    assert verify_lake(sample_lake, read.append) == []
    files = {path.relative_to(sample_lake).as_posix() for path in sample_lake.rglob("*") if path.is_file()}
    unread = files - {checked.path for checked in read}
    assert {path for path in unread if "/checksums/" not in path} == {"zarr.json", "challenge1/zarr.json"}


def test_no_flipped_bit_goes_unnoticed(lake: Path) -> None:
    rng = np.random.default_rng(1)
    files = [path for path in lake.rglob("*") if path.is_file()]
    ordinary = [path for path in files if GROUP in path.as_posix() and "/checksums/" not in path.as_posix()]
    shards = [path for path in ordinary if "/eeg/c/" in path.as_posix()]
    for _ in range(16):
        several = {*rng.choice(ordinary, 9, replace=False).tolist(), *rng.choice(shards, 2, replace=False).tolist()}
        before = {path: flip(path, rng) for path in sorted(several)}
        found = places(verify_lake(lake))
        for path in several:
            name = path.relative_to(lake).as_posix()
            # Without the array's metadata, or the table of shards, no shard can be checked.
            covering = [f"{GROUP}/eeg/zarr.json", f"{GROUP}/shards"] if path in shards else []
            assert name in found or any(f.startswith(c) for f in found for c in covering), name
        for path, content in before.items():
            path.write_bytes(content)
    alone = [path for path in files if path not in ordinary]
    assert len(alone) == 7
    for path in alone * 6:
        before_one = flip(path, rng)
        assert verify_lake(lake), path
        path.write_bytes(before_one)
    assert verify_lake(lake) == []


def test_each_kind_of_fault_is_named(lake: Path) -> None:
    (lake / SHARD.format(0)).write_bytes((lake / SHARD.format(1)).read_bytes())
    (lake / SHARD.format(2)).unlink()
    damaged = bytearray((lake / SHARD.format(3)).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (lake / SHARD.format(3)).write_bytes(damaged)
    (lake / SHARD.format(4)).write_bytes(b"")
    (lake / GROUP / "sex" / "zarr.json").unlink()
    (lake / GROUP / "stray.txt").write_text("x")
    found = {(fault.path, fault.kind) for fault in verify_lake(lake)}
    kinds = {0: "stale", 2: "missing", 3: "damaged", 4: "damaged"}
    assert found == {(SHARD.format(shard), kind) for shard, kind in kinds.items()} | {
        (f"{GROUP}/sex/zarr.json", "missing"),
        (f"{GROUP}/stray.txt", "stale"),
    }


def test_faulty_shards_alone_are_made_again_to_the_same_bytes(sample_lake: Path, lake: Path) -> None:
    flip(lake / SHARD.format(1), np.random.default_rng(0))
    (lake / SHARD.format(2)).unlink()
    untouched = (lake / SHARD.format(0)).stat().st_mtime_ns
    found = run_command("eegzarr.verify", lake)
    assert found.returncode == 1
    assert f"{SHARD.format(2)}: missing" in found.stdout
    repaired = run_command("eegzarr.verify", lake, "--repair", "--workers", 1)
    assert repaired.returncode == 0, repaired.stderr
    assert (lake / SHARD.format(0)).stat().st_mtime_ns == untouched
    assert tree_digests(lake) == tree_digests(sample_lake)


@pytest.mark.parametrize("path", ["zarr.json", "challenge1/zarr.json", f"{GROUP}/zarr.json", f"{GROUP}/target/c/0"])
def test_metadata_and_labels_are_repaired_too(sample_lake: Path, lake: Path, path: str) -> None:
    (lake / path).write_bytes(b"{}")
    repaired = run_command("eegzarr.verify", lake, "--repair", "--workers", 1)
    assert repaired.returncode == 0, repaired.stderr
    assert tree_digests(lake) == tree_digests(sample_lake)


def test_what_has_another_source_now_is_not_repaired(sample_root: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(sample_root, tmp_path / "source"))
    lake = tmp_path / "lake.zarr"
    built = run_command("eegzarr.build", "--source", source, "--out", lake, "--workers", 1)
    assert built.returncode == 0, built.stderr
    (lake / SHARD.format(0)).unlink()
    recording = next(iter(sorted(source.glob("sub-*/eeg/*contrastChange*.bdf"))))
    content = bytearray(recording.read_bytes())
    content[len(content) // 2] ^= 0x40
    recording.write_bytes(content)
    refused = run_command("eegzarr.verify", lake, "--repair", "--workers", 1)
    assert refused.returncode == 1
    assert "isn't what" in refused.stderr
    assert not (lake / SHARD.format(0)).exists()


def test_a_place_that_is_no_lake_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="there is no lake"):
        verify_lake(tmp_path / "nothing.zarr")
    with pytest.raises(LakeError, match="no group of windows"):
        verify_lake(tmp_path)
