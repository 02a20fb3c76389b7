"""What reading and preparing recordings takes in memory is told before, and is no less than what it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from conftest import run_command
from distributed import default_client
from fork_server import spawned_workers

import eegzarr
from eegzarr.build.workers.resources import MAIN_IDLE, WORKER_IDLE
from eegzarr.events import ShardFinished
from eegzarr.recipes.recipe import Preparation
from eegzarr.recordings.header import Header
from eegzarr.recordings.memory import channel_blocks, largest_set_memory, preparation_memory

MIB = 2**20

# In a process of its own, as a worker has it: what steps take above what is imported.
MEASURE = """
import sys, threading, time
from pathlib import Path
import mne, mne.filter, mne.io.eeglab.eeglab, numpy as np, psutil, scipy.io
from eegzarr.recipes.recipe import Preparation
from eegzarr.recordings.preparation import prepare_recording
from eegzarr.recordings.reader import read_header, read_windows

mne.filter.filter_data(np.zeros((1, 3000)), 100.0, 1, None, verbose="error")
mne.filter.resample(np.zeros((1, 3000)), up=50, down=100, verbose="error")
process, peak = psutil.Process(), [0]

def watch():
    while True:
        peak[0] = max(peak[0], process.memory_info().rss)
        time.sleep(0.001)

threading.Thread(target=watch, daemon=True).start()
"""


def measured(body: str, *arguments: object) -> tuple[int, int]:
    """Run a script that sets `before` and prints what was projected; return that and its peak above `before`."""
    script = f"{MEASURE}\n{body}\nprint(projected, peak[0] - before)"
    environment = {"MALLOC_MMAP_THRESHOLD_": str(16 * MIB), "MALLOC_TRIM_THRESHOLD_": str(32 * MIB)}
    ran = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True, text=True, check=True, timeout=200, env={**__import__("os").environ, **environment},
    )  # fmt: skip
    projected, taken = map(int, ran.stdout.split()[-2:])
    return projected, taken


def write_set(path: Path, seconds: int, *, struct: bool, compressed: bool) -> Path:
    data = np.cumsum(np.random.default_rng(0).normal(0, 3, (32, seconds * 250)).astype(np.float32), axis=1)
    names = np.array([(f"C{i}",) for i in range(32)], dtype=[("labels", object)])
    fields = {
        "nbchan": 32,
        "trials": 1,
        "pnts": data.shape[1],
        "srate": 250.0,
        "data": data,
        "chanlocs": names,
        "event": [],
    }
    scipy.io.savemat(path, {"EEG": fields} if struct else fields, do_compression=compressed)
    return path


@pytest.mark.parametrize("struct", [False, True], ids=["fields", "struct"])
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_an_eeglab_file_with_signals_inside_takes_no_more_than_projected(
    struct: bool, compressed: bool, tmp_path: Path
) -> None:
    path = write_set(tmp_path / "a.set", 1200, struct=struct, compressed=compressed)
    projected, taken = measured(
        "path, before = Path(sys.argv[1]), process.memory_info().rss\n"
        "header = read_header(path)\n"
        "out = np.empty((2, 32, 500), np.float32)\n"
        "read_windows(path, np.array([0, 200_000]), header.channels, out, header)\n"
        "projected = header.memory",
        path,
    )
    assert taken <= projected + 8 * MIB
    assert largest_set_memory([path])[1] <= projected
    assert taken >= projected / 2  # and it isn't told out of all proportion


@pytest.mark.parametrize(
    ("hours", "channels", "rate", "target", "preparation"),
    [
        (2, 16, 256, 256, Preparation(l_freq=1.0)),
        (2, 16, 256, 100, Preparation(l_freq=0.5, h_freq=40.0, resample=True)),
        (0.2, 129, 500, 500, Preparation(notch=(60.0,))),
        (0.5, 64, 512, 100, Preparation(resample=True)),
    ],
)
def test_preparing_takes_no_more_than_projected(
    hours: float, channels: int, rate: int, target: int, preparation: Preparation
) -> None:
    header = Header(sfreq=rate, n_times=round(hours * 3600 * rate), channels=tuple(f"C{i}" for i in range(channels)))
    block = len(channel_blocks(header.channels, header.n_times)[0])
    body = (
        "from eegzarr.recordings.header import Header\n"
        "from eegzarr.recordings.preparation import _prepared\n"
        f"preparation, n_times, block = {preparation!r}, {header.n_times}, {block}\n"
        f"header = Header(sfreq={rate}, n_times=n_times, channels=())\n"
        "before = process.memory_info().rss\n"
        f"kept = np.full((block, round(n_times * {target} / {rate}) + 1), np.nan, np.float32)\n"
        f"done = _prepared(np.random.default_rng(0).normal(size=(block, n_times)), header, preparation, {target})\n"
        "kept[:, : done.shape[1]] = done\n"
        f"projected = {preparation_memory(header, channels, preparation, target)}"
    )
    projected, taken = measured(body)
    assert taken <= projected + 8 * MIB


def test_what_cannot_fit_is_refused_with_the_least_limit_which_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "bids" / "sub-01" / "eeg"
    folder.mkdir(parents=True)
    write_set(folder / "sub-01_task-rest_eeg.set", 1200, struct=True, compressed=False)
    (tmp_path / "bids" / "participants.tsv").write_text("participant_id\tage\nsub-01\t7\n")
    recipe = tmp_path / "mine.toml"
    recipe.write_text('anchor = "recording"\nstride = 60\nsfreq = 250\ntarget = "age"\nspan = {start = 0, stop = 2}\n')
    command = ["eegzarr.build", "--source", tmp_path / "bids", "--out", tmp_path / "lake.zarr", "--recipe", recipe]
    refused = run_command(*command, "--workers", 1, "--memory-limit", MAIN_IDLE + WORKER_IDLE + 70 * MIB)
    assert refused.returncode == 2, refused.stderr
    assert "sub-01/eeg/sub-01_task-rest_eeg.set alone takes" in refused.stderr
    assert not (tmp_path / "lake.zarr").exists()
    least = refused.stderr.split("give at least ")[1].split(".")[0]
    built = run_command(*command, "--workers", 1, "--memory-limit", least)
    assert built.returncode == 0, built.stderr


def test_workers_load_neither_pandas_nor_xarray(sample_root: Path, tmp_path: Path) -> None:
    loaded = []

    def look(event: object) -> None:
        if isinstance(event, ShardFinished):
            found = default_client().run(eval, "sorted({'pandas', 'xarray', 'zarr'} & set(__import__('sys').modules))")
            loaded.extend(found.values())

    with spawned_workers():
        eegzarr.build_lake(sample_root, tmp_path / "lake.zarr", workers=1, listeners=[look])
    assert loaded
    # Dask before 2025.4 imports pandas to tell its version.
    told = "import sys; from distributed.versions import get_versions; get_versions(); print('pandas' in sys.modules)"
    by_dask = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout
    allowed = ["pandas", "zarr"] if by_dask == "True\n" else ["zarr"]
    assert all(modules == allowed for modules in loaded), loaded
