"""Scale: opening, planning and streaming against the number of windows, and streaming against cores.

python -m benchmarks.scale LAKE     # measures one lake, in this process
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr
import zarr

from benchmarks.hbn import COSTS, extended
from benchmarks.measure import column, in_turns, lines, middle, progress, size_on_disk, table, times
from benchmarks.settings import GROUP, Settings
from eegzarr.store.lake import settle, stored_geometry
from eegzarr.store.layout import COMPLETE, create_eeg, label_encoding, open_store
from eegzarr.store.shard import encode_shard, put

WINDOWS = (10_000, 100_000, 1_000_000)
SMOKE_WINDOWS = (1_000,)
BATCH = 128
SECONDS = 2.0
Figures = dict[str, Any]


def run(settings: Settings) -> Figures:
    """Measure lakes of more and more windows, and one lake on more and more cores."""
    lakes = {}
    for windows in SMOKE_WINDOWS if settings.smoke else WINDOWS:
        progress(f"making a lake of {windows} windows")
        lakes[str(windows)] = settings.scratch / f"lake-{windows}.zarr"
        repeat_lake(settings.formats / "float32.zarr", lakes[str(windows)], windows)
    by_windows = {name: partial(_child, "benchmarks.scale", lake) for name, lake in lakes.items()}
    formats, seconds = settings.formats, settings.seconds
    by_cores = {}
    for cores in range(1, 1 + (1 if settings.smoke else len(os.sched_getaffinity(0)))):
        limited = ["--seconds", seconds, "--cores", cores]
        reading = partial(_child, "benchmarks.reading", formats, "eegzarr", "--warm-up", settings.warm_up, *limited)
        by_cores[f"{cores} eegzarr"] = reading
        by_cores[f"{cores} Blosc"] = partial(_child, "benchmarks.limits", formats, "Blosc, float32", *limited)
    stored = settings.formats / "float32.zarr" / GROUP / "eeg"
    return {
        "bytes_per_window": size_on_disk(stored) / zarr.open_array(stored, mode="r").shape[0],
        "windows": in_turns(by_windows, settings.repeat, title="scale", journal=settings.journal),
        "cores": in_turns(by_cores, settings.repeat, title="scale, cores", journal=settings.journal),
    }


def repeat_lake(lake: Path, out: Path, windows: int) -> None:
    """Make a lake of many windows that takes little disk.

    Its shards are hard links to one that holds the first windows of `lake`; where these are too
    few they come again, as its labels do.
    """
    geometry = stored_geometry(str(lake), GROUP)
    if geometry is None:
        raise FileNotFoundError(f"{lake} has no group {GROUP}")
    labels = xr.open_zarr(lake, group=GROUP).drop_vars("eeg").load()
    rows = np.resize(np.arange(labels.sizes["window"]), windows)
    large = labels.isel(window=rows).assign_coords(window=np.arange(windows))
    store = open_store(str(out))
    node = zarr.open_group(store, mode="a", zarr_format=3).create_group(GROUP)
    create_eeg(node, windows, geometry)
    encoding = {str(name): label_encoding(v.dtype, v.shape) for name, v in large.variables.items()}
    for variable in large.variables.values():
        variable.encoding = {}
    large.to_zarr(store, group=GROUP, mode="a", zarr_format=3, consolidated=False, encoding=encoding)
    node.attrs.update({**labels.attrs, "status": COMPLETE})
    stored = zarr.open_array(lake / GROUP / "eeg", mode="r")
    first = np.asarray(stored[: geometry.windows_per_shard])
    shard = first[np.resize(np.arange(len(first)), geometry.windows_per_shard)]
    keys = [f"{GROUP}/eeg/{geometry.shard_key(n)}" for n in range(-(-windows // geometry.windows_per_shard))]
    put(str(out), keys[0], encode_shard(shard, geometry))
    for key in keys[1:]:
        (out / key).parent.mkdir(parents=True)
        os.link(out / keys[0], out / key)
    settle(str(out), GROUP)


def measured_lake(lake: str) -> Figures:
    """Open a lake, plan an epoch of it and stream some batches; memory is anonymous, above the imports'."""
    import eegzarr
    import eegzarr.store.open
    from eegzarr.train import WindowStream

    idle = psutil.Process().memory_full_info().uss
    began = time.perf_counter()
    windows = eegzarr.open_windows(lake, "challenge1")
    opened = time.perf_counter() - began
    stream = WindowStream(windows, BATCH, shuffle="global")
    batches = iter(stream)
    next(batches)
    first = time.perf_counter() - began
    count, began, wall = 0, time.perf_counter(), 0.0
    for x, _ in batches:
        count += len(x)
        wall = time.perf_counter() - began
        if wall > SECONDS:
            break
    anonymous = psutil.Process().memory_full_info().uss - idle
    return {
        "open_s": opened,
        "first_batch_s": first,
        "windows_per_s": count / wall,
        "anonymous_mb": anonymous / 1e6,
    }


def _child(module: str, *arguments: object) -> Figures:
    figures = lines([sys.executable, "-m", module, *map(str, arguments)])[0]
    return figures.get("warm", figures)  # as readers give it


def report(figures: Figures) -> str:
    """Return the tables of a run, and what they come to for all of HBN."""
    columns = {**COSTS, "windows_per_s": "windows/s"}
    rows = [
        [f"{int(windows):,}", *(middle(column(runs, key)) for key in columns)]
        for windows, runs in figures["windows"].items()
    ]
    parts = [table(["windows in the lake", *columns.values()], rows), "\n"]
    by_cores: list[list[object]] = []
    for cores in range(1, len(figures["cores"]) // 2 + 1):
        rate, limit = (column(figures["cores"][f"{cores} {of}"], "windows_per_s") for of in ("eegzarr", "Blosc"))
        by_cores.append([cores, middle(rate), middle(limit), f"{times(rate, limit):.2f}"])
    parts += [table(["cores", "eegzarr, windows/s", "limit: Blosc decode", "share"], by_cores), "\n"]
    return "".join(parts) + extended(figures)


if __name__ == "__main__":
    print(json.dumps(measured_lake(sys.argv[1])))
