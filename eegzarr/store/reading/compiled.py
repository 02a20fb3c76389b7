"""The loop over windows that Numba compiles; imported where it is worth importing Numba.

Blosc is called by its address, which is an argument: machine code without an address of this process in it can
be kept on the disk, next to this file or where Numba caches.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload


@intrinsic
def _decompress(_typing: Any, function: Any, source: Any, destination: Any, size: Any) -> Any:
    """Call ``blosc_decompress_ctx(source, destination, size, 1)`` at an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer, size_t, number = ir.IntType(8).as_pointer(), ir.IntType(64), ir.IntType(32)
        kind = ir.FunctionType(number, [pointer, pointer, size_t, number])
        address, source, destination, size = arguments
        call = builder.inttoptr(address, kind.as_pointer())
        places = [builder.inttoptr(place, pointer) for place in (source, destination)]
        return builder.call(call, [*places, size, ir.Constant(number, 1)])

    return types.int32(types.int64, types.int64, types.int64, types.int64), generate


@numba.njit("int64(int64, int64[::1], int64, int64)", nogil=True, cache=True)
def gather(decompress: int, buffers: npt.NDArray[np.int64], rows: int, nbytes: int) -> int:
    """Decode each of some Blosc buffers into its row; return the number of the one that failed, or -1."""
    for i in range(len(buffers)):
        # Numba passes the intrinsic's first argument.
        if _decompress(decompress, buffers[i], rows + i * nbytes, nbytes) != nbytes:  # type: ignore[call-arg]
            return i
    return -1


@numba.njit("float32(int16, float64)", inline="always", cache=True)
def _scaled(value: int, step: float) -> Any:
    """Return an integer in uV, NaN for the fill value."""
    return np.float32(np.float64(value) * step) if value != -32768 else np.float32(np.nan)


def _place(stored: Any, row: Any, step: float) -> None:
    """Put stored samples into a row: integers into one of floats in uV, others as they are."""


@overload(_place)
def _placing(stored: Any, row: Any, step: Any) -> Any:
    if isinstance(row.dtype, types.Float):

        def scale(stored: Any, row: Any, step: Any) -> None:
            # Of a part of its own: an index that may be negative keeps LLVM from using vectors, and takes five times as
            # long.
            for t in range(len(row)):
                row[t] = _scaled(stored[t], step)

        return scale

    def copy(stored: Any, row: Any, step: Any) -> None:
        row[:] = stored

    return copy


@numba.njit(
    "int64(int64, int64[::1], float64[::1], int16[:, ::1], float32[:, :, ::1], int64[::1], int64[::1], int64[::1])",
    nogil=True,
    cache=True,
)
def gather_integers(
    decompress: int,
    buffers: npt.NDArray[np.int64],
    steps: npt.NDArray[np.float64],
    window: npt.NDArray[np.int16],
    rows: npt.NDArray[np.float32],
    channels: npt.NDArray[np.int64],
    firsts: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
) -> int:
    """Decode each of some Blosc buffers of integers, and put channels and times of it in uV into its row.

    Parameters
    ----------
    steps : array of float64, shape (row,)
        uV a unit of each window's integers.
    window : array of int16, shape (stored channel, stored time)
        Memory for one decoded window, which stays in the processor's cache.
    rows : array of float32, shape (row, channel, time)
    channels : array of int64, shape (channel,)
        Stored channel of each of a row's.
    firsts : array of int64, shape (row,)
        Sample, or place in `times`, at which each row begins.
    times : array of int64
        Stored samples to pick from; empty where samples are taken as they follow each other.

    Returns
    -------
    int
        The number of the buffer that failed, or -1.
    """
    nbytes = window.size * 2
    for i in range(len(buffers)):
        if _decompress(decompress, buffers[i], window.ctypes.data, nbytes) != nbytes:  # type: ignore[call-arg]
            return i
        step, first = steps[i], firsts[i]
        for c in range(rows.shape[1]):
            stored, row = window[channels[c]], rows[i, c]
            if len(times):
                own = times[first : first + len(row)]
                for t in range(len(row)):
                    row[t] = _scaled(stored[own[t]], step)
            else:
                _place(stored[first : first + len(row)], row, step)
    return -1


_TILES = (
    "int64(int64, int64[::1], int64[::1], int64[:, ::1], int64[::1], {0}[:, :, ::1], int64[::1], {0}[:, ::1], "
    "{1}[:, :, ::1], float64)"
)
_KINDS = (("uint16", "uint16"), ("uint32", "uint32"), ("int16", "float32"))


@numba.njit([_TILES.format(*kinds) for kinds in _KINDS], nogil=True, cache=True)
def gather_tiles(
    decompress: int,
    buffers: npt.NDArray[np.int64],
    edges: npt.NDArray[np.int64],
    pieces: npt.NDArray[np.int64],
    channels: npt.NDArray[np.int64],
    held: Any,
    slots: npt.NDArray[np.int64],
    tile: Any,
    rows: Any,
    step: float,
) -> int:
    """Decode each of some Blosc buffers, and put its pieces into rows; return the number of one that failed, or -1.

    Parameters
    ----------
    buffers : array, shape (buffer,)
        0 for a tile that is decoded already, in its slot.
    edges : array, shape (buffer + 1,)
        The pieces of a buffer are those from ``edges[i]`` to ``edges[i + 1]``.
    pieces : array, shape (piece, 4)
        Row, first sample in the tile and in the row, and number of samples.
    held : array, shape (slot, channel, time)
        Tiles that stay decoded.
    slots : array, shape (buffer,)
        Where each tile stays, -1 for one that doesn't.
    tile : array, shape (channel, time)
        Room for one that doesn't.
    rows : array, shape (row, channel, time)
        Of the tiles' type; of float32 for integers, which become uV.
    step : float
        uV a unit of integers.
    """
    for i in range(len(buffers)):
        decoded = tile if slots[i] < 0 else held[slots[i]]
        # Numba passes the intrinsic's first argument.
        if buffers[i] and _decompress(decompress, buffers[i], decoded.ctypes.data, tile.nbytes) != tile.nbytes:  # type: ignore[call-arg]
            return i
        for piece in range(edges[i], edges[i + 1]):
            row, source, to, length = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2], pieces[piece, 3]
            for k in range(len(channels)):
                _place(decoded[channels[k], source : source + length], rows[row, k, to : to + length], step)
    return -1
