"""Many small files of a lake, written or read in parallel.

zarr and xarray make an array by a dozen requests one after another, and a finished group has eighty
arrays: a bucket 50 ms away takes a minute to answer. So groups are made in memory, and copied.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from zarr.abc.store import Store
from zarr.storage import LocalStore, MemoryStore

from eegzarr.store.private import Buffer, get_buffer
from eegzarr.store.private import run as run_and_wait

_AT_ONCE = 16
Given = TypeVar("Given")
Result = TypeVar("Result")


def put_all(
    store: Store, staged: MemoryStore, group: str, *, last: str, before_last: Callable[[], object] | None = None
) -> None:
    """Copy all files below a group from memory.

    Parameters
    ----------
    store : Store
        Where to.
    staged : MemoryStore
    group : str
    last : str
        Path of the file that says that all others are there.
    before_last : callable, optional
        Called when they are, before it is copied.
    """

    put_some(store, staged, (path for path in paths_below(staged, f"{group}/") if path != last))
    if before_last is not None:
        before_last()
    put_some(store, staged, [last])


def put_some(store: Store, staged: MemoryStore, paths: Iterable[str]) -> None:
    """Copy files from memory, in any order."""

    async def copy(path: str) -> None:
        content = await get_buffer(staged, path)
        if content is not None:
            await store.set(path, content)

    _for_all(copy, paths)


def get_all(store: Store, paths: Iterable[str]) -> list[Buffer | None]:
    """Return the contents of files, in the order of their paths; None for one that isn't there."""

    async def get(path: str) -> Buffer | None:
        return await get_buffer(store, path)

    return _for_all(get, paths)


def have_all(store: Store, paths: Iterable[str]) -> list[bool]:
    """Return whether files are there, in the order of their paths."""
    return _for_all(store.exists, paths)


def same_as_staged(store: Store, staged: MemoryStore, paths: Iterable[str]) -> list[str]:
    """Return those of the paths whose file has the content that it has in memory."""
    paths = list(paths)
    pairs = zip(paths, get_all(store, paths), get_all(staged, paths), strict=True)
    return [
        path
        for path, there, wanted in pairs
        if there is not None and wanted is not None and there.to_bytes() == wanted.to_bytes()
    ]


def delete_all(store: Store, paths: Iterable[str]) -> None:
    """Delete files, side by side."""

    async def delete(path: str) -> None:
        await store.delete(path)

    _for_all(delete, paths)


def paths_below(store: Store, prefix: str, most: int | None = None) -> list[str]:
    """Return the paths of all files below a folder, or of the first `most` that are found, sorted.

    Links on a disk are followed, as those who open a lake follow them: a group may lie on another disk.
    """
    if isinstance(store, LocalStore):
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        return sorted(islice(_files_below(str(store.root), folder), most))

    async def paths() -> list[str]:
        found: list[str] = []
        async for path in store.list_prefix(prefix):
            found.append(path)
            if len(found) == most:
                break
        return found

    return sorted(run_and_wait(paths()))


def _files_below(root: str, folder: str, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """Yield the paths in `root` of files below a folder, "" or one that ends with a slash."""
    try:
        own = os.stat(f"{root}/{folder}")
        entries = list(os.scandir(f"{root}/{folder}"))
    except (FileNotFoundError, NotADirectoryError):
        return  # or gone since
    if (own.st_dev, own.st_ino) in above:
        return  # a link that leads back up
    above |= {(own.st_dev, own.st_ino)}
    for entry in entries:
        if entry.is_dir():
            yield from _files_below(root, f"{folder}{entry.name}/", above)
        elif entry.is_file():
            yield f"{folder}{entry.name}"


def list_names(store: Store, prefix: str) -> list[str]:
    """Return the names of what lies right in a folder, sorted."""

    async def names() -> list[str]:
        return [name async for name in store.list_dir(prefix)]

    return sorted(run_and_wait(names()))


def _for_all(work: Callable[[Given], Awaitable[Result]], given: Iterable[Given]) -> list[Result]:
    async def run() -> list[Result]:
        free = asyncio.Semaphore(_AT_ONCE)

        async def one(value: Given) -> Result:
            async with free:
                return await work(value)

        tasks = [asyncio.ensure_future(one(value)) for value in given]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            # After one that failed, none may still be at work when the caller continues.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return run_and_wait(run())
