"""What a figure belongs to: the machine, without its name, the versions of packages and the commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil

from benchmarks.environments import REQUIREMENTS, environment

PACKAGES = (
    "braindecode",
    "dask",
    "eegzarr",
    "h5py",
    "hdf5plugin",
    "lmdb",
    "mne",
    "llvmlite",
    "numcodecs",
    "numpy",
    "s3fs",
    "tensorstore",
    "torch",
    "xarray",
    "zarr",
    "zarrs",
)


def machine(storage: Path) -> dict[str, Any]:
    """Describe the machine, and the file system that `storage` lies on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": _file_system(storage.resolve()),
        "gpu": _gpu(),
    }


def versions() -> dict[str, str]:
    """Return the versions of what is measured, and what the peers' own environments hold or why not."""
    there = {d.metadata["Name"]: d.version for d in distributions()}
    found = {name: there.get(name, "not installed") for name in PACKAGES}
    for peer, needs in REQUIREMENTS.items():
        found[peer] = environment(peer).reason or needs.version
    return found


def commit() -> str:
    """Return the git commit of this checkout, "+" behind it where files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return "unknown"
    changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True)
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _processor() -> str:
    try:
        return re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[0]
    except (OSError, IndexError):
        return platform.machine()


def _file_system(path: Path) -> str:
    holding = [p for p in psutil.disk_partitions(all=True) if path.is_relative_to(p.mountpoint)]
    return max(holding, key=lambda p: len(p.mountpoint)).fstype if holding else "unknown"


def _gpu() -> str:
    # Not asked of torch, which would be part of this process's memory.
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True
        )
    except FileNotFoundError:
        return "none"
    return "none" if asked.returncode else ", ".join(asked.stdout.splitlines())
