"""Reads lakes that somebody has tampered with: ``python hostile.py LAKE --examples N [--minutes M] [--seed S]``.

A process of its own, since what this looks for are crashes, hangs, and memory beyond a lake's size: the decoder's input
ends right before a page that nobody may touch, memory is limited, and every example has an alarm. What eegzarr reads
must come out, or an error of eegzarr's; anything else ends this with the example that shows it.
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import faulthandler
import json
import mmap
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numcodecs
import numpy as np
import numpy.typing as npt
import zarr
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tampering import mutated, mutated_json, resealed, zstd_bomb

import eegzarr
from eegzarr.build.group import look_at
from eegzarr.build.summary import summarize
from eegzarr.errors import EegzarrError
from eegzarr.store.crc import crc32c
from eegzarr.store.describe import describe_lake
from eegzarr.store.engine import LakeEntrypoint
from eegzarr.store.layout import Geometry, create_eeg
from eegzarr.store.open import open_recordings, recipes
from eegzarr.store.private import blosc_address
from eegzarr.store.reading import compiled
from eegzarr.store.reading.checked import checked_frame, decode_frame, read_index
from eegzarr.store.reading.local import LocalReader
from eegzarr.store.reading.loops import Loops
from eegzarr.store.reading.read import WindowDecoder
from eegzarr.store.receipt import Receipt
from eegzarr.store.shard import encode_frame, encode_shard
from eegzarr.store.tiles.gather import TileGatherer
from eegzarr.store.verify import verify_lake

MEMORY = 2**29  # bytes beyond what the process has when it begins
ADDRESSES = 2**32  # bytes that may be asked for, and are never touched: a text's decoder believes its header's count
PATIENCE = 120  # s for an example: an hour of a hang, not a busy machine
GROUP = "challenge1/R1"
LOOPS = Loops(blosc_address())
counts: Counter[str] = Counter()


class Hang(BaseException):
    """An example took too long."""


class Wrong(AssertionError):
    """What eegzarr did isn't what it promises."""


def _rings(*_: object) -> None:
    raise Hang


@contextmanager
def promised(kind: str) -> Iterator[None]:
    """Fail unless what is inside the ``with`` ends with a result or an error of eegzarr's, in time and memory."""
    counts[kind] += 1
    signal.alarm(PATIENCE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except EegzarrError:
        counts[f"{kind}: refused"] += 1
    except Hang:
        raise Wrong(f"{kind} hangs") from None
    finally:
        signal.alarm(0)
    if _peak() - peak_before > MEMORY:
        raise Wrong(f"{kind} took {(_peak() - peak_before) / 2**20:.0f} MiB")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


peak_before = 2**62


# Frames and shards, decoded by compiled code


class Guarded:
    """Memory whose last byte is followed by a page that nobody may touch: reading past an end is a crash."""

    def __init__(self, size: int) -> None:
        self._size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(-1, self._size + mmap.PAGESIZE)
        self._bytes = np.frombuffer(self._memory, np.uint8)
        library = ctypes.CDLL(None)
        address = self._bytes.ctypes.data + self._size
        assert library.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0

    def holding(self, content: bytes) -> npt.NDArray[np.uint8]:
        """Return an array of the content, right before the page."""
        held = self._bytes[self._size - len(content) : self._size]
        held[:] = np.frombuffer(content, np.uint8)
        return held

    def room(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Return an array of a size, right before the page."""
        return self._bytes[self._size - nbytes : self._size]


GEOMETRIES = [
    Geometry(n_channels=3, n_times=times, dtype=dtype, windows_per_frame=4, windows_per_shard=12, **kind)
    for times, dtype, kind in [
        (40, "float32", {"shuffle": "bitshuffle"}),
        (40, "float16", {"shuffle": "shuffle"}),
        (50, "float32", {"cname": "zstd", "shuffle": "shuffle"}),
        (40, "float32", {"clevel": 0, "shuffle": "noshuffle"}),
        (4000, "float32", {"shuffle": "bitshuffle"}),
        (40, "int16", {"shuffle": "bitshuffle", "step": 0.05}),
        (50, "int16", {"clevel": 0, "shuffle": "noshuffle", "step": 0.05}),
    ]
]


def _windows(geometry: Geometry, count: int) -> npt.NDArray:
    shape = (count, geometry.n_channels, geometry.n_times)
    return np.random.default_rng(0).normal(0, 20, shape).round(1).astype(geometry.dtype)


_FRAMES = [encode_frame(_windows(geometry, 4), geometry) for geometry in GEOMETRIES]
_WHOLE = [  # as another program writes them: several blocks of Blosc's own choice
    bytes(numcodecs.Blosc(g.cname, g.clevel, g.shuffle_code, 256).encode(_windows(g, 4))) for g in GEOMETRIES
]


def frames(data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(GEOMETRIES) - 1))
    geometry = GEOMETRIES[which]
    body = data.draw(mutated(data.draw(st.sampled_from([_FRAMES[which], _WHOLE[which], _FRAMES[which][:64]]))))
    if data.draw(st.booleans()):  # its own length is right
        body = body[:12] + struct.pack("<I", len(body)) + body[16:]
    stored = source.holding(body + struct.pack("<I", crc32c(body)))
    for whole in (True, False):
        with promised("frame"):
            frame = checked_frame(stored, len(stored), geometry, "frame 0")
            if whole:
                rows = target.room(4 * geometry.window_bytes).view(geometry.dtype)
                decode_frame(frame, rows.reshape(4, geometry.n_channels, geometry.n_times), "frame 0", 0)
            elif frame.bounds is not None:
                row = target.room(geometry.window_bytes)
                for slot in range(4):
                    address = np.array([frame.address + frame.bounds[slot]], np.int64)
                    LOOPS.decode(address, row.reshape(1, -1))


def _tampered_shard(data: st.DataObject) -> tuple[Path, Geometry, bytes]:
    which = data.draw(st.integers(0, len(GEOMETRIES) - 1))
    geometry = GEOMETRIES[which]
    lake, encoded = made[which]
    kind = data.draw(st.sampled_from(["any", "index"]))
    if kind == "any":
        content = data.draw(mutated(encoded))
    else:
        index = (data.draw(mutated(encoded[-52:-4])) + bytes(48))[:48]
        content = encoded[:-52] + index + struct.pack("<I", crc32c(index))
    path = lake / GROUP / "eeg" / geometry.shard_key(0)
    path.write_bytes(content)
    return lake, geometry, content


def shards(data: st.DataObject) -> None:
    lake, geometry, content = _tampered_shard(data)
    compiled._made[:] = [data.draw(st.sampled_from([LOOPS, None]))]
    with promised("shard"):
        reader = LocalReader(str(lake), GROUP)
        out = np.empty((10, geometry.n_channels, geometry.n_times), geometry.dtype)
        for window in data.draw(st.permutations(range(10))):
            WindowDecoder([reader]).decode(np.zeros(1, np.int32), np.array([window]), out[window : window + 1])
    with promised("index"):
        read_index(content[-52:], geometry, "shard 0")


def tiles(data: st.DataObject) -> None:
    lake, geometry, _ = _tampered_shard(data)
    compiled._made[:] = [data.draw(st.sampled_from([LOOPS, None]))]
    n_times = data.draw(st.sampled_from([1, geometry.n_times, 2 * geometry.n_times + 3]))
    last = 10 * geometry.n_times - n_times
    positions = np.array(data.draw(st.lists(st.integers(0, last), min_size=1, max_size=12)), np.int64)
    for dtype in {geometry.dtype, "float32"}:
        out = np.empty((len(positions), 2, n_times), dtype)
        with promised("tiles"):
            TileGatherer(LocalReader(str(lake), GROUP)).gather(positions, np.array([2, 0]), out)


def receipts(data: st.DataObject) -> None:
    text = data.draw(mutated_json(receipt_text.encode())).decode(errors="replace")
    with promised("receipt"), suppress(Exception):
        Receipt.from_json(text)


# Metadata, labels and tables


def _everything(lake: Path, recipe: str) -> None:
    windows = eegzarr.open_windows(lake, recipe)
    for name in windows.variables:
        if name != "eeg":
            windows[name].to_numpy()
    windows["eeg"][:1].to_numpy()
    windows["eeg"][-1:].to_numpy()


def _streamed(lake: Path, recipe: str) -> None:
    from eegzarr.stream import WindowStream

    scales = {"normalize": "robust" if recipe == "continuous" else "channel"}
    stream = WindowStream(eegzarr.open_windows(lake, recipe), batch_size=16, threads=1, target=None, **scales)
    next(iter(stream))


READERS: dict[str, Callable[[Path, str], object]] = {
    "open_windows": _everything,
    "engine": lambda lake, name: LakeEntrypoint().open_dataset(lake, group=f"{name}/R1")["eeg"][:1].to_numpy(),
    "engine of a URL": lambda lake, name: (
        LakeEntrypoint().open_dataset(f"file://{lake}", group=f"{name}/R1")["eeg"][:1].to_numpy()
    ),
    "open_recordings": lambda lake, name: open_recordings(lake, name, "R1").load(),
    "cut": lambda lake, name: eegzarr.cut(lake, "challenge1")["eeg"][:1].to_numpy(),
    "open_split": lambda lake, name: eegzarr.open_split(lake, "challenge1", "paper"),
    "verify": lambda lake, name: verify_lake(lake),
    "describe": lambda lake, name: describe_lake(lake),
    "recipes": lambda lake, name: recipes(lake),
    "look_at": lambda lake, name: look_at(str(lake), f"{name}/R1"),
    "summarize": lambda lake, name: summarize(str(lake), f"{name}/R1"),
}


def metadata(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(metadata_files))
    before = path.read_bytes()
    path.write_bytes(data.draw(mutated_json(before)))
    _read(path, before, data)


def splits(data: st.DataObject) -> None:
    path = lake / ".splits/challenge1/paper/zarr.json"
    before = path.read_bytes()
    path.write_bytes(resealed(data.draw(mutated_json(before))))
    try:
        with promised("open_split"):
            READERS["open_split"](lake, "challenge1")
    finally:
        path.write_bytes(before)


def chunks(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(chunk_files))
    before = path.read_bytes()
    kind = data.draw(st.sampled_from(["stored", "checked", "decoded", "bomb"]))
    if kind == "bomb":
        bomb = zstd_bomb(data.draw(st.sampled_from([2**17, 2**30, 2**36])), data.draw(st.sampled_from([1, 64, 2**13])))
        content = bomb + struct.pack("<I", crc32c(bomb))
    elif kind == "stored":
        content = data.draw(mutated(before))
    else:
        content = before[:-4]
        if kind == "decoded":
            content = bytes(numcodecs.Zstd(3).encode(data.draw(mutated(numcodecs.Zstd().decode(content)))))
        else:
            content = data.draw(mutated(content))
        content += struct.pack("<I", crc32c(content))
    path.write_bytes(content)
    _read(path, before, data)


def _read(path: Path, before: bytes, data: st.DataObject) -> None:
    try:
        name = data.draw(st.sampled_from(sorted(READERS)))
        recipe = path.relative_to(lake).parts[0]
        with promised(name):
            READERS[name](lake, recipe if (lake / recipe / "R1").is_dir() else "challenge1")
    finally:
        path.write_bytes(before)


def _made(folder: Path, geometry: Geometry) -> tuple[Path, bytes]:
    """Write a lake with signals alone; return its folder and its only shard."""
    group = zarr.open_group(folder, mode="w").require_group(GROUP)
    create_eeg(group, 10, geometry)
    encoded = encode_shard(_windows(geometry, 10), geometry)
    path = folder / GROUP / "eeg" / geometry.shard_key(0)
    path.parent.mkdir(parents=True)
    path.write_bytes(encoded)
    return folder, encoded


def _limited(command: argparse.Namespace) -> int:
    tests = {"frames": (frames, 40), "shards": (shards, 8), "receipts": (receipts, 8), "metadata": (metadata, 3)}
    tests |= {"chunks": (chunks, 2), "tiles": (tiles, 4), "splits": (splits, 1)}
    deadline = time.monotonic() + 60 * command.minutes
    chosen, found = command.only.split(",") if command.only else list(tests), 0
    turn = command.seed
    while True:
        for name in chosen:
            test, share = tests[name]
            run = settings(
                max_examples=command.examples * share,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate, Phase.shrink] if command.shrink else [Phase.generate],
                report_multiple_bugs=False,
            )(seed(turn)(given(st.data())(test)))
            try:
                run()
            except Exception:
                found += 1
                traceback.print_exc()
        turn += 1
        if time.monotonic() >= deadline:
            break
    print(json.dumps({"turns": turn - command.seed, "found": found, **counts}))
    return 1 if found else 0


parser = argparse.ArgumentParser()
parser.add_argument("lake", type=Path)
parser.add_argument("--examples", type=int, default=10)
parser.add_argument("--minutes", type=float, default=0)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--only", default="")
parser.add_argument("--shrink", action="store_true")

if __name__ == "__main__":
    command = parser.parse_args()
    faulthandler.enable()
    signal.signal(signal.SIGALRM, _rings)
    with tempfile.TemporaryDirectory() as folder:
        lake = Path(shutil.copytree(command.lake, Path(folder) / "lake.zarr"))
        metadata_files = sorted(lake.rglob("zarr.json"))
        chunk_files = [
            path
            for path in sorted(lake.rglob("*"))
            if path.is_file() and "c" in path.relative_to(lake).parts and "eeg" not in path.relative_to(lake).parts
        ]
        receipt_text = str(zarr.open_array(lake / GROUP / "shards/receipt", mode="r")[0])
        assert base64.b64decode(json.loads(receipt_text)["valid"])
        source, target = Guarded(2**20), Guarded(2**20)
        if command.minutes:  # PyTorch takes seconds to load
            READERS["stream"] = _streamed
            _streamed(lake, "challenge1")
        made = [_made(Path(folder) / f"made{number}", geometry) for number, geometry in enumerate(GEOMETRIES)]
        for name, read in READERS.items():
            print(name, file=sys.stderr)  # where it ends, should it
            read(lake, "continuous")  # what threads take is no part of the limit
        size = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
        resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESSES, size + ADDRESSES))
        peak_before = _peak()
        code = _limited(command)
    sys.exit(code)
