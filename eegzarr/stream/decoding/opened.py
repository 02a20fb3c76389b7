"""Rows whose windows' shards are open in this process."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from eegzarr.store.provenance import Part
from eegzarr.store.reading.fetched import RemoteReader
from eegzarr.store.reading.local import LocalReader
from eegzarr.store.reading.mapped import requested_from
from eegzarr.store.reading.read import WindowReader
from eegzarr.store.reading.remote import FrameCache
from eegzarr.store.reading.spent import Spent
from eegzarr.store.tiles.gather import spanned
from eegzarr.stream.rows import WindowRows
from eegzarr.stream.shape import RowFiller


class OpenRows:
    """Windows whose shards this process has opened; for any number of threads.

    Parameters
    ----------
    rows : WindowRows
    memory : int
        Bytes of frames from a bucket that are held at most.
    concurrency : int
        Requests to a bucket that are under way at a time.
    held : int
        Bytes of decoded tiles that are held.

    Attributes
    ----------
    expects, has_expected : bool
        Whether `expect` is worth calling, and has begun to read anything.
    """

    def __init__(self, rows: WindowRows, memory: int, concurrency: int, held: int = 0) -> None:
        self.pid = os.getpid()
        self._rows, self._selection = rows, rows.selection
        beyond = not rows.fit_memory()
        cache = FrameCache(memory)
        numbers: dict[tuple[str, str, str], int] = {}
        self.readers: list[WindowReader] = []
        reader = np.zeros(len(rows.layouts), np.int32)
        for place, source in enumerate(rows.selection.sources):
            if not isinstance(source, Part):
                continue
            key = (source.lake, source.group, source.digest)
            if key not in numbers:
                numbers[key] = len(numbers)
                url, known = requested_from(source.lake, source.group), (source.digest, rows.stored[place])
                self.readers.append(
                    RemoteReader(url, source.group, cache, numbers[key], concurrency, *known)
                    if url
                    else LocalReader(source.lake, source.group, *known, beyond_memory=beyond)
                )
            reader[place] = numbers[key]
        self.spent = Spent()
        for opened in self.readers:
            opened.spent = self.spent
        self.reader = reader
        self._is_stored = np.array([isinstance(source, Part) for source in rows.selection.sources])
        self._local = {number: one for number, one in enumerate(self.readers) if isinstance(one, LocalReader)}
        self.expects, self.has_expected = bool(self._local), False
        self._filler = RowFiller(rows.shape, rows.layouts, self.readers, reader, held // max(1, len(self.readers)))

    def reader_of(self, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return which of the readers reads each of the chosen windows; -1 for those in memory."""
        source = self._selection.source[chosen]
        return np.where(self._is_stored[source], self.reader[source], -1)

    def check(self) -> None:
        """Refuse to continue if what was opened was written to, or rebuilt."""
        for reader in self.readers:
            reader.check()

    def check_files(self) -> None:
        """Refuse to continue if a file that was opened was written to."""
        for reader in self.readers:
            reader.check_files()

    def expect(self, chosen: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> None:
        """Have the system begin to read windows that will be asked for soon, where it hasn't before."""
        reader_of = self.reader_of(chosen)
        first, last = self._rows.stored_in(chosen, offsets)
        for number, reader in self._local.items():
            own = reader_of == number
            if reader.expect(spanned(first[own], last[own])):
                self.has_expected = True

    def fill(self, rows: npt.NDArray, chosen: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> None:
        """Fill `rows` with the chosen windows, each from a sample on."""
        selection = self._selection
        begun = self.spent.decoding_begins()
        self._filler.fill(
            rows, selection.source[chosen], selection.window[chosen], selection.recording[chosen], offsets
        )
        self.spent.decoding_ends(begun)
