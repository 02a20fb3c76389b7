"""Bring a cache of windows into a lake: ``python -m eegzarr.convert CACHE --out LAKE --recipe NAME``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from eegzarr.build.__main__ import describe
from eegzarr.build.summary import BuildSummary
from eegzarr.command import run_command
from eegzarr.errors import UsageError
from eegzarr.exchange.caches import kind_of, load_braindecode
from eegzarr.exchange.hdf5 import open_hdf5
from eegzarr.exchange.meaning import MICROVOLTS_IN, Told
from eegzarr.exchange.pickles import open_lmdb
from eegzarr.exchange.write import write_windows
from eegzarr.store.layout import COMPRESSIONS, DTYPES
from eegzarr.watch.progress import BuildProgress


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m eegzarr.convert",
        description="Bring windows that another program has cached into a lake, a part at a time.",
        epilog="What a file tells in its attributes needs no option. Interrupted, the same command goes on.",
    )
    parser.add_argument(
        "cache",
        metavar="CACHE",
        type=Path,
        help="HDF5 file of eeg (window, channel, time) and labels (window,); LMDB folder of pickles; "
        "or folder that braindecode's BaseConcatDataset.save wrote",
    )
    parser.add_argument("--out", required=True, metavar="LAKE")
    parser.add_argument("--recipe", required=True, metavar="NAME", help="name for what these windows are")
    parser.add_argument("--name", metavar="RELEASE", help="of the group below it (default: the cache's name)")
    parser.add_argument(
        "--target", default="target", metavar="LABEL", help="label to predict (default: the cache's own target)"
    )
    parser.add_argument("--sfreq", type=float, metavar="HZ", help="sampling rate")
    parser.add_argument("--channels", metavar="A,B,…", help="names, in order; hbn: E1 … E128 and Cz")
    parser.add_argument("--units", choices=sorted(MICROVOLTS_IN), help="of the stored samples; a lake has uV")
    parser.add_argument(
        "--start", type=float, metavar="S", help="first sample of a window, from what it was cut around (default: 0)"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the samples (default: %(default)s)")
    parser.add_argument(
        "--compression", choices=COMPRESSIONS, default="lz4", help="of the samples, lossless (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="write anew where other windows stand")
    arguments = parser.parse_args(argv)
    return run_command("eegzarr.convert", lambda: _convert(arguments))


def _convert(arguments: argparse.Namespace) -> int:
    with BuildProgress() as progress:
        summary = _written(arguments, progress)
    print(describe(summary, arguments.out))
    return 0


def _written(arguments: argparse.Namespace, progress: BuildProgress) -> BuildSummary:
    path: Path = arguments.cache
    kind = kind_of(path)
    place = (arguments.recipe, arguments.name or path.absolute().stem)
    stored: dict[str, Any] = {name: getattr(arguments, name) for name in ("dtype", "compression", "overwrite")}
    if kind == "braindecode":
        _refuse_options(arguments)
        from eegzarr.exchange.epochs import from_braindecode  # MNE takes a second to load

        return from_braindecode(
            load_braindecode(path),
            arguments.out,
            *place,
            target=arguments.target,
            source=str(path.absolute()),
            **stored,
            listeners=(progress,),
        )
    told = Told(
        sfreq=arguments.sfreq,
        channels=tuple(arguments.channels.split(",")) if arguments.channels else None,
        units=arguments.units,
        start=arguments.start or 0.0,
    )
    with (open_hdf5 if kind == "hdf5" else open_lmdb)(path, told) as windows:
        return write_windows(
            arguments.out,
            *place,
            windows,
            target=arguments.target,
            **stored,
            listeners=(progress,),
        )


def _refuse_options(arguments: argparse.Namespace) -> None:
    for name in ("sfreq", "channels", "units", "start"):
        if getattr(arguments, name) is not None:
            raise UsageError(f"--{name} is for HDF5 and LMDB: a braindecode cache tells it itself")


if __name__ == "__main__":
    raise SystemExit(main())
