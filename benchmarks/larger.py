"""A lake larger than the machine's memory: what each way of shuffling then costs.

python -m benchmarks.larger LAKE SHUFFLE SECONDS     # measures one, in this process
"""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import column, forget_pages, in_turns, lines, middle, progress, table
from benchmarks.readers import eegzarr_batches
from benchmarks.reading import disk_figures
from benchmarks.repeat import repeat_lake
from benchmarks.settings import GROUP, Settings

SHUFFLES = ("block", "global")
TIMES_MEMORY = 1.5
SHARE_OF_DISK = 0.8  # of what is free
SECONDS = 20.0  # of a second epoch
PATIENCE = 300.0  # s, for a first one
SMOKE_BYTES = 50e6
Figures = dict[str, Any]


def affordable_windows(bytes_per_window: float, memory: float, free: float) -> int:
    """Return how many windows make a lake larger than the memory, 0 where the disk has no room for it.

    Parameters
    ----------
    bytes_per_window, memory, free : float
        Bytes: of a window as stored, of memory, and of disk that is free.
    """
    wanted = TIMES_MEMORY * memory
    return round(wanted / bytes_per_window) if wanted <= SHARE_OF_DISK * free else 0


def run(settings: Settings, bytes_per_window: float) -> Figures:
    """Stream a lake that the page cache can't hold, in each way of shuffling.

    Returns
    -------
    dict
        ``windows`` and ``gigabytes`` of the lake, and by shuffle a list with a dict of figures a turn;
        ``left_out``: why it wasn't made.
    """
    memory = SMOKE_BYTES if settings.smoke else psutil.virtual_memory().total
    free = shutil.disk_usage(settings.scratch).free
    windows = affordable_windows(bytes_per_window, memory, free)
    if not windows:
        told = f"{TIMES_MEMORY:g} times the memory is more than {SHARE_OF_DISK:g} of the {free / 1e9:,.0f} GB free"
        return {"left_out": told}
    progress(f"making a lake of {windows:,} windows, {windows * bytes_per_window / 1e9:,.1f} GB")
    lake = settings.scratch / "larger.zarr"
    repeat_lake(settings.formats / "float32.zarr", lake, windows, linked=False)
    seconds = settings.seconds if settings.smoke else SECONDS
    shuffles = SHUFFLES[:1] if settings.smoke else SHUFFLES
    jobs = {shuffle: partial(_from_disk, lake, shuffle, seconds) for shuffle in shuffles}
    turns = in_turns(
        jobs,
        settings.repeat,
        title="a lake larger than memory",
        journal=settings.journal,
        enough=lambda so_far: so_far[-1]["seconds"] > settings.patience,
    )
    shutil.rmtree(lake)
    return {"windows": windows, "gigabytes": windows * bytes_per_window / 1e9, "shuffles": turns}


def _from_disk(lake: Path, shuffle: str, seconds: float) -> Figures:
    forget_pages([lake / GROUP / "eeg"])
    return lines([sys.executable, "-m", "benchmarks.larger", str(lake), shuffle, str(seconds)])[0]


def measured_shuffle(lake: str, shuffle: str, seconds: float) -> Figures:
    """Stream a first epoch, in which every frame is held against its checksum, and some of a second."""
    batches = eegzarr_batches(lake, shuffle=shuffle)
    first, second = disk_figures(batches(0), seconds=PATIENCE), disk_figures(batches(1), seconds=seconds)
    return first | {f"second_{key}": value for key, value in second.items()}


def report(figures: Figures) -> str:
    """Return the table of a run."""
    if "left_out" in figures:
        return f"No lake larger than memory: {figures['left_out']}.\n"
    columns = {
        "windows_per_s": "windows/s, first epoch",
        "disk_mb_per_s": "MB/s read from disk",
        "disk_kb_per_window": "kB read from disk a window",
    }
    columns |= {f"second_{key}": told.replace("first", "second") for key, told in columns.items()}
    rows = [[name, *(middle(column(runs, key)) for key in columns)] for name, runs in figures["shuffles"].items()]
    told = f"A lake of {figures['windows']:,} windows, {figures['gigabytes']:,.1f} GB: "
    told += f"{TIMES_MEMORY:g} times the memory, from disk. At most {PATIENCE:g} s of a first epoch:\n\n"
    return told + table(["shuffle", *columns.values()], rows)


if __name__ == "__main__":
    print(json.dumps(measured_shuffle(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
