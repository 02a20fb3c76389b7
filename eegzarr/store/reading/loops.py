"""The loops that decode windows, scale them and put them together, as machine code that LLVM makes.

A process makes them once, in 0.05 s with llvmlite's import. In them, places in memory and counts are whole numbers of
64 bits. Above each function stands in C what it does; functions are called by their addresses, as Blosc's is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
from llvmlite import ir

from eegzarr.store.integers import FILL
from eegzarr.store.layout import Geometry
from eegzarr.store.reading.addresses import address_of, addresses_of

_I16, _I32, _I64 = (ir.IntType(bits) for bits in (16, 32, 64))
_FLOAT, _DOUBLE, _BYTES = ir.FloatType(), ir.DoubleType(), ir.IntType(8).as_pointer()
_LANES = 16  # samples that are scaled at a time
_PLACE = ir.FunctionType(ir.VoidType(), [_I64] * 5 + [_DOUBLE])
_NO_TIMES = np.empty(0, np.int64)


class Loops:
    """Work on many windows in one call that doesn't hold Python's lock.

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
        cpu = features = ""
        with suppress(RuntimeError):  # one that LLVM doesn't know
            features, cpu = llvm.get_host_cpu_features().flatten(), llvm.get_host_cpu_name()
        machine = llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=3)
        self._engine: Any = llvm.create_mcjit_compiler(llvm.parse_assembly(str(_module())), machine)
        self._engine.finalize_object()  # the code lives as long as the engine
        number = ctypes.c_int64
        address = self._engine.get_function_address
        self._decode = ctypes.CFUNCTYPE(number, *[number] * 5)(address("decode"))
        self._gather = ctypes.CFUNCTYPE(number, *[number] * 16, ctypes.c_double)(address("gather"))
        self._places = {name: address(name) for name in ("copy16", "copy32", "scale", "scale_picked")}
        self._decompress = decompress

    def decode(self, buffers: npt.NDArray[np.int64], rows: npt.NDArray) -> int:
        """Decode each Blosc buffer, given by its address, into its row.

        Parameters
        ----------
        rows : array, shape (row, ...)
            C-contiguous, of the stored type.

        Returns
        -------
        int
            The number of a buffer that failed, or -1.
        """
        nbytes = rows.nbytes // max(1, len(rows))
        rooms = addresses_of(rows)
        return int(self._decode(self._decompress, nbytes, len(buffers), address_of(buffers), address_of(rooms)))

    def gather(
        self,
        geometry: Geometry,
        tiles: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        windows: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]],
        channels: npt.NDArray[np.int64],
        rows: npt.NDArray,
        times: npt.NDArray[np.int64] = _NO_TIMES,
    ) -> int:
        """Decode each of some Blosc buffers once, and put together the windows that begin in them.

        A row is written from its beginning to its end: tile by tile, a row's memory came twice, which took a fifth
        longer.

        Parameters
        ----------
        geometry : Geometry
            Of the tiles.
        tiles : tuple of array of int64, shape (tile,)
            The address of each tile's buffer, 0 where it is decoded already, and of the room that it is decoded into.
            Tiles that a window lies in need rooms of their own, others may share them.
        windows : tuple of array of int64, shape (window,)
            In the order of their beginnings: the row of each, the place in `tiles` of the one that it begins in, and
            the sample there. Each tile is of some window.
        channels : array of int64, shape (channel,)
            Of the tiles.
        rows : array, shape (row, channel, time)
            C-contiguous, of the tiles' type; of float32 for integers, which become uV.
        times : array of int64, optional
            Samples of a tile, of integers that become uV: these are what is in a tile then, in this order, and a window
            lies in one.

        Returns
        -------
        int
            The place of a buffer that failed, or -1.
        """
        (buffers, rooms), (order, firsts, offsets) = tiles, windows
        targets = addresses_of(rows)[order]
        is_scaled = rows.dtype != geometry.dtype
        how = ("scale_picked" if len(times) else "scale") if is_scaled else f"copy{8 * rows.itemsize}"
        return int(
            self._gather(
                self._decompress,
                geometry.window_bytes,
                address_of(buffers),
                address_of(rooms),
                len(order),
                address_of(targets),
                address_of(firsts),
                address_of(offsets),
                len(channels),
                address_of(channels),
                geometry.n_times * geometry.itemsize,
                len(times) or geometry.n_times,
                rows.shape[2],
                rows.itemsize,
                self._places[how],
                address_of(times),
                geometry.step,
            )
        )


def _module() -> ir.Module:
    module = ir.Module("eegzarr")
    decode = _decode(module)
    _gather(module, decode)
    for bits in (16, 32):
        _copy(module, bits)
    _scale(module)
    _scale_picked(module)
    return module


# int64 decode(blosc, nbytes, count, buffers, rooms) {
#     for (i = 0; i < count; i++)
#         if (buffers[i] && blosc(buffers[i], rooms[i], nbytes, 1) != nbytes) return i;
#     return -1; }
def _decode(module: ir.Module) -> ir.Function:
    decode, build = _function(module, "decode", ir.FunctionType(_I64, [_I64] * 5))
    blosc, nbytes, count, buffers, rooms = decode.args
    takes = ir.FunctionType(_I32, [_I64, _I64, _I64, _I32])
    decompress = build.inttoptr(blosc, takes.as_pointer())
    with _counting(build, count) as i:
        buffer = _item(build, buffers, i)
        with build.if_then(build.icmp_signed("!=", buffer, _I64(0))):
            got = build.call(decompress, [buffer, _item(build, rooms, i), nbytes, _I32(1)])
            with build.if_then(build.icmp_signed("!=", build.sext(got, _I64), nbytes)):
                build.ret(i)
    build.ret(_I64(-1))
    return decode


# int64 gather(blosc, nbytes, buffers, rooms,  count, rows, firsts, offsets,  n_channels, channels, channel_nbytes,
#              size, length, row_itemsize, place, times, step) {
#     for (i = done = 0; i < count; i++) {
#         stop = firsts[i] + (offsets[i] + length - 1) / size + 1;
#         if ((failed = decode(blosc, nbytes, stop - done, buffers + done, rooms + done)) >= 0) return done + failed;
#         done = stop;
#         for (c = 0; c < n_channels; c++)
#             for (tile = firsts[i]; tile < stop; tile++) {
#                 ahead = (tile - firsts[i]) * size - offsets[i];  // from the window's beginning to the tile's
#                 to = max(ahead, 0);
#                 place(rooms[tile] + channels[c] * channel_nbytes, to - ahead,
#                       rows[i] + (c * length + to) * row_itemsize, min(ahead + size, length) - to, times, step); } }
#     return -1; }
def _gather(module: ir.Module, decode: ir.Function) -> None:
    gather, build = _function(module, "gather", ir.FunctionType(_I64, [_I64] * 16 + [_DOUBLE]))
    blosc, nbytes, buffers, rooms, count, rows, firsts, offsets, *others = gather.args
    n_channels, channels, channel_nbytes, size, length, row_itemsize, place, times, step = others
    put = build.inttoptr(place, _PLACE.as_pointer())
    done_at = build.alloca(_I64)
    build.store(_I64(0), done_at)
    with _counting(build, count) as i:
        row, first, offset = (_item(build, array, i) for array in (rows, firsts, offsets))
        end = build.sub(build.add(offset, length), _I64(1))
        stop = build.add(build.add(first, build.sdiv(end, size)), _I64(1))
        done = build.load(done_at)
        skipped = build.mul(done, _I64(8))
        left = build.sub(stop, done)
        failed = build.call(decode, [blosc, nbytes, left, build.add(buffers, skipped), build.add(rooms, skipped)])
        with build.if_then(build.icmp_signed(">=", failed, _I64(0))):
            build.ret(build.add(done, failed))
        build.store(stop, done_at)
        tiles = build.sub(stop, first)
        with _counting(build, n_channels) as c:
            channel = build.mul(_item(build, channels, c), channel_nbytes)
            begin = build.mul(c, length)
            with _counting(build, tiles) as tile:
                ahead = build.sub(build.mul(tile, size), offset)
                to = _least(build, ">", ahead, _I64(0))
                until = _least(build, "<", build.add(ahead, size), length)
                stored = build.add(_item(build, rooms, build.add(first, tile)), channel)
                target = build.add(row, build.mul(build.add(begin, to), row_itemsize))
                build.call(put, [stored, build.sub(to, ahead), target, build.sub(until, to), times, step])
    build.ret(_I64(-1))


# void copy16(channel, source, row, count, times, step) { memcpy(row, channel + source, count); }, and copy32
def _copy(module: ir.Module, bits: int) -> None:
    copy, build = _function(module, f"copy{bits}", _PLACE)
    channel, source, row, count, _, _ = copy.args
    nbytes = _I64(bits // 8)
    places = [build.inttoptr(place, _BYTES) for place in (row, build.add(channel, build.mul(source, nbytes)))]
    build.call(
        module.declare_intrinsic("llvm.memcpy", [_BYTES, _BYTES, _I64]),
        [*places, build.mul(count, nbytes), ir.Constant(ir.IntType(1), 0)],
    )
    build.ret_void()


# void scale(channel, source, row, count, times, step) {
#     for (t = 0; t < count; t++) row[t] = channel[source + t] == FILL ? NAN : (float)(channel[source + t] * step); }
#
# By 16 samples at a time, the last of which may be some of those before; one by one where there are fewer.
def _scale(module: ir.Module) -> None:
    scale, build = _function(module, "scale", _PLACE)
    channel, source, row, count, _, step = scale.args
    stored, lanes = build.add(channel, build.mul(source, _I64(2))), _I64(_LANES)
    last = build.sub(count, lanes)
    with build.if_else(build.icmp_signed("<", last, _I64(0))) as (few, many):
        with few, _counting(build, count) as t:
            _set(build, row, t, _scaled(build, _item(build, stored, t, _I16), step))
        with many, _counting(build, build.sdiv(build.add(count, _I64(_LANES - 1)), lanes)) as part:
            t = _least(build, "<", build.mul(part, lanes), last)
            _set(build, row, t, _scaled(build, _item(build, stored, t, _I16, _LANES), step))
    build.ret_void()


# void scale_picked(channel, source, row, count, times, step) {
#     for (t = 0; t < count; t++) row[t] = ... channel[times[source + t]] ...; }
def _scale_picked(module: ir.Module) -> None:
    scale, build = _function(module, "scale_picked", _PLACE)
    channel, source, row, count, times, step = scale.args
    with _counting(build, count) as t:
        sample = _item(build, times, build.add(source, t))
        _set(build, row, t, _scaled(build, _item(build, channel, sample, _I16), step))
    build.ret_void()


def _scaled(build: ir.IRBuilder, integers: ir.Value, step: ir.Value) -> ir.Value:
    """Return an integer, or several, in uV: the product, taken in float64, as float32; NaN for the fill value."""
    doubles, floats, fill, nan = _DOUBLE, _FLOAT, _I16(FILL), _FLOAT(float("nan"))
    if isinstance(integers.type, ir.VectorType):
        doubles, floats = (ir.VectorType(one, _LANES) for one in (_DOUBLE, _FLOAT))
        fill, nan = (ir.Constant(ir.VectorType(one.type, _LANES), [one] * _LANES) for one in (fill, nan))
        nothing, zeros = ir.Constant(doubles, ir.Undefined), ir.Constant(ir.VectorType(_I32, _LANES), [0] * _LANES)
        step = build.shuffle_vector(build.insert_element(nothing, step, _I32(0)), nothing, zeros)
    product = build.fptrunc(build.fmul(build.sitofp(integers, doubles), step), floats)
    return build.select(build.icmp_signed("==", integers, fill), nan, product)


def _function(module: ir.Module, name: str, kind: ir.FunctionType) -> tuple[ir.Function, ir.IRBuilder]:
    function = ir.Function(module, kind, name)
    return function, ir.IRBuilder(function.append_basic_block())


@contextmanager
def _counting(build: ir.IRBuilder, count: ir.Value) -> Iterator[ir.Value]:
    """Build a loop around the ``with``; give what counts from 0."""
    before = build.block
    head, body, after = (build.append_basic_block() for _ in range(3))
    build.branch(head)
    build.position_at_end(head)
    number = build.phi(_I64)
    number.add_incoming(_I64(0), before)
    build.cbranch(build.icmp_signed("<", number, count), body, after)
    build.position_at_end(body)
    yield number
    number.add_incoming(build.add(number, _I64(1)), build.block)
    build.branch(head)
    build.position_at_end(after)


def _least(build: ir.IRBuilder, order: str, one: ir.Value, other: ir.Value) -> ir.Value:
    """Return the lesser of two numbers, or with the order ``">"`` the greater."""
    return build.select(build.icmp_signed(order, one, other), one, other)


def _item(build: ir.IRBuilder, array: ir.Value, number: ir.Value, kind: ir.Type = _I64, count: int = 1) -> ir.Value:
    """Return an item of an array at an address, or several that follow each other."""
    return build.load(_at(build, array, number, kind, count), align=kind.width // 8)


def _set(build: ir.IRBuilder, row: ir.Value, number: ir.Value, samples: ir.Value) -> None:
    """Write one or several float32 into a row at an address."""
    count = _LANES if isinstance(samples.type, ir.VectorType) else 1
    build.store(samples, _at(build, row, number, _FLOAT, count), align=4)


def _at(build: ir.IRBuilder, array: ir.Value, number: ir.Value, kind: ir.Type, count: int) -> ir.Value:
    nbytes = 4 if kind is _FLOAT else kind.width // 8
    address = build.add(array, build.mul(number, _I64(nbytes)))
    return build.inttoptr(address, (kind if count == 1 else ir.VectorType(kind, count)).as_pointer())
