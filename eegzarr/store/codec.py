"""Whether two versions of Blosc compress to the same bytes.

numcodecs brings a Blosc of its own, and a newer one may compress differently. The samples are the same then, but the
bytes and checksums of a shard aren't: a group half-built by one and finished by another would be a mixture that
nothing could make again. Versions say little, since builds of one version differ in their LZ4, and most new versions
change no byte. So what they make is compared.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from eegzarr.store.crc import crc32c
from eegzarr.store.layout import Geometry
from eegzarr.store.reading.checked import checked_frame, decode_frame, frame_range, index_bytes, read_index
from eegzarr.store.shard import NO_FRAME, encode_frame

_TRIAL_WINDOWS = 4


@lru_cache
def codec_mark(geometry: Geometry) -> str:
    """Return a text that differs between versions of Blosc that compress differently: the checksum of a trial."""
    count = _TRIAL_WINDOWS * geometry.n_channels * geometry.n_times
    steps = np.arange(count, dtype=np.int64)
    slow, fast = steps % 997 - 498, steps * steps % 61  # repeated in part, as EEG is
    shape = (_TRIAL_WINDOWS, geometry.n_channels, geometry.n_times)
    return f"{crc32c(encode_frame((slow + fast).astype(np.float32).reshape(shape), geometry)):08x}"


def codec_version() -> str:
    """Return the version of the Blosc that compresses here."""
    return f"Blosc {blosc.VERSION_STRING}"


def compresses_alike(content: npt.NDArray[np.uint8], geometry: Geometry, path: str) -> bool:
    """Return whether the first frame of a sound shard, decoded and compressed again here, has the bytes that it had."""
    index = read_index(content[-index_bytes(geometry) :].tobytes(), geometry, path)
    if index[0, 0] == NO_FRAME:
        return True
    offset, length = frame_range(index, 0, path)
    stored = content[offset : offset + length - 4]
    frame = checked_frame(content[offset : offset + length], length, geometry, path)
    windows = np.empty((geometry.windows_per_frame, geometry.n_channels, geometry.n_times), geometry.dtype)
    decode_frame(frame, windows, path, 0)
    if frame.bounds is None and geometry.windows_per_frame > 1:
        return True  # nothing of eegzarr's own frames to compare with
    return encode_frame(windows, geometry) == stored.tobytes()
