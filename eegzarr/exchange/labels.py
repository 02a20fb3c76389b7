"""Labels that come with windows, as a table of any types, to those that a lake stores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.bids.tsv import MISSING
from eegzarr.errors import UsageError
from eegzarr.names import label_names
from eegzarr.store.layout import DERIVED, LABELS, NUMERIC_PARTICIPANTS, TAKEN

ENTITIES = ("subject", "session", "task", "run")
_OWN = ("window", "release", "recording", "peak_to_peak", "valid", *DERIVED)
_OF_SUBJECTS = (*NUMERIC_PARTICIPANTS, "sex")


def typed_labels(table: pd.DataFrame, target: str = "target") -> pd.DataFrame:
    """Return a table of labels with the names and the types that a lake stores.

    Numbers and truth values keep their types, with NaN where a column of objects lacks one;
    all else becomes text, with "" where missing. What a lake numbers or derives itself is left out; a
    label that is named like one of its axes or tables is renamed ``metadata_<name>``.

    Parameters
    ----------
    target : str
        What is predicted: where that isn't the label ``target``, a label of this name is renamed, too.

    Raises
    ------
    UsageError
        If a label that a lake knows as a number isn't one.
    """
    names = stored_names([str(name) for name in table.columns], target)
    columns = {
        new: _typed(new, table.iloc[:, place])
        for place, new in enumerate(names)
        if str(table.columns[place]) not in _OWN
    }
    return pd.DataFrame(columns, index=range(len(table)))


def stored_names(given: Sequence[str], target: str = "target") -> list[str]:
    """Return the label that each column of a table becomes, in the table's order; all are different.

    A column keeps the name of a label that every lake has, and becomes it where its case alone is different.
    """
    known = {name for name in LABELS if name not in _OWN and (name != "target" or target == "target")}
    by_case = {name.casefold(): name for name in _OF_SUBJECTS}
    names: list[str] = []
    for place, name in enumerate(given):
        label = by_case.get(name.casefold(), name) if name not in known else name
        if label in known and label not in names and (label == name or label not in given):
            names.append(label)
            continue
        taken = {*TAKEN, *LABELS, *names, *(later for later in given[place + 1 :] if later in known)}
        names.append(label_names([name], taken, "metadata")[name])
    return names


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
