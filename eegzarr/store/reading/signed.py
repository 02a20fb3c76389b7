"""Byte ranges of a bucket's objects over plain connections, by URLs that s3fs has signed.

s3fs receives in Python's one event loop: with two cores it gave 300 MB/s, and what else ran had to wait for
it. A connection a thread, received straight into place, gives 2.0 to 2.4 times as much. How to get in
(profiles, roles, regions, endpoints, anonymously) stays s3fs's affair, as is all that this declines.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import numpy as np
import numpy.typing as npt

from eegzarr.store.private import context_of, signed_url
from eegzarr.store.reading.lent import LentMemory

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_SIGNED_FOR = 3600  # s
_RENEWED_AFTER = 1800  # s
_PATIENCE = 60  # s
_AGAIN = (408, 429)  # and all from 500 on: the server says that it may work later


class Declined(Exception):
    """A request that plain HTTP can't make here: leave it to s3fs."""


class SignedRanges:
    """Ranges of objects of one bucket; for any number of threads of one process.

    Parameters
    ----------
    filesystem : s3fs.S3FileSystem
        Signs.
    memory : LentMemory
        For what comes.
    """

    def __init__(self, filesystem: AbstractFileSystem, memory: LentMemory) -> None:
        self._filesystem, self._memory = filesystem, memory
        self._signed: dict[str, tuple[float, SplitResult]] = {}
        self._own = threading.local()
        self._lock = threading.Lock()
        self._trusted: ssl.SSLContext | None = None

    @classmethod
    def of(cls, filesystem: AbstractFileSystem, memory: LentMemory) -> SignedRanges | None:
        """Return them for a filesystem of S3 that is reached without a proxy, else None."""
        protocols = [filesystem.protocol] if isinstance(filesystem.protocol, str) else filesystem.protocol
        if "s3" not in protocols or urllib.request.getproxies():
            return None
        return cls(filesystem, memory)

    def get(self, path: str, start: int, stop: int | None) -> npt.NDArray[np.uint8]:
        """Return bytes of an object; a negative `start` counts from its end.

        Raises
        ------
        Declined
            If the server doesn't let this in.
        FileNotFoundError
            If there is no such object.
        OSError
            If it could be tried again.
        """
        url = self._url(path)
        header = {"Range": f"bytes={start}-{stop - 1}" if stop else f"bytes={start}{'-' if start >= 0 else ''}"}
        target = f"{url.path}?{url.query}" if url.query else url.path
        try:
            return self._received(self._answer(url, target, header), path)
        except http.client.HTTPException as error:
            self._forget_connection()
            raise OSError(f"{type(error).__name__}: {error}") from error
        except (Declined, OSError):
            self._forget_connection()
            raise

    def _url(self, path: str) -> SplitResult:
        renewed_at, url = self._signed.get(path, (0.0, None))
        if url is None or time.monotonic() > renewed_at:
            url = urlsplit(signed_url(self._filesystem, path, _SIGNED_FOR))
            self._signed[path] = time.monotonic() + _RENEWED_AFTER, url
        return url

    def _answer(self, url: SplitResult, target: str, header: dict[str, str]) -> http.client.HTTPResponse:
        to, held = getattr(self._own, "held", (None, None))
        if held is not None and to == (url.scheme, url.netloc):
            try:
                held.request("GET", target, headers=header)
                return held.getresponse()
            except (http.client.RemoteDisconnected, ConnectionError):
                pass  # the server ended what lay idle
        self._forget_connection()
        connection = self._connected(url)
        self._own.held = (url.scheme, url.netloc), connection
        connection.request("GET", target, headers=header)
        return connection.getresponse()

    def _connected(self, url: SplitResult) -> http.client.HTTPConnection:
        if url.scheme != "https":
            return http.client.HTTPConnection(url.netloc, timeout=_PATIENCE)
        connection = http.client.HTTPSConnection(url.netloc, timeout=_PATIENCE, context=self._trust())
        try:
            connection.connect()
        except ssl.SSLError as error:  # the two don't agree on a certificate, most often
            raise Declined(f"{url.netloc}: {error}") from error
        return connection

    def _trust(self) -> ssl.SSLContext:
        """Return whom s3fs trusts; to read all authorities takes 40 ms, so once for all connections."""
        with self._lock:
            if self._trusted is None:
                try:
                    self._trusted = context_of(self._filesystem)
                except (AttributeError, OSError) as error:  # of another version; no such file
                    raise Declined(f"{type(error).__name__}: {error}") from error
            return self._trusted

    def _forget_connection(self) -> None:
        _, connection = getattr(self._own, "held", (None, None))
        if connection is not None:
            connection.close()
            del self._own.held

    def _received(self, response: http.client.HTTPResponse, path: str) -> npt.NDArray[np.uint8]:
        told = f"{path}: the server answered {response.status} {response.reason}"
        if response.status == http.client.NOT_FOUND:
            raise FileNotFoundError(path)
        if response.status >= 500 or response.status in _AGAIN:
            raise OSError(told)
        if response.status != http.client.PARTIAL_CONTENT or response.length is None:
            raise Declined(told)
        content = self._memory.take(response.length)
        left = content.data
        while left:
            count = response.readinto(left)
            if not count:
                raise OSError(f"{path}: the server ended the connection with {len(left)} bytes left")
            left = left[count:]
        response.close()
        return content
