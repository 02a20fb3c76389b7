"""How much memory it will take to read or prepare a recording: measured factors, rounded up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from eegzarr.recipes.recipe import Preparation
from eegzarr.recordings.eeglab import eeglab_inside
from eegzarr.recordings.header import Header

_MIB = 2**20
_PASSES = 32  # over a file, as far as memory allows: each block of channels reads all of it
_BLOCK = (32 * _MIB, 256 * _MIB)  # least and most bytes of float64 samples in a block of several channels
# What scipy and MNE take to read an EEGLAB file with the signals inside, in multiples of them.
_SET_FIELDS, _SET_STRUCT = 2.4, 4.6
_SMALL_SET = 4 * _MIB  # fits into what every worker has


def channel_blocks(channels: tuple[str, ...], n_times: int) -> tuple[tuple[str, ...], ...]:
    """Return the channels in the groups that are prepared at a time, so that memory stays bounded."""
    per_block = _channels_at_once(len(channels), n_times)
    return tuple(channels[first : first + per_block] for first in range(0, len(channels), per_block))


def _channels_at_once(channels: int, n_times: int) -> int:
    least, most = _BLOCK
    size = min(most, max(least, 8 * n_times * channels // _PASSES))
    return max(1, min(channels, size // max(1, 8 * n_times)))


def preparation_memory(header: Header, channels: int, preparation: Preparation, sfreq: float) -> int:
    """Return the bytes that preparing some channels of a recording takes, beside its windows."""
    longest = max(stop - start for start, stop in header.spans)
    block = 8 * _channels_at_once(channels, header.n_times) * header.n_times
    one = 8 * longest
    at_once = 1.5 * block + one
    if preparation.l_freq is not None or preparation.h_freq is not None or preparation.notch:
        at_once = 4 * block + 2.5 * one
    if not header.has_rate(sfreq):
        # MNE pads to a power of two.
        padded = 8 * 2 ** int(np.ceil(np.log2(longest + 200)))
        at_once = max(at_once, 1.5 * block + 7.3 * padded)
    return header.memory + int(at_once)


def whole_memory(channels: int, n_times: int) -> int:
    """Return the bytes that MNE takes for a recording that it must load whole."""
    return 2 * 8 * channels * n_times


def set_memory(path: Path, decoded: int = 0) -> int:
    """Return the bytes that reading an EEGLAB file takes that has its signals inside.

    Parameters
    ----------
    path : Path
    decoded : int
        Bytes of the signals, where they are known: a compressed file is smaller.
    """
    is_struct, inside = eeglab_inside(path)
    size = max(path.stat().st_size, decoded, inside)
    return int(size * (_SET_STRUCT if is_struct else _SET_FIELDS))


def largest_set_memory(paths: Iterable[Path]) -> tuple[Path, int]:
    """Return the EEGLAB file with its signals inside that takes the most memory to open, and the bytes.

    ``Path(), 0`` where all are small.
    """
    sizes = []
    for path in paths:
        if path.suffix.lower() == ".set" and not path.with_suffix(".fdt").exists() and path.exists():
            sizes.append((path.stat().st_size, path))
    most = (Path(), 0)
    for size, path in sorted(sizes, reverse=True):
        if size <= _SMALL_SET or size * _SET_STRUCT <= most[1]:
            break
        most = max(most, (path, set_memory(path)), key=lambda one: one[1])
    return most
