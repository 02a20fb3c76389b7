"""Many windows decoded in one call that doesn't hold Python's lock.

numcodecs takes the lock back after each window: two decoding threads waited for each other, and for
the thread that trains, a fifth of their time. The loops here are compiled and call the Blosc
that numcodecs brings, so that a whole job runs without the lock: 1.2 times the windows a second from
float32 lakes, 1.3 to 1.5 times from float16. The plain loop is ready in 0.03 s, so that it is made when a process
begins to read some hundred windows. Those that also convert integers or put tiles together are Numba's: to import it
takes a quarter of a second, and to compile them seconds, once on a machine, since their code is cached on the disk. So
that is done once a process has decoded some thousand windows. Where a compiler is missing, numcodecs does it window by
window.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any

from eegzarr.store.private import blosc_address

if TYPE_CHECKING:
    from eegzarr.store.reading.plain import PlainLoop


@dataclass(frozen=True)
class Gather:
    """The loops that were compiled; each returns the number of the buffer that it could not decode, or -1.

    Attributes
    ----------
    integers : callable
        Given what `eegzarr.store.reading.compiled.gather_integers` takes after the address of the decoder.
    tiles : callable
        Likewise `eegzarr.store.reading.compiled.gather_tiles`.
    is_same_by_parts : callable
        Given a step in uV, as there; each step is looked at once.
    """

    integers: Callable[..., int]
    tiles: Callable[..., int]
    is_same_by_parts: Callable[[float], bool]


_MODULE = "eegzarr.store.reading.compiled"
FEW = 512  # windows; what reads more is worth what the plain loop costs
_MANY = 4096  # windows; after them a process is worth what Numba costs
_lock = threading.Lock()
_plain: list[PlainLoop | None] = []
_compiled: list[Gather | None] = []
_decoded = 0


def is_worth_compiling(count: int) -> bool:
    """Count windows that this process has decoded; return True once, when they have become many."""
    global _decoded
    with _lock:
        before, _decoded = _decoded, _decoded + count
        return before < _MANY <= _decoded


def plain_loop() -> PlainLoop | None:
    """Return the loop that decodes whole windows if `compile_plain` has made it in this process."""
    return _plain[0] if _plain else None


def compile_plain() -> None:
    """Compile the loop that decodes whole windows; do nothing where that was tried before."""
    with _lock:
        if not _plain:
            _plain.append(_compile_plain())


def _compile_plain() -> PlainLoop | None:
    decompress = blosc_address()
    if decompress is None:
        return None
    try:
        from eegzarr.store.reading.plain import PlainLoop
    except ImportError:
        return None  # no llvmlite
    return PlainLoop(decompress)


def compiled_gather() -> Gather | None:
    """Return the compiled loops if `compile_gather` has made them in this process."""
    return _compiled[0] if _compiled else None


def compile_gather() -> None:
    """Compile all loops; do nothing where that was tried before."""
    compile_plain()
    with _lock:
        if not _compiled:
            _compiled.append(_compile())


def _compile() -> Gather | None:
    decompress = blosc_address()
    if decompress is None:
        return None
    try:
        compiled = _compiled_module()
    except ImportError:
        return None  # no Numba
    return Gather(
        integers=partial(compiled.gather_integers, decompress),
        tiles=partial(compiled.gather_tiles, decompress),
        is_same_by_parts=cache(compiled.is_same_by_parts),
    )


def _compiled_module() -> ModuleType:
    """Return the module with the compiled loops, made for this process alone where no folder can keep them."""
    try:
        return import_module(_MODULE)
    except RuntimeError:  # neither this package's folder nor the user's is writable, as for a service or in a container
        config: Any = import_module("numba").config
        folder = TemporaryDirectory(prefix="eegzarr-")
        atexit.register(folder.cleanup)  # what is called with other types later is compiled later
        before, config.CACHE_DIR = config.CACHE_DIR, folder.name
        try:
            return import_module(_MODULE)
        finally:
            config.CACHE_DIR = before
