"""Where in memory arrays are, for compiled code."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def addresses_of(rows: npt.NDArray) -> npt.NDArray[np.int64]:
    """Return where in memory each row of a C-contiguous array begins."""
    return address_of(rows, rows.dtype) + np.arange(len(rows)) * (rows.nbytes // max(1, len(rows)))


def address_of(array: npt.NDArray, dtype: npt.DTypeLike = np.int64) -> int:
    """Return where in memory an array is, which must be C-contiguous and of a type."""
    if array.dtype != dtype or not array.flags.c_contiguous:
        raise TypeError(f"compiled code was given {array.dtype} of the strides {array.strides}")
    return int(array.__array_interface__["data"][0])
