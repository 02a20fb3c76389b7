"""Builders of different groups that renew one lake's root at once: it ends with all of their groups."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from conftest import tree_digests
from s3_server import BUCKET, CREDENTIALS, s3_server, upload
from zarr.storage import FsspecStore

from eegzarr.store.root import renew_root, require_folder
from eegzarr.store.verify import verify_lake

FIRST, SECOND = "challenge1/R1", "challenge1/R2"
URL = f"s3://{BUCKET}/lake.zarr"

# What `eegzarr.build` does to a root, again and again, without its signals.
BUILDER = """
import sys
from eegzarr.build.group import reopen
from eegzarr.store.group import put_attributes, read_attributes
from eegzarr.store.layout import open_store
from eegzarr.store.root import settle

lake, group, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
complete = read_attributes(lake, group)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(times):
    reopen(lake, group)
    put_attributes(open_store(lake), group, complete)
    settle(lake, group)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(params=["local", "bucket"])
def lake(request: pytest.FixtureRequest, two_release_lake: Path, tmp_path: Path) -> str:
    """A lake of two groups."""
    if request.param == "local":
        return str(shutil.copytree(two_release_lake, tmp_path / "lake.zarr"))
    return uploaded(two_release_lake, request.getfixturevalue("server"), request.getfixturevalue("monkeypatch"))


def uploaded(lake: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    fsspec.filesystem("s3").clear_instance_cache()
    upload(lake, URL, endpoint)
    return URL


def test_a_root_that_two_builders_renew_at_once_has_both_of_their_groups(lake: str) -> None:
    times = 5 if "://" not in lake else 1
    commands = [[sys.executable, "-c", BUILDER, lake, group, str(times)] for group in (FIRST, SECOND)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": {**os.environ}}
    builders = [subprocess.Popen(command, **pipes) for command in commands]
    for builder in builders:
        assert builder.stdout.readline() == "ready\n"
    for builder in builders:
        builder.stdin.write("go\n")
        builder.stdin.flush()
    for builder in builders:
        builder.communicate(timeout=120)
    assert [builder.returncode for builder in builders] == [0, 0]
    assert verify_lake(lake) == []


def test_a_group_that_is_finished_while_a_bucket_s_root_is_written_stays_in_it(
    server: str, two_release_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = uploaded(two_release_lake, server, monkeypatch)
    files = fsspec.filesystem("s3", use_listings_cache=False)
    complete, both = (files.cat_file(f"{lake}/{path}") for path in (f"{SECOND}/zarr.json", "zarr.json"))
    building = json.loads(complete)
    building["attributes"]["status"] = "building"
    files.pipe_file(f"{lake}/{SECOND}/zarr.json", json.dumps(building).encode())
    write, stale = FsspecStore.set, []

    async def written_after_the_other_builder(self: FsspecStore, key: str, value: Any, *rest: Any) -> None:
        if key == "zarr.json" and not stale:
            stale.append(value.to_bytes())
            files.pipe_file(f"{lake}/{SECOND}/zarr.json", complete)
            files.pipe_file(f"{lake}/zarr.json", both)
        await write(self, key, value, *rest)

    monkeypatch.setattr(FsspecStore, "set", written_after_the_other_builder)
    renew_root(lake)
    assert SECOND not in json.loads(stale[0])["consolidated_metadata"]["metadata"]
    assert files.cat_file(f"{lake}/zarr.json") == both


@pytest.mark.skipif(sys.platform == "win32", reason="hard links are made otherwise there")
def test_a_root_is_made_where_a_disk_has_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_folder(str(tmp_path / "usual.zarr"), FIRST)

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))  # exFAT, and shares of Windows

    monkeypatch.setattr(os, "link", no_links)
    require_folder(str(tmp_path / "lake.zarr"), FIRST)
    assert tree_digests(tmp_path / "lake.zarr") == tree_digests(tmp_path / "usual.zarr")
