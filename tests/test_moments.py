"""What others see of a lake at every moment of a build: the old group, the new one, or a refusal; never a mixture."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import xarray as xr
from conftest import SMALL_SHARDS, tree_digests
from s3_server import BUCKET, CREDENTIALS, s3_server
from zarr.storage import FsspecStore

import eegzarr
from eegzarr.build.repair import repair_lake
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import LakeError
from eegzarr.sample.write import write_sample
from eegzarr.store.describe import describe_lake
from eegzarr.store.root import only_builder
from eegzarr.store.verify import verify_lake
from eegzarr.watch.view import look

GROUP = "challenge1/R1"
OPTIONS: dict[str, Any] = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS}
AGES = replace(CHALLENGE1, target="age")
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.truncate"}
_look: list[Callable[[], None]] = []  # an audit hook can't be taken off again


def _before_each_change(event: str, arguments: tuple) -> None:
    writes = event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE)
    # What zarr's own thread does, nobody can look at with zarr: it is the thread that would look.
    if writes and _look and not threading.current_thread().name.startswith("zarr_io"):
        look = _look.pop()  # what it opens itself is no change
        try:
            look()
        finally:
            _look.append(look)


sys.addaudithook(_before_each_change)


@contextmanager
def looked_at(look: Callable[[], None]) -> Iterator[None]:
    """Call `look` before every change that this process makes to a file, inside the ``with``, and after the last."""
    _look.append(look)
    try:
        yield
    finally:
        _look.clear()
    look()


def content(dataset: xr.Dataset) -> str:
    """Digest of all values of a group."""
    digest = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        values = dataset[name].to_numpy()
        digest.update(values.tobytes() if values.dtype.kind in "fiub" else "\0".join(map(str, values)).encode())
    return digest.hexdigest()


class Onlooker:
    """What plain xarray sees of a group through the lake, and through the group's own metadata."""

    def __init__(self, lake: Path, allowed: set[str]) -> None:
        self.lake, self.allowed = lake, allowed
        self.looks = 0
        self.seen: list[tuple[str, str]] = []

    def __call__(self) -> None:
        self.looks += 1
        seen = self._through_the_lake(), self._through_its_own()
        assert set(seen) <= {"refused", *self.allowed}
        if self.seen[-1:] != [seen]:
            self.seen.append(seen)

    def _through_the_lake(self) -> str:
        try:
            copied = json.loads((self.lake / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
        except (FileNotFoundError, KeyError):
            return self._through_its_own()
        if GROUP not in copied:
            with pytest.raises(KeyError):
                xr.open_zarr(self.lake, group=GROUP)
            return "refused"
        return self._opened(xr.open_zarr(self.lake, group=GROUP))

    def _through_its_own(self) -> str:
        if not (self.lake / GROUP / "zarr.json").exists():
            return "refused"
        attributes = json.loads((self.lake / GROUP / "zarr.json").read_text())["attributes"]
        if attributes["status"] != "complete":
            return "refused"
        return self._opened(xr.open_zarr(self.lake / GROUP, consolidated=False))

    def _opened(self, dataset: xr.Dataset) -> str:
        assert dataset.attrs["status"] == "complete"
        return content(dataset)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("moments") / "bids", subjects=1)


@pytest.fixture(scope="module")
def pristine(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("moments") / "lake.zarr"
    eegzarr.build_lake(root, lake, **OPTIONS)
    return lake


@pytest.fixture
def lake(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "lake.zarr"))


def digest_of(lake: Path) -> str:
    return content(xr.open_zarr(lake, group=GROUP))


def test_a_build_is_refused_until_it_is_whole(root: Path, pristine: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    onlooker = Onlooker(lake, {digest_of(pristine)})
    with looked_at(onlooker):
        eegzarr.build_lake(root, lake, **OPTIONS)
    assert onlooker.looks > 100
    now = digest_of(lake)
    assert onlooker.seen == [("refused", "refused"), (now, now)]


@pytest.mark.parametrize(
    "change",
    [{"dtype": "float16", "overwrite": True}, {"overwrite": True}, {"recipe": AGES}],
    ids=["type", "anew", "target"],
)
def test_what_is_overwritten_or_relabelled_is_the_old_group_or_the_new_or_refused(
    change: dict[str, Any], root: Path, lake: Path, tmp_path: Path
) -> None:
    eegzarr.build_lake(root, tmp_path / "new.zarr", **{**OPTIONS, **change})
    old, new = digest_of(lake), digest_of(tmp_path / "new.zarr")
    onlooker = Onlooker(lake, {old, new})
    with looked_at(onlooker):
        eegzarr.build_lake(root, lake, **{**OPTIONS, **change})
    assert onlooker.looks > 20
    steps = [(old, old), (old, "refused"), ("refused", "refused"), ("refused", new), (new, new)]
    assert onlooker.seen == steps
    assert verify_lake(lake) == []


KILLED = """
import os, signal, sys
from dataclasses import replace
import eegzarr
from eegzarr.build.repair import repair_lake
from eegzarr.store.verify import verify_lake

root, lake, what, left = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
WRITES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}

def count(event, arguments):
    global left
    if event in WRITES and str(arguments[0]).startswith(lake):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    recipe = eegzarr.load_recipe("challenge1")
    sys.addaudithook(count)
    options = {"recipe": recipe, "workers": 1, "shard_size": 4 * 2**20}
    if what == "repair":
        repair_lake(lake, verify_lake(lake), workers=1)
    elif what == "finish":
        eegzarr.build_lake(root, lake, **{**options, "recipe": replace(recipe, target="age")})
    else:
        eegzarr.build_lake(root, lake, dtype="float16", overwrite=what == "overwrite", **options)
"""


def killed_at(moment: int, what: str, root: Path, lake: Path, script: Path) -> int:
    script.write_text(KILLED)
    command = [sys.executable, script, root, lake, what, moment]
    return subprocess.run([*map(str, command)], capture_output=True, timeout=240, check=False).returncode


def moments(count: int, most: int) -> list[int]:
    """Return when to kill: more of them, and others, with EEGZARR_KILLS."""
    asked = int(os.environ.get("EEGZARR_KILLS", str(count)))
    return sorted(random.Random(2025).sample(range(1, most), min(asked, most - 1)))


def test_an_overwrite_that_is_killed_leaves_no_mixture_and_goes_on(root: Path, lake: Path, tmp_path: Path) -> None:
    options = {**OPTIONS, "dtype": "float16"}
    eegzarr.build_lake(root, tmp_path / "new.zarr", **options)
    new = digest_of(tmp_path / "new.zarr")
    onlooker = Onlooker(tmp_path / "one.zarr", {digest_of(lake), new})
    for moment in moments(3, 250):
        one = Path(shutil.copytree(lake, tmp_path / "one.zarr", dirs_exist_ok=True))
        killed_at(moment, "overwrite", root, one, tmp_path / "kill.py")
        onlooker()
        eegzarr.build_lake(root, one, overwrite=True, **options)
        assert digest_of(one) == new
        assert verify_lake(one) == []
        shutil.rmtree(one)


def test_a_build_that_is_killed_is_refused_or_whole_and_goes_on(root: Path, tmp_path: Path) -> None:
    options = {**OPTIONS, "dtype": "float16"}
    eegzarr.build_lake(root, tmp_path / "new.zarr", **options)
    one = tmp_path / "one.zarr"
    onlooker = Onlooker(one, {digest_of(tmp_path / "new.zarr")})
    for moment in moments(3, 220):
        killed_at(moment, "build", root, one, tmp_path / "kill.py")
        if (one / "zarr.json").exists():
            onlooker()
        eegzarr.build_lake(root, one, **options)
        assert tree_digests(one) == tree_digests(tmp_path / "new.zarr")
        shutil.rmtree(one)


def test_what_file_managers_leave_in_a_group_that_is_being_built_harms_nothing(root: Path, tmp_path: Path) -> None:
    options = {**OPTIONS, "dtype": "float16"}
    one = tmp_path / "one.zarr"
    killed_at(60, "build", root, one, tmp_path / "kill.py")
    places = ["", "challenge1", GROUP, f"{GROUP}/eeg", f"{GROUP}/eeg/c", f"{GROUP}/build", f"{GROUP}/build/receipts/c"]
    litter = [one / place / ".DS_Store" for place in places]
    for file in litter:
        file.write_text("x")
    (bar,) = look(str(one)).bars
    assert 0 < bar.done <= bar.total == len(list((one / GROUP / "eeg/c").glob("[0-9]*")))
    assert [summary.status for summary in describe_lake(one)] == ["building"]
    assert eegzarr.build_lake(root, one, **options).windows
    repair_lake(one, verify_lake(one))
    eegzarr.build_lake(root, tmp_path / "new.zarr", **options)
    assert tree_digests(one) == tree_digests(tmp_path / "new.zarr")


def test_labels_whose_writing_is_killed_are_the_old_or_the_new_or_refused(
    root: Path, lake: Path, tmp_path: Path
) -> None:
    options = {**OPTIONS, "recipe": AGES}
    eegzarr.build_lake(root, tmp_path / "new.zarr", **options)
    new = digest_of(tmp_path / "new.zarr")
    onlooker = Onlooker(tmp_path / "one.zarr", {digest_of(lake), new})
    for moment in moments(2, 30):
        one = Path(shutil.copytree(lake, tmp_path / "one.zarr"))
        before = shards_of(one)
        killed_at(moment, "finish", root, one, tmp_path / "kill.py")
        onlooker()
        eegzarr.build_lake(root, one, **options)
        assert digest_of(one) == new
        assert verify_lake(one) == []
        assert shards_of(one) == before
        shutil.rmtree(one)


def shards_of(lake: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each shard."""
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in lake.rglob("eeg/c/*/0/0")}


def test_a_repair_that_is_killed_goes_on(root: Path, lake: Path, tmp_path: Path) -> None:
    before = tree_digests(lake)
    for moment in moments(2, 6 if "EEGZARR_KILLS" not in os.environ else 20):
        for path in ("age/c/0", "peak_to_peak/c/0", "shards/receipt/c/0", "eeg/c/0/0/0"):
            (lake / GROUP / path).write_bytes(b"gone")
        (lake / GROUP / ".DS_Store").write_text("x")
        killed_at(moment, "repair", root, lake, tmp_path / "kill.py")
        repair_lake(lake, verify_lake(lake), workers=1)
        assert tree_digests(lake) == before


def test_a_repair_makes_nothing_worse_at_any_moment(root: Path, lake: Path, pristine: Path) -> None:
    for path in ("age/c/0", "peak_to_peak/c/0", "shards/receipt/c/0"):
        (lake / GROUP / path).write_bytes(b"gone")
    (lake / GROUP / "eeg/c/0/0/0").unlink()
    sound = {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in lake.rglob("*")
        if path.is_file() and path.read_bytes() == (pristine / path.relative_to(lake)).read_bytes()
    }
    del sound[lake / "zarr.json"]  # renewed, to the same bytes

    def untouched() -> None:
        assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sound} == sound

    with looked_at(untouched):
        repair_lake(lake, verify_lake(lake), workers=1)
    assert digest_of(lake) == digest_of(pristine)


@pytest.fixture
def bucket(pristine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system of a bucket that has the lake."""
    with s3_server() as port:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        files = fsspec.filesystem("s3", use_listings_cache=False)
        files.put(f"{pristine}/", f"{BUCKET}/lake.zarr/", recursive=True)
        yield files
        files.clear_instance_cache()


def test_in_a_bucket_too_the_lake_never_lists_what_is_not_whole(
    bucket: Any, root: Path, pristine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed() -> set[str]:
        return set(bucket.find(f"{BUCKET}/lake.zarr/{GROUP}"))

    whole, seen = listed(), []
    assert len(whole) > 100

    def look() -> None:
        content = bucket.cat_file(f"{BUCKET}/lake.zarr/zarr.json")
        copied = json.loads(content)["consolidated_metadata"]["metadata"]
        seen.append(GROUP in copied)
        if GROUP in copied:
            assert copied[GROUP]["attributes"]["status"] == "complete"
            assert whole <= listed()

    for name in ("set", "delete", "delete_dir"):
        changed = getattr(FsspecStore, name)

        async def looked(self: FsspecStore, *arguments: Any, changed: Any = changed) -> None:
            look()
            await changed(self, *arguments)

        monkeypatch.setattr(FsspecStore, name, looked)
    eegzarr.build_lake(root, f"s3://{BUCKET}/lake.zarr", overwrite=True, **OPTIONS)
    look()
    assert seen[0]
    assert seen[-1]
    assert len(seen) > 200
    assert seen.count(False) > 100
    before = eegzarr.open_windows(pristine, "challenge1")["eeg"].to_numpy()
    np.testing.assert_array_equal(eegzarr.open_windows(f"s3://{BUCKET}/lake.zarr", "challenge1")["eeg"], before)


def test_a_builder_that_waited_finds_what_the_first_has_made(root: Path, lake: Path) -> None:
    with only_builder(str(lake), GROUP), pytest.raises(LakeError, match="being built by another process"):
        eegzarr.build_lake(root, lake, overwrite=True, **OPTIONS)
    assert eegzarr.build_lake(root, lake, **OPTIONS).already
