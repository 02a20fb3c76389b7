"""Lakes of any number of windows, made of the few that are there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from benchmarks.settings import GROUP
from eegzarr.store.dataset import write_dataset
from eegzarr.store.group import stored_geometry
from eegzarr.store.layout import COMPLETE, create_eeg, open_store
from eegzarr.store.root import settle
from eegzarr.store.shard import encode_shard, put


def repeat_lake(lake: Path, out: Path, windows: int, *, linked: bool = True) -> None:
    """Make a lake of many windows from one of few.

    Its shards all hold the first windows of `lake`; where these are too few they come again, as its
    labels do.

    Parameters
    ----------
    lake, out : Path
    windows : int
    linked : bool
        Make the shards hard links to one, which takes little disk; else copies.
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
    for variable in large.variables.values():
        variable.encoding = {}
    write_dataset(store, GROUP, large)
    node.attrs.update({**labels.attrs, "status": COMPLETE})
    stored = zarr.open_array(lake / GROUP / "eeg", mode="r")
    first = np.asarray(stored[: geometry.windows_per_shard])
    shard = first[np.resize(np.arange(len(first)), geometry.windows_per_shard)]
    keys = [f"{GROUP}/eeg/{geometry.shard_key(n)}" for n in range(-(-windows // geometry.windows_per_shard))]
    put(str(out), keys[0], encode_shard(shard, geometry))
    for key in keys[1:]:
        (out / key).parent.mkdir(parents=True)
        (os.link if linked else shutil.copyfile)(out / keys[0], out / key)
    settle(str(out), GROUP)
