"""Stores behind URLs: every request ends, and one that takes long is reported.

s3fs gives up a server that is silent while it should answer, after 75 s and several attempts. It waits for ever where a
server stops taking what is sent, and says nothing in either case.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from zarr.abc.store import ByteRequest, OffsetByteRequest
from zarr.storage import FsspecStore

from eegzarr.events import Listener, Noticed, tell
from eegzarr.machine import waits
from eegzarr.store.private import Buffer, BufferPrototype

SLOWEST = 50_000  # bytes/s: what is sent more slowly is given up

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class BucketStore(FsspecStore):
    """A store of fsspec. A request that takes too long raises TimeoutError."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        if byte_range is None and "s3" in self.fs.protocol:
            # For all of an object s3fs asks for its size first, to fetch large ones in parts. For a range it doesn't.
            byte_range = OffsetByteRequest(0)
        return await self._answered(super().get(key, prototype, byte_range))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return await self._answered(super().get_partial_values(prototype, key_ranges))

    async def set(self, key: str, value: Buffer, byte_range: tuple[int, int] | None = None) -> None:
        await self._answered(super().set(key, value, byte_range), len(value))

    async def delete(self, key: str) -> None:
        await self._answered(super().delete(key))

    async def delete_dir(self, prefix: str) -> None:
        await self._answered(super().delete_dir(prefix))

    async def exists(self, key: str) -> bool:
        return await self._answered(super().exists(key))

    async def getsize(self, key: str) -> int:
        return await self._answered(super().getsize(key))

    async def list(self) -> AsyncIterator[str]:
        for path in await self._answered(_all(super().list())):
            yield path

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        for path in await self._answered(_all(super().list_dir(prefix))):
            yield path

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for path in await self._answered(_all(super().list_prefix(prefix))):
            yield path

    async def _answered(self, request: Awaitable[_Result], nbytes: int = 0) -> _Result:
        limit = waits.PATIENCE + nbytes / SLOWEST
        notice = asyncio.get_running_loop().call_later(waits.NOTICE, self._say_that_it_takes_long)
        try:
            async with asyncio.timeout(limit) as patience:
                return await request
        except TimeoutError as error:
            if not patience.expired():
                raise  # the file system's own
            raise TimeoutError(f"a request took more than {limit / 60:.2g} min") from error
        finally:
            notice.cancel()

    def _say_that_it_takes_long(self) -> None:
        place = self.fs.unstrip_protocol(self.path)
        _log.warning("waiting for %s, which doesn't answer; this stops after %g min", place, waits.PATIENCE / 60)


async def _all(paths: AsyncIterator[str]) -> list[str]:
    return [path async for path in paths]


class _Seldom(logging.Filter):
    """Lets a message pass once in a while: many requests are under way side by side."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        message, now = record.getMessage(), time.monotonic()
        if now - self._passed.get(message, -waits.PATIENCE) < waits.PATIENCE:
            return False
        self._passed[message] = now
        return True


_log.addFilter(_Seldom())


class _Telling(logging.Handler):
    def __init__(self, watchers: tuple[Listener, ...]) -> None:
        super().__init__()
        self._watchers = watchers

    def emit(self, record: logging.LogRecord) -> None:
        tell(self._watchers, Noticed(message=record.getMessage()))


@contextmanager
def slow_requests_told(watchers: tuple[Listener, ...]) -> Iterator[None]:
    """Report requests that take long, inside the ``with``: those of this process, and of workers that forward logs."""
    telling = _Telling(watchers)
    _log.addHandler(telling)
    try:
        yield
    finally:
        _log.removeHandler(telling)
