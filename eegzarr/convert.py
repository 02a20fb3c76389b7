"""Bring a cache of windows into a lake: ``python -m eegzarr.convert CACHE --out LAKE --recipe NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from eegzarr.build.api import build_lake
from eegzarr.cli.run import Command
from eegzarr.cli.signature import options_of
from eegzarr.errors import UsageError

if TYPE_CHECKING:
    from eegzarr.build.summary import BuildSummary
    from eegzarr.watch.progress import BuildProgress

_STORAGE = ("dtype", "step", "compression", "shard_size")


@options_of(build_lake, only=_STORAGE)
def convert(
    cache: Path,
    lake: str | None = None,
    /,
    *,
    out: Annotated[str | None, Parameter(alias="-o", metavar="LAKE")] = None,
    recipe: str,
    name: Annotated[str | None, Parameter(metavar="RELEASE")] = None,
    target: Annotated[str, Parameter(metavar="LABEL")] = "target",
    sfreq: float | None = None,
    channels: Annotated[str | None, Parameter(metavar="A,B,...")] = None,
    units: str | None = None,
    start: Annotated[float | None, Parameter(metavar="S")] = None,
    trust: bool = False,
    overwrite: bool = False,
    **storage: Any,
) -> int:
    """Write windows that another program has cached into a lake.

    They are read and written a part at a time. What a file's attributes say needs no option. Interrupted, the same
    command continues where it was.

    Parameters
    ----------
    cache
        HDF5 file of eeg (window, channel, time) and labels (window,); LMDB folder of pickles; or folder that
        braindecode's BaseConcatDataset.save wrote.
    lake
        The lake to write to; its other groups are left alone.
    out
        The lake, as an option.
    recipe
        A name for what these windows are.
    name
        Name of the release, the group below the recipe. Default: the cache's name.
    target
        Label to predict. Default: the cache's own target.
    sfreq
        Sampling rate.
    channels
        Names, in order; hbn stands for E1 to E128 and Cz.
    units
        Unit of the cache's samples: V, mV, uV or nV. A lake has uV.
    start
        First sample of a window, in s from what it was cut around. Default: 0.
    trust
        Run the pickles of an LMDB, which can do anything that you can. Default: arrays, numbers and texts are read
        without running them, and everything else is refused.
    overwrite
        Replace the windows that are there.
    """
    if (lake is None) == (out is None):
        raise UsageError("name one lake to write to, as in eegzarr convert CACHE --out LAKE --recipe NAME")
    place = str(lake or out)
    from eegzarr.build.__main__ import describe
    from eegzarr.watch.progress import BuildProgress

    told = {"sfreq": sfreq, "channels": channels, "units": units, "start": start}
    with BuildProgress() as progress:
        group = (place, recipe, name or cache.absolute().stem)
        options = {"target": target, "overwrite": overwrite, **storage}
        summary = _written(cache, group, told, progress, options, trusts=trust)
    print(describe(summary, place))
    return 0


def _written(
    cache: Path,
    group: tuple[str, str, str],
    told: dict[str, Any],
    progress: BuildProgress,
    options: dict[str, Any],
    *,
    trusts: bool,
) -> BuildSummary:
    from eegzarr.exchange.caches import kind_of, load_braindecode
    from eegzarr.exchange.meaning import Told

    kind = kind_of(cache)
    if kind == "braindecode":
        for name, value in told.items():
            if value is not None:
                raise UsageError(f"--{name} is for HDF5 and LMDB: a braindecode cache says it itself")
        from eegzarr.exchange.epochs import from_braindecode  # MNE takes a second to load

        windows = load_braindecode(cache)
        return from_braindecode(windows, *group, source=str(cache.absolute()), **options, listeners=(progress,))
    from eegzarr.exchange.hdf5 import open_hdf5
    from eegzarr.exchange.pickles import open_lmdb
    from eegzarr.exchange.write import write_windows

    channels = tuple(told["channels"].split(",")) if told["channels"] else None
    meant = Told(sfreq=told["sfreq"], channels=channels, units=told["units"], start=told["start"] or 0.0, trusts=trusts)
    with (open_hdf5 if kind == "hdf5" else open_lmdb)(cache, meant) as opened:
        return write_windows(group[0], group[1], group[2], opened, **options, listeners=(progress,))


main = Command("eegzarr.convert", convert, usage="CACHE LAKE --recipe NAME [OPTIONS]")

if __name__ == "__main__":
    raise SystemExit(main())
