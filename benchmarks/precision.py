"""What a type and a codec cost and bring: size, error, streaming speed and test score.

python -m benchmarks.precision LAKE --out DIR [--recipe challenge1] [--seeds 3] [--epochs 6]

LAKE is a float32 lake. Its signals are written again with each type and codec, and streamed in turns. Scores depend
on the type alone, as every codec is lossless: runs of the same seeds on both types, which give the same windows.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import zarr

from benchmarks.ablation import run_of
from benchmarks.measure import progress, table
from eegzarr.store.group import stored_geometry
from eegzarr.store.integers import round_to
from eegzarr.store.layout import EEG, Geometry, create_eeg, open_store
from eegzarr.store.open import open_windows, recipes
from eegzarr.store.receipt import Rounding, max_rounding
from eegzarr.store.root import consolidate
from eegzarr.store.shard import encode_shard, put
from eegzarr.stream.stream import WindowStream
from eegzarr.train.options import FitOptions

TURNS = 5
DTYPES = ("float32", "float16", "int16")
CODECS = (("lz4", 5, "bitshuffle"), ("lz4", 5, "shuffle"), ("zstd", 1, "bitshuffle"), ("zstd", 5, "shuffle"))


@dataclass(frozen=True)
class Recoded:
    """A copy of a lake in another type and codec."""

    lake: Path
    nbytes: int
    decoded_nbytes: int
    rounding: Rounding


def recode(
    lake: Path, group: str, out: Path, dtype: str, codec: tuple[str, int, str], step: float | None = None
) -> Recoded:
    """Copy a group with its signals in another type, step and codec; all else stays, also its checksums."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(lake / group, out / group, ignore=lambda folder, names: ["c"] if Path(folder).name == EEG else [])
    signals = zarr.open_array(lake / group / EEG, mode="r")
    assert signals.dtype.kind == "f"
    stored = stored_geometry(str(lake), group)
    assert stored is not None
    cname, clevel, shuffle = codec
    shard_size = stored.windows_per_shard * stored.window_bytes
    geometry = replace(
        Geometry.of(stored.n_channels, stored.n_times, dtype, shard_size, step=step),
        cname=cname,
        clevel=clevel,
        shuffle=shuffle,
    )
    store = open_store(str(out))
    node = zarr.open_group(store, mode="a", zarr_format=3, use_consolidated=False).require_group(group)
    create_eeg(node, signals.shape[0], geometry)
    nbytes, rounding = 0, Rounding()
    for shard, first in enumerate(range(0, signals.shape[0], geometry.windows_per_shard)):
        windows = np.asarray(signals[first : first + geometry.windows_per_shard])
        encoded = encode_shard(windows, geometry)
        put(str(out), f"{group}/{EEG}/{geometry.shard_key(shard)}", encoded)
        nbytes += len(encoded)
        if dtype == "float16":
            rounding = max_rounding(rounding, Rounding.of(windows))
        elif geometry.step:
            rounding = max_rounding(rounding, round_to(windows.copy(), geometry.step)[1])
    consolidate(store, has_lock=True)
    return Recoded(out, nbytes, signals.size * geometry.itemsize, rounding)


@dataclass(frozen=True)
class Speed:
    """One turn of streaming: windows/s, and CPU time of all threads in microseconds a window, whatever else runs."""

    rate: float
    cpu: float


def stream(lakes: dict[str, Recoded], recipe: str) -> dict[str, list[Speed]]:
    """Stream every lake, shuffled and from the page cache, in turns; the first turn isn't counted."""
    streams = {
        name: WindowStream(open_windows(made.lake, recipe), batch_size=128, shuffle=True, seed=0)
        for name, made in lakes.items()
    }
    speeds: dict[str, list[Speed]] = {name: [] for name in lakes}
    for turn in range(TURNS + 1):
        for name, windows in streams.items():
            count, began, cpu = 0, time.perf_counter(), time.process_time()
            for epoch in range(15):
                windows.set_epoch(epoch)
                count += sum(len(x) for x, _ in windows)
            if turn:
                wall, used = time.perf_counter() - began, time.process_time() - cpu
                speeds[name].append(Speed(count / wall, used / count * 1e6))
    return speeds


def _median(values: list[float], form: str) -> str:
    if not values:
        return ""
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def scores(lake: Path, arguments: argparse.Namespace, out: Path) -> list[float]:
    """Return the test NRMSE of each seed."""
    plain = FitOptions(lake=str(lake), recipe=arguments.recipe, epochs=arguments.epochs, threads=1)
    runs = [run_of(replace(plain, seed=seed), out / f"{lake.stem}-{seed}") for seed in range(arguments.seeds)]
    return [run.read_json(run.summary)["scores"]["test"]["nrmse"] for run in runs]


def main() -> None:
    """Write the lakes, stream them, train on both types, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=Path, metavar="LAKE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="challenge1")
    parser.add_argument("--seeds", type=int, default=3, help="0: don't train")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--only-train", action="store_true", help="don't stream")
    arguments = parser.parse_args()
    group = f"{arguments.recipe}/{recipes(arguments.lake)[arguments.recipe][0]}"
    lakes = {}
    for dtype in DTYPES:
        for codec in CODECS:
            name = f"{dtype}-{'-'.join(map(str, codec))}"
            lakes[name] = recode(arguments.lake, group, arguments.out / f"{name}.zarr", dtype, codec)
            progress(f"{name}: {lakes[name].nbytes / 1e6:,.1f} MB")
    speeds = {} if arguments.only_train else stream(lakes, arguments.recipe)
    reached = {
        dtype: scores(lakes[f"{dtype}-lz4-5-bitshuffle"].lake, arguments, arguments.out / "runs") for dtype in DTYPES
    }
    rows = []
    for name, made in lakes.items():
        dtype, cname, clevel, shuffle = name.split("-")
        speed = speeds.get(name, [])
        rows.append(
            [
                dtype,
                f"{cname} {clevel}, {shuffle}",
                f"{made.nbytes / 1e6:,.1f}",
                f"{made.decoded_nbytes / made.nbytes:.2f}",
                _median([turn.rate for turn in speed], ",.0f"),
                _median([turn.cpu for turn in speed], ".1f"),
                f"{made.rounding.relative:.2g}, {made.rounding.absolute:.2g} uV",
                ", ".join(f"{score:.4f}" for score in reached[dtype]) if (cname, shuffle) == CODECS[0][::2] else "",
            ]
        )
    print(
        table(
            ["type", "codec", "MB", "ratio", "windows/s", "CPU, us a window", "largest errors", "test NRMSE by seed"],
            rows,
        )
    )


if __name__ == "__main__":
    main()
