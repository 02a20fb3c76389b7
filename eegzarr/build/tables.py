"""The labels and tables of a group: one row per window, a recording, a shard."""

from __future__ import annotations

from functools import reduce
from operator import add
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from eegzarr.bids.dataset import availability
from eegzarr.build.inspect import Inspection
from eegzarr.build.labels import subject_labels, why_no_labels, window_names
from eegzarr.build.plan import Plan
from eegzarr.build.target import target_names, targets_of
from eegzarr.recipes.classes import flags
from eegzarr.recipes.labels import IntervalLabel
from eegzarr.recipes.recipe import GIVEN
from eegzarr.recipes.windows import EVENT, kept_column
from eegzarr.recordings.quartiles import merged
from eegzarr.store.dataset import plain_variables
from eegzarr.store.integers import beyond_reason, is_lossless, step_that_holds
from eegzarr.store.layout import LABELS, QUARTILES, RECEIPT, TILE_LABELS, WINDOW_CRC32C, WINDOW_NBYTES
from eegzarr.store.receipt import Moments, Receipt, max_rounding

_RECEIPTS_TOGETHER = 32  # in a chunk: some megabytes
_WINDOWS_TOGETHER = 2**18  # likewise
_ENTITIES = ("path", "subject", "session", "task", "run")


def recording_moments(plan: Plan, receipts: list[Receipt]) -> dict[int, Moments]:
    """Add up the moments of each recording over the shards that it lies in."""
    parts: dict[int, list[Moments]] = {}
    for receipt in receipts:
        for piece, moments in zip(plan.pieces(receipt.shard), receipt.moments, strict=True):
            parts.setdefault(piece.recording, []).append(moments)
    return {recording: reduce(add, moments) for recording, moments in parts.items()}


def recording_quartiles(plan: Plan, receipts: list[Receipt]) -> dict[int, np.ndarray]:
    """Return the quartiles of each recording, (3, channel), in uV, of those whose receipts all have them."""
    parts: dict[int, list[tuple[Any, Any]]] = {}
    for receipt in receipts:
        own = receipt.quartiles or (None,) * len(receipt.moments)
        for piece, values, moments in zip(plan.pieces(receipt.shard), own, receipt.moments, strict=True):
            parts.setdefault(piece.recording, []).append((values, moments.count))
    return {
        recording: merged([values for values, _ in own], [count for _, count in own])
        for recording, own in parts.items()
        if all(values is not None for values, _ in own)
    }


def labels(plan: Plan, receipts: list[Receipt], moments: dict[int, Moments], positions: np.ndarray) -> xr.Dataset:
    """Return every variable of the group but the signals, as coordinates."""
    windows = plan.windows
    recording = windows["recording"].to_numpy()
    recordings = [inspection.recording for inspection in plan.inspections]
    cut = ("recording", "start_sample")
    columns: dict[str, np.ndarray] = {
        "recording": recording,
        **{str(name): windows[name].to_numpy() for name in windows if name not in cut},
    }
    for name in ("subject", "task", "session", "run"):
        columns[name] = np.array([getattr(one, name) for one in recordings], object)[recording]
    columns["release"] = np.full(plan.n_windows, plan.source.name, dtype=object)
    columns.setdefault("start", windows["start_sample"].to_numpy() / plan.recipe.sfreq)
    flags = [availability(plan.source.participants, one) for one in recordings]
    columns.setdefault("availability", np.array(flags, dtype=object)[recording])
    columns["peak_to_peak"] = np.concatenate([receipt.peak_to_peak for receipt in receipts])
    columns["valid"] = np.concatenate([receipt.valid for receipt in receipts])
    meanings = dict.fromkeys(columns, "label of the window")
    subjects = plan.subjects if plan.subjects.columns else subject_labels(plan.source, recordings, plan.recipe)
    for name, per_recording in subjects.columns.items():
        if name not in columns:  # else given with the windows
            columns[name] = per_recording[recording]
            meanings[name] = f"{name}, from {subjects.files[name]}"
    targets = targets_of(plan.recipe, columns, subjects.given)
    columns |= {name: target.values for name, target in targets.items()}
    meanings |= {new: f"{old}, what the recipe predicts" for old, new in target_names(plan.recipe).items()}
    attributes = {name: target.attributes for name, target in targets.items()} | _along_attributes(plan, columns)
    meanings |= _event_meanings(plan)

    ordered = [name for name in LABELS if name in columns] + [name for name in columns if name not in LABELS]
    coords = {name: _label(name, columns[name], meanings.get(name, ""), attributes.get(name, {})) for name in ordered}
    coords |= _axes(plan, positions) | _statistics(plan, moments)
    return xr.Dataset(coords=plain_variables(coords))


def _label(
    name: str, values: np.ndarray, meaning: str, attributes: dict[str, Any]
) -> tuple[str, np.ndarray, dict[str, Any]]:
    known = LABELS | TILE_LABELS
    if name in known:
        dtype, units, long_name = known[name]
        if attributes:
            long_name = long_name.replace(", NaN where missing", ", a class")
        else:
            values = values.astype(object if dtype == "str" else dtype)
    else:
        units, long_name = "", meaning
    return "window", values, {"long_name": long_name} | ({"units": units} if units else {}) | attributes


def _along_attributes(plan: Plan, columns: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Return what the codes of labels by intervals mean, and the unit of times."""
    names = window_names(plan.recipe)
    return {
        names[one.name]: (
            flags(columns[names[one.name]], one.meanings) if isinstance(one, IntervalLabel) else {"units": "s"}
        )
        for one in plan.recipe.labels
    }


def _event_meanings(plan: Plan) -> dict[str, str]:
    recipe, names = plan.recipe, window_names(plan.recipe)
    meanings = {EVENT: "value of the event that the window is of"}
    for one in recipe.labels:
        told = ", ".join(one.values)
        if isinstance(one, IntervalLabel):
            meanings[one.name] = f"whether {told} goes on in the window"
        else:
            meanings[one.name] = f"time from the end of the window to the {'first' if one.first else 'next'} {told}"
    meanings |= {kept_column(name): f"{name}, from events.tsv" for name in recipe.events.keep}
    meanings |= {kept_column("presses"): "responses of the trial from its stimulus on"}
    meanings |= {kept_column("premature"): "responses of the trial before its stimulus"}
    return {new: meanings[old] for old, new in names.items()}


def _axes(plan: Plan, positions: np.ndarray) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    recipe = plan.recipe
    time = (recipe.span.first_sample(recipe.sfreq) + np.arange(recipe.n_times)) / recipe.sfreq
    anchors = {"recording": "start of the window's span", GIVEN: "event that the window was cut around"}
    anchors["interval"] = "start of the window in its interval"
    anchor = anchors.get(recipe.anchor, recipe.anchor.replace("_", " "))
    metres = {
        axis: ("channel", positions[:, i], {"long_name": f"{axis} of the electrode, in MNE's head frame", "units": "m"})
        for i, axis in enumerate("xyz")
    }
    return {
        "window": ("window", np.arange(plan.n_windows), {"long_name": "window; with release its name for good"}),
        "channel": ("channel", np.array(plan.channels, dtype=object), {"long_name": "EEG channel"}),
        "channel_type": ("channel", _channel_types(plan), {"long_name": "type of the channel, as MNE calls it"}),
        "time": ("time", time, {"long_name": f"time from the {anchor}", "units": "s"}),
        **metres,
    }


def _channel_types(plan: Plan) -> np.ndarray:
    """Return what each channel records: EEG, except those of other types that a recipe asks for by name."""
    headers = [inspection.header for inspection in plan.inspections if inspection.header and inspection.n_windows]
    others = dict(pair for header in headers for pair in header.others)
    return np.array([others.get(name, "eeg") for name in plan.channels], dtype=object)


def _statistics(plan: Plan, moments: dict[int, Moments]) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    nothing = Moments.of(np.empty((0, len(plan.channels), 1), np.float32))
    total = reduce(add, moments.values(), nothing)
    mean, std = total.scales()
    return {
        "mean": ("channel", mean, {"long_name": "mean over all valid windows", "units": "uV"}),
        "std": ("channel", std, {"long_name": "standard deviation over all valid windows", "units": "uV"}),
    }


def recordings_table(plan: Plan, receipts: list[Receipt], moments: dict[int, Moments]) -> xr.Dataset:
    """Return one row per recording of the source, with or without windows."""
    unread = {row: reason for receipt in receipts for row, reason in receipt.reasons.items()}
    unread |= {row: beyond_reason(reached, plan.geometry.step) for row, reached in _beyond(receipts).items()}
    read = {row for row, own in moments.items() if not own.is_empty}
    table = pd.DataFrame(
        [
            _recording_row(plan, inspection, unread.get(row), has_samples=row in read)
            for row, inspection in enumerate(plan.inspections)
        ]
    )
    shape = (len(table), len(plan.channels))
    units = {"sampling_rate": "Hz", "duration": "s"}
    columns: dict[str, Any] = {
        str(name): (
            "recording",
            values.to_numpy() if values.dtype.kind in "if" else values.to_numpy(object),
            {"units": units[str(name)]} if name in units else {},
        )
        for name, values in table.items()
    }
    bad = [np.isin(plan.channels, inspection.facts.bad_channels) for inspection in plan.inspections]
    meaning = {"long_name": "whether channels.tsv says that the channel is bad"}
    columns["bad"] = (("recording", "channel"), np.stack(bad), meaning)
    columns |= _moment_variables(moments, shape)
    columns |= _quartile_variables(recording_quartiles(plan, receipts), shape)
    axes = {
        "recording": ("recording", np.arange(len(table), dtype=np.int32)),
        "channel": ("channel", np.array(plan.channels, dtype=object)),
    }
    return xr.Dataset(plain_variables(columns), coords=plain_variables(axes))


def _recording_row(plan: Plan, inspection: Inspection, unread: str | None, *, has_samples: bool) -> dict[str, Any]:
    """Return a recording's row; `unread` is why some or all of its windows are invalid, None if all are valid."""
    header, facts = inspection.header, inspection.facts
    status = "skipped" if inspection.reason else "built"
    if unread is not None and not has_samples:
        status = "unreadable"
    reason = inspection.reason if unread is None else unread
    return {
        **{name: getattr(inspection.recording, name) for name in _ENTITIES},
        "sampling_rate": header.sfreq if header else np.nan,
        "duration": header.duration if header else np.nan,
        "trials": inspection.trials,
        "windows": inspection.n_windows,
        "dropped": inspection.dropped,
        "status": status,
        "reason": reason or why_no_labels(plan.source, inspection.recording.subject),
        "fingerprint": inspection.fingerprint,
        "left_out": sum(inspection.left_out.values()),
        "left_out_reasons": "; ".join(f"{count} {why}" for why, count in inspection.left_out.items()),
        "entities": inspection.recording.entities,
        "files": " ".join(PurePosixPath(path).name for path in facts.files),
        "reference": facts.reference,
        "line_frequency": facts.line_frequency,
        "software_filters": facts.software_filters,
        "recording_type": facts.recording_type,
        "bad_channels": ", ".join(facts.bad_channels),
        "notes": "; ".join(inspection.notes),
    }


def _moment_variables(moments: dict[int, Moments], shape: tuple[int, int]) -> dict[str, Any]:
    """Return count, mean and sum of squares of each recording's samples, (recording, channel)."""
    n_recordings, n_channels = shape
    nothing = Moments(0, np.zeros(n_channels), np.zeros(n_channels))
    parts = [moments.get(row, nothing) for row in range(n_recordings)]
    count = np.array([np.broadcast_to(m.count, n_channels) for m in parts], dtype=np.int64)
    mean = np.stack([m.mean for m in parts])
    squares = np.stack([m.squares for m in parts]) + count * mean**2
    per_channel = ("recording", "channel")
    return {
        "count": (per_channel, count, {"long_name": "samples in the recording's valid windows"}),
        "mean": (per_channel, mean, {"long_name": "their mean", "units": "uV"}),
        "sum_of_squares": (per_channel, squares, {"long_name": "sum of their squares", "units": "uV2"}),
    }


def _quartile_variables(found: dict[int, np.ndarray], shape: tuple[int, int]) -> dict[str, Any]:
    """Return the quartiles of recordings, (recording, channel), NaN where there are none."""
    if not found:
        return {}
    values = np.full((3, *shape), np.nan, np.float32)
    for recording, own in found.items():
        values[:, recording] = own
    meanings = zip(QUARTILES, ("their lower quartile", "their median", "their upper quartile"), values, strict=True)
    return {
        name: (("recording", "channel"), own, {"long_name": meaning, "units": "uV"}) for name, meaning, own in meanings
    }


def _beyond(receipts: list[Receipt]) -> dict[int, float]:
    """Return the largest uV of each recording that has windows which no integer holds, over all shards."""
    most: dict[int, float] = {}
    for receipt in receipts:
        for row, reached in receipt.beyond.items():
            most[row] = max(reached, most.get(row, 0.0))
    return most


def shards_table(plan: Plan, receipts: list[Receipt]) -> xr.Dataset:
    slices = [plan.shard_slice(shard) for shard in range(plan.n_shards)]
    together = max(1, min(_RECEIPTS_TOGETHER, plan.n_shards))  # a group of cut windows has no shard
    columns: dict[str, Any] = {
        "first_window": ("shard", np.array([s.start for s in slices], dtype=np.int64)),
        "windows": ("shard", np.array([s.stop - s.start for s in slices], dtype=np.int64)),
        "nbytes": ("shard", np.array([r.nbytes for r in receipts], dtype=np.int64), {"units": "byte"}),
        "crc32c": ("shard", np.array([r.crc32c for r in receipts], dtype=np.uint32)),
        "content": ("shard", np.array([r.content for r in receipts], dtype=np.uint64)),
        RECEIPT: ("shard", np.array([r.to_json() for r in receipts], dtype=object), {}, {"chunks": (together,)}),
    }
    columns |= _window_checks(plan, receipts)
    axis = {"shard": ("shard", np.arange(plan.n_shards, dtype=np.int32))}
    return xr.Dataset(plain_variables(columns), coords=plain_variables(axis))


def _window_checks(plan: Plan, receipts: list[Receipt]) -> dict[str, Any]:
    """Return length and checksum of single windows, (shard, window_in_shard), where receipts have them."""
    if all(receipt.checks is None for receipt in receipts):
        return {}
    per_shard = plan.geometry.windows_per_shard
    nbytes, checksums = np.zeros((2, plan.n_shards, per_shard), np.uint32)
    for shard, checks in enumerate(receipt.checks for receipt in receipts):
        if checks is not None:
            nbytes[shard, : len(checks.nbytes)], checksums[shard, : len(checks.crc32c)] = checks.nbytes, checks.crc32c
    dims = ("shard", "window_in_shard")
    stored = {"chunks": (min(plan.n_shards, max(1, _WINDOWS_TOGETHER // per_shard)), per_shard)}
    return {
        WINDOW_NBYTES: (dims, nbytes, {"units": "byte"}, stored),
        WINDOW_CRC32C: (dims, checksums, {}, stored),
    }


def rounding_attributes(plan: Plan, receipts: list[Receipt]) -> dict[str, float | bool]:
    """Return the largest errors of a float16 or int16 group; float32 has none but those that samples had before."""
    largest = reduce(max_rounding, (receipt.rounding for receipt in receipts))
    if plan.geometry.dtype == "float32":
        return {"largest_error_uV": largest.absolute} if largest.absolute else {}
    if plan.geometry.step:
        beyond = max((reached for receipt in receipts for reached in receipt.beyond.values()), default=0.0)
        return {
            "largest_error_uV": largest.absolute,
            "lossless": is_lossless(largest) and not beyond,
            **({"smallest_step_uV": step_that_holds(beyond)} if beyond else {}),
        }
    return {"largest_relative_error": largest.relative, "largest_error_uV": largest.absolute}
