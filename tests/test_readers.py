"""Programs that know nothing of eegzarr read the same numbers from a lake."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

NODE = Path(__file__).parent / "node"
GROUP = "challenge1/R1"


@pytest.fixture(scope="module")
def zarrita() -> Path:
    """The script that reads with zarrita, whose packages are installed as the lock file has them."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node or npm isn't installed")
    installed, lock = NODE / "node_modules" / ".package-lock.json", NODE / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        made = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=120, check=False)
        if made.returncode:
            pytest.skip(f"npm ci: {made.stderr.strip().splitlines()[-1]}")
    return NODE / "read_lake.mjs"


def test_javascript_reads_signals_and_labels(zarrita: Path, any_lake: Path) -> None:
    group = zarr.open_group(any_lake, path=GROUP, mode="r")
    eeg, per_shard = group["eeg"], group["eeg"].shards[0]
    assert eeg.shape[0] > per_shard + 3
    # Across the border of two shards, and the end of the last one, whose frame is padded.
    for first, stop in ((per_shard - 3, per_shard + 3), (eeg.shape[0] - 2, eeg.shape[0])):
        read = subprocess.run(
            ["node", zarrita, any_lake, GROUP, str(first), str(stop)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert read.returncode == 0, read.stderr
        found = json.loads(read.stdout)
        assert found["units"] == "uV"
        np.testing.assert_array_equal(np.array(found["eeg"], eeg.dtype).reshape(found["shape"]), eeg[first:stop])
        np.testing.assert_array_equal(np.array(found["target"], np.float32), group["target"][first:stop])
        assert found["subject"] == group["subject"][first:stop].tolist()


def test_the_zarrs_pipeline_reads_the_same_bytes(any_lake: Path, tmp_path: Path) -> None:
    pytest.importorskip("zarrs")
    # In a process of its own: the pipeline is chosen for all of Zarr.
    script = (
        "import sys, numpy as np, zarr, zarrs\n"
        "zarr.config.set({'codec_pipeline.path': 'zarrs.ZarrsCodecPipeline', 'codec_pipeline.strict': True})\n"
        "group = zarr.open_group(sys.argv[1], path=sys.argv[2], mode='r')\n"
        "assert type(group['eeg'].async_array.codec_pipeline).__module__.startswith('zarrs')\n"
        "np.savez(sys.argv[3], eeg=group['eeg'][:], few=group['eeg'][3:41, 5:6, 10:20], target=group['target'][:])\n"
    )
    out = tmp_path / "read.npz"
    command = [sys.executable, "-c", script, str(any_lake), GROUP, str(out)]
    read = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert read.returncode == 0, read.stderr
    group, found = zarr.open_group(any_lake, path=GROUP, mode="r"), np.load(out)
    np.testing.assert_array_equal(found["eeg"], group["eeg"][:])
    np.testing.assert_array_equal(found["few"], group["eeg"][:][3:41, 5:6, 10:20])
    np.testing.assert_array_equal(found["target"], group["target"][:])
