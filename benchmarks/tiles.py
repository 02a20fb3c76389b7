"""What it costs to cut windows from whole recordings instead of storing them: seconds, disk, and windows a second.

python -m benchmarks.tiles SOURCE --out DIR [--turns 3] [--seconds 1] [--windows 8192] [--bucket 0 30]

SOURCE is a BIDS folder in the manner of HBN-EEG. DIR gets a lake of whole recordings with both challenges cut from
them, a lake of stored windows of both as integers, and one of challenge 1 as float32; a later run uses them again. Then
readers of shuffled batches of 128 take turns, challenge 2 with random crops of 2 s out of its windows of 4 s. "Cold" is
an epoch after the kernel was told to drop the lake's pages, from its first batch on. With --bucket they stream from S3
on loopback in place of the disk, an epoch a turn, each answer after so many ms.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

import eegzarr
from benchmarks.bucket import BUCKET, CREDENTIALS
from benchmarks.measure import forget_pages, from_first_batch, progress, table
from benchmarks.served import served
from eegzarr.cut.api import cut_lake
from eegzarr.store.describe import describe_lake
from eegzarr.store.kinds import Dtype
from eegzarr.store.reading.compiled import compile_loops
from eegzarr.stream import WindowStream

WHOLE, STORED, FLOATS = "whole.zarr", "stored.zarr", "floats.zarr"
RECIPES = ("challenge1", "challenge2")


@dataclass(frozen=True)
class Made:
    """A group that was made: in how many seconds, and how large it is."""

    name: str
    seconds: float
    windows: int
    samples: int
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Something that gives batches, and what it is compared with."""

    name: str
    lake: str
    recipe: str
    base: str
    shuffle: str = "global"
    options: tuple[tuple[str, Any], ...] = ()

    def stream(self, out: Path | str, windows: int) -> WindowStream:
        """Open it anew."""
        ds = eegzarr.open_windows(f"{out}/{self.lake}", self.recipe)
        ds = ds.isel(window=slice(0, windows))
        return WindowStream(ds, 128, shuffle=self.shuffle, target=None, **dict(self.options))  # type: ignore[arg-type]


CROP = (("crop", "2s"), ("random_crop", True))
ANYWHERE = (("crop", "2s"), ("anywhere", True))
READERS = (
    Reader(name="challenge 1, float32, stored", lake=FLOATS, recipe="challenge1", base="challenge 1, stored"),
    Reader(name="challenge 1, stored", lake=STORED, recipe="challenge1", base="challenge 1, stored"),
    Reader(name="challenge 1, cut", lake=WHOLE, recipe="challenge1", base="challenge 1, stored"),
    Reader(name="challenge 2, stored", lake=STORED, recipe="challenge2", base="challenge 2, stored", options=CROP),
    Reader(name="challenge 2, cut", lake=WHOLE, recipe="challenge2", base="challenge 2, stored", options=CROP),
    Reader(
        name="challenge 2, stored, blocks",
        lake=STORED,
        recipe="challenge2",
        base="challenge 2, stored",
        shuffle="block",
        options=CROP,
    ),
    Reader(
        name="challenge 2, cut, blocks",
        lake=WHOLE,
        recipe="challenge2",
        base="challenge 2, stored",
        shuffle="block",
        options=CROP,
    ),
    Reader(
        name="anywhere in whole recordings",
        lake=WHOLE,
        recipe="continuous",
        base="challenge 2, stored",
        options=ANYWHERE,
    ),
)


def prepare(source: Path, out: Path) -> list[Made]:
    """Make the lakes, as far as they aren't there; return what each group took."""
    note = out / "made.json"
    if note.exists():
        return [Made(**one) for one in json.loads(note.read_text())]
    made = []

    def build(lake: str, recipe: str, dtype: Dtype) -> None:
        progress(f"{lake}: {recipe}, {dtype}")
        made.append(
            _timed(out / lake, recipe, lambda: eegzarr.build_lake(source, out / lake, recipe=recipe, dtype=dtype))
        )

    build(WHOLE, "continuous", "int16")
    for recipe in RECIPES:
        progress(f"{WHOLE}: {recipe}, cut")
        made.append(_timed(out / WHOLE, recipe, lambda recipe=recipe: cut_lake(out / WHOLE, recipe)))  # type: ignore[misc]
        build(STORED, recipe, "int16")
    build(FLOATS, "challenge1", "float32")
    out.mkdir(exist_ok=True)
    note.write_text(json.dumps([vars(one) for one in made]))
    return made


def _timed(lake: Path, recipe: str, make: Callable[[], object]) -> Made:
    began = time.perf_counter()
    make()
    seconds = time.perf_counter() - began
    (group,) = [one for one in describe_lake(lake) if one.recipe == recipe]
    files = sum(file.stat().st_size for file in (lake / group.group).rglob("*") if file.is_file())
    ds = eegzarr.open_windows(lake, recipe)
    samples = int(np.prod(ds.eeg.shape))
    return Made(f"{lake.name}, {recipe}", seconds, ds.sizes["window"], samples, files)


def measured(reader: Reader, out: Path, windows: int, seconds: float) -> tuple[float, float, float]:
    """Return windows/s of whole epochs warm, windows a second of processor time, and windows/s cold."""
    forget_pages([out / reader.lake])
    stream = reader.stream(out, windows)
    cold = from_first_batch(stream)
    return *_rates(stream, seconds), cold


def measured_in_bucket(reader: Reader, windows: int) -> tuple[float, float]:
    """Return windows/s of the first epoch from a bucket, after its first batch, and of processor time."""
    stream, cpu = replace(reader, shuffle="block").stream(f"s3://{BUCKET}", windows), time.process_time()
    rate = from_first_batch(stream)
    return rate, len(stream) * stream.batch_size / (time.process_time() - cpu)


def _rates(stream: WindowStream, seconds: float) -> tuple[float, float]:
    count, began, cpu = 0, time.perf_counter(), time.process_time()
    while not count or time.perf_counter() - began < seconds:
        for batch in stream:
            count += len(batch)
    return count / (time.perf_counter() - began), count / (time.process_time() - cpu)


def main() -> None:
    """Make the lakes, stream them in turns, and print two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="that a reader streams warm in a turn")
    parser.add_argument("--windows", type=int, default=8192, help="that are read of each recipe")
    parser.add_argument("--bucket", type=int, nargs="*", default=(), metavar="MS", help="stream from S3 on loopback")
    arguments = parser.parse_args()
    made = prepare(arguments.source, arguments.out)
    rows = [
        [
            one.name,
            f"{one.seconds:.1f}",
            f"{one.windows:,}",
            f"{one.samples / one.seconds / 1e6:,.0f}",
            f"{one.nbytes / 1e6:,.1f}",
        ]
        for one in made
    ]
    print(table(["group", "seconds", "windows", "million samples a second", "MB"], rows))
    compile_loops()  # as long streams do, and once for all readers
    for delay in arguments.bucket:
        os.environ.update(CREDENTIALS)
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # of the server before
        with served(arguments.out, BUCKET, delay / 1000) as os.environ["AWS_ENDPOINT_URL"]:
            there = [reader for reader in READERS if reader.shuffle == "global"]
            runs: dict[str, list[tuple[float, ...]]] = {reader.name: [] for reader in there}
            for _ in range(arguments.turns):
                for reader in there:
                    runs[reader.name].append(measured_in_bucket(reader, arguments.windows))
        header = [f"reader, {delay} ms away"]
        for kind in ("windows/s", "windows/s of processor time"):
            header += [kind, "times stored int16"]
        print(table(header, [_row(reader, runs) for reader in there]))
    if arguments.bucket:
        return
    turns: dict[str, list[tuple[float, ...]]] = {reader.name: [] for reader in READERS}
    for turn in range(arguments.turns):
        progress(f"turn {turn + 1} of {arguments.turns}")
        for reader in READERS:
            turns[reader.name].append(measured(reader, arguments.out, arguments.windows, arguments.seconds))
    header = ["reader"]
    for kind in ("warm, windows/s", "warm, windows/s of processor time", "cold, windows/s"):
        header += [kind, "times stored int16"]
    print(table(header, [_row(reader, turns) for reader in READERS]))


def _row(reader: Reader, turns: dict[str, list[tuple[float, ...]]]) -> list[str]:
    own, base = turns[reader.name], turns[reader.base]
    cells = [reader.name]
    for place in range(len(own[0])):
        values = [one[place] for one in own]
        times = statistics.median(a[place] / b[place] for a, b in zip(own, base, strict=True))
        cells += [f"{statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})", f"{times:.2f}"]
    return cells


if __name__ == "__main__":
    main()
