"""Streaming from a bucket: a real S3 server on loopback, behind a proxy that delays and fails."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
import xarray as xr
from conftest import SMALL_SHARDS
from hypothesis import given, settings
from hypothesis import strategies as st
from s3_server import BUCKET, Proxy, s3_server, upload, used_through_proxy
from torch.utils.data import DataLoader

import eegzarr
from eegzarr.cut.api import cut_lake
from eegzarr.errors import LakeError, UsageError
from eegzarr.store.group import stored_geometry
from eegzarr.store.reading import fetched
from eegzarr.store.reading.fetched import LateChecks
from eegzarr.store.reading.lent import LentMemory
from eegzarr.store.reading.remote import FrameCache, RangeFetcher
from eegzarr.store.reading.signed import SignedRanges
from eegzarr.store.reading.singles import ranges_of
from eegzarr.store.shard import encode_shard
from eegzarr.store.verify import verify_lake
from eegzarr.stream import WindowDataset, WindowStream

URL, INTEGERS = (f"s3://{BUCKET}/{name}.zarr" for name in ("lake", "integers"))


@pytest.fixture(scope="module")
def server(sample_lake: Path, integer_lake: Path) -> Iterator[int]:
    with s3_server() as port:
        upload(sample_lake, URL, f"http://127.0.0.1:{port}")
        upload(integer_lake, INTEGERS, f"http://127.0.0.1:{port}")
        yield port


@pytest.fixture
def proxy(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with used_through_proxy(server, monkeypatch) as proxy:
        yield proxy


def test_frames_that_are_spare_go_first_and_count_as_room() -> None:
    cache = FrameCache(4)

    def hold(number: int, *, is_enough: bool = True) -> Future[None]:
        return cache.hold((0, number), 1, Future, lambda held: is_enough)

    for number in range(4):
        hold(number)
    assert not cache.has_room(1)
    cache.spare((0, 2))
    assert cache.has_room(1)
    assert not cache.has_room(2)
    cache.spare((0, 3))
    cache.get((0, 3))  # wanted again
    hold(4)
    assert [number for number in range(5) if cache.get((0, number)) is not None] == [0, 1, 3, 4]
    before = hold(5)
    assert hold(5) is before
    assert hold(5, is_enough=False) is not before
    assert cache.get((0, 0)) is None
    cache.drop((0, 5))
    assert cache.has_room(1)


def drain(stream) -> tuple[np.ndarray, np.ndarray]:
    batches = [(x.clone(), y) for x, y in stream]
    return torch.cat([x for x, _ in batches]).numpy(), torch.cat([y for _, y in batches]).numpy()


def test_a_lake_in_a_bucket_streams_as_a_local_one_does(proxy: Proxy, sample_lake: Path) -> None:
    remote, local = (eegzarr.open_windows(lake, "challenge1") for lake in (URL, sample_lake))
    xr.testing.assert_identical(remote.drop_attrs().load(), local.drop_attrs().load())
    stream = WindowStream(remote, 32, shuffle=True, seed=3)
    assert stream.shuffle == "block"
    expected = drain(WindowStream(local, 32, shuffle="block", seed=3))
    got = drain(stream)
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])


def test_integers_in_a_bucket_are_the_samples_of_a_local_lake(proxy: Proxy, integer_lake: Path) -> None:
    lakes = (INTEGERS, integer_lake)
    remote, local = (eegzarr.open_windows(lake, "challenge1").isel(window=slice(5, 90)) for lake in lakes)
    some = {"window": [3, 70], "channel": [5, 2]}
    xr.testing.assert_identical(
        remote["eeg"].isel(some).drop_attrs().load(), local["eeg"].isel(some).drop_attrs().load()
    )
    for options in ({}, {"dtype": "int16"}, {"crop": "1s", "random_crop": False}):
        got, expected = (WindowStream(windows, 32, shuffle="block", seed=3, **options) for windows in (remote, local))
        np.testing.assert_array_equal(drain(got)[0], drain(expected)[0])


def test_whole_recordings_are_built_and_cut_in_a_bucket(proxy: Proxy, one_subject_root: Path, tmp_path: Path) -> None:
    there, here = f"s3://{BUCKET}/whole.zarr", tmp_path / "whole.zarr"
    for lake in (there, here):
        eegzarr.build_lake(
            one_subject_root, lake, recipe="continuous", dtype="int16", workers=1, shard_size=SMALL_SHARDS
        )
        cut_lake(lake, "challenge1")
    assert cut_lake(there, "challenge1")[0].already
    remote, local = (eegzarr.open_windows(lake, "challenge1").isel(window=slice(5, 90)) for lake in (there, here))
    xr.testing.assert_identical(remote.drop_attrs().load(), local.drop_attrs().load())
    for options in ({}, {"crop": "1s", "anywhere": True, "views": 2}):
        got, expected = (WindowStream(windows, 32, shuffle="block", seed=3, **options) for windows in (remote, local))
        np.testing.assert_array_equal(drain(got)[0], drain(expected)[0])
    assert verify_lake(there) == []


def test_a_split_is_stored_in_a_bucket(proxy: Proxy) -> None:
    train, valid = eegzarr.split_by_subject(eegzarr.open_windows(URL, "challenge1"), (0.7, 0.3))
    eegzarr.store_split(URL, "challenge1", "paper", {"train": train, "valid": valid})
    opened = eegzarr.open_split(URL, "challenge1", "paper")
    assert opened["valid"]["start"].values.tolist() == valid["start"].values.tolist()
    assert eegzarr.list_splits(URL, "challenge1") == ["paper"]


def test_a_check_is_shared_by_those_who_ask_before_it_begins() -> None:
    checks, begun, may_end, made = LateChecks(), threading.Event(), threading.Event(), []

    def check() -> None:
        made.append(len(made))
        begun.set()
        assert may_end.wait(60)
        if len(made) > 1:
            raise LakeError("it was rebuilt")

    first = checks.ask(check)
    assert begun.wait(60)
    later, latest = checks.ask(check), checks.ask(check)  # what was found so far is too early for them
    may_end.set()
    assert later is latest is not first
    assert first.result(60) is None
    with pytest.raises(LakeError):
        later.result(60)
    assert made == [0, 1]
    checks.close()


def test_a_stream_is_made_with_few_requests(proxy: Proxy) -> None:
    windows = eegzarr.open_windows(URL, "challenge1")
    opened = proxy.requests
    # Each array's metadata once, without its size or a version 2 array's; the root, the folders and the axes.
    assert opened <= len(windows.coords) + 25
    WindowStream(windows, 32, shuffle=True)
    assert proxy.requests - opened <= 20


def test_a_group_that_is_rebuilt_in_the_midst_of_an_epoch_is_refused(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched, "_LOOKED_EVERY", 0.0)
    stream = WindowStream(eegzarr.open_windows(URL, "challenge1"), 4)
    filesystem, key = fsspec.filesystem("s3"), f"{URL}/challenge1/R1/zarr.json"
    pristine = filesystem.cat_file(key)
    batches = iter(stream)
    next(batches)
    time.sleep(0.5)
    other = json.loads(pristine)
    other["attributes"]["plan_digest"] = "0" * 64
    filesystem.pipe_file(key, json.dumps(other).encode())  # the indexes of all shards are there
    try:
        with pytest.raises(LakeError, match="was rebuilt while it was open"):
            for _ in batches:
                time.sleep(0.1)
        with pytest.raises(LakeError, match="was rebuilt while it was open"):
            next(iter(stream))
    finally:
        filesystem.pipe_file(key, pristine)


def test_what_reads_a_bucket_goes_with_the_stream(proxy: Proxy) -> None:
    stream = WindowStream(eegzarr.open_windows(URL, "challenge1"), 32)
    list(stream)
    reader = weakref.ref(stream._open_decoder().opened.readers[0])
    gc.disable()  # its frames are too large to wait for a collection of cycles
    try:
        del stream
        assert reader() is None
    finally:
        gc.enable()


def test_each_frame_is_fetched_once(proxy: Proxy, sample_lake: Path) -> None:
    stream = WindowStream(eegzarr.open_windows(URL, "challenge1"), 32, shuffle=True)
    stream._open_decoder()
    frames = len(np.unique(np.arange(stream.n_windows) // stream._rows.geometries[0].windows_per_frame))
    shards = len(list((sample_lake / "challenge1/R1/eeg/c").iterdir()))
    before = proxy.requests
    drain(stream)
    # A shard's index is one request. After it the group must be seen to be still the one that was opened: indexes that
    # come together share that request.
    assert frames + shards + 2 <= proxy.requests - before <= frames + 2 * shards + 1


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200)), min_size=1, max_size=20),
    st.integers(1, 500),
    st.integers(1, 9000),
)
def test_ranges_hold_all_windows_and_take_no_longer_than_the_frame(
    gaps_and_lengths: list[tuple[int, int]], a_request: int, whole: int
) -> None:
    gaps, lengths = np.array(gaps_and_lengths).T
    ends = np.cumsum(gaps + lengths)
    starts = ends - lengths
    ranges = ranges_of(starts, ends, whole, a_request)
    for start, end in zip(starts, ends, strict=True) if ranges else ():
        assert sum(first <= start and end <= stop for first, stop in ranges) == 1
    takes = sum(stop - first + a_request for first, stop in ranges)
    assert takes < whole + a_request
    if not ranges:  # neither all windows by themselves nor the span of all of them would take less
        assert min(lengths.sum() + len(lengths) * a_request, ends[-1] - starts[0] + a_request) >= whole + a_request


def test_few_windows_of_a_frame_are_fetched_without_the_rest(proxy: Proxy, sample_lake: Path) -> None:
    remote, local = (eegzarr.open_windows(lake, "challenge1") for lake in (URL, sample_lake))
    few = [*range(3, 241, 40), 5, 70]  # 8 of 241, in 7 of 8 frames of 32
    size = sum(path.stat().st_size for path in (sample_lake / "challenge1/R1/eeg").rglob("0") if path.is_file())
    for read in (
        lambda ds: drain(WindowStream(ds, 4, shuffle="block", target="start"))[0],
        lambda ds: drain(WindowStream(ds, 1, shuffle="global", target="start", memory=3 * 32 * 129 * 200 * 4))[0],
        lambda ds: torch.stack(list(map(WindowDataset(ds, target=None).__getitem__, (6, 0, -1, 0)))).numpy(),
    ):
        remote, local = remote.isel(window=few), local.isel(window=few)
        few = list(range(len(few)))
        before = proxy.nbytes
        got = read(remote)
        assert proxy.nbytes - before < size / 3  # the checksums of windows are read after the first few frames
        np.testing.assert_array_equal(got, read(local))


def test_a_window_of_another_frame_than_was_noted_is_read_with_all_of_it(proxy: Proxy, sample_lake: Path) -> None:
    ds = eegzarr.open_windows(URL, "challenge1")
    expected = eegzarr.open_windows(sample_lake, "challenge1").eeg[::40].to_numpy()
    filesystem = fsspec.filesystem("s3")
    keys = [f"{URL}/challenge1/R1/eeg/c/{shard}/0/0" for shard in range(8)]
    pristine = [filesystem.cat_file(key) for key in keys]
    stored = xr.open_zarr(URL, group="challenge1/R1", storage_options={}).eeg
    try:
        for shard, key in enumerate(keys):  # the same samples, compressed by another program
            windows = stored[32 * shard : 32 * shard + 32].to_numpy()
            geometry = stored_geometry(URL, "challenge1/R1")
            assert geometry is not None
            filesystem.pipe_file(key, encode_shard(windows, replace(geometry, clevel=1)))
        x, _ = drain(WindowStream(ds.isel(window=slice(None, None, 40)), 4, target="start"))
        np.testing.assert_array_equal(x, expected)
        damaged = bytearray(pristine[0])
        damaged[200_000] ^= 1
        filesystem.pipe_file(keys[0], bytes(damaged))
        with pytest.raises(LakeError, match=r"c/0/0/0, frame 0, is damaged"):
            for window in range(32):
                drain(WindowStream(ds.isel(window=[window, 40, 80, 120, 160, 200]), 4, target="start"))
    finally:
        for key, content in zip(keys, pristine, strict=True):
            filesystem.pipe_file(key, content)


def test_a_bucket_that_is_waited_for_is_named(proxy: Proxy) -> None:
    stream = WindowStream(eegzarr.open_windows(URL, "challenge1"), 32)
    proxy.delay = 0.1
    list(stream)
    report = stream.report()
    assert report.read > 0.1
    assert "The bucket limits" in report.advice or "opening the lake" in report.advice


def test_requests_that_fail_are_made_again(proxy: Proxy, sample_lake: Path) -> None:
    windows = eegzarr.open_windows(URL, "challenge1")
    stream = WindowStream(windows, 32, shuffle=True)
    stream._open_decoder()
    proxy.failures = 0.3
    x, y = drain(stream)
    assert proxy.failed > 3
    order = stream._sequence.order(0)
    np.testing.assert_array_equal(y, windows["target"].values[order])
    np.testing.assert_array_equal(x, eegzarr.open_windows(sample_lake, "challenge1")["eeg"].values[order])


def test_a_bucket_that_declines_signed_urls_is_read_by_s3fs(proxy: Proxy, sample_lake: Path) -> None:
    proxy.declines_signed_urls = True
    x, _ = drain(WindowStream(eegzarr.open_windows(URL, "challenge1"), 32))
    np.testing.assert_array_equal(x, drain(WindowStream(eegzarr.open_windows(sample_lake, "challenge1"), 32))[0])
    assert proxy.declined > 0
    before = proxy.declined
    fetcher = RangeFetcher(URL, 1)
    first = fetcher.fetch("zarr.json", 0, 4)
    assert proxy.declined == before + 1
    np.testing.assert_array_equal(fetcher.fetch("zarr.json", 0, 4), first)
    assert proxy.declined == before + 1  # it isn't asked again


@pytest.mark.parametrize("anonymously", [True, False])
@pytest.mark.parametrize(("start", "stop"), [(0, 10), (7, 19), (-5, None), (3, None)])
def test_signed_ranges_are_those_of_s3fs(start: int, stop: int | None, anonymously: bool, proxy: Proxy) -> None:
    filesystem = fsspec.filesystem("s3", anon=anonymously)
    ranges = SignedRanges.of(filesystem, LentMemory(0))
    assert ranges is not None
    path = f"{URL.removeprefix('s3://')}/zarr.json"
    for _ in range(2):  # the connection is used again
        assert ranges.get(path, start, stop).tobytes() == fsspec.filesystem("s3").cat_file(path, start=start, end=stop)
    with pytest.raises(FileNotFoundError):
        ranges.get(f"{path}.gone", 0, 1)


def test_where_a_proxy_is_set_requests_are_left_to_s3fs(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert SignedRanges.of(fsspec.filesystem("s3"), LentMemory(0)) is None
    assert SignedRanges.of(fsspec.filesystem("memory"), LentMemory(0)) is None


def test_memory_bounds_what_is_fetched_ahead(proxy: Proxy) -> None:
    windows = eegzarr.open_windows(URL, "challenge1")
    frame = 32 * 129 * 200 * 4
    stream = WindowStream(windows, 16, shuffle=True, memory=2 * frame)
    cache = stream._open_decoder().opened.readers[0]._cache
    held = [cache._held for _ in stream]
    assert max(held) <= 2 * frame
    with pytest.raises(UsageError, match="can't hold one frame"):
        WindowStream(windows, 16, memory=frame - 1)


@pytest.mark.parametrize("frames", [3, 4.5, 5, 7, 8])
def test_what_a_batch_needs_is_fetched_while_the_one_before_is_decoded(frames: float, sample_lake: Path) -> None:
    frame, size = 32 * 129 * 200 * 4, 16
    memory = int(frames * frame)
    windows = eegzarr.open_windows(sample_lake, "challenge1").isel(window=slice(7 * 32))  # whole frames
    stream = WindowStream(windows, size, shuffle="block", memory=memory)
    number = stream._rows.selection.window[stream._sequence.order(0)] // 32
    uses = {one: np.flatnonzero(number == one) // size for one in np.unique(number).tolist()}
    for batch in range(1, len(stream)):
        held = [one for one, batches in uses.items() if batches[0] <= batch and batches[-1] >= batch - 1]
        assert len(held) * frame <= memory  # none of them was compressed, at the worst


def test_memory_for_frames_is_used_again_once_nobody_holds_it() -> None:
    memory = LentMemory(5 * 2**20)
    first = memory.take(2**20)
    view = np.frombuffer(first[5:-4].data, np.uint8)[:10]
    address, other = first.ctypes.data, memory.take(2**20).ctypes.data
    del first
    assert memory.take(2**20 - 99).ctypes.data == other != address  # the view still shares the first
    del view
    assert memory.take(2**20).ctypes.data == address
    held = [memory.take(2**20) for _ in range(9)]
    assert len({one.ctypes.data for one in held}) == 9
    assert memory.nbytes <= 5 * 2**20
    del held
    assert len(memory.take(4 * 2**20)) == 4 * 2**20  # for which the smaller ones go
    assert memory.nbytes <= 5 * 2**20


def test_a_global_shuffle_also_works(proxy: Proxy, sample_lake: Path) -> None:
    windows = eegzarr.open_windows(URL, "challenge1")
    y = drain(WindowStream(windows, 64, shuffle="global", seed=1, memory=3 * 32 * 129 * 200 * 4))[1]
    local = eegzarr.open_windows(sample_lake, "challenge1")
    np.testing.assert_array_equal(y, drain(WindowStream(local, 64, shuffle="global", seed=1))[1])


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_a_bucket_after_their_parent_did(context: str, proxy: Proxy) -> None:
    stream = WindowStream(eegzarr.open_windows(URL, "challenge1"), 32, shuffle=True)
    expected = drain(stream)[1]
    stream.set_epoch(0)
    loader = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context=context, timeout=60)
    np.testing.assert_array_equal(drain(loader)[1], expected)


def test_a_damaged_or_missing_shard_is_named(proxy: Proxy, sample_lake: Path) -> None:
    filesystem = fsspec.filesystem("s3")
    key = f"{URL}/challenge1/R1/eeg/c/2/0/0"
    pristine = filesystem.cat_file(key)
    try:
        damaged = bytearray(pristine)
        damaged[1000] ^= 1
        filesystem.pipe_file(key, bytes(damaged))
        with pytest.raises(LakeError, match=r"c/2/0/0, frame 0, is damaged"):
            drain(WindowStream(eegzarr.open_windows(URL, "challenge1"), 32))
        filesystem.rm_file(key)
        filesystem.invalidate_cache()
        with pytest.raises(LakeError, match=r"c/2/0/0 is missing"):
            drain(WindowStream(eegzarr.open_windows(URL, "challenge1"), 32))
    finally:
        filesystem.pipe_file(key, pristine)
