"""CRC-32C, computed without holding Python's lock.

google-crc32c uses the processor's instruction for it, but keeps the lock meanwhile: decoding threads,
and the thread that trains, wait for each other wherever a frame is used for the first time. The same
library called through ctypes lets go of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import google_crc32c
import numpy as np
import numpy.typing as npt


def crc32c(content: npt.NDArray[np.uint8]) -> int:
    """Return the CRC-32C (RFC 3720, appendix B.4) of C-contiguous bytes."""
    return google_crc32c.value(content) if _value is None else _value(content.ctypes.data, content.nbytes)


def _library_function() -> Callable[[int, int], int] | None:
    try:
        # A library's symbols are found through the extension module that is linked to it.
        from google_crc32c import _crc32c

        value = ctypes.CDLL(_crc32c.__file__).crc32c_value
    except (ImportError, OSError, AttributeError):
        return None  # google-crc32c without its extension, or linked in another way
    value.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    value.restype = ctypes.c_uint32
    function: Callable[[int, int], int] = value
    return function


_value = _library_function()
