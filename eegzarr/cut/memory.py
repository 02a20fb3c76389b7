"""Cut windows as a Dataset, without writing them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from eegzarr.build.plan import Plan
from eegzarr.cut.shards import Makers, measured
from eegzarr.cut.source import WholeRecordings
from eegzarr.cut.write import cut_attributes, cut_dataset
from eegzarr.errors import LakeError, redacted
from eegzarr.store.layout import EEG, TILE, TILE_OFFSET
from eegzarr.store.open import pooled_statistics
from eegzarr.store.opening.meaning import described
from eegzarr.store.provenance import LAKE
from eegzarr.store.quality import recording_quality
from eegzarr.store.tiles.signals import CutRecordings, CutSignals, lazy_variable


def cut_windows(lake: str, planned: Sequence[tuple[WholeRecordings, Plan]], memory: int | None = None) -> xr.Dataset:
    """Cut windows that were planned in groups of whole recordings, and join them."""
    parts, tables = [], []
    groups = [recordings.tiles.group for recordings, _ in planned]
    for recordings, plan in planned:
        windows, table = cut_dataset(recordings, plan, measured(recordings, plan, Makers(memory=memory)))
        # As xarray opens them: a missing class is NaN.
        opened = xr.decode_cf(windows, decode_times=False, decode_timedelta=False)
        parts.append(_opened(recordings, plan, opened, table))
        tables.append(table)
    if len(parts) == 1:
        return described(parts[0]).assign_attrs({LAKE: redacted(lake)})
    for group, part in zip(groups[1:], parts[1:], strict=True):
        if part["channel"].to_numpy().tolist() != parts[0]["channel"].to_numpy().tolist():
            raise LakeError(f"{lake}/{groups[0]} and {group} have different channels: cut them one by one")
    shared = [name for name in parts[0].variables if all(name in part.variables for part in parts)]
    whole = xr.concat(
        [part[[name for name in shared if name in part]].reset_coords(drop=False) for part in parts],
        "window",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        combine_attrs="drop_conflicts",
    )
    whole = whole.set_coords([name for name in whole.variables if name != EEG])
    pooled = {name: ("channel", values, whole[name].attrs) for name, values in pooled_statistics(tables).items()}
    return described(whole.assign_coords(pooled)).assign_attrs({LAKE: redacted(lake)})


def _opened(recordings: WholeRecordings, plan: Plan, windows: xr.Dataset, table: xr.Dataset) -> xr.Dataset:
    attributes = cut_attributes(recordings, plan)
    tiles = recordings.tiles
    n_times, sfreq = tiles.geometry.n_times, plan.recipe.sfreq
    position = windows[TILE].to_numpy() * n_times + windows[TILE_OFFSET].to_numpy()
    known = CutRecordings.of(attributes["plan_digest"], "", sfreq, tiles, table)
    shape = (windows.sizes["window"], windows.sizes["channel"], windows.sizes["time"])
    numbers = tiles.numbers(list(plan.channels))
    signals = CutSignals(tiles, numbers, shape, _Known(position, known))
    eeg = lazy_variable(signals)
    quality = recording_quality(table, windows["recording"].to_numpy(), windows["subject"].to_numpy())
    chunked = eeg.chunk({"window": eeg.encoding["preferred_chunks"]["window"]})
    return windows.assign_coords(quality).assign({EEG: chunked}).assign_attrs(attributes)


class _Known:
    """Addresses that are known already."""

    def __init__(self, position: np.ndarray, recordings: CutRecordings) -> None:
        self._found = position, recordings

    def __call__(self) -> tuple[np.ndarray, CutRecordings]:
        return self._found
