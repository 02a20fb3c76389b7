"""Memory for what comes from a bucket, lent and reused once nothing holds it.

Fresh memory for each frame of 3 MB took 50 us of processor time a window, more than to receive it or to decode it: the
system has to find its pages, and to clear them.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_LEAST = 2**16  # bytes below which fresh memory costs nothing
_SPARE = 32  # a piece is by so small a part larger than what it is made for: frames have about one length
_TOO_LARGE = 2  # times what is wanted


@dataclass(eq=False)
class _Piece:
    memory: npt.NDArray[np.uint8]
    lent: weakref.ref[npt.NDArray[np.uint8]] | None = None

    @property
    def is_free(self) -> bool:
        return self.lent is None or self.lent() is None

    def fits(self, nbytes: int) -> bool:
        return nbytes <= len(self.memory) <= _TOO_LARGE * nbytes


class LentMemory:
    """Pieces of memory; for any number of threads.

    Parameters
    ----------
    budget : int
        Bytes that are kept at most, lent or not. What is wanted beyond them is fresh, and not kept.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._pieces: list[_Piece] = []
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        return sum(len(piece.memory) for piece in self._pieces)

    def take(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Return memory of this many bytes; it is free again once nothing shares it any longer."""
        if nbytes < _LEAST:
            return np.empty(nbytes, np.uint8)
        with self._lock:
            piece = self._free(nbytes) or self._made(nbytes)
            # Out of a memoryview: what is made of it refers to this array then, not to the piece.
            lent = np.frombuffer(piece.memory.data[:nbytes], np.uint8)
            piece.lent = weakref.ref(lent)
            return lent

    def _free(self, nbytes: int) -> _Piece | None:
        return next((one for one in self._pieces if one.is_free and one.fits(nbytes)), None)

    def _made(self, nbytes: int) -> _Piece:
        """Return a new piece, and keep it if there is room, for which pieces of other sizes go."""
        size = nbytes + nbytes // _SPARE
        for other in [one for one in self._pieces if one.is_free]:
            if self.nbytes + size <= self._budget:
                break
            self._pieces.remove(other)
        piece = _Piece(np.empty(size, np.uint8))
        if self.nbytes + size <= self._budget:
            self._pieces.append(piece)
        return piece
