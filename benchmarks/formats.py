"""The same windows in every format that `benchmarks.readers` reads.

python -m benchmarks.formats SOURCE FOLDER     # writes those that aren't there

The workers of the builds import this module: what some formats alone need is imported where it is used.
"""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

import eegzarr
from benchmarks.environments import environment
from benchmarks.measure import progress
from benchmarks.settings import GROUP, RECORDINGS
from eegzarr.build.workers.ahead import imported_ahead
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.cut.api import cut_lake


def _write_lake(source: Path, out: Path) -> None:
    dtype, _, compression = out.stem.partition("-")
    storage: dict[str, Any] = {"dtype": dtype, "compression": compression or "lz4"}
    eegzarr.build_lake(source, out, recipe=CHALLENGE1, workers=1, **storage)


def _write_cut(source: Path, out: Path) -> None:
    """Whole recordings as integers, and the windows that are cut from them."""
    eegzarr.build_lake(source, out, recipe="continuous", workers=1, dtype="int16")
    cut_lake(out, CHALLENGE1)


def _stored(folder: Path) -> np.ndarray:
    return np.asarray(zarr.open_array(folder / "float32.zarr" / GROUP / "eeg", mode="r")[:])


def _write_memmap(source: Path, out: Path) -> None:
    np.save(out, _stored(out.parent))


def _write_labels(source: Path, out: Path) -> None:
    """Write what tells how well an order mixes."""
    labels = xr.open_zarr(out.parent / "float32.zarr", group=GROUP)
    np.savez(out, recording=labels["recording"].to_numpy(), target=labels["target"].to_numpy())


def _write_lmdb(source: Path, out: Path) -> None:
    import lmdb

    windows = _stored(out.parent)
    environment = lmdb.open(str(out), map_size=4 * windows.nbytes)
    with environment.begin(write=True) as transaction:
        for index, window in enumerate(windows):
            transaction.put(str(index).encode(), pickle.dumps({"sample": window, "label": 0.0}))
    environment.close()


def _write_hdf5(source: Path, out: Path) -> None:
    import h5py
    import hdf5plugin

    windows = _stored(out.parent)
    alone = {"chunks": (1, *windows.shape[1:])}
    gzip = {"compression": "gzip", "compression_opts": 4}
    options = {
        "gzip.h5": gzip,  # chunks as h5py guesses them
        "one.h5": gzip | alone,
        "blosc.h5": {**hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=2)} | alone,
    }[out.name]
    with h5py.File(out, "w") as file:
        file.create_dataset("eeg", data=windows, **options)


def _write_braindecode(source: Path, out: Path) -> None:
    """Windows of some recordings as braindecode saves them."""
    from benchmarks.build_ways import annotated_recordings, braindecode_windows

    out.mkdir()
    braindecode_windows(_some(annotated_recordings(source))).save(str(out))


def _write_hub(source: Path, out: Path) -> None:
    """The same in the Zarr of braindecode's hub, expanded by one epoch."""
    from benchmarks.build_ways import annotated_recordings, braindecode_windows, stored_windows

    braindecode_windows(_some(annotated_recordings(source)))._convert_to_zarr_inline(out, "blosc", 5)
    expanded = stored_windows("hub", out)
    for index in range(len(expanded)):
        expanded[index]


def _write_auto(source: Path, out: Path) -> None:
    """MNE's cache of the same recordings, decoded, which one epoch fills; where the recordings are."""
    from benchmarks.build_ways import automatic_windows

    out.mkdir()
    (out / "source").symlink_to(source.resolve())
    windows = automatic_windows(out)
    for index in range(len(windows)):
        windows[index]


def _some(recordings: Iterator[Any]) -> list[Any]:
    return list(islice(recordings, RECORDINGS))


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    # Lakes come from the source; most others from the float32 lake, so that all hold the same windows.
    "float32.zarr": _write_lake,
    "float16.zarr": _write_lake,
    "float32-none.zarr": _write_lake,
    "float16-none.zarr": _write_lake,
    "int16.zarr": _write_lake,
    "cut.zarr": _write_cut,
    "memmap.npy": _write_memmap,
    "labels.npz": _write_labels,
    "lmdb": _write_lmdb,
    "gzip.h5": _write_hdf5,
    "one.h5": _write_hdf5,
    "blosc.h5": _write_hdf5,
    "braindecode": _write_braindecode,
    "hub.zarr": _write_hub,
    "auto": _write_auto,
}


def write_formats(source: Path, folder: Path) -> None:
    """Write every format that isn't in the folder; peers', where they are installed."""
    from benchmarks.peers import WRITERS as PEERS

    folder.mkdir(parents=True, exist_ok=True)
    with imported_ahead():
        for name, write in WRITERS.items():
            _write_once(folder / name, partial(write, source))
    for peer in PEERS:
        if python := environment(peer).python:
            try:
                _write_once(folder / peer, partial(_write_peer, python, source))
            except subprocess.CalledProcessError as failed:
                shutil.rmtree(folder / peer, ignore_errors=True)
                progress(f"{peer} failed:\n{failed.stderr}")


def _write_once(out: Path, write: Callable[[Path], None]) -> None:
    # A stamp tells that it is whole: what is there may have been broken off.
    stamp = out.with_name(f"{out.name}.done")
    if stamp.exists():
        return
    progress(f"writing {out.name}")
    if out.is_dir():
        shutil.rmtree(out)
    write(out)
    stamp.touch()


def _write_peer(python: Path, source: Path, out: Path) -> None:
    paths = map(str, (source, out.with_name("memmap.npy"), out))
    command = [str(python), "-m", "benchmarks.peers", out.name, *paths]
    subprocess.run(command, capture_output=True, text=True, check=True)


def main() -> None:
    """Write them."""
    import mne

    warnings.filterwarnings("ignore")
    mne.set_log_level("error")
    write_formats(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
