"""CRC-32C, by the processor's instruction and, where the data are long enough, without Python's lock.

Decoding threads, and the thread that trains, would wait for each other wherever a frame is read for the first time.
"""

from __future__ import annotations

import crc32c as _crc32c
import numpy as np
import numpy.typing as npt

Content = bytes | npt.NDArray[np.uint8]


def crc32c(content: Content, before: int = 0) -> int:
    """Return the CRC-32C (RFC 3720, appendix B.4) of contiguous bytes that follow others whose checksum is `before`."""
    checksum: int = _crc32c.crc32c(content, before)  # type: ignore[arg-type]
    return checksum
