"""Read pickles of arrays, numbers and texts without running them.

A pickle is a program: what it names is imported and called, and its BUILD sets the inside of any object, numpy's
types among them, whose size and address then are the file's choice. Here nothing is called that a pickle names. Its
instructions are taken one by one; those that arrays, numbers, texts and plain containers are made of have their
meaning below, and all others end the reading.

See https://docs.python.org/3/library/pickletools.html, and PEP 307, 574 and 3154 for the instructions.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_NUMBERS = re.compile(r"[<>|=]?(?:\?|b1|[iu][1248]|f[248])")
_MOST_DIMENSIONS = 8
_MARK = object()


class PickleRefused(ValueError):
    """A pickle holds more than arrays, numbers and texts, or isn't whole."""


@dataclass(frozen=True)
class _Named:
    """Something that a pickle names: never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass
class _Type:
    """A numpy type in the making: REDUCE gives its text, BUILD its byte order."""

    text: str

    def of(self) -> np.dtype:
        return np.dtype(self.text)


@dataclass
class _Array:
    """An array in the making: REDUCE makes it empty, BUILD gives it type, shape and bytes."""

    values: npt.NDArray | None = None


def unpickle(content: bytes | memoryview) -> Any:
    """Return what a pickle holds.

    Raises
    ------
    PickleRefused
        If that isn't made of arrays of numbers, numbers, texts, bytes, lists, tuples and dicts alone.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(bytes(content)):
            if opcode.name == "STOP":
                return machine.finished()
            machine.run(opcode.name, argument)
    except PickleRefused:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeError) as error:
        raise PickleRefused(f"it is damaged: {error}") from error
    raise PickleRefused("it is damaged: it has no end")


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "STRING", "BINSTRING",
    "SHORT_BINSTRING",
}  # fmt: skip
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack and the memo of a pickle, and what its harmless instructions do to them."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def finished(self) -> Any:
        if len(self._stack) != 1:
            raise PickleRefused("it is damaged: it leaves more than one value")
        return _whole(self._stack[0])

    def run(self, name: str, argument: Any) -> None:
        """Follow one instruction of a pickle, by its name in `pickletools`; nothing is called that a file names."""
        stack = self._stack
        if name in ("PROTO", "FRAME"):
            return
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._since_mark()
        elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in ("TUPLE", "LIST", "DICT", *_TUPLES):
            self._collect(name)
        elif name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS"):
            self._fill(name)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._name(argument)
        elif name == "REDUCE":
            arguments, what = stack.pop(), stack.pop()
            stack.append(_made(what, arguments))
        elif name == "BUILD":
            state = stack.pop()
            _built(stack[-1], state)
        else:
            raise PickleRefused(f"it has the instruction {name}, and only arrays, numbers and texts are read")

    def _since_mark(self) -> list[Any]:
        place = len(self._stack) - 1
        while self._stack[place] is not _MARK:
            place -= 1
        values = self._stack[place + 1 :]
        del self._stack[place:]
        return values

    def _collect(self, name: str) -> None:
        if name in _TUPLES:
            count = _TUPLES[name]
            values = self._stack[-count:]
            if len(values) < count:
                raise PickleRefused("it is damaged: a value is missing")
            del self._stack[-count:]
        else:
            values = self._since_mark()
        if name == "LIST":
            self._stack.append([_whole(value) for value in values])
        elif name == "DICT":
            whole = [_whole(value) for value in values]
            self._stack.append(dict(zip(whole[::2], whole[1::2], strict=True)))
        else:
            # Types that BUILD will still change stay as they are in what is made of them.
            self._stack.append(tuple(values))

    def _fill(self, name: str) -> None:
        if name in ("APPENDS", "SETITEMS"):
            values = self._since_mark()
        else:
            count = 1 if name == "APPEND" else 2
            values = self._stack[-count:]
            del self._stack[-count:]
        target, whole = self._stack[-1], [_whole(value) for value in values]
        if name.startswith("APPEND") and type(target) is list:
            target += whole
        elif name.startswith("SETITEM") and type(target) is dict:
            target.update(zip(whole[::2], whole[1::2], strict=True))
        else:
            raise PickleRefused(f"it fills a {type(target).__name__}")

    def _name(self, argument: str | None) -> None:
        if argument is not None:
            module, _, name = argument.partition(" ")
        else:
            name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(_Named(str(module).replace("numpy.core.", "numpy._core."), str(name)))


def _whole(value: Any) -> Any:
    """Return a value that a container may hold: arrays whole, no name of anything."""
    if isinstance(value, _Array):
        if value.values is None:
            raise PickleRefused("it is damaged: an array has no content")
        return value.values
    if isinstance(value, _Type):
        return value.of()
    if isinstance(value, _Named):
        raise PickleRefused(f"it holds a {value}, and only arrays, numbers and texts are read")
    if value is _MARK:
        raise PickleRefused("it is damaged: a mark is left")
    if type(value) is tuple and any(isinstance(one, (_Array, _Type, _Named)) for one in value):
        # Not what lies deeper: tuples of tuples that name each other have more ends than there is memory.
        return tuple(_whole(one) for one in value if type(one) is not tuple)
    return value


def _made(what: Any, arguments: Any) -> Any:
    """Return what REDUCE makes of a name and its arguments: only what is written here, nothing is called."""
    if not isinstance(arguments, tuple):
        raise PickleRefused("it is damaged: arguments aren't a tuple")
    match str(what) if isinstance(what, _Named) else "", arguments:
        case "numpy.dtype", (str(text), *_) if _NUMBERS.fullmatch(text):
            return _Type(text)
        case "numpy._core.multiarray._reconstruct", (_Named("numpy", "ndarray"), (0,), b"b" | "b"):
            return _Array()
        case "numpy._core.numeric._frombuffer", (bytes() | bytearray() as raw, _Type() as kind, shape, "C" | "F"):
            return _Array(_array(bytes(raw), kind.of(), shape, arguments[3]))
        case "numpy._core.multiarray.scalar", (_Type() as kind, bytes(raw)):
            return _array(raw, kind.of(), (), "C")[()]
        case "_codecs.encode", (str(text), "latin1"):
            return text.encode("latin1")
        case "collections.OrderedDict", ():
            return {}
        case "__builtin__.bytes" | "builtins.bytes", ():
            return b""
        case "numpy.dtype", _:
            raise PickleRefused(f"it holds an array of {arguments[:1]}, and only numbers are read")
    raise PickleRefused(f"it holds a {what}, and only arrays, numbers and texts are read")


def _built(target: Any, state: Any) -> None:
    match target, state:
        case _Type(), (int(), "<" | ">" | "|" | "=" as order, None, None, None, *_):
            target.text = (order if order in "<>" else "") + target.text.lstrip("<>|=")
        case _Array(values=None), (int(), shape, _Type() as kind, fortran, bytes() | str() as raw):
            content = raw.encode("latin1") if isinstance(raw, str) else raw
            target.values = _array(content, kind.of(), shape, "F" if fortran else "C")
        case _:
            raise PickleRefused(f"it sets the inside of a {type(target).__name__.strip('_').lower()}")


def _array(content: bytes, dtype: np.dtype, shape: Any, order: Any) -> npt.NDArray:
    if not isinstance(shape, tuple) or len(shape) > _MOST_DIMENSIONS:
        raise PickleRefused("it is damaged: an array has no shape")
    if not all(type(length) is int and 0 <= length < 2**31 for length in shape):
        raise PickleRefused(f"it is damaged: an array has the shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise PickleRefused(f"it is damaged: an array of shape {shape} has {len(content)} bytes")
    values: npt.NDArray = np.frombuffer(content, dtype).reshape(shape, order=order)
    return values
