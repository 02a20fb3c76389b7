"""Datasets read from a bucket and lakes built in one: a real S3 server on loopback, which also fails."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import xarray as xr
from conftest import SMALL_SHARDS, run_command
from s3_server import BUCKET, CREDENTIALS, Proxy, s3_server, upload, used_through_proxy

import eegzarr
from eegzarr.bids.buckets import at_hand
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.challenge.releases import PUBLIC, find_release
from eegzarr.errors import SourceError, UsageError
from eegzarr.store.verify import verify_lake

GROUP = "challenge1/R1"
SOURCE = f"s3://{BUCKET}/bids"


@pytest.fixture(scope="module")
def server(sample_root: Path) -> Iterator[int]:
    with s3_server() as port:
        upload(sample_root, SOURCE, f"http://127.0.0.1:{port}")
        yield port


@pytest.fixture
def proxy(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with used_through_proxy(server, monkeypatch, failures=0.02, seed=5) as proxy:
        yield proxy


def test_a_dataset_in_a_bucket_that_fails_gives_the_same_windows(
    proxy: Proxy, sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    tempfile.tempdir = None
    options = ["--out", tmp_path / "lake.zarr", "--workers", 1, "--shard-size", SMALL_SHARDS]
    built = run_command("eegzarr.build", "--source", SOURCE, *options)
    tempfile.tempdir = None
    assert built.returncode == 0, built.stderr
    mine, local = (xr.open_zarr(lake, group=GROUP).load() for lake in (tmp_path / "lake.zarr", sample_lake))
    xr.testing.assert_equal(mine, local)
    assert proxy.failed > 0
    assert not list(scratch.rglob("*.bdf"))


def test_a_lake_is_built_in_a_bucket_and_goes_on_there(proxy: Proxy, sample_root: Path, sample_lake: Path) -> None:
    url = f"s3://{BUCKET}/built.zarr"

    def stop(event: object) -> None:
        if type(event).__name__ == "ShardFinished":
            raise KeyboardInterrupt

    options = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS}
    with pytest.raises(KeyboardInterrupt):
        eegzarr.build_lake(sample_root, url, listeners=[stop], **options)
    told: list[object] = []
    eegzarr.build_lake(sample_root, url, listeners=[told.append], **options)
    began = next(event for event in told if type(event).__name__ == "BuildBegan")
    assert began.finished >= 1
    mine = eegzarr.open_windows(url, "challenge1").load()
    local = eegzarr.open_windows(sample_lake, "challenge1").load()
    xr.testing.assert_equal(mine, local)
    assert verify_lake(url) == []


def test_only_the_header_of_a_recording_is_fetched_to_plan(proxy: Proxy, sample_root: Path) -> None:
    path = sorted(sample_root.glob("sub-*/eeg/*_eeg.bdf"))[0]
    with at_hand(SOURCE, path.relative_to(sample_root).as_posix(), header_only=True) as local:
        header = 256 * 130
        assert local.stat().st_size == path.stat().st_size
        content = local.read_bytes()
        assert content[:header] == path.read_bytes()[:header]
        assert not any(content[header:])
    assert not local.exists()


def test_a_bucket_without_a_dataset_is_said_to_have_none(proxy: Proxy, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="isn't a BIDS dataset, or doesn't exist"):
        eegzarr.build_lake(f"s3://{BUCKET}/nothing", tmp_path / "lake.zarr", recipe=CHALLENGE1)
    assert not (tmp_path / "lake.zarr").exists()


@pytest.mark.parametrize(
    ("folder", "mini"), [("R5_mini_L100_bdf", True), ("EEG2025r5mini", True), ("EEG2025r5", False), ("ds005509", False)]
)
def test_a_release_is_found_under_any_of_its_names(folder: str, mini: bool, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    assert find_release("R5", mini=mini, data_dir=tmp_path) == str(tmp_path / folder)
    assert find_release("R5", mini=not mini, data_dir=tmp_path).startswith(PUBLIC)


def test_what_is_no_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are R1, R2"):
        find_release("R12")
    with pytest.raises(UsageError, match="isn't a folder"):
        find_release("R1", data_dir=tmp_path / "missing")
    told = run_command("eegzarr.build", "--source", tmp_path, "--mini", "--out", tmp_path / "x.zarr")
    assert told.returncode == 2
    assert "--mini and --data-dir go with --releases" in told.stderr


def test_releases_are_read_anonymously_from_the_public_bucket(
    server: int, sample_root: Path, sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = f"http://127.0.0.1:{server}"
    upload(sample_root, find_release("R1", mini=True), endpoint)
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    out = tmp_path / "lake.zarr"
    (tmp_path / "data").mkdir()
    command = ["--releases", "R1", "--mini", "--data-dir", tmp_path / "data", "--out", out, "--workers", 1]
    command += ["--shard-size", SMALL_SHARDS]
    built = run_command("eegzarr.build", *command)
    assert built.returncode == 0, built.stderr
    assert f"R1: {PUBLIC}/R1_mini_L100_bdf" in built.stderr
    xr.testing.assert_equal(xr.open_zarr(out, group=GROUP).load(), xr.open_zarr(sample_lake, group=GROUP).load())
