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
from numba.extending import intrinsic


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
                # A part of its own: an index that may be negative keeps LLVM from using vectors, and takes five times
                # as long.
                part = stored[first : first + len(row)]
                for t in range(len(row)):
                    row[t] = _scaled(part[t], step)
    return -1


_TILES = "int64(int64, int64[::1], int64[::1], int64[:, ::1], int64[::1], {0}[:, ::1], {0}[:, :, ::1])"


@numba.njit([_TILES.format("uint16"), _TILES.format("uint32")], nogil=True, cache=True)
def gather_tiles(
    decompress: int,
    buffers: npt.NDArray[np.int64],
    edges: npt.NDArray[np.int64],
    pieces: npt.NDArray[np.int64],
    channels: npt.NDArray[np.int64],
    tile: Any,
    rows: Any,
) -> int:
    """Decode each of some Blosc buffers, and copy its pieces into rows; return the number of one that failed, or -1.

    Parameters
    ----------
    edges : array, shape (buffer + 1,)
        The pieces of a buffer are those from ``edges[i]`` to ``edges[i + 1]``.
    pieces : array, shape (piece, 4)
        Row, first sample in the tile and in the row, and number of samples.
    tile : array, shape (channel, time)
        Room for one that is decoded.
    rows : array, shape (row, channel, time)
    """
    place = tile.ctypes.data
    for i in range(len(buffers)):
        # Numba passes the intrinsic's first argument.
        if _decompress(decompress, buffers[i], place, tile.nbytes) != tile.nbytes:  # type: ignore[call-arg]
            return i
        for piece in range(edges[i], edges[i + 1]):
            row, source, to, length = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2], pieces[piece, 3]
            for k in range(len(channels)):
                rows[row, k, to : to + length] = tile[channels[k], source : source + length]
    return -1


@numba.njit(
    "int64(int64, int64[::1], int64[::1], int64[:, ::1], int64[::1], int16[:, ::1], float32[:, :, ::1], float64)",
    nogil=True,
    cache=True,
)
def gather_integer_tiles(
    decompress: int,
    buffers: npt.NDArray[np.int64],
    edges: npt.NDArray[np.int64],
    pieces: npt.NDArray[np.int64],
    channels: npt.NDArray[np.int64],
    tile: npt.NDArray[np.int16],
    rows: npt.NDArray[np.float32],
    step: float,
) -> int:
    """Do what `gather_tiles` does, with tiles of integers, into rows in uV."""
    nbytes = tile.size * 2
    for i in range(len(buffers)):
        if _decompress(decompress, buffers[i], tile.ctypes.data, nbytes) != nbytes:  # type: ignore[call-arg]
            return i
        for piece in range(edges[i], edges[i + 1]):
            row, source, to, length = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2], pieces[piece, 3]
            for k in range(len(channels)):
                stored, filled = tile[channels[k], source : source + length], rows[row, k, to : to + length]
                for t in range(length):
                    value = stored[t]
                    filled[t] = np.float32(np.float64(value) * step) if value != -32768 else np.float32(np.nan)
    return -1
