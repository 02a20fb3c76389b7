"""LMDB folders of pickled windows."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.errors import SourceError
from eegzarr.exchange.meaning import Told, given, meaning_of, version_of
from eegzarr.exchange.unpickle import PickleRefused, unpickle
from eegzarr.exchange.write import GivenWindows
from eegzarr.extras import needs
from eegzarr.recordings.boundary import first_line

if TYPE_CHECKING:
    import lmdb


@contextmanager
def open_lmdb(path: Path, told: Told) -> Iterator[GivenWindows]:
    """Open an LMDB of pickles, ``{"sample": array, "label": number}`` each, inside the ``with``.

    As CBraMod's preprocessing writes them: ``__keys__`` lists the keys of each split, which becomes the
    label ``split``, and a sample of (channel, patch, time) is one window of all its patches.
    """
    with needs("convert", "LMDB"):
        import lmdb
    try:
        with (
            lmdb.open(str(path), readonly=True, lock=False, readahead=False) as environment,
            environment.begin(buffers=True) as transaction,
        ):
            _check_length(environment, path / "data.mdb")
            yield _opened(_Cache(transaction, path, told.trusts), told)
    except lmdb.Error as error:
        raise SourceError(f"{path} is damaged, or no LMDB: {first_line(error)}") from error


def _check_length(environment: lmdb.Environment, content: Path) -> None:
    # LMDB maps the file: reading past its end would end the process, without an error.
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if content.stat().st_size < needed:
        raise SourceError(f"{content} is truncated: {content.stat().st_size} bytes of {needed}")


@dataclass(frozen=True)
class _Cache:
    """An LMDB that is open, and whether its pickles may be run."""

    transaction: lmdb.Transaction
    path: Path
    is_trusted: bool

    def keys(self) -> tuple[list[bytes], list[str]]:
        """Return the keys of samples and the split of each, "" where there are none."""
        listed = self.transaction.get(b"__keys__")
        if listed is None:
            keys = [bytes(key) for key, _ in self.transaction.cursor() if not bytes(key).startswith(b"__")]
            return keys, [""] * len(keys)
        told = _unpickled(listed, f"{self.path}, __keys__", self.is_trusted)
        by_split = told if isinstance(told, dict) else {"": told}
        most = self.transaction.stat()["entries"]
        if not all(isinstance(keys, (list, tuple)) for keys in by_split.values()) or (
            sum(len(keys) for keys in by_split.values()) > most * max(1, len(by_split)) or len(by_split) > most
        ):
            raise SourceError(f"{self.path}, __keys__: it lists no keys, or more than there are")
        pairs = [
            (key if isinstance(key, bytes) else str(key).encode(), str(split))
            for split, keys in by_split.items()
            for key in keys
        ]
        return [key for key, _ in pairs], [split for _, split in pairs]

    def sample(self, key: bytes) -> tuple[Any, dict[str, Any]]:
        """Return a sample's signal and what else is stored with it."""
        name = f"{self.path}, {key.decode(errors='replace')}"
        content = self.transaction.get(key)
        if content is None:
            raise SourceError(f"{name}: it is listed, but not there")
        value = _unpickled(content, name, self.is_trusted)
        if isinstance(value, (tuple, list)) and len(value) == 2:
            value = {"sample": value[0], "label": value[1]}
        sample = value.get("sample") if isinstance(value, dict) else None
        if not isinstance(sample, np.ndarray) or sample.dtype.kind not in "fiu":
            raise SourceError(f"{name}: no array of numbers under 'sample'")
        return value["sample"], {name: other for name, other in value.items() if name != "sample"}


def _opened(cache: _Cache, told: Told) -> GivenWindows:
    path = cache.path
    keys, splits = cache.keys()
    if not keys:
        raise SourceError(f"{path} has no sample")
    labels = pd.DataFrame([_lmdb_labels(cache.sample(key)[1]) for key in keys])
    labels["key"] = [key.decode(errors="replace") for key in keys]
    if any(splits):
        labels["split"] = splits
    shape = _window(cache.sample(keys[0])[0]).shape
    meaning = meaning_of(path, {}, told, shape[0])

    def read(first: int, out: npt.NDArray[np.float32]) -> None:
        for row, key in zip(out, keys[first : first + len(out)], strict=True):
            window = _window(cache.sample(key)[0])
            if window.shape != shape:
                raise SourceError(f"{path}: {key.decode(errors='replace')} has the shape {window.shape}, not {shape}")
            np.multiply(window, meaning.factor, out=row, casting="unsafe")

    return given(path, meaning, told, labels, shape[1], version_of(path / "data.mdb"), read)


def _lmdb_labels(beside: dict[str, Any]) -> dict[str, Any]:
    # Containers are refused: a few bytes of pickle can describe one that would fill the memory.
    plain = (str, int, float, np.generic, np.ndarray)
    single = {str(name): np.asarray(value) for name, value in beside.items() if isinstance(value, plain)}
    return {"target" if name == "label" else name: value.item() for name, value in single.items() if value.size == 1}


def _window(sample: npt.NDArray) -> npt.NDArray:
    if sample.ndim == 3:
        return sample.reshape(sample.shape[0], -1)
    if sample.ndim == 2:
        return sample
    raise SourceError(f"a sample has the shape {sample.shape}: (channel, time) or (channel, patch, time) is wanted")


def _unpickled(content: bytes | memoryview, name: str, trusted: bool) -> Any:
    try:
        return pickle.loads(content) if trusted else unpickle(content)
    except PickleRefused as error:
        raise SourceError(
            f"{name}: its pickle isn't read: {error}. --trust runs it, if you know who wrote it"
        ) from error
    except Exception as error:  # a pickle that is run can raise anything
        raise SourceError(f"{name}: its pickle can't be read: {first_line(error)}") from error
