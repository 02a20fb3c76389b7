"""Build: time, memory and disk of eegzarr beside its peers, at several sizes of the source."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import column, in_turns, measure, middle, size_on_disk, table, times
from benchmarks.settings import Settings
from benchmarks.source import scaled_source

REFERENCE = "the HDF5 way: braindecode, preloaded, gzip h5py"
READ_HUB = "read-hub"
# By way, what `benchmarks.build_ways` is told to do, and for the first read, where it writes a cache.
OTHERS = {
    REFERENCE: ("hdf5", ""),
    "braindecode, 2 jobs, its cache": ("braindecode", ""),
    "braindecode, hub Zarr": ("hub", READ_HUB),
    "LMDB, pickles": ("lmdb", ""),
}
EEGZARR = {
    "eegzarr, 2 workers": ("--workers", "2"),
    "eegzarr, 1 worker": ("--workers", "1"),
    "eegzarr, 2 workers, float16": ("--workers", "2", "--dtype", "float16"),
}
SHARE_OF_DISK = 0.5  # of what is free, that one way may take
Figures = dict[str, Any]
Job = Callable[[], Figures]


def run(settings: Settings) -> Figures:
    """Build the source, and parts and multiples of it, in every way.

    Returns
    -------
    dict
        By size of the source, the number of ``recordings``; ``ways``: by way, a list with a dict of
        figures a turn; ``left_out``: by way, why it wasn't tried.
    """
    sizes: Figures = {}
    left_out: dict[str, str] = {}
    before: Figures = {}
    for size in settings.sizes:
        source = scaled_source(settings.source, settings.scratch / f"source-{size:g}", size)
        recordings = sum(1 for _ in source.glob("sub-*/eeg/*_eeg.bdf"))
        if before:
            room = SHARE_OF_DISK * shutil.disk_usage(settings.scratch).free
            left_out = {**left_out, **too_large(before["ways"], recordings / before["recordings"], room)}
        jobs = _jobs(source, settings)
        ways = in_turns(
            {name: job for name, job in jobs.items() if name not in left_out},
            settings.repeat,
            title=f"build of {size:g} × the source",
            journal=settings.journal,
            at_once=(os.cpu_count() or 1) if settings.smoke else 1,
            enough=lambda runs: sum(column(runs, "wall")) + sum(column(runs, "first_read")) > settings.patience,
        )
        before = sizes[f"{size:g}"] = {"recordings": recordings, "ways": ways, "left_out": left_out}
    return sizes


def too_large(ways: dict[str, list[Figures]], growth: float, room: float) -> dict[str, str]:
    """Tell which ways would take more disk than there is for a source that is so many times as large.

    Parameters
    ----------
    ways : dict
        What they took, as `run` returns it.
    growth : float
    room : float
        Bytes.

    Returns
    -------
    dict of str
        The reason, by way.
    """
    taken = {name: growth * max(column(runs, "disk_after_read")) for name, runs in ways.items()}
    return {
        name: f"it would take {disk / 1e9:,.0f} GB of the {room / 1e9:,.0f} GB of disk that it may"
        for name, disk in taken.items()
        if disk > room
    }


def _jobs(source: Path, settings: Settings) -> dict[str, Job]:
    limit = ("--memory-limit", settings.memory_limit, "--log-dir", str(settings.scratch / "logs"))

    def own(options: tuple[str, ...]) -> Job:
        folder = settings.scratch / "built"
        paths = ("--source", str(source), "--out", str(folder / "lake.zarr"))
        return partial(_measured, folder, ["eegzarr.build", *paths, *limit, *options])

    def others(*ways: str, first_read: str = "") -> Job:
        folder = settings.scratch / "built-by-others"
        told = ["benchmarks.build_ways", "--jobs", "2", str(source), str(folder)]
        return partial(_measured, folder, [*told, *ways], [*told, first_read] if first_read else None)

    if settings.smoke:
        # One process for all ways of others: what takes longest, importing braindecode, is shared.
        together = others(*(way for way, _ in OTHERS.values()), READ_HUB)
        return {REFERENCE: together, "eegzarr, 2 workers": own(EEGZARR["eegzarr, 2 workers"])}
    return {name: own(options) for name, options in EEGZARR.items()} | {
        name: others(way, first_read=first_read) for name, (way, first_read) in OTHERS.items()
    }


def _measured(folder: Path, build: list[str], first_read: list[str] | None = None) -> Figures:
    # A folder of its own: what appears beside the output is part of what it takes.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    python = [sys.executable, "-m"]
    figures: Figures = {**asdict(measure([*python, *build])), "disk": size_on_disk(folder)}
    figures["first_read"] = measure([*python, *first_read]).wall if first_read else 0.0
    figures["disk_after_read"] = size_on_disk(folder)
    shutil.rmtree(folder)
    return figures


def report(sizes: Figures) -> str:
    """Return the tables of a run, a size each."""
    parts = []
    for size, measured in sizes.items():
        ways = measured["ways"]
        rows = []
        for name, runs in ways.items():
            wall, cpu = column(runs, "wall"), column(runs, "cpu")
            pss = [value / 2**20 for value in column(runs, "peak_pss")]
            disk, after = (statistics.median(column(runs, key)) / 1e6 for key in ("disk", "disk_after_read"))
            first = statistics.median(column(runs, "first_read"))
            rows.append(
                [
                    name,
                    len(runs),
                    middle(wall),
                    f"{times(column(ways[REFERENCE], 'wall'), wall):.1f} ×",
                    middle(cpu),
                    middle(pss),
                    f"{disk:,.0f}" + (f", {after:,.0f} once read" if round(after) != round(disk) else ""),
                    f"{first:.1f}" if first else "",
                ]
            )
        parts.append(f"{size} × the source, {measured['recordings']} recordings:\n\n")
        header = ["way", "turns", "wall, s", "as fast as the HDF5 way", "CPU, s", "peak PSS, MiB", "disk, MB"]
        header += ["first read, s"]
        parts.append(table(header, rows) + "\n")
        parts += [f"Left out: {name}: {reason}\n\n" for name, reason in measured["left_out"].items()]
    return "".join(parts)
