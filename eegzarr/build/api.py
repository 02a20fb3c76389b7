"""`eegzarr.build_lake` and `forecast`: what a user gives, read and checked, and handed to the build.

The command ``python -m eegzarr.build`` takes its options from this signature. Nothing heavy is imported until
something is built, so that its help is quick.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from eegzarr.challenge.releases import OPENNEURO, find_release
from eegzarr.errors import LakeError, UsageError
from eegzarr.events import Listener
from eegzarr.machine.memory import as_bytes, as_share
from eegzarr.recipes.load import as_recipe
from eegzarr.recipes.recipe import Recipe
from eegzarr.store.kinds import Compression, Dtype
from eegzarr.urls import one_line_errors

if TYPE_CHECKING:
    from eegzarr.build.request import BuildRequest
    from eegzarr.build.summary import BuildSummary, Forecast

P = ParamSpec("P")
R = TypeVar("R")
_SOURCE = {"source", "mini", "data_dir"}
_PREPARATION = {"resample", "l_freq", "h_freq", "notch", "interpolate_bads", "reference"}


def build_lake(
    source: str | Path,
    out: str | Path,
    *,
    recipe: str | Path | Recipe = "challenge1",
    windows: str | Path | Any = None,
    name: str | None = None,
    mini: bool = False,
    data_dir: str | Path | None = None,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    max_memory: float | str = "85%",
    scheduler: str | None = None,
    scheduler_file: str | Path | None = None,
    dtype: Dtype = "float32",
    step: str | float | None = None,
    compression: Compression = "lz4",
    shard_size: int | str | None = None,
    resample: bool = False,
    l_freq: float | None = None,
    h_freq: float | None = None,
    notch: float | str | None = None,
    interpolate_bads: bool = False,
    reference: str | None = None,
    by_montage: bool = False,
    overwrite: bool = False,
    listeners: Sequence[Listener] = (),
) -> BuildSummary:
    """Build the group ``<recipe>/<release>`` of a lake from a BIDS dataset.

    A build that was stopped continues where it was when it is called again with the same arguments. The result is the
    same to the byte, whatever the number of workers.

    Parameters
    ----------
    source : path or URL
        Root of a BIDS dataset, or the name of a release of HBN-EEG, such as R1, if there is no folder of that name.
    out : path or URL
        The lake; other groups in it are left alone.
    recipe : str, path or Recipe
        What a window is: the name of a preset (challenge1, challenge2, or continuous for whole recordings), or a .toml
        file.
    windows : path or DataFrame, optional
        A table of windows (TSV) in place of the recordings' events: a column recording (path in the source) or subject,
        session, task, run; onset in s; duration in s where it has one; every other column becomes a label. The recipe
        says the rest, with the anchor event or interval.
    name : str, optional
        Name of the release in the lake. Default: the HBN release that the participants belong to, else the name of the
        source's folder.
    mini : bool
        Of a release of HBN-EEG, the challenge's selection of 20 subjects.
    data_dir : path, optional
        Where a release of HBN-EEG is looked for before the public bucket is read.
    workers : int, optional
        Worker processes. Default: one per core, memory permitting.
    memory_limit : int or str, optional
        Memory for this process and its workers together, in bytes or as a text such as 2GiB. Default: half of the
        machine's.
    max_memory : float or str
        Share of the machine's memory above which no new shard starts; a build that finds it exceeded for half a minute
        stops.
    scheduler : str, optional
        Address of a Dask cluster that already runs. Its workers must see source and lake under the same paths, and
        have eegzarr.
    scheduler_file : path, optional
        The same, by the file that the cluster's scheduler wrote.
    dtype : {"float32", "float16", "int16"}
        Type of the stored samples. int16 counts steps of some uV, and takes a third of the disk.
    step : str or float, optional
        Of int16: what one step is, such as 0.05uV, the default; or auto for the step in which all recordings were
        recorded, so that nothing is lost, where they share one and their integers fit.
    compression : {"lz4", "zstd", "none"}
        Compression of the stored samples, lossless: zstd is smaller and slower, none is largest and fastest.
    shard_size : int or str, optional
        Size of a shard before compression, which is what one task holds in memory, in bytes or as a text. Default:
        64MiB, or less where the memory limit asks for it.
    resample : bool
        Bring other sampling rates to the recipe's.
    l_freq : float, optional
        Lower edge of a band-pass in Hz, instead of the recipe's.
    h_freq : float, optional
        Upper edge of a band-pass in Hz, instead of the recipe's.
    notch : float or str, optional
        Frequency to remove in Hz, such as 50; several as 50,100; or sidecar for the line frequency that each
        recording's eeg.json gives.
    interpolate_bads : bool
        Interpolate bad channels from the others.
    reference : str, optional
        Reference to subtract: average (of the good EEG channels), or the name of a channel.
    by_montage : bool
        Put recordings of other channels or another rate than the recipe's, or than most have, into groups of their
        own, named after these, such as <recipe>/<release>-64ch-256Hz-3f9a1c, instead of skipping them.
    overwrite : bool
        Replace a group of another recipe or source.
    listeners : sequence of callable
        Called with each event of `eegzarr.events`.

    Returns
    -------
    BuildSummary

    Raises
    ------
    SourceError, RecipeError, UsageError
        If the source, the recipe or an option is invalid; nothing is touched then.
    LakeError
        If the lake can't be written, or holds something else at this place.
    BuildStopped
        If a full disk, a full memory, a recording that went away, a server that doesn't answer or a lock that another
        process keeps stopped it: call again later.
    """
    arguments = dict(locals())  # all of them, by their names
    if by_montage:
        from eegzarr.build.montages.run import build_by_montage as build
    else:
        from eegzarr.build.run import run_build as build

    with one_line_errors(str(out), LakeError):
        return build(_request(arguments), listeners)


def same_arguments(original: Callable[P, Any]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Give a function the signature of another, for type checkers and for `inspect`."""

    def decorate(function: Callable[..., R]) -> Callable[P, R]:
        signature = inspect.signature(original)

        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return function(**bound.arguments)

        returned = inspect.signature(function).return_annotation
        called.__signature__ = signature.replace(return_annotation=returned)  # type: ignore[attr-defined]
        return called

    return decorate


@same_arguments(build_lake)
def forecast(**arguments: Any) -> Forecast:
    """Return what `build_lake` would make, and what it would take, from headers and events alone.

    Parameters and errors are those of `build_lake`.
    """
    if arguments["by_montage"]:
        from eegzarr.build.montages.run import forecast_by_montage as foresee
    else:
        from eegzarr.build.run import run_forecast as foresee

    with one_line_errors(str(arguments["out"]), LakeError):
        return foresee(_request(arguments), arguments["listeners"])


def _request(arguments: dict[str, Any]) -> BuildRequest:
    """Return what the arguments of `build_lake` ask for."""
    from eegzarr.build.request import BuildRequest
    from eegzarr.store.integers import as_step

    others = _SOURCE | _PREPARATION | {"listeners", "by_montage"}
    read = {name: value for name, value in arguments.items() if name not in others}
    read["source"] = find_source_root(**{name: arguments[name] for name in _SOURCE})
    read["recipe"] = prepared(as_recipe(arguments["recipe"]), **{name: arguments[name] for name in _PREPARATION})
    read["step"] = as_step(arguments["step"], arguments["dtype"])
    read["memory_limit"] = as_bytes(arguments["memory_limit"], "--memory-limit")
    read["shard_size"] = as_bytes(arguments["shard_size"], "--shard-size")
    read["max_memory"] = as_share(arguments["max_memory"], "--max-memory")
    if (workers := arguments["workers"]) is not None and workers < 1:
        raise UsageError(f"--workers must be at least 1, got {workers}")
    return BuildRequest(**read)


def find_source_root(source: str | Path, mini: bool, data_dir: str | Path | None) -> str | Path:
    """Return a source as it is, or where the release of HBN-EEG is that it names."""
    if str(source) in OPENNEURO and not Path(source).exists():
        return find_release(str(source), mini=mini, data_dir=data_dir)
    if mini or data_dir is not None:
        raise UsageError(f"--mini and --data-dir go with releases of HBN-EEG, such as R1, and {source} is none")
    return source


def prepared(
    recipe: Recipe,
    *,
    resample: bool,
    l_freq: float | None,
    h_freq: float | None,
    notch: float | str | None,
    interpolate_bads: bool,
    reference: str | None,
) -> Recipe:
    """Return a recipe with the preparation that is asked for, the recipe's own where nothing is."""
    asked = {
        "l_freq": l_freq,
        "h_freq": h_freq,
        "resample": resample or None,
        "notch": None if notch is None else _as_notch(notch),
        "interpolate_bads": interpolate_bads or None,
        "reference": reference,
    }
    changed: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    return replace(recipe, preparation=replace(recipe.preparation, **changed)) if changed else recipe


def _as_notch(notch: float | str) -> tuple[float, ...] | str:
    """Return the frequencies of a text such as ``50,100``; "sidecar" as it is."""
    if notch == "sidecar":
        return notch
    try:
        return tuple(float(freq) for freq in str(notch).split(","))
    except ValueError:
        raise UsageError(f"--notch must be a frequency in Hz, several as 50,100, or sidecar, got {notch!r}") from None
