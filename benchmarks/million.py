"""Opening a lake of a million windows: seconds to its Dataset and to the first batch.

python -m benchmarks.million LAKE OUT

OUT becomes a lake whose shards are hard links to one of LAKE's, so that it takes little disk; its labels are
those of LAKE, repeated. Each figure is of a fresh process that has imported what it needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from eegzarr.store.lake import settle, stored_geometry
from eegzarr.store.layout import COMPLETE, create_eeg, label_encoding, open_store

GROUP = "challenge1/R1"
WINDOWS = 1_000_000

MEASURE = """
import json, sys, time
import eegzarr, eegzarr.store.open, psutil
from eegzarr.train import WindowStream
idle = psutil.Process().memory_full_info()
began = time.perf_counter()
windows = eegzarr.open_windows(sys.argv[1], "challenge1")
opened = time.perf_counter() - began
stream = WindowStream(windows, 128, shuffle="global")
batches = iter(stream)
next(batches)
first = time.perf_counter() - began
for _ in range(2000):
    next(batches)
print(json.dumps({"open_windows, s": opened, "first batch, s": first,
                  "anonymous memory above idle, MB": (psutil.Process().memory_full_info().uss - idle.uss) / 1e6}))
"""


def make(lake: Path, out: Path) -> None:
    """Write a lake of a million windows out of a small one."""
    geometry = stored_geometry(str(lake), GROUP)
    assert geometry is not None
    labels = xr.open_zarr(lake, group=GROUP).drop_vars("eeg").load()
    times = np.resize(np.arange(labels.sizes["window"]), WINDOWS)
    large = labels.isel(window=times).assign_coords(window=np.arange(WINDOWS))
    store = open_store(str(out))
    node = zarr.open_group(store, mode="a", zarr_format=3).create_group(GROUP)
    create_eeg(node, WINDOWS, geometry)
    encoding = {str(name): label_encoding(v.dtype, v.shape) for name, v in large.variables.items()}
    for variable in large.variables.values():
        variable.encoding = {}
    large.to_zarr(store, group=GROUP, mode="a", zarr_format=3, consolidated=False, encoding=encoding)
    node.attrs.update({**labels.attrs, "status": COMPLETE})
    source = lake / GROUP / "eeg" / geometry.shard_key(0)
    for shard in range(-(-WINDOWS // geometry.windows_per_shard)):
        path = out / GROUP / "eeg" / geometry.shard_key(shard)
        path.parent.mkdir(parents=True)
        os.link(source, path)
    settle(str(out), GROUP)


def main() -> None:
    """Make the lake where it isn't, and measure."""
    lake, out = Path(sys.argv[1]), Path(sys.argv[2])
    if not out.exists():
        make(lake, out)
    for _ in range(3):
        result = subprocess.run([sys.executable, "-c", MEASURE, str(out)], capture_output=True, text=True, check=True)
        print({name: round(value, 3) for name, value in json.loads(result.stdout).items()})


if __name__ == "__main__":
    main()
