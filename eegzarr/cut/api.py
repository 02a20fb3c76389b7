"""`eegzarr.cut` and `cut_lake`: windows of any recipe from a lake's whole recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegzarr.errors import LakeError, UsageError
from eegzarr.machine.memory import as_bytes
from eegzarr.recipes.recipe import Recipe
from eegzarr.urls import one_line_errors

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, kw_only=True)
class CutSummary:
    """A group that was cut.

    Attributes
    ----------
    group : str
    signals : str
        The group that has its signals.
    windows, invalid, subjects, recordings : int
    dropped, left_out : int
        Trials without a window, as in the group's table of recordings.
    already : bool
        The group was there before, and is as it would be now.
    stored : bool
        Its windows were written out.
    notes : tuple of str
        What of a table of windows was left out, and which groups have no window.
    """

    group: str
    signals: str
    windows: int
    invalid: int
    subjects: int
    recordings: int
    dropped: int
    left_out: int
    already: bool
    stored: bool
    notes: tuple[str, ...] = ()


def cut(
    lake: str | Path,
    recipe: str | Path | Recipe | Any = None,
    *,
    windows: str | Path | Any = None,
    releases: Sequence[str] | None = None,
    signals: str = "continuous",
    memory_limit: int | str | None = None,
) -> xr.Dataset:
    """Cut windows of a recipe from a lake's whole recordings; write nothing.

    Parameters
    ----------
    lake : path or URL
        With groups of whole recordings, as ``--recipe continuous`` builds them.
    recipe : str, path, Recipe or DataFrame
        What a window is: the name of a preset, or a .toml file; or a table of windows, as for `windows`, that says all:
        its column duration how long they are, and its column target, if it has one, what they predict.
    windows : path or DataFrame, optional
        A table of windows (TSV) in place of the recordings' events, as for `eegzarr.build_lake`: a column recording
        (path in the source) or subject, session, task, run; release, where the lake has several; onset in s; every
        other column becomes a label.
    releases : sequence of str, optional
        Releases to cut from, in this order; default all.
    signals : str
        Name of the groups' recipe.
    memory_limit : int or str, optional
        Memory for this process, in bytes or as a text such as 2GiB: it limits the threads. Default: half of the
        machine's.

    Returns
    -------
    Dataset
        As `eegzarr.open_windows` returns it: the labels of a build, and ``eeg``, which is gathered from the tiles when
        it is looked at. What ``valid``, ``peak_to_peak``, ``mean`` and ``std`` say is measured first, in one pass over
        the windows.

    Raises
    ------
    LakeError
        If there are no whole recordings, or they give no window.
    RecipeError
        If the recipe's windows hold other samples than are stored: of another rate, filter or reference.
    """
    from eegzarr.cut.memory import cut_windows
    from eegzarr.cut.request import CutRequest
    from eegzarr.cut.source import WholeRecordings, groups_to_cut
    from eegzarr.store.layout import lake_url

    url = lake_url(lake)
    with one_line_errors(url, LakeError):
        request = CutRequest.of(recipe, windows)
        groups = [WholeRecordings.of(url, group) for group in groups_to_cut(url, signals, releases)]
        planned, _ = request.plans(groups)
        return cut_windows(url, planned, as_bytes(memory_limit, "--memory-limit"))


def cut_lake(
    lake: str | Path,
    recipe: str | Path | Recipe | Any = None,
    *,
    windows: str | Path | Any = None,
    releases: Sequence[str] | None = None,
    signals: str = "continuous",
    store: bool = False,
    dtype: str | None = None,
    compression: str | None = None,
    memory_limit: int | str | None = None,
    scheduler: str | None = None,
    scheduler_file: str | Path | None = None,
    overwrite: bool = False,
) -> list[CutSummary]:
    """Cut windows of a recipe and write them as groups ``<recipe>/<release>`` beside the recordings.

    A cut group has labels, statistics and where each window begins: kilobytes. `eegzarr.open_windows` opens it like any
    other.

    Parameters
    ----------
    lake, recipe, windows, releases
        As for `cut`.
    signals : str
        Name of the recipe that the whole recordings are stored by.
    store : bool
        Write the windows' samples out, too: the group is then what a build would make.
    dtype, compression : str, optional
        Of the samples that are written out; default those of the recordings.
    memory_limit : int or str, optional
        Memory for this process, in bytes or as a text such as 2GiB: it limits the threads. Default: half of the
        machine's.
    scheduler : str, optional
        Address of a Dask cluster that already runs: its workers read the windows in place of this process. They must
        see the lake under the same path, and have eegzarr.
    scheduler_file : path, optional
        The same, by the file that the cluster's scheduler wrote.
    overwrite : bool
        Replace the windows that are there.

    Raises
    ------
    LakeError, RecipeError
        As for `cut`, or if other windows are there.
    """
    from eegzarr.cut.request import CutRequest, StoredAs
    from eegzarr.cut.shards import makers
    from eegzarr.cut.source import WholeRecordings, groups_to_cut
    from eegzarr.cut.write import store_windows, write_cut
    from eegzarr.store.layout import group_path, lake_url

    if not store and (dtype or compression):
        raise UsageError("dtype and compression are of windows that are written out: give store, too")
    url, memory = lake_url(lake), as_bytes(memory_limit, "--memory-limit")
    summaries = []
    with one_line_errors(url, LakeError):
        request = CutRequest.of(recipe, windows)
        groups = [WholeRecordings.of(url, group) for group in groups_to_cut(url, signals, releases)]
        stored = StoredAs(dtype=dtype, compression=compression) if store else None
        planned, without = request.plans(groups, stored)
        with makers(scheduler, None if scheduler_file is None else str(scheduler_file), memory) as by:
            for recordings, plan in planned:
                is_new = (store_windows if store else write_cut)(recordings, plan, by, overwrite=overwrite)
                group = group_path(plan.recipe.name, plan.source.name)
                notes = (*request.notes_of(plan), *without)
                told = _summary(url, group, recordings.tiles.group, is_new=is_new, stored=store, notes=notes)
                summaries.append(told)
                without = ()
    return summaries


def _summary(lake: str, group: str, signals: str, *, is_new: bool, stored: bool, notes: tuple[str, ...]) -> CutSummary:
    from eegzarr.store.group import read_tables, unreadable_windows

    windows, recordings, _ = read_tables(lake, group)
    return CutSummary(
        group=group,
        signals=signals,
        windows=windows.sizes["window"],
        invalid=unreadable_windows(windows),
        subjects=len(set(windows["subject"].to_numpy().tolist())),
        recordings=int((recordings["windows"].to_numpy() > 0).sum()),
        dropped=int(recordings["dropped"].to_numpy().sum()),
        left_out=int(recordings["left_out"].to_numpy().sum()),
        already=not is_new,
        stored=stored,
        notes=notes,
    )
