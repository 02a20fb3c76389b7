"""The loop that decodes whole windows, in LLVM's own language; imported where it is worth importing llvmlite.

Each process compiles it again, which takes 0.03 s with llvmlite's import. Numba, which compiles the loops that
also convert and put together, takes 0.15 s to be imported, half a second beside threads that decode, and seconds once
on a machine. Blosc is called by its address, which is an argument.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt

# for (i = 0; i < count; i++) if (blosc(buffers[i], rows + i * nbytes, nbytes, 1) != nbytes) return i; return -1
_LOOP = """
define i64 @plain(i64 %decompress, i64* %buffers, i64 %count, i8* %rows, i64 %nbytes) {
  %blosc = inttoptr i64 %decompress to i32 (i8*, i8*, i64, i32)*
  %wanted = trunc i64 %nbytes to i32
  br label %head
head:
  %i = phi i64 [0, %0], [%next, %sound]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %decode, label %done
decode:
  %at = getelementptr i64, i64* %buffers, i64 %i
  %address = load i64, i64* %at
  %source = inttoptr i64 %address to i8*
  %skipped = mul i64 %i, %nbytes
  %row = getelementptr i8, i8* %rows, i64 %skipped
  %got = call i32 %blosc(i8* %source, i8* %row, i64 %nbytes, i32 1)
  %is_sound = icmp eq i32 %got, %wanted
  br i1 %is_sound, label %sound, label %failed
sound:
  %next = add i64 %i, 1
  br label %head
failed:
  ret i64 %i
done:
  ret i64 -1
}
"""
_INT64 = np.dtype(np.int64)


class PlainLoop:
    """Decodes many Blosc buffers in a call that doesn't hold Python's lock.

    Parameters
    ----------
    decompress : int
        The address of ``blosc_decompress_ctx``.
    """

    def __init__(self, decompress: int) -> None:
        with suppress(RuntimeError):  # later versions do it by themselves
            llvm.initialize()
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(opt=3)
        self._engine: Any = llvm.create_mcjit_compiler(llvm.parse_assembly(_LOOP), machine)  # the code lives as long
        self._engine.finalize_object()
        number = ctypes.c_int64
        self._loop = ctypes.CFUNCTYPE(number, *[number] * 5)(self._engine.get_function_address("plain"))
        self._decompress = decompress

    def __call__(self, buffers: npt.NDArray[np.int64], rows: npt.NDArray) -> int:
        """Decode each buffer, given by its address, into its row; return the number of one that failed, or -1.

        Parameters
        ----------
        rows : array, shape (row, ...)
            C-contiguous, of the stored type.
        """
        if buffers.dtype != _INT64 or not (buffers.flags.c_contiguous and rows.flags.c_contiguous):
            raise TypeError(f"the loop was given {buffers.dtype}, and rows of the strides {rows.strides}")
        nbytes = rows.nbytes // max(1, len(rows))
        places = (buffers.__array_interface__["data"][0], rows.__array_interface__["data"][0])
        return int(self._loop(self._decompress, places[0], len(buffers), places[1], nbytes))
