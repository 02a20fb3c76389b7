"""A real S3 server on loopback, and a proxy before it that delays and fails requests."""

from __future__ import annotations

import http.client
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec

if TYPE_CHECKING:
    import pytest

BUCKET = "eegzarr-test"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def s3_server() -> Iterator[int]:
    """Run moto's server in a process of its own; yield its port."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **CREDENTIALS},
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, "the S3 server ended"
                assert time.monotonic() < deadline, "the S3 server didn't start"
                time.sleep(0.1)
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")).close()
        yield port
    finally:
        server.kill()
        server.wait()


@contextmanager
def faulty_proxy(port: int, *, delay: float = 0.0, failures: float = 0.0, seed: int = 0) -> Iterator[Proxy]:
    """Forward requests to a port after `delay` s; a share of them fails, by 503 or a cut connection."""
    proxy = Proxy(("127.0.0.1", 0), Forward)
    proxy.upstream, proxy.delay, proxy.failures = port, delay, failures
    proxy.random = random.Random(seed)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()


@contextmanager
def used_through_proxy(
    port: int, monkeypatch: pytest.MonkeyPatch, *, failures: float = 0.0, seed: int = 0
) -> Iterator[Proxy]:
    """Have all that reads ``s3://`` in this process go through a proxy, inside the ``with``."""
    with faulty_proxy(port, failures=failures, seed=seed) as proxy:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        fsspec.filesystem("s3").clear_instance_cache()
        yield proxy
        fsspec.filesystem("s3").clear_instance_cache()


class Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    upstream: int
    delay: float
    failures: float
    random: random.Random
    requests = 0
    nbytes = 0
    failed = 0
    declines_signed_urls = False
    declined = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that goes away is part of the test


class Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests += 1
        time.sleep(self.server.delay)
        if self.server.declines_signed_urls and "Signature=" in self.path:
            self.server.declined += 1
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.server.random.random() < self.server.failures:
            self.server.failed += 1
            if self.server.random.random() < 0.5:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        response = connection.getresponse()
        content = response.read()
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                self.send_header(name, value)
        length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.server.nbytes += len(content)
            self.wfile.write(content)
        connection.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

    def log_message(self, *_: object) -> None:
        pass


def upload(folder: Path, url: str, endpoint: str) -> None:
    """Copy a folder into a bucket."""
    import s3fs

    filesystem = s3fs.S3FileSystem(endpoint_url=endpoint, key="test", secret="test", skip_instance_cache=True)
    filesystem.mkdirs(url.removeprefix("s3://").partition("/")[0], exist_ok=True)
    filesystem.put(f"{folder}/", f"{url}/", recursive=True, ACL="public-read")
