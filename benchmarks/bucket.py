"""Streaming from a bucket: a real S3 server on loopback, at once and 30 ms away."""

from __future__ import annotations

import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import zarr

from benchmarks.measure import column, in_turns, lines, middle, progress, table
from benchmarks.readers import BUCKET_WAYS
from benchmarks.settings import GROUP, Settings
from eegzarr.store.read import LocalReader
from tests.s3_server import BUCKET, CREDENTIALS, faulty_proxy, s3_server, upload

DELAYS = (0, 30)  # ms before each answer
REQUESTS_AT_ONCE = 16  # as many as eegzarr has under way
GETS = "limit: the same frames, by plain requests"
Figures = dict[str, Any]


def run(settings: Settings) -> dict[str, dict[str, list[Figures]]]:
    """Measure the first epoch from a bucket, which is all that matters where nothing is kept.

    Returns
    -------
    dict
        By delay in ms, by reader, a list with a dict of figures a turn.
    """
    found: dict[str, dict[str, list[Figures]]] = {}
    with s3_server() as port:
        for name in ("float32.zarr", "float16.zarr"):
            progress(f"uploading {name}")
            upload(settings.formats / name, f"s3://{BUCKET}/{name}", f"http://127.0.0.1:{port}")
        for delay in DELAYS[-1:] if settings.smoke else DELAYS:
            with faulty_proxy(port, delay=delay / 1000) as proxy:
                ways = list(BUCKET_WAYS)[: 1 if settings.smoke else None]
                jobs = {name: partial(_read, name, proxy.url) for name in ways}
                jobs[GETS] = partial(_get_frames, settings, proxy.url)
                title = f"bucket, {delay} ms away"
                found[str(delay)] = in_turns(jobs, settings.repeat, title=title, journal=settings.journal)
    return found


def _read(name: str, url: str) -> Figures:
    command = [sys.executable, "-m", "benchmarks.reading", f"s3://{BUCKET}", name, "--measure", "bucket"]
    figures: Figures = lines(command, **CREDENTIALS, AWS_ENDPOINT_URL=url)[0]["bucket"]
    return figures


def _get_frames(settings: Settings, url: str) -> Figures:
    """Fetch each frame of the float32 lake once, and do nothing with it."""
    lake = settings.formats / "float32.zarr"
    reader = LocalReader(str(lake), GROUP)
    geometry = reader.geometry
    windows = zarr.open_array(lake / GROUP / "eeg", mode="r").shape[0]
    requests = []
    for number in range(-(-windows // geometry.windows_per_frame)):
        shard, _ = divmod(number, geometry.frames_per_shard)
        length = len(reader.frame(number).content)
        address = f"{url}/{BUCKET}/float32.zarr/{GROUP}/eeg/{geometry.shard_key(shard)}"
        requests.append(urllib.request.Request(address, headers={"Range": f"bytes=0-{length - 1}"}))
    began = time.perf_counter()
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        fetched = list(pool.map(lambda request: urllib.request.urlopen(request).read(), requests))
    wall = time.perf_counter() - began
    return {"windows_per_s": windows / wall, "first_batch_s": 0.0, "mb_per_s": sum(map(len, fetched)) / wall / 1e6}


def report(found: dict[str, dict[str, list[Figures]]]) -> str:
    """Return the table of a run."""
    rows = [
        [f"{delay} ms", name, middle(column(runs, "windows_per_s")), middle(column(runs, "first_batch_s"))]
        for delay, ways in found.items()
        for name, runs in ways.items()
    ]
    return table(["delay of an answer", "reader", "windows/s", "first batch, s"], rows)
