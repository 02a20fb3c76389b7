"""What somebody may have made of a file of a lake: bytes and JSON with some of it changed, for Hypothesis."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from eegzarr.store.checksums import sealed

NUMBERS = [0, -1, 1, 2, 3, 127, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1, 10**30]


@st.composite
def mutated(draw: st.DrawFn, content: bytes, *, most: int = 4) -> bytes:
    """Bytes with a few of them changed, cut off, doubled or replaced by a number of any size."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        if not changed:
            break
        place = draw(st.integers(0, len(changed) - 1))
        kind = draw(st.sampled_from(["byte", "number", "long", "cut", "insert", "zero"]))
        if kind == "byte":
            changed[place] = draw(st.integers(0, 255))
        elif kind == "number":
            number = draw(st.sampled_from(NUMBERS)) & 0xFFFFFFFF
            changed[place & ~3 : (place & ~3) + 4] = struct.pack("<I", number)
        elif kind == "long":
            number = draw(st.sampled_from(NUMBERS)) & 0xFFFFFFFFFFFFFFFF
            changed[place & ~7 : (place & ~7) + 8] = struct.pack("<Q", number)
        elif kind == "cut":
            del changed[place:]
        elif kind == "insert":
            changed[place:place] = draw(st.binary(min_size=1, max_size=32))
        else:
            changed[place : place + 16] = bytes(len(changed[place : place + 16]))
    return bytes(changed)


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


hostile_values = st.one_of(
    st.sampled_from([*NUMBERS, None, True, "", "x", "\x00", "../../etc", "float64", "string", "int8", "complex128"]),
    st.sampled_from([[], {}, [[]], [0], [-1], [2**40], [1, 1], [2**31, 2**31, 2**31], {"name": "x"}, "building"]),
    st.floats(),
    st.text(max_size=8),
    st.integers(),
    st.sampled_from([2, 40, 300]).map(_nested),
)


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*place, key)
        if len(place) < 30:
            yield from _places(entry, (*place, key))


@st.composite
def mutated_json(draw: st.DrawFn, content: bytes) -> bytes:
    """JSON with values changed or removed, texts of JSON in it too, or other bytes altogether."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(mutated(content))
    if kind == 1:
        return draw(
            st.sampled_from([b"", b"{}", b"[]", b"null", b"[" * 200_000, b'{"a":' * 100_000, b"\xff", b"1" * 9999])
        )
    try:
        fields = json.loads(content)
    except ValueError:  # text within text that was changed before
        return draw(mutated(content))
    for _ in range(draw(st.integers(1, 2))):
        there = list(_places(fields))
        if not there:
            break
        *above, last = draw(st.sampled_from(there))
        parent = fields
        for key in above:
            parent = parent[key]
        action = draw(st.integers(0, 4))
        if action == 0:
            del parent[last]
        elif action == 1 and isinstance(parent[last], str) and parent[last].startswith("{"):
            parent[last] = draw(mutated_json(parent[last].encode())).decode(errors="replace")
        elif action == 2 and isinstance(parent[last], list):
            parent[last] = [*parent[last], *parent[last]]
        else:
            parent[last] = deepcopy(draw(hostile_values))  # or it would be changed in place next time
    return json.dumps(fields).encode()


def resealed(content: bytes) -> bytes:
    """Return a stored split that somebody has changed, with the digest of what it says now."""
    try:
        node = json.loads(content)
        attributes = {name: value for name, value in node["attributes"].items() if name != "digest"}
        return json.dumps({**node, "attributes": sealed(attributes)}).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return content


def zstd_bomb(claimed: int, blocks: int) -> bytes:
    """Return a Zstandard frame that claims a size, and has blocks of four bytes that become 128 KiB each."""
    claims = b"" if claimed == 0 else struct.pack("<Q", claimed)
    header = struct.pack("<IB", 0xFD2FB528, 0xE0 if claims else 0x00) + (claims or b"\x88")
    size = 2**17
    block = [struct.pack("<I", size << 3 | 1 << 1 | (number == blocks - 1))[:3] + b"\0" for number in range(blocks)]
    return header + b"".join(block)
