"""Pickles are read, never run."""

from __future__ import annotations

import os
import pickle
import struct
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eegzarr.exchange.unpickle import PickleRefused, unpickle

EXAMPLES = int(os.environ.get("EEGZARR_FUZZ", "300"))
NUMBERS = [np.dtype(kind) for kind in ("?", "i1", "<i2", ">i4", "u8", "<f2", "<f4", ">f8")]
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray):
        return found.dtype == expected.dtype and np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")
    return repr(found) == repr(expected)


@given(hnp.arrays(st.sampled_from(NUMBERS), hnp.array_shapes(max_dims=4, min_side=0)), st.integers(0, 5))
@settings(max_examples=EXAMPLES)
def test_arrays_of_numbers_are_what_numpy_gave(array: np.ndarray, protocol: int) -> None:
    for one in (array, np.asfortranarray(array), array[..., ::2]):
        sample = {"sample": one, "label": 3}
        found = unpickle(pickle.dumps(sample, protocol))
        assert same(found["sample"], one)
        assert found["label"] == 3


@given(plain, st.integers(0, 5))
@settings(max_examples=EXAMPLES)
def test_plain_values_are_what_they_were(value: Any, protocol: int) -> None:
    assert same(unpickle(pickle.dumps(value, protocol)), value)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [np.float32(2.5), np.int64(-3), OrderedDict(a=1), ["é", b"\xff\x00"], {"x": [np.arange(3), (1, 2)]}],
    ids=str,
)
def test_what_caches_hold_beside_arrays_is_read(value: Any, protocol: int) -> None:
    found = unpickle(pickle.dumps(value, protocol))
    assert found == value if not isinstance(value, dict) or isinstance(value, OrderedDict) else found["x"][1] == (1, 2)


class _Runs:
    def __init__(self, what: Any, *arguments: Any) -> None:
        self._reduced = (what, arguments)

    def __reduce__(self) -> tuple:
        return self._reduced


HOSTILE = {
    "a call": pickle.dumps(_Runs(os.system, "true")),
    "an array of objects": pickle.dumps(np.array([_Runs(os.getpid)], object)),
    "a record": pickle.dumps(np.zeros(2, [("a", "f4")])),
    # A type whose size BUILD sets: with numpy's own unpickling it reads wherever the file wants.
    "a type's inside": (
        b"\x80\x02cnumpy\ndtype\n(X\x02\x00\x00\x00V8K\x00K\x01tR(K\x03X\x01\x00\x00\x00|N)}J\xff\xff\xff\x7fK\x08K?tb."
    ),
    "a number's inside": (
        b"\x80\x02cnumpy\ndtype\n(X\x02\x00\x00\x00f8K\x00K\x01tR(K\x03X\x01\x00\x00\x00<N)}K\x08K\x08K?tb."
    ),
    "a type of its own making": b"\x80\x02cnumpy\ndtype\n(X\x03\x00\x00\x00V99K\x00K\x01tR.",
    "an array larger than the file": (
        b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01J\xff\xff\xff\x7f\x85"
        b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8K\x00K\x01tRK\x00C\x08\x00\x00\x00\x00\x00\x00\x00\x00tb."
    ),
    "a text longer than the file": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.",
    "what another process shares": b"\x80\x05\x97.",
    "an object's inside": b"\x80\x02}(X\x01\x00\x00\x00aK\x01ub.",
    "itself": b"\x80\x02]q\x00h\x00b.",
    "a persistent name": b"Pabc\n.",
    "nothing": b"",
    "no end": pickle.dumps([1, 2])[:-1],
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_could_run_or_reach_elsewhere_is_refused(kind: str) -> None:
    with pytest.raises(PickleRefused):
        unpickle(HOSTILE[kind])


def test_tuples_of_tuples_take_no_more_time_than_bytes() -> None:
    began = time.monotonic()
    doubling = b"\x80\x02)" + b"q\x00h\x00\x86" * 2000 + b"."
    unpickle(doubling)
    assert time.monotonic() - began < 60


@given(
    hnp.arrays(st.sampled_from(NUMBERS), (3, 4)),
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0), st.integers(0, 255))),
)
@settings(max_examples=EXAMPLES)
def test_a_damaged_pickle_gives_values_or_is_refused(array: np.ndarray, protocol: int, changes: list) -> None:
    content = bytearray(pickle.dumps({"sample": array, "label": 1, "key": "a"}, protocol))
    for place, value in changes:
        content[place % len(content)] = value
    with suppress(PickleRefused):
        unpickle(bytes(content))


@given(st.binary(max_size=200))
@settings(max_examples=EXAMPLES)
def test_any_bytes_give_values_or_are_refused(content: bytes) -> None:
    with suppress(PickleRefused):
        unpickle(content)
