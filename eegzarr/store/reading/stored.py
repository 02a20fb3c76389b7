"""Signals in a lake as an array that xarray reads when it is looked at: where they are from."""

from __future__ import annotations

import numpy as np
from xarray.backends import BackendArray


class StoredSignals(BackendArray):
    """A group's signals, (window, channel, time), with where they are from.

    Attributes
    ----------
    lake, group, digest : str
        Lake and path of the group that has the samples, and its `plan_digest` when it was opened.
    """

    def __init__(self, lake: str, group: str, digest: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.lake, self.group, self.digest = lake, group, digest
        self.shape, self.dtype = shape, dtype
