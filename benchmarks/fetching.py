"""The frames of a lake in a bucket, fetched and nothing more: what a way to make requests costs.

python -m benchmarks.fetching FOLDER BUCKET WAY …     # FOLDER is what the bucket holds

The endpoint, http or https, and who is trusted there are the environment's. Prints a line of JSON for each way.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from benchmarks.settings import GROUP
from eegzarr.store.crc import crc32c
from eegzarr.store.layout import Geometry
from eegzarr.store.reading.checked import index_bytes, read_index
from eegzarr.store.reading.lent import LentMemory
from eegzarr.store.reading.local import LocalReader
from eegzarr.store.reading.remote import RangeFetcher

if TYPE_CHECKING:
    from obstore.store import ClientConfig

LAKE = "float32.zarr"
REQUESTS_AT_ONCE = 16  # as many as eegzarr has under way
MEMORY = 192 * 2**20  # for frames, as a stream has


@dataclass(frozen=True)
class Range:
    """Bytes of an object: those of a frame, with its checksum."""

    key: str
    start: int
    stop: int


def frames(lake: Path) -> tuple[list[Range], Geometry, int]:
    """Return where the frames of a lake's group are, by the keys below the lake; its geometry, and its windows."""
    reader = LocalReader(str(lake), GROUP)
    geometry = reader.geometry
    found: list[Range] = []
    for shard in range(-(-reader.n_windows // geometry.windows_per_shard)):
        key = f"{GROUP}/eeg/{geometry.shard_key(shard)}"
        tail = (lake / key).read_bytes()[-index_bytes(geometry) :]
        left = min(geometry.frames_per_shard, -(-reader.n_windows // geometry.windows_per_frame) - len(found))
        index = read_index(tail, geometry, key)[:left].tolist()
        found += [Range(key, offset, offset + length) for offset, length in index]
    return found, geometry, reader.n_windows


def by_plain_requests(asked: Sequence[Range], bucket: str, use: Callable[[memoryview], object]) -> None:
    """Fetch by requests of the standard library, a connection and a buffer a thread: the least that there is to do."""
    scheme, _, address = os.environ["AWS_ENDPOINT_URL"].partition("://")
    trusting = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"]) if scheme == "https" else None
    largest = max(one.stop - one.start for one in asked)

    def fetch(part: Sequence[Range]) -> None:
        buffer = bytearray(largest)
        connection = http.client.HTTPConnection(address)
        if trusting is not None:
            connection = http.client.HTTPSConnection(address, context=trusting)
        for one in part:
            header = {"Range": f"bytes={one.start}-{one.stop - 1}"}
            connection.request("GET", f"/{bucket}/{LAKE}/{one.key}", headers=header)
            with connection.getresponse() as response:
                left = memoryview(buffer)[: one.stop - one.start]
                while count := response.readinto(left):
                    left = left[count:]
            use(memoryview(buffer)[: one.stop - one.start])
        connection.close()

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        list(pool.map(fetch, [asked[first::REQUESTS_AT_ONCE] for first in range(REQUESTS_AT_ONCE)]))


def by_eegzarr(asked: Sequence[Range], bucket: str, *, signed: bool) -> None:
    """Fetch as a stream does: over connections of our own by signed URLs, or all by s3fs."""
    fetcher = RangeFetcher(f"s3://{bucket}/{LAKE}", REQUESTS_AT_ONCE, LentMemory(MEMORY))
    if not signed:
        fetcher._signed = None
    under_way = deque(fetcher.submit(fetcher.fetch, one.key, one.start, one.stop) for one in asked)
    while under_way:  # held by nobody any more once it has come, as in a stream
        under_way.popleft().result()
    fetcher.close()


def by_obstore(asked: Sequence[Range], bucket: str) -> None:
    """Fetch by obstore, from as many threads."""
    from obstore.store import S3Store

    endpoint = os.environ["AWS_ENDPOINT_URL"]
    options: ClientConfig = {"allow_http": True}
    if endpoint.startswith("https"):
        options["root_certificate"] = Path(os.environ["AWS_CA_BUNDLE"]).read_text()
    store = S3Store(bucket, prefix=LAKE, endpoint=endpoint, virtual_hosted_style_request=False, client_options=options)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        for content in pool.map(lambda one: store.get_range(one.key, start=one.start, end=one.stop), asked):
            del content


class Decoding:
    """Compares a frame with its checksum and decodes it: what a stream has to do with it on the same cores."""

    def __init__(self, geometry: Geometry) -> None:
        self._shape = (geometry.windows_per_frame, geometry.n_channels, geometry.n_times)
        self._dtype = geometry.dtype
        self._own = threading.local()

    def __call__(self, frame: memoryview) -> None:
        """Take a frame with its checksum."""
        rows: npt.NDArray | None = getattr(self._own, "rows", None)
        if rows is None:
            rows = self._own.rows = np.empty(self._shape, self._dtype)
        assert crc32c(np.frombuffer(frame[:-4], np.uint8)) == int.from_bytes(frame[-4:], "little")
        blosc.decompress(frame[:-4], rows)


def ways(geometry: Geometry) -> dict[str, Callable[[Sequence[Range], str], None]]:
    """Return the ways by their names."""
    return {
        "plain requests": partial(by_plain_requests, use=len),
        "plain requests, compared and decoded": partial(by_plain_requests, use=Decoding(geometry)),
        "eegzarr's requests": partial(by_eegzarr, signed=True),
        "s3fs's requests": partial(by_eegzarr, signed=False),
        "obstore's requests": by_obstore,
    }


NAMES = tuple(ways(Geometry.of(1, 1)))


def main() -> None:
    """Measure ways, each once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("bucket")
    parser.add_argument("ways", nargs="+", metavar="WAY", choices=NAMES)
    arguments = parser.parse_args()
    asked, geometry, windows = frames(arguments.folder / LAKE)
    nbytes = sum(one.stop - one.start for one in asked)
    known = ways(geometry)
    blosc.use_threads = False
    for name in arguments.ways:
        known[name](asked[:REQUESTS_AT_ONCE], arguments.bucket)  # imports, connections, the way in
        began, computed = time.perf_counter(), time.process_time()
        known[name](asked, arguments.bucket)
        wall, cpu = time.perf_counter() - began, time.process_time() - computed
        figures = {
            "windows_per_s": windows / wall,
            "mb_per_s": nbytes / wall / 1e6,
            "cpu_us_per_window": 1e6 * cpu / windows,
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
