"""HDF5 files of windows: ``eeg`` (window, channel, time) and ``labels`` (window,)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.errors import SourceError
from eegzarr.exchange.meaning import CHANNEL_NAMES, SFREQ_NAMES, Told, given, meaning_of, version_of
from eegzarr.exchange.write import GivenWindows
from eegzarr.extras import needs
from eegzarr.recordings.boundary import first_line

if TYPE_CHECKING:
    import h5py


@contextmanager
def open_hdf5(path: Path, told: Told) -> Iterator[GivenWindows]:
    """Open an HDF5 file of ``eeg`` (window, channel, time) and ``labels`` (window,), inside the ``with``.

    ``labels`` is the target; any further dataset of shape (window,) becomes a label.
    """
    with needs("convert", "HDF5"):
        import h5py
    with suppress(ModuleNotFoundError):
        import hdf5plugin  # noqa: F401  # registers the filters of those who use Blosc or Zstandard
    try:
        file = h5py.File(path)
    except OSError as error:
        raise SourceError(f"{path} can't be opened, it is truncated or damaged: {first_line(error)}") from error
    with file:
        eeg = file.get("eeg")
        if not isinstance(eeg, h5py.Dataset) or eeg.ndim != 3 or eeg.dtype.kind not in "fiu":
            raise SourceError(
                f"{path} has no dataset eeg of numbers, (window, channel, time); it has {', '.join(file) or 'none'}"
            )
        try:
            labels = _hdf5_labels(file, len(eeg))
            meaning = meaning_of(path, _hdf5_attributes(file, eeg), told, eeg.shape[1])
        except OSError as error:
            raise SourceError(f"{path} is damaged: {first_line(error)}") from error

        def read(first: int, out: npt.NDArray[np.float32]) -> None:
            stop = first + len(out)
            try:
                eeg.read_direct(out, np.s_[first:stop])
            except OSError as error:
                raise SourceError(
                    f"{path} is damaged: windows {first} to {stop - 1} can't be read: {first_line(error)}"
                ) from error
            if meaning.factor != 1:
                out *= np.float32(meaning.factor)

        yield given(path, meaning, told, labels, eeg.shape[2], version_of(path), read)


def _hdf5_labels(file: h5py.File, count: int) -> pd.DataFrame:
    import h5py

    columns = {}
    for name, dataset in file.items():
        if not isinstance(dataset, h5py.Dataset) or dataset.shape != (count,) or name in CHANNEL_NAMES:
            continue
        is_text = h5py.check_string_dtype(dataset.dtype) is not None
        columns["target" if name == "labels" else name] = dataset.asstr()[:] if is_text else dataset[:]
    return pd.DataFrame(columns, index=range(count))


def _hdf5_attributes(file: h5py.File, eeg: h5py.Dataset) -> dict[str, Any]:
    import h5py

    names = {name: file[name] for name in (*CHANNEL_NAMES, *SFREQ_NAMES) if name in file}
    values = {name: found[()] for name, found in names.items() if isinstance(found, h5py.Dataset)}
    return {**values, **file.attrs, **eeg.attrs}
