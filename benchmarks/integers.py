"""What integers of a step cost and bring beside floats: size, error, and streaming from memory and from the disk.

python -m benchmarks.integers LAKE --out DIR [--recipe challenge1] [--turns 5]

LAKE is a float32 lake. Its signals are written again in each type, step and codec, and take turns. Each gives batches
of 128 windows in random order, as float32 in uV, or as they are stored where the table says so. "Cold" is an epoch
after the kernel was told to drop the lake's pages, from its first batch on. Lakes that an earlier run has
written into DIR are used again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measure import forget_pages, from_first_batch, progress, table
from benchmarks.precision import Recoded, recode
from eegzarr.store.open import open_windows, recipes
from eegzarr.store.reading.compiled import compile_loops
from eegzarr.store.receipt import Rounding
from eegzarr.stream.stream import WindowStream

BITS, BYTES = ("lz4", 5, "bitshuffle"), ("lz4", 5, "shuffle")


@dataclass(frozen=True)
class Variant:
    """How samples are stored, and the type in which they are given."""

    dtype: str
    codec: tuple[str, int, str]
    step: float | None = None
    given: str = "float32"

    @property
    def stored(self) -> str:
        """What is stored, for people and for a folder's name."""
        return (
            f"{self.dtype}{f' {self.step:g} uV' if self.step else ''}, {self.codec[0]}-{self.codec[1]} {self.codec[2]}"
        )


VARIANTS = (
    Variant("float32", BITS),
    Variant("float16", BYTES),
    Variant("float16", BYTES, given="float16"),
    Variant("int16", BITS, 0.05),
    Variant("int16", BITS, 0.05, given="int16"),
    Variant("int16", BYTES, 0.05),
    Variant("int16", BYTES, 0.05, given="int16"),
    Variant("int16", ("zstd", 1, "bitshuffle"), 0.05),
    Variant("int16", ("zstd", 5, "shuffle"), 0.05),
    Variant("int16", BITS, 0.02),
    Variant("int16", BITS, 0.1),
)


@dataclass(frozen=True)
class Turn:
    """One turn of a variant: windows/s warm and cold, and CPU time of all threads in microseconds a window, warm."""

    warm: float
    cpu: float
    cold: float


def epochs(stream: WindowStream, seconds: float) -> tuple[float, float]:
    """Return windows/s and CPU time in microseconds a window of whole epochs, at least one."""
    count, began, cpu = 0, time.perf_counter(), time.process_time()
    while not count or time.perf_counter() - began < seconds:
        for batch in stream:
            count += len(batch)
    return count / (time.perf_counter() - began), 1e6 * (time.process_time() - cpu) / count


def measured(variant: Variant, lake: Path, recipe: str, seconds: float) -> Turn:
    """Measure a variant once."""

    def opened() -> WindowStream:
        return WindowStream(open_windows(lake, recipe), 128, shuffle="global", target=None, dtype=variant.given)

    forget_pages([lake])
    cold = from_first_batch(opened())
    stream = opened()
    epochs(stream, 0)
    warm, cpu = epochs(stream, seconds)
    return Turn(warm, cpu, cold)


def _written(variant: Variant, lake: Path, group: str, out: Path) -> Recoded:
    """Write a lake in a variant, or return what an earlier run has written."""
    folder = out / f"{variant.stored.replace(', ', '-').replace(' ', '-')}.zarr"
    note = folder.with_suffix(".json")
    if note.exists():
        told = json.loads(note.read_text())
        return Recoded(folder, told["nbytes"], told["decoded_nbytes"], Rounding(**told["rounding"]))
    made = recode(lake, group, folder, variant.dtype, variant.codec, variant.step)
    note.write_text(json.dumps({**asdict(made), "lake": str(folder)}))
    return made


def main() -> None:
    """Write the lakes, stream them in turns, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=Path, metavar="LAKE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="challenge1")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a variant streams warm in a turn")
    arguments = parser.parse_args()
    group = f"{arguments.recipe}/{recipes(arguments.lake)[arguments.recipe][0]}"
    made: dict[str, Recoded] = {}
    for variant in VARIANTS:
        if variant.stored not in made:
            made[variant.stored] = _written(variant, arguments.lake, group, arguments.out)
            progress(f"{variant.stored}: {made[variant.stored].nbytes / 1e6:,.1f} MB")
    compile_loops()  # as long streams do, and once for all variants
    turns: dict[Variant, list[Turn]] = {variant: [] for variant in VARIANTS}
    for turn in range(arguments.turns):
        progress(f"turn {turn + 1} of {arguments.turns}")
        for variant, own in turns.items():
            own.append(measured(variant, made[variant.stored].lake, arguments.recipe, arguments.seconds))
    header = ["stored as", "given as", "MB", "times smaller than float32", "largest error, uV"]
    header += ["warm, windows/s", "times float32", "CPU µs a window", "cold, windows/s", "times float32"]
    print(table(header, [_row(variant, turns, made) for variant in VARIANTS]))


def _row(variant: Variant, turns: dict[Variant, list[Turn]], made: dict[str, Recoded]) -> list[str]:
    stored, own, floats = made[variant.stored], turns[variant], turns[VARIANTS[0]]
    samples = made[VARIANTS[0].stored].decoded_nbytes

    def times(of: str) -> str:
        return f"{statistics.median(getattr(a, of) / getattr(b, of) for a, b in zip(own, floats, strict=True)):.2f}"

    return [
        variant.stored,
        variant.given,
        f"{stored.nbytes / 1e6:,.1f}",
        f"{samples / stored.nbytes:.2f}",
        f"{stored.rounding.absolute:.3g}",
        *(_middle([turn.warm for turn in own], ",.0f"), times("warm"), _middle([turn.cpu for turn in own], ".1f")),
        *(_middle([turn.cold for turn in own], ",.0f"), times("cold")),
    ]


def _middle(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


if __name__ == "__main__":
    main()
