"""The sweep that chose the geometry and the codec: size, and speed of writing, streaming and plain reading.

python -m benchmarks.sweep LAKE [--windows 2048] [--repeat 3] [--seconds 1]

Windows of LAKE (group challenge1/R1) are written anew in each variant; the variants take turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

import eegzarr
from benchmarks.measure import middle, progress, table
from benchmarks.settings import GROUP
from eegzarr.store.dataset import write_dataset
from eegzarr.store.layout import COMPLETE, EEG, Geometry, create_eeg, open_store
from eegzarr.store.reading.compiled import compile_loops
from eegzarr.store.root import settle
from eegzarr.store.shard import encode_shard, put
from eegzarr.train import WindowStream

MIB = 2**20
CODECS = (
    ("lz4", 5, "bitshuffle"),
    ("lz4", 5, "shuffle"),
    ("lz4hc", 5, "bitshuffle"),
    ("zstd", 1, "bitshuffle"),
    ("zstd", 1, "shuffle"),
    ("zstd", 5, "shuffle"),
    ("lz4", 0, "noshuffle"),
)


def variants(n_channels: int, n_times: int) -> dict[str, Geometry]:
    """Return what is compared: codecs at the default geometry, then geometries with the default codec."""
    compared = {}
    for dtype in ("float32", "float16", "int16"):
        default = Geometry.of(n_channels, n_times, dtype)
        for cname, clevel, shuffle in CODECS:
            name = f"{dtype}, {cname}-{clevel}, {shuffle}" if clevel else f"{dtype}, uncompressed"
            compared[name] = dataclasses.replace(default, cname=cname, clevel=clevel, shuffle=shuffle)
    default = Geometry.of(n_channels, n_times)
    for windows in (1, 8, 128):
        shard = max(1, default.windows_per_shard // windows) * windows
        name = f"float32, {windows} windows a frame"
        compared[name] = dataclasses.replace(default, windows_per_frame=windows, windows_per_shard=shard)
    for mib in (8, 256):
        compared[f"float32, shards of {mib} MiB"] = Geometry.of(n_channels, n_times, shard_size=mib * MIB)
    return compared


def write(windows: npt.NDArray[np.float32], labels: xr.Dataset, geometry: Geometry, lake: Path) -> int:
    """Write windows as a lake; return its bytes."""
    store = open_store(str(lake))
    node = zarr.open_group(store, mode="a", zarr_format=3).create_group(GROUP)
    create_eeg(node, len(windows), geometry)
    write_dataset(store, GROUP, labels)
    node.attrs.update({**labels.attrs, "status": COMPLETE})
    size = 0
    for shard in range(-(-len(windows) // geometry.windows_per_shard)):
        part = windows[shard * geometry.windows_per_shard : (shard + 1) * geometry.windows_per_shard]
        encoded = encode_shard(part, geometry)
        size += len(encoded)
        put(str(lake), f"{GROUP}/{EEG}/{geometry.shard_key(shard)}", encoded)
    settle(str(lake), GROUP)
    return size


def encoding_cpu(windows: npt.NDArray[np.float32], geometry: Geometry) -> float:
    """Processor time of encoding the first shard, in µs a window, which hardly depends on what else runs."""
    first = windows[: geometry.windows_per_shard]
    began = time.process_time()
    encode_shard(first, geometry)
    return 1e6 * (time.process_time() - began) / len(first)


def streamed(stream: WindowStream, seconds: float) -> dict[str, float]:
    """Measure an epoch, in which every frame is checked, and whole epochs after it."""
    began = time.process_time()
    first = sum(len(y) for _, y in stream)
    first_cpu = time.process_time() - began
    count, epoch, began, cpu = 0, 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        epoch += 1
        stream.set_epoch(epoch)
        count += sum(len(y) for _, y in stream)
    return {
        "streamed": count / (time.perf_counter() - began),
        "stream_cpu_us": 1e6 * (time.process_time() - cpu) / count,
        "first_cpu_us": 1e6 * first_cpu / first,
    }


def read_plainly(lake: Path) -> float:
    """Windows a second of reading everything through xarray and zarr-python."""
    began = time.perf_counter()
    eeg = xr.open_zarr(lake, group=GROUP, chunks=None)["eeg"].to_numpy()
    return len(eeg) / (time.perf_counter() - began)


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=Path)
    parser.add_argument("--windows", type=int, default=2048)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    compile_loops()  # as long streams do, and once for all variants
    part = xr.open_zarr(arguments.lake, group=GROUP, chunks=None).isel(window=slice(arguments.windows))
    windows = part["eeg"].to_numpy()
    labels = part.drop_vars("eeg").load()
    for variable in labels.variables.values():
        variable.encoding = {}
    columns: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="eegzarr-bench-") as scratch:
        compared = variants(*windows.shape[1:])
        for number, (name, geometry) in enumerate(compared.items()):
            progress(f"writing {name}")
            size = write(windows, labels, geometry, Path(scratch) / str(number))
            columns[name] = {"ratio": [windows.nbytes / size]}
        for turn in range(arguments.repeat):
            progress(f"turn {turn + 1} of {arguments.repeat}")
            for number, (name, geometry) in enumerate(compared.items()):
                lake = Path(scratch) / str(number)
                stream = WindowStream(
                    eegzarr.open_windows(lake, "challenge1"), 128, shuffle="global", dtype=geometry.dtype
                )
                figures = {
                    "encode_cpu_us": encoding_cpu(windows, geometry),
                    **streamed(stream, arguments.seconds),
                    "read": read_plainly(lake),
                }
                for figure, value in figures.items():
                    columns[name].setdefault(figure, []).append(value)
    header = ["variant", "times smaller than float32", "encoding, CPU µs a window", "streamed, windows/s"]
    header += ["streaming, CPU µs a window", "in the first epoch", "read through xarray, windows/s"]
    shown = ("encode_cpu_us", "streamed", "stream_cpu_us", "first_cpu_us", "read")
    rows = [
        [name, f"{measured['ratio'][0]:.3f}", *(middle(measured[figure]) for figure in shown)]
        for name, measured in columns.items()
    ]
    print(table(header, rows), end="")


if __name__ == "__main__":
    main()
