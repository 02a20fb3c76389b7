"""The compiled loops of this process: made once it is worth it.

numcodecs takes Python's lock back after each window: two decoding threads waited for each other, and for
the thread that trains, a fifth of their time. The loops call the Blosc that numcodecs brings, so that a whole job runs
without the lock: 1.2 times the windows a second from float32 lakes, 1.3 to 1.5 times from float16. Without llvmlite,
numcodecs and NumPy do the same window by window.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from eegzarr.store.private import blosc_address

if TYPE_CHECKING:
    from eegzarr.store.reading.loops import Loops

_MANY = 512  # windows; what reads more is worth the 0.05 s that it takes
_lock = threading.Lock()
_made: list[Loops | None] = []
_wanted = 0


def compiled_loops() -> Loops | None:
    """Return the loops if `compile_loops` has made them in this process."""
    return _made[0] if _made else None


def compile_loops() -> None:
    """Make the loops; do nothing where that was tried before."""
    with _lock:
        if not _made:
            _made.append(_compiled())


def compile_for(count: int) -> None:
    """Make the loops if, with these windows, this process decodes many."""
    global _wanted
    with _lock:
        _wanted += count
    if _wanted >= _MANY:
        compile_loops()


def _compiled() -> Loops | None:
    decompress = blosc_address()
    if decompress is None:
        return None
    try:
        from eegzarr.store.reading.loops import Loops
    except ImportError:
        return None  # no llvmlite
    return Loops(decompress)
