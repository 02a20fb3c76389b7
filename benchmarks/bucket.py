"""Streaming from a bucket on loopback, at once and 30 ms away, by http and by https."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.authority import certified
from benchmarks.fetching import NAMES
from benchmarks.measure import column, in_turns, lines, middle, table, times
from benchmarks.readers import BUCKET_WAYS
from benchmarks.served import served
from benchmarks.settings import Settings

BUCKET = "eegzarr-bench"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
DELAYS = {"0 ms": 0.0, "30 ms": 0.03, "0 ms, https": 0.0, "30 ms, https": 0.03}  # s before each answer
GETS, *_ = FETCHED = NAMES
Figures = dict[str, Any]


def run(settings: Settings) -> dict[str, dict[str, list[Figures]]]:
    """Measure the first epoch from a bucket, which is all that matters where nothing is kept.

    Returns
    -------
    dict
        By delay, by reader, a list with a dict of figures a turn.
    """
    found: dict[str, dict[str, list[Figures]]] = {}
    with TemporaryDirectory() as folder:
        made = certified(Path(folder))
        for name in list(DELAYS)[-1:] if settings.smoke else DELAYS:
            chain = made.chain if "https" in name else None
            with served(settings.formats, BUCKET, DELAYS[name], chain) as url:
                environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": url, "AWS_CA_BUNDLE": str(made.authority)}
                found[name] = _measured(name, settings, environment)
    return found


def _measured(delay: str, settings: Settings, environment: Mapping[str, str]) -> dict[str, list[Figures]]:
    ways = list(BUCKET_WAYS)[: 1 if settings.smoke else None]
    jobs = {name: partial(_read, name, environment) for name in ways}
    if not settings.smoke:
        jobs |= {name: partial(_fetch_one, name, settings.formats, environment) for name in FETCHED}
    title = f"bucket, {delay} away"
    found: dict[str, list[Figures]] = in_turns(jobs, settings.repeat, title=title, journal=settings.journal)
    if settings.smoke:  # in one process: what takes longest, imports, is shared
        fetched = zip(FETCHED, _fetch(FETCHED, settings.formats, environment), strict=True)
        found |= {name: [figures] for name, figures in fetched}
    return found


def _read(name: str, environment: Mapping[str, str]) -> Figures:
    command = [sys.executable, "-m", "benchmarks.reading", f"s3://{BUCKET}", name, "--measure", "bucket"]
    figures: Figures = lines(command, **environment)[0]["bucket"]
    return figures


def _fetch(names: Sequence[str], folder: Path, environment: Mapping[str, str]) -> list[Figures]:
    command = [sys.executable, "-m", "benchmarks.fetching", str(folder), BUCKET, *names]
    return lines(command, **environment)


def _fetch_one(name: str, folder: Path, environment: Mapping[str, str]) -> Figures:
    return _fetch([name], folder, environment)[0]


def report(found: dict[str, dict[str, list[Figures]]]) -> str:
    """Return the table of a run."""
    rows = [
        [
            delay,
            name,
            middle(column(runs, "windows_per_s")),
            f"{times(column(runs, 'windows_per_s'), column(ways[GETS], 'windows_per_s')):.2f}",
            *(
                middle(column(runs, key)) if key in runs[0] else ""
                for key in ("cpu_us_per_window", "open_s", "first_batch_s", "later_windows_per_s")
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
            "second and third epoch, windows/s",
        ],
        rows,
    )
