"""The loops over windows that Numba compiles; imported where it is worth importing Numba.

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


@intrinsic
def _multiply_add(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c`` of float32, rounded once where the processor does that."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        number = ir.FloatType()
        kind = ir.FunctionType(number, [number] * 3)
        return builder.call(builder.module.declare_intrinsic("llvm.fmuladd", [number], kind), arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


@numba.njit("float32(int16, float64)", inline="always", cache=True)
def _scaled(value: Any, step: float) -> Any:
    """Return an integer in uV, NaN for the fill value."""
    return np.float32(np.float64(value) * step) if value != -32768 else np.float32(np.nan)


@numba.njit("float32(int16, float32, float32)", inline="always", cache=True)
def _scaled_by_parts(value: Any, high: Any, low: Any) -> Any:
    """Return the same by a step that is the sum of two float32: half of the work, and nearly always the same."""
    number = np.float32(value)
    # Numba passes the intrinsic's first argument.
    scaled: Any = _multiply_add(number, high, number * low)  # type: ignore[call-arg]
    return scaled if value != -32768 else np.float32(np.nan)


@numba.njit("boolean(float64)", nogil=True, cache=True)
def is_same_by_parts(step: float) -> bool:
    """Return whether every integer times a step is the same by the step's parts."""
    high = np.float32(step)
    low = np.float32(step - np.float64(high))
    for value in range(-32767, 32768):
        if _scaled(np.int16(value), step) != _scaled_by_parts(np.int16(value), high, low):
            return False
    return True


def _place(stored: Any, row: Any, step: float, by_parts: bool) -> None:
    """Put stored samples into a row: integers into one of floats in uV, others as they are."""


@overload(_place)
def _placing(stored: Any, row: Any, step: Any, by_parts: Any) -> Any:
    if isinstance(row.dtype, types.Float):

        def scale(stored: Any, row: Any, step: Any, by_parts: Any) -> None:
            # Of a part of its own: an index that may be negative keeps LLVM from using vectors, and takes five times as
            # long.
            if by_parts:
                high = np.float32(step)
                low = np.float32(step - np.float64(high))
                for t in range(len(row)):
                    row[t] = _scaled_by_parts(stored[t], high, low)
            else:
                for t in range(len(row)):
                    row[t] = _scaled(stored[t], step)

        return scale

    def copy(stored: Any, row: Any, step: Any, by_parts: Any) -> None:
        row[:] = stored

    return copy


@numba.njit(
    "int64(int64, int64[::1], float64[::1], boolean[::1], int16[:, ::1], float32[:, :, ::1], int64[::1], int64[::1], "
    "int64[::1])",
    nogil=True,
    cache=True,
)
def gather_integers(
    decompress: int,
    buffers: npt.NDArray[np.int64],
    steps: npt.NDArray[np.float64],
    by_parts: npt.NDArray[np.bool_],
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
    by_parts : array of bool, shape (row,)
        What `is_same_by_parts` says of each step.
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
                _place(stored[first : first + len(row)], row, step, by_parts[i])
    return -1


_TILES = (
    "int64(int64, int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], {0}[:, :, ::1], int64[::1], "
    "{0}[:, :, ::1], {1}[:, :, ::1], float64, boolean)"
)
_KINDS = (("uint16", "uint16"), ("uint32", "uint32"), ("int16", "float32"))


@numba.njit([_TILES.format(*kinds) for kinds in _KINDS], nogil=True, cache=True)
def gather_tiles(
    decompress: int,
    buffers: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    firsts: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    channels: npt.NDArray[np.int64],
    held: Any,
    slots: npt.NDArray[np.int64],
    ring: Any,
    rows: Any,
    step: float,
    by_parts: bool,
) -> int:
    """Decode each of some Blosc buffers once, and put together the windows that begin in them.

    A row is written from its beginning to its end: tile by tile, a row's memory came twice, which took a fifth longer.

    Parameters
    ----------
    buffers : array, shape (tile,)
        0 for a tile that is decoded already, in its slot.
    order, firsts, offsets : array, shape (window,)
        Of windows in the order of their beginnings: the row, the place in `buffers` of the tile that it begins in, and
        the sample there. Each tile is of some window.
    channels : array, shape (channel,)
    held : array, shape (slot, channel, time)
        Tiles that stay decoded.
    slots : array, shape (tile,)
        Where each tile stays, -1 for one that doesn't.
    ring : array, shape (place, channel, time)
        Room for those that don't: a place more than tiles that a window lies in.
    rows : array, shape (row, channel, time)
        Of the tiles' type; of float32 for integers, which become uV.
    step : float
        uV a unit of integers.
    by_parts : bool
        What `is_same_by_parts` says of it.

    Returns
    -------
    int
        The place of the buffer that failed, or -1.
    """
    length, size, nbytes = rows.shape[2], ring.shape[2], ring[0].nbytes
    done = 0  # tiles that are decoded
    for i in range(len(order)):
        first, last = firsts[i], firsts[i] + (offsets[i] + length - 1) // size
        while done <= last:
            room = ring[done % len(ring)] if slots[done] < 0 else held[slots[done]]
            # Numba passes the intrinsic's first argument.
            if buffers[done] and _decompress(decompress, buffers[done], room.ctypes.data, nbytes) != nbytes:  # type: ignore[call-arg]
                return done
            done += 1
        row = rows[order[i]]
        for k in range(len(channels)):
            source, to = offsets[i], 0
            for number in range(first, last + 1):
                tile = ring[number % len(ring)] if slots[number] < 0 else held[slots[number]]
                count = min(size - source, length - to)
                _place(tile[channels[k], source : source + count], row[k, to : to + count], step, by_parts)
                source, to = 0, to + count
    return -1
