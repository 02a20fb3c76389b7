"""Work that waits for a bucket, done at once: ten answers take no longer than one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_AT_ONCE = 16
_Given = TypeVar("_Given")
_Result = TypeVar("_Result")


def for_all(lake: str, work: Callable[[_Given], _Result], given: Iterable[_Given]) -> list[_Result]:
    """Return what work makes of each value: in threads where a lake is behind a URL, else one after another."""
    values = list(given)
    if "://" not in lake or len(values) < 2:
        return [work(value) for value in values]
    with ThreadPoolExecutor(min(_AT_ONCE, len(values)), thread_name_prefix="eegzarr-open") as pool:
        return list(pool.map(work, values))
