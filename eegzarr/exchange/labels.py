"""Labels that come with windows, as a table of any types, to those that a lake stores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.bids.dataset import MISSING
from eegzarr.errors import UsageError
from eegzarr.store.layout import CHECKSUMS, LABELS, RECORDINGS, SCRATCH, SHARDS
from eegzarr.store.quality import DERIVED

ENTITIES = ("subject", "session", "task", "run")
_OWN = ("window", "release", "recording", "peak_to_peak", "valid", *DERIVED)
_AXES = ("eeg", "channel", "time", "x", "y", "z", "mean", "std")
_TAKEN = (*_AXES, RECORDINGS, SHARDS, CHECKSUMS, SCRATCH)


def typed_labels(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of labels with the types that a lake stores.

    Numbers and truth values keep their types, with NaN where a column of objects lacks one;
    all else becomes text, with "" where missing. What a lake numbers or derives itself is left out; a
    label that is named like one of its axes or tables is renamed ``metadata_<name>``.

    Raises
    ------
    UsageError
        If a label that a lake knows as a number isn't one.
    """
    columns = {}
    for name, values in table.items():
        text = str(name).replace("/", "_")
        if text not in _OWN:
            columns[f"metadata_{text}" if text in _TAKEN or text.startswith(".") else text] = _typed(text, values)
    return pd.DataFrame(columns, index=range(len(table)))


def _typed(name: str, values: pd.Series) -> npt.NDArray:
    known = LABELS.get(name, ("", "", ""))[0]
    if known == "str" or name in ENTITIES:
        return _texts(values)
    try:
        if known and known not in ("bool", "int8"):
            return pd.to_numeric(values.replace(list(MISSING), np.nan)).to_numpy(np.dtype(known), na_value=np.nan)
        if known == "int8":
            return pd.to_numeric(values).fillna(-1).to_numpy(np.int8)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the label {name!r} must be a number: {error}") from error
    if values.dtype.kind in "iufb" and isinstance(values.dtype, np.dtype):
        return values.to_numpy()
    there = values.dropna()
    if len(there) and all(isinstance(value, (bool, np.bool_)) for value in there) and len(there) == len(values):
        return values.to_numpy(bool)
    if len(there) and all(isinstance(value, (int, float, np.number)) for value in there):
        return pd.to_numeric(values).to_numpy(np.float64, na_value=np.nan)
    return _texts(values)


def _texts(values: pd.Series) -> npt.NDArray[np.object_]:
    """Return values as texts; a number that is whole without its decimals, since pandas adds them beside NaN."""

    def text(value: object) -> str:
        if isinstance(value, (float, np.floating)) and float(value).is_integer():
            return str(int(value))
        return value.decode() if isinstance(value, bytes) else str(value)

    return np.array(["" if missing else text(v) for v, missing in zip(values, values.isna(), strict=True)], object)
