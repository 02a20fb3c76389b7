"""Labels and tables into a lake: an xarray Dataset written array by array.

Not by `Dataset.to_zarr`, whose fill values and types of booleans depend on xarray's version: a lake has the same bytes
whatever wrote it. What is written is what xarray 2026.9 writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
import zarr
from xarray.conventions import encode_dataset_coordinates
from zarr.abc.store import Store

from eegzarr.store.layout import label_storage

# What a chunk that isn't stored is filled with, by the kind of its dtype; text is an object or NumPy's own.
_FILL: dict[str, Any] = {"f": np.nan, "b": False, "i": 0, "u": 0, "O": "", "T": "", "U": ""}


def plain_variables(named: Mapping[str, tuple[Any, ...]]) -> dict[str, xr.Variable]:
    """Return variables of (dimensions, array) and maybe attributes and encoding.

    xarray takes the arrays as they are: it would import `dask.array`, 0.3 s, to see that they aren't Dask's.
    """
    return {name: _plain_variable(*parts) for name, parts in named.items()}


def _plain_variable(
    dimensions: str | tuple[str, ...], values: Any, attributes: Any = None, encoding: Any = None
) -> xr.Variable:
    return xr.Variable(dimensions, values, attributes, encoding, fastpath=True)


def write_dataset(store: Store, group: str, dataset: xr.Dataset) -> None:
    """Write a Dataset's variables and attributes into a group, beside what is there.

    Parameters
    ----------
    dataset : Dataset
        Of numbers, booleans and text.
    """
    variables, attributes = encode_dataset_coordinates(dataset)
    node = zarr.open_group(store, path=group, mode="a", zarr_format=3, use_consolidated=False)
    node.update_attributes(_plain(attributes))
    for name, variable in variables.items():
        is_text = variable.dtype.kind in "OTU"
        array = node.create_array(
            str(name),
            shape=variable.shape,
            dtype="string" if is_text else variable.dtype,
            fill_value=_FILL[variable.dtype.kind],
            dimension_names=[str(dimension) for dimension in variable.dims],
            attributes=_plain(variable.attrs),
            overwrite=True,
            **{**label_storage(variable.shape), **{k: v for k, v in variable.encoding.items() if k == "chunks"}},
        )
        array[...] = variable.to_numpy().astype(object) if is_text else variable.to_numpy()


def _plain(attributes: dict[Any, Any]) -> dict[str, Any]:
    """Return attributes as JSON has them."""
    return {
        str(name): value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for name, value in attributes.items()
    }
