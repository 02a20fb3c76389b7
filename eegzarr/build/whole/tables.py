"""What a group of whole recordings holds beside its tiles: all events, and what windows of any recipe are made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from eegzarr.bids.participants import typed_column
from eegzarr.bids.tsv import MISSING, Table
from eegzarr.build.inspect import event_table
from eegzarr.build.plan import Plan
from eegzarr.build.whole.kept import source_text
from eegzarr.errors import RecordingError
from eegzarr.names import label_names
from eegzarr.store.dataset import plain_variables
from eegzarr.store.layout import DATASET, EVENTS_TSV, OBSERVED

_TOGETHER = 256  # recordings in a chunk: some megabytes
_SECONDS = ("onset", "duration")


def kept_variables(plan: Plan) -> dict[str, Any]:
    """Return the variables of the table of recordings that a group of whole recordings alone has."""
    kept = [inspection.kept for inspection in plan.inspections]
    chunks = {"chunks": (min(_TOGETHER, len(kept)),)}

    def along(texts: list[str], meaning: str) -> tuple[Any, ...]:
        return "recording", np.array(texts, object), {"long_name": meaning}, chunks

    return {
        OBSERVED: along([one.observed if one else "" for one in kept], "what its header and sidecars say, as JSON"),
        EVENTS_TSV: along([one.events if one else "" for one in kept], "content of its events.tsv"),
        DATASET: ((), np.array(source_text(plan.source), object), {"long_name": "what the dataset says, as JSON"}),
    }


def events_table(plan: Plan) -> xr.Dataset:
    """Return all events of all recordings that have tiles, one row per event, in the order of the files.

    Every column of events.tsv, of recordings without one the onset, duration and text of the file's annotations. A
    column has the type that its values have: onsets and durations are float64 in s, NaN where missing.
    """
    tables: dict[int, Table] = {}
    for row, inspection in enumerate(plan.inspections):
        if inspection.n_windows and inspection.kept is not None:
            try:
                tables[row] = event_table(inspection.kept.restored())
            except RecordingError:
                continue  # the recording has no events
    columns = dict.fromkeys(str(name) for table in tables.values() for name in table.columns)
    names = label_names(columns, {"recording", "event"}, "event")
    events: dict[str, Any] = {
        "recording": (
            "event",
            np.repeat(np.array(list(tables), np.int32), [len(table) for table in tables.values()]),
            {"long_name": "row in the group's table of recordings"},
        )
    }
    for column, name in names.items():
        texts = [text.strip() for table in tables.values() for text in table.columns.get(column, [""] * len(table))]
        values, units = _typed(column, texts)
        events[name] = ("event", values, {"long_name": f"{column} of events.tsv", **units})
    return xr.Dataset(plain_variables(events))


def _typed(column: str, texts: list[str]) -> tuple[np.ndarray, dict[str, str]]:
    if column in _SECONDS:
        return np.array([_seconds(text) for text in texts], np.float64), {"units": "s"}
    return typed_column(["" if text in MISSING else text for text in texts]).values, {}


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
