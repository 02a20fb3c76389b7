"""Streaming from a bucket on loopback, at once and 30 ms away."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fetching import NAMES
from benchmarks.measure import column, in_turns, lines, middle, table, times
from benchmarks.readers import BUCKET_WAYS
from benchmarks.served import served
from benchmarks.settings import Settings

BUCKET = "eegzarr-bench"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
DELAYS = (0, 30)  # ms before each answer
GETS, *_ = FETCHED = NAMES
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
            if not settings.smoke:
                jobs |= {name: partial(_fetch_one, name, settings.formats, endpoint) for name in FETCHED}
            title = f"bucket, {delay} ms away"
            found[str(delay)] = in_turns(jobs, settings.repeat, title=title, journal=settings.journal)
            if settings.smoke:  # in one process: what takes longest, imports, is shared
                fetched = zip(FETCHED, _fetch(FETCHED, settings.formats, endpoint), strict=True)
                found[str(delay)] |= {name: [figures] for name, figures in fetched}
    return found


def _read(name: str, url: str) -> Figures:
    command = [sys.executable, "-m", "benchmarks.reading", f"s3://{BUCKET}", name, "--measure", "bucket"]
    figures: Figures = lines(command, **CREDENTIALS, AWS_ENDPOINT_URL=url)[0]["bucket"]
    return figures


def _fetch(names: Sequence[str], folder: Path, url: str) -> list[Figures]:
    command = [sys.executable, "-m", "benchmarks.fetching", str(folder), BUCKET, *names]
    return lines(command, **CREDENTIALS, AWS_ENDPOINT_URL=url)


def _fetch_one(name: str, folder: Path, url: str) -> Figures:
    return _fetch([name], folder, url)[0]


def report(found: dict[str, dict[str, list[Figures]]]) -> str:
    """Return the table of a run."""
    rows = [
        [
            f"{delay} ms",
            name,
            middle(column(runs, "windows_per_s")),
            f"{times(column(runs, 'windows_per_s'), column(ways[GETS], 'windows_per_s')):.2f}",
            *(
                middle(column(runs, key)) if key in runs[0] else ""
                for key in ("cpu_us_per_window", "open_s", "first_batch_s", "again_windows_per_s")
            ),
        ]
        for delay, ways in found.items()
        for name, runs in ways.items()
    ]
    return table(
        [
            "delay of an answer",
            "reader",
            "windows/s",
            "of plain requests'",
            "CPU us a window",
            "to open, s",
            "first batch, s",
            "made again in one process, windows/s",
        ],
        rows,
    )
