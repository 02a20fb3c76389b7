"""Build time, memory and size: eegzarr beside the HDF5 way, in one run, in turns.

python -m benchmarks.build SOURCE [--repeat 3] [--memory-limit 2GiB]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Measured, measure, middle, progress, size_on_disk


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="BIDS dataset with the contrast change detection task")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--memory-limit", default="2GiB")
    arguments = parser.parse_args()
    limit = ["--memory-limit", arguments.memory_limit]
    python = [sys.executable, "-m"]
    runs: dict[str, list[Measured]] = {}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="eegzarr-bench-") as scratch:
        out = Path(scratch) / "out"
        build = [*python, "eegzarr.build", "--source", str(arguments.source), "--out", str(out), *limit]
        logs = ["--log-dir", str(Path(scratch) / "logs")]
        ways = {
            "the HDF5 way": [*python, "benchmarks.hdf5_way", str(arguments.source), str(out)],
            "eegzarr": [*build, *logs],
            "eegzarr, 1 worker": [*build, *logs, "--workers", "1"],
            "eegzarr, float16": [*build, *logs, "--dtype", "float16"],
        }
        for turn in range(arguments.repeat):
            for name, command in ways.items():
                progress(f"{turn + 1}/{arguments.repeat} {name}")
                runs.setdefault(name, []).append(measure(command))
                sizes[name] = size_on_disk(out)
                shutil.rmtree(out) if out.is_dir() else out.unlink()
    print("| way | wall, s | CPU, s | peak PSS, MiB | on disk, MB | times as fast |")
    print("|---|---|---|---|---|---|")
    reference = [run.wall for run in runs["the HDF5 way"]]
    for name, measured in runs.items():
        walls = [run.wall for run in measured]
        ratio = statistics.median(a / b for a, b in zip(reference, walls, strict=True))
        print(
            f"| {name} | {middle(walls)} | {middle([run.cpu for run in measured])} | "
            f"{middle([run.peak_pss / 2**20 for run in measured])} | {sizes[name] / 1e6:.0f} | {ratio:.1f} |"
        )


if __name__ == "__main__":
    main()
