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
