"""What disks and people do to a lake: every flipped bit, cut or exchanged file is noticed, and repaired by itself.

``EEGZARR_DAMAGES=2000`` damages more of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clusters import worker_in_this_process
from conftest import tree_digests
from moments import SEED

from eegzarr.build.repair import repair_lake
from eegzarr.store.verify import verify_lake

GROUP = "challenge1/R1"
# What says of others what they must be: where it is damaged, those are checked once it is repaired.
TELLING = (f"{GROUP}/checksums/", f"{GROUP}/shards/", f"{GROUP}/eeg/zarr.json", f"{GROUP}/zarr.json")
BETWEEN = ("zarr.json", "challenge1/zarr.json")
SHARDS, LABELS = 5, 14  # that are damaged together, with one file that tells of others
Stamps = dict[str, tuple[int, int]]


def is_shard(path: str) -> bool:
    return "/eeg/c/" in path


def is_telling(path: str) -> bool:
    return path.startswith(TELLING) or path in BETWEEN


def stamps(lake: Path, paths: set[str]) -> Stamps:
    """Inode and time of files."""
    found = {path: (lake / path).stat() for path in paths}
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in found.items()}


def damaged(lake: Path, kind: str, path: str, others: list[str], rng: np.random.Generator) -> set[str]:
    """Damage a file; exchange it with the first of others that differs. Return those that were changed."""
    content = (lake / path).read_bytes()
    if kind == "flip":
        changed = bytearray(content)
        place = int(rng.integers(8 * len(content)))
        changed[place // 8] ^= 1 << place % 8
        (lake / path).write_bytes(changed)
        return {path}
    other = next((other for other in others if (lake / other).read_bytes() != content), None)
    if kind == "cut" or other is None:
        os.truncate(lake / path, int(rng.integers(len(content))))
        return {path}
    others.remove(other)
    (lake / path).rename(lake / "aside")
    (lake / other).rename(lake / path)
    (lake / "aside").rename(lake / other)
    return {path, other}


def batches(paths: list[str], rng: np.random.Generator, count: int) -> Iterator[list[tuple[str, str, list[str]]]]:
    """Yield damages that come together, at least `count` of them in all: their kind, a file, and others of its like."""
    shards, telling = [p for p in paths if is_shard(p)], [p for p in paths if is_telling(p)]
    labels = [p for p in paths if not is_shard(p) and not is_telling(p)]
    while count > 0:
        batch = [("cut" if rng.random() < 0.3 else "flip", str(rng.choice(telling)), [])]
        for files, most in ((shards, SHARDS), (labels, LABELS)):
            left = [str(path) for path in rng.permutation(files)]
            # Those for exchanges lie behind those that are damaged themselves.
            spare = left[most:]
            batch += [(str(rng.choice(["flip", "cut", "exchange"])), path, spare) for path in left[:most]]
        yield batch
        count -= len(batch)


@pytest.fixture(scope="module", autouse=True)
def one_worker() -> Iterator[None]:
    with worker_in_this_process():
        yield


@pytest.mark.timeout(0 if "EEGZARR_DAMAGES" in os.environ else 300)
def test_all_damage_is_noticed_and_repaired_and_what_is_sound_is_not_touched(sample_lake: Path, tmp_path: Path) -> None:
    lake = Path(shutil.copytree(sample_lake, tmp_path / "lake.zarr"))
    pristine, rng, count = tree_digests(lake), np.random.default_rng(SEED), 0
    print(f"EEGZARR_SEED={SEED} repeats these damages")
    for batch in batches(sorted(pristine), rng, int(os.environ.get("EEGZARR_DAMAGES", "40"))):
        changed: set[str] = set()
        for kind, path, others in batch:
            changed |= damaged(lake, kind, path, others, rng)
        left = {path for path, digest in tree_digests(lake).items() if pristine[path] != digest}
        assert left == changed
        sound = stamps(lake, set(pristine) - changed - {"zarr.json"})  # which is renewed, to the same bytes
        rounds = 0
        while left:
            faults = verify_lake(lake)
            assert faults, f"unnoticed: {left}"
            found = {fault.path for fault in faults}
            if not any(path.startswith(TELLING) for path in left):
                assert {path for path in left if path not in BETWEEN} <= found
            repair_lake(lake, faults, workers=1)
            left = {path for path, digest in tree_digests(lake).items() if pristine.get(path) != digest}
            rounds += 1
            assert rounds <= 3, f"not repaired: {left}"
        assert tree_digests(lake) == pristine
        assert {path for path, stamp in stamps(lake, set(sound)).items() if stamp != sound[path]} == set()
        assert verify_lake(lake) == []
        count += len(batch)
        print(f"{count} damages were noticed and repaired", flush=True)
