"""Where the time of streaming goes: counted by what was done, and one sentence of what to change."""

from __future__ import annotations

import pickle
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import xarray as xr
from fork_server import preloaded
from torch.utils.data import DataLoader

import eegzarr
from eegzarr.errors import UsageError
from eegzarr.machine.system import usable_cores
from eegzarr.store.reading.spent import Spent
from eegzarr.stream import MixedStream, WindowDataset, WindowStream
from eegzarr.stream.report import Circumstances, Report, advice

NAP = 0.02


@pytest.fixture(scope="module")
def windows(sample_lake: Path) -> xr.Dataset:
    return eegzarr.open_windows(sample_lake, "challenge1").isel(channel=slice(4))


def napping(x: torch.Tensor) -> torch.Tensor:
    time.sleep(NAP)
    return x


def in_the_loop(report: Report) -> float:
    return report.opening + report.wait + report.transform + report.consumer


def test_the_parts_are_the_whole_and_a_slow_loop_is_named(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 32, shuffle=True, threads=1)
    begun = time.perf_counter()
    for _ in stream:
        time.sleep(NAP)
    took = time.perf_counter() - begun
    report = stream.report()
    assert (report.windows, report.batches) == (stream.n_windows, len(stream))
    assert in_the_loop(report) == pytest.approx(report.elapsed)
    assert len(stream) * NAP <= report.consumer <= report.elapsed <= took
    assert 0 < report.check + report.decode + report.read <= took  # of one thread
    again = stream.report()
    assert again == report
    assert f"{stream.n_windows} windows in {len(stream)} batches" in str(report)
    next(iter(stream))  # the next iteration is measured by itself
    assert stream.report().batches == 1


def test_a_slow_transform_is_named_and_counted_as_one(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 32, transform=napping)
    list(stream)
    report = stream.report()
    assert report.transform >= len(stream) * NAP
    assert "transform= limits" in report.advice or report.wait > report.transform


def test_a_dataset_and_a_mixture_report_too(windows: xr.Dataset) -> None:
    dataset = WindowDataset(windows)
    for _ in DataLoader(dataset, 16):
        time.sleep(NAP)
    report = dataset.report()
    assert report.windows == len(dataset)
    assert report.consumer >= NAP * (report.batches - 1)
    mixed = MixedStream({"a": WindowStream(windows, 32), "b": WindowStream(windows, 50, transform=napping)})
    for _ in mixed:
        pass
    report = mixed.report()
    assert (report.windows, report.batches) == (2 * len(dataset), len(mixed))
    assert report.transform >= len(mixed.streams["b"]) * NAP
    assert in_the_loop(report) == pytest.approx(report.elapsed)
    assert "'a'" in report.advice or "'b'" in report.advice
    assert "'b': WindowStream of challenge1/R1: " in repr(mixed)
    assert f"{len(mixed)} batches ({len(mixed.streams['a'])} of 'a'" in repr(mixed)


def test_where_nothing_was_read_there_is_no_report(windows: xr.Dataset) -> None:
    read = WindowStream(windows, 32)
    list(read)
    for one in (WindowStream(windows, 32), WindowDataset(windows), MixedStream({"a": read}), deepcopy(read)):
        with pytest.raises(UsageError, match="nothing to report: nothing was read yet"):
            one.report()
    with pytest.raises(UsageError, match="nothing to report"):
        pickle.loads(pickle.dumps(read)).report()


@pytest.mark.parametrize("context", ["fork", "forkserver"])
def test_what_workers_measure_is_seen_together(context: str, windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 16, shuffle=True, transform=napping)
    dataset = WindowDataset(windows)
    mixed = MixedStream({"a": stream, "b": WindowStream(windows, 50)})
    options = {"num_workers": 2, "multiprocessing_context": context, "persistent_workers": True}
    loaders = (
        (DataLoader(stream, batch_size=None, **options), stream, len(stream)),
        (DataLoader(mixed, batch_size=None, **options), mixed, len(mixed)),
        (DataLoader(dataset, 50, **options), dataset, -(-len(dataset) // 50)),
    )
    for loader, read, batches in loaders if context == "fork" else loaders[:1]:
        for epoch in range(2 if context == "fork" else 1):
            with preloaded("eegzarr.stream.stream"):
                for _ in loader:
                    pass
            report = read.report()
            times = epoch + 1 if read is dataset else 1  # these workers have no epochs, and count on
            assert (report.workers, report.batches) == (2, times * batches)
            assert report.windows == times * len(dataset) * (2 if read is mixed else 1)
            assert in_the_loop(report) == pytest.approx(report.elapsed)
            assert report.check + report.decode + report.read > 0
            assert "2 workers, on average: opening" in str(report)
            if read is not dataset:
                assert report.transform >= len(stream) * NAP / 2
    list(stream)
    assert (stream.report().workers, stream.report().windows) == (0, len(dataset))


def test_workers_that_wait_are_said_to_keep_up() -> None:
    told = advice(replace(QUICK, wait=0.5, consumer=9.5, workers=3), HERE)
    assert told.startswith("The workers keep up: 95%")


QUICK = Report(
    began=0.0, windows=1000, batches=10, opening=0.0, wait=9.0, transform=0.0, consumer=1.0,
    read=0.0, check=0.0, decode=10.0, threads=1,
)  # fmt: skip
HERE = Circumstances(stored_bytes=4, given_bytes=4, is_remote=False, ahead=2, concurrency=16)


@pytest.mark.parametrize(
    ("report", "at", "told"),
    [
        ({"wait": 0.5, "consumer": 9.5}, {}, "keeps up: 95%"),
        ({"opening": 6.0, "wait": 3.0}, {}, "measure a longer one"),
        ({"wait": 2.0, "transform": 7.0}, {}, "transform= limits"),
        ({"read": 9.0, "decode": 1.0}, {}, "The disk limits: shuffle='block'"),
        ({"read": 9.0, "decode": 1.0}, {"is_remote": True}, "more concurrency (now 16)"),
        ({"check": 9.0, "decode": 1.0, "read": 0.1}, {}, "the next epoch of this stream is faster"),
        ({"decode": 1.0}, {}, "give ahead=4 (now 2)"),
        ({"decode": 1.0}, {"ahead": 6}, "OMP_WAIT_POLICY=passive"),
        ({}, {"ahead": 0}, "WindowStream decodes ahead"),
        ({"threads": 64, "decode": 600.0}, {}, "--dtype float16"),
        ({"threads": 64, "decode": 600.0}, {"stored_bytes": 2}, "dtype='float16'"),
        ({"threads": 64, "decode": 600.0}, {"stored_bytes": 2, "given_bytes": 2}, "--compression none"),
    ],
)
def test_the_advice_names_what_limits(report: dict, at: dict, told: str) -> None:
    assert told in advice(replace(QUICK, **report), replace(HERE, **at))


@pytest.mark.skipif(usable_cores() < 2, reason="one core")
def test_idle_cores_are_offered() -> None:
    assert f"give threads={usable_cores()} (now 1)" in advice(QUICK, HERE)


def test_what_is_counted_otherwise_is_not_decoding() -> None:
    spent = Spent()
    begun = spent.decoding_begins()
    with spent.checking_mapped():
        time.sleep(NAP)
    with spent.waiting():
        time.sleep(NAP)
    spent.decoding_ends(begun)
    assert spent.read + spent.check >= NAP
    assert spent.decode < NAP


def test_jobs_are_counted_whole_whether_or_not_the_system_is_asked_between_them() -> None:
    spent = Spent()
    began, took = time.perf_counter(), 0.0
    for length in [0.0001] * 60 + [0.005] + [0.0001] * 10:
        begun = spent.decoding_begins()
        inside = time.perf_counter()
        while time.perf_counter() - inside < length:
            pass
        took += time.perf_counter() - inside
        spent.decoding_ends(begun)
    assert took <= spent.read + spent.decode < time.perf_counter() - began
