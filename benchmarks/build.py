"""Build: time, memory and disk of eegzarr beside its peers, at several sizes of the source."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measure import column, in_turns, measure, middle, size_on_disk, table, times
from benchmarks.settings import Settings
from benchmarks.source import scaled_source

REFERENCE = "the HDF5 way: braindecode, preloaded, gzip h5py"
EXPANDING = ("hub",)  # its first read writes a cache
Figures = dict[str, Any]


def run(settings: Settings) -> Figures:
    """Build the source, and parts and multiples of it, in every way.

    Returns
    -------
    dict
        By size of the source, ``ways``: by way, a list with a dict of figures a turn.
    """
    sizes = {}
    for size in settings.sizes:
        source = scaled_source(settings.source, settings.scratch / f"source-{size:g}", size)
        jobs = {name: _job(name, way, source, settings) for name, way in _ways(settings).items()}
        at_once = (os.cpu_count() or 1) if settings.smoke else 1
        sizes[f"{size:g}"] = {
            "recordings": sum(1 for _ in source.glob("sub-*/eeg/*_eeg.bdf")),
            "ways": in_turns(jobs, settings.repeat, at_once=at_once, title=f"build of {size:g} × the source"),
        }
    return sizes


def _ways(settings: Settings) -> dict[str, list[str]]:
    limit = ["eegzarr", "--memory-limit", settings.memory_limit]
    variants = {
        "eegzarr, 1 worker": [*limit, "--workers", "1"],
        "eegzarr, 2 workers, float16": [*limit, "--workers", "2", "--dtype", "float16"],
    }
    return {
        REFERENCE: ["hdf5"],
        "eegzarr, 2 workers": [*limit, "--workers", "2"],
        **({} if settings.smoke else variants),
        "braindecode, 2 jobs, its cache": ["braindecode", "--jobs", "2"],
        "braindecode, hub Zarr": ["hub"],
        "LMDB, pickles": ["lmdb"],
    }


def _job(name: str, way: list[str], source: Path, settings: Settings) -> Callable[[], Figures]:
    def build() -> Figures:
        # A folder of its own: what appears beside the output is part of what it takes.
        folder = settings.scratch / f"built-{name.replace(' ', '-')}"
        folder.mkdir()
        out, logs = folder / "out", settings.scratch / "logs"
        python = [sys.executable, "-m"]
        if way[0] == "eegzarr":
            measured = measure(
                [*python, "eegzarr.build", "--source", str(source), "--out", str(out), "--log-dir", str(logs), *way[1:]]
            )
        else:
            measured = measure([*python, "benchmarks.build_ways", way[0], str(source), str(out), *way[1:]])
        figures = {**asdict(measured), "disk": size_on_disk(folder), "first_read": 0.0}
        if way[0] in EXPANDING:
            figures["first_read"] = measure(
                [*python, "benchmarks.build_ways", way[0], str(source), str(out), "--read"]
            ).wall
        figures["disk_after_read"] = size_on_disk(folder)
        shutil.rmtree(folder)
        return figures

    return build


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
                    middle(wall),
                    f"{times(column(ways[REFERENCE], 'wall'), wall):.1f} ×",
                    middle(cpu),
                    middle(pss),
                    f"{disk:,.0f}" + (f", {after:,.0f} once read" if round(after) != round(disk) else ""),
                    f"{first:.1f}" if first else "",
                ]
            )
        parts.append(f"{size} × the source, {measured['recordings']} recordings:\n\n")
        header = ["way", "wall, s", "as fast as the HDF5 way", "CPU, s", "peak PSS, MiB", "disk, MB", "first read, s"]
        parts.append(table(header, rows) + "\n")
    return "".join(parts)
