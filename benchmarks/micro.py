"""Micro-benchmarks of the hot paths, each as a ratio to the plainest code that does the unavoidable part.

python -m benchmarks.micro     # prints the ratios, and fails where one is above its ceiling

pytest-benchmark measures them (see `benchmarks.test_hot_paths`). A ratio of two times that were taken
side by side on one machine means the same on any, which a time doesn't: it can be checked in CI.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.hot_paths import CEILINGS
from benchmarks.measure import middle, table
from benchmarks.test_hot_paths import TURNS

SECONDS = 0.2  # of calling a side, in a turn


def run() -> dict[str, Any]:
    """Measure all paths.

    Returns
    -------
    dict
        By name, its ``ratios``, one a turn: of the shortest round to the reference's; and its ``ceiling``.

    Raises
    ------
    RuntimeError
        If a path fails; what pytest said is in the message.
    """
    here = Path(__file__)
    with tempfile.TemporaryDirectory(prefix="eegzarr-micro-") as folder:
        found = Path(folder) / "benchmarks.json"
        command = [sys.executable, "-m", "pytest", str(here.with_name("test_hot_paths.py")), "--quiet"]
        # The project's settings are those of its tests, and name plugins that benchmarks don't install.
        command += ["-c", os.devnull, "--rootdir", str(here.parent)]
        command += ["--benchmark-only", f"--benchmark-json={found}", f"--benchmark-max-time={SECONDS}"]
        # Where tests run this, their pytest's variables would have this one take itself for a part of it.
        own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        pytest = subprocess.run(command, capture_output=True, text=True, cwd=here.parents[1], env=own)
        if pytest.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{pytest.stdout}{pytest.stderr}")
        measured = json.loads(found.read_text())["benchmarks"]
    shortest = {
        (run["params"]["name"], run["params"]["turn"], run["params"]["side"]): run["stats"]["min"] for run in measured
    }
    return {
        name: {
            "ratios": [shortest[name, turn, "path"] / shortest[name, turn, "reference"] for turn in range(TURNS)],
            "ceiling": ceiling,
        }
        for name, ceiling in CEILINGS.items()
    }


def above_ceiling(figures: dict[str, Any]) -> list[str]:
    """Name the paths whose median ratio is above its ceiling."""
    return [name for name, figure in figures.items() if statistics.median(figure["ratios"]) > figure["ceiling"]]


def report(figures: dict[str, Any]) -> str:
    """Return the table of a run."""
    rows = [[name, middle(figure["ratios"]), f"{figure['ceiling']:g}"] for name, figure in figures.items()]
    return table(["path / reference", "times as long", "ceiling"], rows)


def main() -> int:
    """Print the ratios; return 1 where one is above its ceiling."""
    figures = run()
    print(report(figures), end="")
    return int(bool(above_ceiling(figures)))


if __name__ == "__main__":
    sys.exit(main())
