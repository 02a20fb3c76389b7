"""Streaming from a bucket on loopback, at once and 30 ms away."""

from __future__ import annotations

import http.client
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from benchmarks.measure import column, in_turns, lines, middle, table, times
from benchmarks.readers import BUCKET_WAYS
from benchmarks.served import served
from benchmarks.settings import GROUP, Settings
from eegzarr.store.reading.read import LocalReader

BUCKET = "eegzarr-bench"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
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
    for delay in DELAYS[-1:] if settings.smoke else DELAYS:
        with served(settings.formats, BUCKET, delay / 1000) as endpoint:
            ways = list(BUCKET_WAYS)[: 1 if settings.smoke else None]
            jobs = {name: partial(_read, name, endpoint) for name in ways}
            jobs[GETS] = partial(_get_frames, settings, endpoint)
            title = f"bucket, {delay} ms away"
            found[str(delay)] = in_turns(jobs, settings.repeat, title=title, journal=settings.journal)
    return found


def _read(name: str, url: str) -> Figures:
    command = [sys.executable, "-m", "benchmarks.reading", f"s3://{BUCKET}", name, "--measure", "bucket"]
    figures: Figures = lines(command, **CREDENTIALS, AWS_ENDPOINT_URL=url)[0]["bucket"]
    return figures


def _get_frames(settings: Settings, url: str) -> Figures:
    """Fetch as many bytes as each frame of the float32 lake has, and do nothing with them."""
    lake = settings.formats / "float32.zarr"
    reader = LocalReader(str(lake), GROUP)
    geometry = reader.geometry
    asked = []
    for number in range(-(-reader.n_windows // geometry.windows_per_frame)):
        shard, _ = divmod(number, geometry.frames_per_shard)
        length = len(reader.frame(number).content)
        asked.append((f"/{BUCKET}/float32.zarr/{GROUP}/eeg/{geometry.shard_key(shard)}", length))

    def fetch(part: list[tuple[str, int]]) -> int:
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        buffer, count = bytearray(max((length for _, length in part), default=0)), 0
        for path, length in part:
            connection.request("GET", path, headers={"Range": f"bytes=0-{length - 1}"})
            with connection.getresponse() as response:
                while got := response.readinto(buffer):
                    count += got
        connection.close()
        return count

    began = time.perf_counter()
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        fetched = sum(pool.map(fetch, [asked[first::REQUESTS_AT_ONCE] for first in range(REQUESTS_AT_ONCE)]))
    wall = time.perf_counter() - began
    return {"windows_per_s": reader.n_windows / wall, "mb_per_s": fetched / wall / 1e6}


def report(found: dict[str, dict[str, list[Figures]]]) -> str:
    """Return the table of a run."""
    rows = [
        [
            f"{delay} ms",
            name,
            middle(column(runs, "windows_per_s")),
            f"{times(column(runs, 'windows_per_s'), column(ways[GETS], 'windows_per_s')):.2f}",
            *(middle(column(runs, key)) if key in runs[0] else "" for key in ("open_s", "first_batch_s")),
        ]
        for delay, ways in found.items()
        for name, runs in ways.items()
    ]
    return table(
        ["delay of an answer", "reader", "windows/s", "of plain requests'", "to open, s", "first batch, s"], rows
    )
