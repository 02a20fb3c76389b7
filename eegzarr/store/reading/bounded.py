"""Chunks of labels and tables whose decoded size is known before they are decoded.

A few kB of Zstandard may expand to gigabytes, and a decoder believes them. So what a chunk can become is read from the
headers of its frames and blocks (RFC 8878, section 3.1.1), and only codecs for which that is known are allowed.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from typing import Any

from zarr.abc.store import ByteRequest, Store
from zarr.storage import WrapperStore

from eegzarr.errors import LakeError
from eegzarr.store.private import Buffer, BufferPrototype

CHUNKS = "c"  # the folder of an array's chunks
_SERIALIZERS, _COMPRESSOR, _CHECKSUM = ("bytes", "vlen-utf8"), "zstd", "crc32c"

# What may come of a chunk of n bytes: many times n, and at least this. The extreme that eegzarr writes is a label of
# 2**18 equal texts: 4 MiB of 400 bytes.
_UNQUESTIONED, _MOST_TIMES = 2**26, 1024

_FRAME, _SKIPPABLE = 0xFD2FB528, 0x184D2A5
_LARGEST_BLOCK = 2**17
_SIZE_BYTES = (0, 2, 4, 8)  # of the decoded size in a frame's header, by its flag
_DICTIONARY_BYTES = (0, 1, 2, 4)
_RAW, _REPEATED = 0, 1  # types of a block


class BoundedStore(WrapperStore[Store]):
    """A store that refuses chunks that may become much larger than they are, when they are read.

    Parameters
    ----------
    store : Store
    only : collection of str, optional
        What is shown of a folder: an array costs a bucket a request, even if nobody looks at it.
    """

    def __init__(self, store: Store, only: Collection[str] | None = None) -> None:
        super().__init__(store)
        self._only = None if only is None else frozenset(only)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        async for name in self._store.list_dir(prefix):
            if self._only is None or name.rstrip("/") in self._only:
                yield name

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        content = await self._store.get(key, prototype, byte_range)
        if content is not None and byte_range is None and CHUNKS in key.split("/"):
            self._check(key, content.to_bytes())
        return content

    def with_read_only(self, read_only: bool = False) -> BoundedStore:
        """Return a store of the same content that may, or may not, be written to; zarr-python 3.1's wrapper can't."""
        return BoundedStore(self._store.with_read_only(read_only), self._only)

    def _check(self, key: str, content: bytes) -> None:
        bound = decoded_bound(content)
        if bound > max(_UNQUESTIONED, _MOST_TIMES * len(content)):
            raise LakeError(
                f"{self._store}/{key} is damaged: its {len(content):,} bytes claim to become {bound:,} when decoded"
            )


def check_codecs(name: str, encoding: Mapping[str, Any]) -> None:
    """Refuse an array of a label or a table with codecs whose chunks may become anything.

    Parameters
    ----------
    name : str
        Of the array, for the message.
    encoding : mapping
        As xarray opens it.

    Raises
    ------
    LakeError
    """
    serializer = _names([encoding["serializer"]] if encoding.get("serializer") else [])
    compressors = _names(encoding.get("compressors") or ())
    known = {_COMPRESSOR, _CHECKSUM} >= set(compressors) and compressors.count(_COMPRESSOR) < 2
    if not known or not set(serializer) <= set(_SERIALIZERS) or encoding.get("filters") or encoding.get("shards"):
        told = [*_names(encoding.get("filters") or ()), *serializer, *compressors]
        told += ["shards"] if encoding.get("shards") else []
        raise LakeError(
            f"{name} is stored with {', '.join(told)}: eegzarr reads labels and tables of "
            f"{' or '.join(_SERIALIZERS)}, with {_COMPRESSOR} and {_CHECKSUM} or without"
        )


def _names(codecs: Iterable[Any]) -> list[str]:
    return [str(codec.to_dict()["name"]) for codec in codecs]


def decoded_bound(content: bytes) -> int:
    """Return how many bytes may come of Zstandard frames at most, by what they claim and by their blocks.

    What isn't a frame, such as a checksum behind it, counts as it is.
    """
    bound = place = 0
    try:
        while place < len(content):
            (magic,) = struct.unpack_from("<I", content, place)
            if magic >> 4 == _SKIPPABLE:
                place += 8 + struct.unpack_from("<I", content, place + 4)[0]
            elif magic == _FRAME:
                claimed, blocks, place = _frame(content, place + 4)
                bound += max(claimed, blocks)
            else:
                break
    except (struct.error, IndexError):
        pass  # cut off: the decoder says so, after what was counted
    return bound + len(content) - min(place, len(content))


def _frame(content: bytes, place: int) -> tuple[int, int, int]:
    """Return what a frame claims to become, what its blocks may become, and where it ends."""
    descriptor = content[place]
    flag, is_single = descriptor >> 6, descriptor >> 5 & 1
    place += 1 + (not is_single) + _DICTIONARY_BYTES[descriptor & 3]
    size = 1 if is_single and not flag else _SIZE_BYTES[flag]
    claimed = int.from_bytes(content[place : place + size], "little") + (256 if size == 2 else 0)
    place += size
    blocks, is_last = 0, False
    while not is_last:
        if place + 3 > len(content):
            return claimed, blocks, len(content)
        header = int.from_bytes(content[place : place + 3], "little")
        is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        blocks += size if kind in (_RAW, _REPEATED) else _LARGEST_BLOCK
        place += 3 + (1 if kind == _REPEATED else size)
    return claimed, blocks, place + 4 * (descriptor >> 2 & 1)
