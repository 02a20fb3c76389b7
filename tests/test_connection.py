"""Requests of our own to a bucket: over http from servers that behave badly, over https to those that s3fs trusts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from s3_server import CREDENTIALS

from benchmarks.authority import Certified, certified
from benchmarks.served import served
from eegzarr.store.reading.lent import LentMemory
from eegzarr.store.reading.remote import RangeFetcher
from eegzarr.store.reading.signed import Declined, SignedRanges

CONTENT = bytes(range(256)) * 1000
HELLO = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Answer each connection by a function, and end it; yield the endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def asked(connection: socket.socket) -> bytes:
    """Return the head of a request."""
    head = b""
    while b"\r\n\r\n" not in head and (more := connection.recv(4096)):
        head += more
    return head


def ranges(endpoint: str, **client: object) -> SignedRanges:
    options = {"endpoint_url": endpoint, "skip_instance_cache": True, "client_kwargs": client}
    credentials = {"key": "any", "secret": "any"}
    found = SignedRanges.of(fsspec.filesystem("s3", **credentials, **options), LentMemory(2**20))
    assert found is not None
    return found


def says(text: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        asked(connection)
        connection.sendall(text)

    return answer


@pytest.mark.parametrize("at_once", [1, 3, len(HELLO) - 2, len(HELLO)])
def test_an_answer_may_come_in_pieces_of_any_size(at_once: int) -> None:
    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert b"Range: bytes=3-7\r\n" in asked(connection)
        for first in range(0, len(HELLO), at_once):
            connection.sendall(HELLO[first : first + at_once])

    with answering(answer) as endpoint:
        reader = ranges(endpoint)
        for _ in range(2):  # the server has ended the first connection without a word
            assert reader.get("bucket/key", 3, 8).tobytes() == b"hello"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", OSError),
        (b"SSH-2.0-OpenSSH_9.2\r\n", OSError),
        (b"x" * 100_000, OSError),
        (b"HTTP/1.1 206\r\nContent-Length: many\r\n\r\n", Declined),
        (HELLO[:-1], OSError),
        (b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n", OSError),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", FileNotFoundError),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", Declined),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Declined),
        (b"HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Declined),
    ],
)
def test_an_answer_that_is_no_range_is_refused_for_what_it_is(said: bytes, error: type[Exception]) -> None:
    with answering(says(said)) as endpoint:
        reader = ranges(endpoint)
        for _ in range(2):  # and what is left of it isn't taken for the next one
            with pytest.raises(error) as raised:
                reader.get("bucket/key", 3, 8)
            assert type(raised.value) is error or error is OSError


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return certified(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def endpoint(trusted: Certified, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("bucket")
    (folder / "key").write_bytes(CONTENT)
    with served(folder, "bucket", 0.0, trusted.chain) as url:
        yield url


def test_servers_that_s3fs_is_told_to_trust_are_asked_by_https(
    endpoint: str, trusted: Certified, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for reader in (ranges(endpoint, verify=str(trusted.authority)), ranges(endpoint, verify=False)):
        for start, stop in ((0, len(CONTENT)), (17, 100_000), (-5, None)):
            assert reader.get("bucket/key", start, stop).tobytes() == CONTENT[start:stop]
    others = certified(tmp_path)
    for reader in (ranges(endpoint), ranges(endpoint, verify=str(others.authority))):
        with pytest.raises(Declined, match="certificate"):
            reader.get("bucket/key", 0, 5)


def test_a_bundle_of_the_environment_is_trusted(
    endpoint: str, trusted: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "AWS_CA_BUNDLE": str(trusted.authority)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    fetcher = RangeFetcher("s3://bucket", 2)
    assert fetcher.fetch("key", 3, 200_000).tobytes() == CONTENT[3:200_000]
    assert fetcher._signed is not None  # s3fs wasn't needed
    fetcher.close()
    fsspec.filesystem("s3").clear_instance_cache()
