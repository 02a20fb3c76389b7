from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import run_command, tree_digests

import eegzarr
from eegzarr.build.repair import repair_lake
from eegzarr.challenge.presets import CHALLENGE1
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
    assert len(alone) == 9
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
        (f"{GROUP}/stray.txt", "stray"),
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


@pytest.mark.parametrize(
    "path", ["peak_to_peak/c/0", "valid/c/0", "mean/c/0", "recordings/mean/c/0/0", "recordings/reason/c/0"]
)
def test_what_signals_gave_is_repaired_without_reading_one(
    sample_root: Path, sample_lake: Path, lake: Path, tmp_path: Path, path: str
) -> None:
    source = Path(shutil.copytree(sample_root, tmp_path / "source"))
    for recording in source.rglob("*.bdf"):  # the header stays, the samples go
        content = recording.read_bytes()
        recording.write_bytes(content[: 256 * 130] + bytes(len(content) - 256 * 130))
    flip(lake / GROUP / path, np.random.default_rng(0))
    before = stamps(lake)
    repair_lake(lake, verify_lake(lake), source=source, workers=1)
    assert tree_digests(lake) == tree_digests(sample_lake)
    assert stamps(lake) == before


def test_where_the_receipts_are_damaged_too_the_source_is_read(sample_lake: Path, lake: Path) -> None:
    rng = np.random.default_rng(0)
    for path in ("shards/receipt/c/0", "shards/crc32c/c/0", "peak_to_peak/c/0", "age/c/0"):
        flip(lake / GROUP / path, rng)
    before = stamps(lake)
    repair_lake(lake, verify_lake(lake), workers=1)
    assert tree_digests(lake) == tree_digests(sample_lake)
    assert stamps(lake) == before


def test_the_table_of_checksums_is_made_again(sample_lake: Path, lake: Path) -> None:
    (lake / GROUP / "checksums/crc32c/c/0").write_bytes(b"gone")
    repair_lake(lake, verify_lake(lake), workers=1)
    assert tree_digests(lake) == tree_digests(sample_lake)


def test_strays_leave_the_lake_and_nothing_else_does(sample_lake: Path, lake: Path) -> None:
    litter = [
        ".DS_Store", "challenge1/.DS_Store", f"{GROUP}/Thumbs.db", f"{GROUP}/eeg/c/1/0/.DS_Store",
        f"{GROUP}/age/c/0.81.partial", f"{GROUP}/._zarr.json",
    ]  # fmt: skip
    for path in litter:
        (lake / path).write_text("x")
    (lake / GROUP / "notes").mkdir()
    (lake / GROUP / "notes/mine.txt").write_text("keep this")
    before = stamps(lake)
    assert {(fault.path, fault.kind) for fault in verify_lake(lake)} == {
        (path, "stray") for path in [*litter, f"{GROUP}/notes/mine.txt"]
    }
    origin = json.loads((lake / GROUP / "zarr.json").read_text())["attributes"]["source"]
    assert Path(origin).exists()
    repair_lake(lake, verify_lake(lake), source="/nowhere")  # no source is asked for
    assert tree_digests(lake) == tree_digests(sample_lake)
    assert stamps(lake) == before
    assert (lake.with_name("lake.zarr.strays") / GROUP / "notes/mine.txt").read_text() == "keep this"


def test_a_dataset_that_was_moved_repairs_its_lake_by_its_content(
    sample_root: Path, sample_lake: Path, lake: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(sample_root, moved, copy_function=shutil.copyfile)  # other time stamps
    (lake / SHARD.format(1)).unlink()
    flip(lake / GROUP / "age/c/0", np.random.default_rng(0))
    repaired = run_command("eegzarr.verify", lake, "--repair", "--source", moved, "--workers", 1)
    assert repaired.returncode == 0, repaired.stderr
    assert tree_digests(lake) == tree_digests(sample_lake)


def test_what_has_another_source_now_is_not_repaired(sample_root: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(sample_root, tmp_path / "source"))
    lake = tmp_path / "lake.zarr"
    built = run_command("eegzarr.build", "--source", source, "--out", lake, "--workers", 1)
    assert built.returncode == 0, built.stderr
    (lake / SHARD.format(0)).unlink()
    recording = next(iter(sorted(source.glob("sub-*/eeg/*contrastChange*.bdf"))))
    content = recording.read_bytes()
    recording.write_bytes(content[: 256 * 130] + content[256 * 130 :][::-1])
    refused = run_command("eegzarr.verify", lake, "--repair", "--workers", 1)
    assert refused.returncode == 1
    assert "has other content than before" in refused.stderr
    assert not (lake / SHARD.format(0)).exists()


def test_labels_that_the_source_no_longer_gives_are_not_mixed_in(sample_root: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(sample_root, tmp_path / "source"))
    lake = tmp_path / "lake.zarr"
    eegzarr.build_lake(source, lake, recipe=CHALLENGE1, workers=1)
    flip(lake / GROUP / "age/c/0", np.random.default_rng(0))
    people = source / "participants.tsv"
    table = pd.read_csv(people, sep="\t", dtype=str, keep_default_na=False)
    table.assign(age="99").to_csv(people, sep="\t", index=False)
    with pytest.raises(LakeError, match=r"labels .* have changed"):
        repair_lake(lake, verify_lake(lake), workers=1)


def stamps(lake: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every sound shard: what must not change when something else is repaired."""
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in lake.rglob("eeg/c/*/0/0")}


def test_a_place_that_is_no_lake_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="there is no lake"):
        verify_lake(tmp_path / "nothing.zarr")
    with pytest.raises(LakeError, match="no group of windows"):
        verify_lake(tmp_path)


def test_labels_that_changed_places_are_noticed_and_repaired(sample_lake: Path, lake: Path) -> None:
    shutil.copy(lake / GROUP / "attention/c/0", lake / GROUP / "age/c/0")  # each chunk has a CRC of its own
    assert [(fault.path, fault.kind) for fault in verify_lake(lake)] == [(f"{GROUP}/age/c/0", "damaged")]
    repair_lake(lake, verify_lake(lake), workers=1)
    assert tree_digests(lake) == tree_digests(sample_lake)


@pytest.mark.parametrize("compression", ["lz4", "none"])
def test_shards_that_changed_places_are_noticed_and_repaired(
    compression: str, sample_root: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake.zarr"
    options = {"recipe": CHALLENGE1, "workers": 1, "shard_size": 8 * 2**20, "compression": compression}
    eegzarr.build_lake(sample_root, lake, **options)
    before = tree_digests(lake)
    first, second, aside = lake / SHARD.format(0), lake / SHARD.format(1), tmp_path / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    faults = verify_lake(lake)
    assert [(fault.shard, fault.kind) for fault in faults] == [(0, "stale"), (1, "stale")]
    repair_lake(lake, faults, workers=1)
    assert tree_digests(lake) == before
