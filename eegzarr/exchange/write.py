"""Write windows that another program has cut into a group of a lake.

A group of such windows is what a build makes, except for its source: there are no recordings to
make a shard from again. Its recipe says so with the anchor ``given``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.bids.dataset import Source
from eegzarr.bids.recordings import Recording
from eegzarr.build import group as groups
from eegzarr.build.checks import check_root, check_writable, checked_name
from eegzarr.build.digest import fingerprints_of, labels_digest, signals_digest
from eegzarr.build.inspect import Inspection
from eegzarr.build.plan import Plan
from eegzarr.build.shards import fill_shard
from eegzarr.build.state import Asked, Found, Step, decide, touched
from eegzarr.build.summary import BuildSummary, summarize
from eegzarr.build.task import Piece, shard_buffer
from eegzarr.build.write import Written, began, disk_faults_named, finish_group, shard_tasks, tell_written
from eegzarr.errors import LakeError, UsageError
from eegzarr.events import Listener, tell
from eegzarr.exchange.labels import ENTITIES, typed_labels
from eegzarr.machine.memory import as_bytes
from eegzarr.recipes.expression import labels_of
from eegzarr.recipes.recipe import GIVEN, Recipe, WindowSpan
from eegzarr.recipes.windows import NO_TRIAL
from eegzarr.recordings.positions import channel_positions
from eegzarr.store.bucket import slow_requests_told
from eegzarr.store.group import stored_imprints
from eegzarr.store.integers import as_step
from eegzarr.store.kinds import Compression, Dtype
from eegzarr.store.layout import SHARD_SIZE, Geometry, check_storage, group_path, lake_url
from eegzarr.store.receipt import Receipt
from eegzarr.store.root import only_builder, settle
from eegzarr.suggest import did_you_mean

Read = Callable[[int, npt.NDArray[np.float32]], None]


@dataclass(frozen=True, kw_only=True)
class GivenWindows:
    """Windows that exist already, in order, with what is known about them.

    Parameters
    ----------
    source : str
        Where they come from, for people.
    channels : tuple of str
    sfreq : float
        Hz.
    start : float
        Of a window's first sample, in s from what the window was cut around.
    n_times : int
        Samples in a window.
    labels : DataFrame
        One row per window. ``subject``, ``session``, ``task``, ``run`` and ``recording``, with
        ``release`` where they are of several, say which windows are of one recording;
        ``start`` is in s from the recording's beginning, NaN where missing. What eegzarr derives
        from signals itself (``peak_to_peak``, ``valid`` …) is left out.
    fingerprint : str
        Changes when the signals do, such as a file's size and time stamp. "" if there is no such thing: a write that
        resumes, or finds its group complete, then compares every window with what is stored.
    read : callable
        ``read(first, out)`` fills ``out``, (window, channel, time), in uV, with the windows
        from number `first` on.
    positions : array of float32, shape (channel, 3), optional
        Of the electrodes in m, in MNE's head frame; default by the channels' names.
    """

    source: str
    channels: tuple[str, ...]
    sfreq: float
    start: float
    n_times: int
    labels: pd.DataFrame
    fingerprint: str
    read: Read
    positions: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise UsageError(f"{self.source} has no window to write")
        if len(set(self.channels)) < len(self.channels):
            raise UsageError(f"{self.source} has two channels of one name: rename one of them")

    def recipe(self, name: str, target: str) -> Recipe:
        """Return a recipe that describes these windows as one describes those that a build cuts."""
        span = WindowSpan(start=self.start, stop=self.start + self.n_times / self.sfreq)
        return Recipe(
            name=name, anchor=GIVEN, span=span, target=target, sfreq=self.sfreq, channels=self.channels, require=()
        )


def write_windows(
    lake: str | Path,
    recipe: str,
    release: str,
    windows: GivenWindows,
    *,
    target: str = "target",
    dtype: Dtype = "float32",
    step: str | float | None = None,
    compression: Compression = "lz4",
    overwrite: bool = False,
    shard_size: int | str | None = None,
    listeners: Sequence[Listener] = (),
) -> BuildSummary:
    """Write windows into the group ``<recipe>/<release>``, shard by shard.

    One shard of them is in memory at a time, as samples and encoded. A write that was stopped
    resumes when it is called again with the same windows.

    Parameters
    ----------
    lake : path or URL
    recipe, release : str
        Names of the group. Releases of one recipe are opened together.
    windows : GivenWindows
    target : str
        Label to predict, or an expression of labels; see `eegzarr.recipes.expression`.
    dtype : {"float32", "float16", "int16"}
        Of the stored samples. Windows that it can't hold are marked invalid.
    step : str or float, optional
        Of int16, as for `eegzarr.build_lake`; of windows that are given, auto is the default of 0.05uV.
    compression : {"lz4", "zstd", "none"}
        Of the stored samples; none of them loses anything.
    overwrite : bool
        Replace the windows that are there.
    shard_size : int or str, optional
        Size of a shard before compression, in bytes or as a text such as "64MiB", the default.
    listeners : sequence of callable
        Called with events of `eegzarr.events`.

    Raises
    ------
    UsageError
        If names, target or type are invalid.
    LakeError
        If the lake can't be written, or holds something else at this place.
    BuildStopped
        If the disk is full: the same call resumes later.
    """
    started, watchers = time.monotonic(), tuple(listeners)
    check_storage(dtype, compression)
    asked_step = as_step(step, dtype)
    url = lake_url(lake)
    group = group_path(recipe, checked_name(release))
    check_writable(url)
    shard_bytes = as_bytes(shard_size, "--shard-size") or SHARD_SIZE
    geometry = Geometry.of(len(windows.channels), windows.n_times, dtype, shard_bytes, compression, asked_step)
    plan = _plan(windows, windows.recipe(recipe, target), release, geometry)
    with slow_requests_told(watchers), disk_faults_named(url), only_builder(url, group):
        found = groups.look_at(url, group)
        if found.status == "nothing" and "://" in url:
            check_root(url)
        begun = plan if found.geometry is None else replace(plan, geometry=found.geometry)
        asked = replace(_asked(url, group, begun, windows, overwrite, geometry), step=asked_step)
        decided, receipts = _decided(url, group, begun, windows, found, asked)
        if decided in (Step.ALREADY, Step.SETTLE):
            if decided is Step.SETTLE:
                settle(url, group, watchers)
            return replace(summarize(url, group), already=True)
        plan = plan if decided in (Step.BEGIN, Step.OVERWRITE) else begun
        written = _write_shards(url, group, plan, windows, receipts, watchers)
        finish_group(url, group, plan, written, watchers)
    return replace(summarize(url, group), seconds=time.monotonic() - started, relabelled=decided is Step.RELABEL)


def _asked(lake: str, group: str, plan: Plan, windows: GivenWindows, overwrite: bool, geometry: Geometry) -> Asked:
    fingerprints = fingerprints_of(plan)
    return Asked(
        place=f"{lake}/{group}",
        source=windows.source,
        recipe=plan.recipe,
        dtype=geometry.dtype,
        compression=geometry.compression,
        overwrite=overwrite,
        fingerprints=fingerprints,
        labels_digest=labels_digest(plan.recipe, plan.source, fingerprints),
        signals_digest=signals_digest(plan),
        were_given=True,
    )


def _decided(
    lake: str, group: str, plan: Plan, windows: GivenWindows, found: Found, asked: Asked
) -> tuple[Step, dict[int, Receipt]]:
    """Return what to do, and the receipts of shards that stay.

    Windows without a fingerprint are compared with those that are stored, all of them.

    Raises
    ------
    LakeError
        If the group is nothing that may be touched.
    """
    decision = decide(found, asked)
    goes_on = decision.step in (Step.RESUME, Step.RELABEL, Step.ALREADY, Step.SETTLE)
    receipts = groups.read_receipts(lake, group, plan) if goes_on else {}
    there = {shard: receipt.imprint for shard, receipt in receipts.items()}
    if decision.step is Step.RELABEL and len(receipts) < plan.n_shards:
        there = stored_imprints(lake, group)
    if len(there) > plan.n_shards:
        decision, there = decide(found, replace(asked, altered=tuple(asked.fingerprints))), {}
    if goes_on and (not windows.fingerprint or touched(found, asked) or len(there) > len(receipts)):
        task_of = shard_tasks(lake, group, plan)
        for shard, wanted in there.items():
            receipt = fill_shard(replace(task_of(shard), is_kept=False), _given(windows, plan, shard))
            if not wanted.fits(receipt):
                decision = decide(found, replace(asked, altered=tuple(asked.fingerprints)))
                break
            receipts[shard] = receipt
    if decision.step is Step.REFUSE:
        raise LakeError(decision.message)
    return decision.step, {} if decision.step is Step.OVERWRITE else receipts


def _write_shards(
    lake: str,
    group: str,
    plan: Plan,
    windows: GivenWindows,
    receipts: dict[int, Receipt],
    watchers: tuple[Listener, ...],
) -> Written:
    if not receipts:
        groups.begin(lake, group, plan, watchers)
    tell(watchers, began(group, plan, receipts, workers=1))
    task_of = shard_tasks(lake, group, plan)
    for shard in range(plan.n_shards):
        if shard not in receipts:
            receipts[shard] = fill_shard(task_of(shard), _given(windows, plan, shard))
            tell_written(plan, receipts[shard], watchers)
    positions = windows.positions if windows.positions is not None else channel_positions(windows.channels)
    return Written(receipts, positions)


def _given(windows: GivenWindows, plan: Plan, shard: int) -> Callable[[Piece], npt.NDArray[np.float32]]:
    """Read a shard's windows at once: what a source compresses, it seldom compresses by recording."""
    rows = plan.shard_slice(shard)
    left = shard_buffer(plan.geometry, "given")[: rows.stop - rows.start]
    windows.read(rows.start, left)

    def windows_of(piece: Piece) -> npt.NDArray[np.float32]:
        nonlocal left
        part, left = np.split(left, [len(piece.starts)])
        return part

    return windows_of


def _plan(windows: GivenWindows, recipe: Recipe, release: str, geometry: Geometry) -> Plan:
    labels = typed_labels(windows.labels, str(recipe.target))
    _check_target(recipe, labels)
    recordings, row = _recordings(windows.labels, labels, windows.source)
    # No sample to cut at: the labels themselves have `start`.
    table = pd.DataFrame({"recording": row.astype(np.int32), "start_sample": np.int64(0)})
    absent: dict[str, Any] = {
        name: value for name, value in {**NO_TRIAL, "start": np.nan}.items() if name not in labels
    }
    own = labels.drop(columns=[name for name in ENTITIES if name in labels])
    table = pd.concat([table, own], axis=1).assign(**absent)
    counts = np.bincount(row, minlength=len(recordings)).tolist()
    content = hashlib.sha256(pd.util.hash_pandas_object(table).to_numpy().tobytes()).hexdigest()[:16]
    inspections = tuple(
        Inspection(
            recording=recording,
            header=None,
            n_windows=count,
            fingerprint=f"{windows.fingerprint}:{content}",
        )
        for recording, count in zip(recordings, counts, strict=True)
    )
    subjects = pd.DataFrame(index=pd.Index(sorted({recording.subject for recording in recordings}), name="subject"))
    source = Source(windows.source, release, recordings, subjects)
    return Plan(recipe, source, geometry, windows.channels, inspections, table)


def _recordings(
    given: pd.DataFrame, labels: pd.DataFrame, source: str
) -> tuple[tuple[Recording, ...], npt.NDArray[np.int64]]:
    """Return the recordings that windows are of, in the order of their first windows, and each window's row."""
    known = [name for name in (*ENTITIES, "release", "recording") if name in given]
    row = np.zeros(len(given), np.int64)
    if known:
        same = given[known].astype(str).groupby(known, sort=False, dropna=False)
        row = np.asarray(same.ngroup(), dtype=np.int64)
    _, first = np.unique(row, return_index=True)
    entities = labels.iloc[first]
    return tuple(
        Recording(
            path=f"{source}#{number}",
            subject=str(one.get("subject", "")),
            session=str(one.get("session", "")),
            task=str(one.get("task", "")),
            run=str(one.get("run", "")),
        )
        for number, (_, one) in enumerate(entities.iterrows())
    ), row


def _check_target(recipe: Recipe, labels: pd.DataFrame) -> None:
    known = {*labels.columns, *NO_TRIAL}
    target = str(recipe.target)
    missing = [] if target in known else [name for name in labels_of(target) if name not in known]
    if missing:
        raise UsageError(
            f"windows have no label {missing[0]!r} to predict; they have {', '.join(sorted(known))}."
            f"{did_you_mean(missing[0], known)}"
        )
