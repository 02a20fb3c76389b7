"""What a bucket's root says of a lake between every two writes of each command, and where it is killed there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import xarray as xr
from clusters import worker_in_this_process
from conftest import SMALL_SHARDS
from moments import KILLS, REFUSED, content, random_of
from s3_server import BUCKET, CREDENTIALS, s3_server
from zarr.storage import FsspecStore

import eegzarr
from eegzarr.build.repair import repair_lake
from eegzarr.cut.api import cut_lake
from eegzarr.errors import LakeError
from eegzarr.store.verify import verify_lake

LAKE = f"{BUCKET}/lake.zarr"
URL = f"s3://{LAKE}"
WHOLE, CUT = "continuous/R1", "challenge1/R1"

OPTIONS: dict[str, Any] = {"recipe": "continuous", "workers": 1, "shard_size": SMALL_SHARDS}


class Killed(BaseException):
    """What ends a process that is killed."""


class Watched:
    """Looks at the bucket before each write of this process; may end all of its writes at one of them."""

    def __init__(self, files: Any) -> None:
        self.files = files
        self.looks = self.listed = 0
        self.kill_at: int | None = None
        self._is_to_be_looked_at = True

    def before_a_write(self, kind: str, path: str) -> None:
        if self.kill_at is not None and self.looks >= self.kill_at:
            raise Killed  # this one, and what those who tidy up would write
        self.looks += 1
        if self._is_to_be_looked_at:
            self.look()
        # A further file of a group can break no promise: it is neither listed nor missed.
        self._is_to_be_looked_at = kind != "set" or (path.endswith("zarr.json") and path.count("/") < 3)

    def look(self) -> None:
        """Hold the root against the groups: what it lists says itself that it is complete, and all of it is there."""
        try:
            root = json.loads(self.files.cat_file(f"{LAKE}/zarr.json"))
        except FileNotFoundError:
            return
        copied = root.get("consolidated_metadata", {}).get("metadata", {})
        for group in (path for path in copied if path.count("/") == 1):
            self.listed += 1
            assert copied[group]["attributes"]["status"] == "complete"
            own = json.loads(self.files.cat_file(f"{LAKE}/{group}/zarr.json"))["attributes"]
            there = set(self.files.find(f"{LAKE}/{group}"))
            assert {f"{LAKE}/{path}/zarr.json" for path in copied if path.startswith(f"{group}/")} <= there
            if own["status"] == "complete":
                assert own == copied[group]["attributes"]
            # A group that is to change says so before the root does; until then nothing of it is gone.
            assert all(f"{LAKE}/{path}" in there for path in self.complete.get(group, ()))

    complete: dict[str, set[str]] = {}  # noqa: RUF012 - files of groups that were finished

    def note(self) -> None:
        """Note what groups consist of, now that nothing is under way."""
        paths = {path.removeprefix(f"{LAKE}/") for path in self.files.find(LAKE)}
        groups = {"/".join(path.split("/")[:2]) for path in paths if path.count("/") > 1}
        self.complete = {group: {path for path in paths if path.startswith(f"{group}/")} for group in groups}


@pytest.fixture(scope="module", autouse=True)
def one_worker() -> Iterator[None]:
    with worker_in_this_process():
        yield


@pytest.fixture(scope="module")
def root(one_subject_root: Path) -> Path:
    return one_subject_root


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    with s3_server() as port:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        fsspec.filesystem("s3").clear_instance_cache()
        watched = Watched(fsspec.filesystem("s3", use_listings_cache=False))
        for name in ("set", "delete", "delete_dir"):
            changed = getattr(FsspecStore, name)

            async def looked(
                self: FsspecStore, path: str, *arguments: Any, name: str = name, changed: Any = changed
            ) -> None:
                watched.before_a_write(name, path)
                await changed(self, path, *arguments)

            monkeypatch.setattr(FsspecStore, name, looked)
        yield watched
        watched.files.clear_instance_cache()


@contextmanager
def looked_at(bucket: Watched, least: int, kill_at: int | None = None) -> Iterator[None]:
    bucket.looks, bucket.kill_at = 0, kill_at
    try:
        yield
    except Killed:
        assert kill_at is not None
    finally:
        bucket.kill_at = None
    assert bucket.looks >= (least if kill_at is None else kill_at)
    bucket.look()


def seen_of(group: str) -> tuple[str, str]:
    """What plain xarray and eegzarr read of a group: a digest, or that it is refused."""
    recipe, release = group.split("/")
    try:
        plain = content(xr.open_zarr(URL, group=group))
    except (KeyError, FileNotFoundError):
        plain = REFUSED
    try:
        return plain, content(eegzarr.open_windows(URL, recipe, [release]))
    except LakeError:
        return plain, REFUSED


@pytest.mark.timeout(0)
@pytest.mark.skipif(not KILLS, reason="takes minutes: the long form, with EEGZARR_KILLS")
def test_a_bucket_s_root_lists_only_what_is_whole_whatever_is_done_and_killed(bucket: Watched, root: Path) -> None:
    def build(dtype: str, **options: Any) -> None:
        eegzarr.build_lake(root, URL, dtype=dtype, **OPTIONS, **options)

    def repair() -> None:
        repair_lake(URL, verify_lake(URL), workers=1)

    def damaged() -> None:
        for path in (f"{WHOLE}/age/c/0", f"{WHOLE}/eeg/c/0/0/0", f"{WHOLE}/shards/receipt/c/0"):
            bucket.files.pipe_file(f"{LAKE}/{path}", b"gone")

    rng = random_of("a bucket's kills")
    commands: list[tuple[str, int, Any]] = [
        (WHOLE, 60, lambda: build("int16")),
        (WHOLE, 100, lambda: build("float16", overwrite=True)),
        (CUT, 40, lambda: cut_lake(URL, "challenge1")),
        (WHOLE, 3, repair),
    ]
    for group, least, command in commands:
        bucket.note()
        before, left = seen_of(group), []
        for kill_at in rng.sample(range(1, least), min(KILLS or 1, least - 1)):
            if command is repair:
                damaged()
            with looked_at(bucket, least, kill_at):
                command()
            if command is not repair:  # what is damaged can't be read before
                left.append(seen_of(group))
        with looked_at(bucket, 0):
            command()
        assert verify_lake(URL) == []
        after = seen_of(group)
        for plain, opened in left:
            assert plain in (REFUSED, before[0], after[0])
            assert opened in (REFUSED, before[1], after[1])
        assert REFUSED not in after
    assert bucket.listed > 100


@pytest.fixture
def pristine(root: Path, tmp_path: Path) -> Path:
    lake = tmp_path / "lake.zarr"
    eegzarr.build_lake(root, lake, recipe="challenge1", workers=1, shard_size=SMALL_SHARDS)
    return lake


@pytest.fixture
def uploaded(pristine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system of a bucket that has the lake."""
    with s3_server() as port:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        fsspec.filesystem("s3").clear_instance_cache()  # of another test's server, which has ended
        files = fsspec.filesystem("s3", use_listings_cache=False)
        files.put(f"{pristine}/", f"{BUCKET}/lake.zarr/", recursive=True)
        yield files
        files.clear_instance_cache()


def test_in_a_bucket_too_the_lake_never_lists_what_is_not_whole(
    uploaded: Any, root: Path, pristine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed() -> set[str]:
        return set(uploaded.find(f"{BUCKET}/lake.zarr/{CUT}"))

    whole, seen = listed(), []
    assert len(whole) > 100

    def look() -> None:
        content = uploaded.cat_file(f"{BUCKET}/lake.zarr/zarr.json")
        copied = json.loads(content)["consolidated_metadata"]["metadata"]
        seen.append(CUT in copied)
        if CUT in copied:
            assert copied[CUT]["attributes"]["status"] == "complete"
            assert whole <= listed()

    for name in ("set", "delete", "delete_dir"):
        changed = getattr(FsspecStore, name)

        async def looked(self: FsspecStore, *arguments: Any, changed: Any = changed) -> None:
            look()
            await changed(self, *arguments)

        monkeypatch.setattr(FsspecStore, name, looked)
    eegzarr.build_lake(
        root, f"s3://{BUCKET}/lake.zarr", overwrite=True, recipe="challenge1", workers=1, shard_size=SMALL_SHARDS
    )
    look()
    assert seen[0]
    assert seen[-1]
    assert len(seen) > 200
    assert seen.count(False) > 100
    before = eegzarr.open_windows(pristine, "challenge1")["eeg"].to_numpy()
    np.testing.assert_array_equal(eegzarr.open_windows(f"s3://{BUCKET}/lake.zarr", "challenge1")["eeg"], before)
