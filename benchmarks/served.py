"""A folder served as a bucket, to read from: S3's GET, HEAD and ListObjectsV2, as fast as sendfile.

python -m benchmarks.served FOLDER BUCKET DELAY [CHAIN]     # prints its port, and serves until it is ended

With a certificate and its key in a file CHAIN it is https, which takes more of the server: no sendfile.

Servers that imitate S3 whole read an object from its beginning to give a range of it: they, not the
reader, would be what is measured.
"""

from __future__ import annotations

import mmap
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape


@contextmanager
def served(folder: Path, bucket: str, delay: float, chain: Path | None = None) -> Iterator[str]:
    """Serve a folder in a process of its own, each answer after `delay` s; yield the URL of the endpoint.

    With the file of a certificate and its key, by https.
    """
    command = [sys.executable, "-m", "benchmarks.served", str(folder), bucket, str(delay)]
    command += [] if chain is None else [str(chain)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield f"{'http' if chain is None else 'https'}://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.kill()
        server.wait()


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return which bytes of an object a Range header asks for, [start, stop); None where there are none such.

    See RFC 9110, section 14.
    """
    if header is None:
        return 0, size
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    first, last = found.groups() if found else ("", "")
    if not first and not last:
        return None
    if not first:
        return max(0, size - int(last)), size
    start, stop = int(first), min(size, int(last) + 1) if last else size
    return (start, stop) if start < stop else None


def listing(folder: Path, bucket: str, prefix: str, delimiter: str) -> str:
    """Return ListObjectsV2's answer: the objects whose names begin with a prefix, and the folders at a delimiter."""
    objects: list[str] = []
    folders: dict[str, None] = {}  # in order
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(prefix):
            continue
        head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
        if found:
            folders[prefix + head + found] = None
        else:
            size = path.stat().st_size
            objects.append(
                f"<Contents><Key>{escape(name)}</Key><Size>{size}</Size><ETag>{size}</ETag>"
                f"<LastModified>2025-01-01T00:00:00.000Z</LastModified></Contents>"
            )
    common = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
    return (
        f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name>'
        f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(objects) + len(folders)}</KeyCount>"
        f"<IsTruncated>false</IsTruncated>{''.join(objects)}{common}</ListBucketResult>"
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    folder: Path
    bucket: str
    delay: float
    trusted: ssl.SSLContext | None = None

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that doesn't trust the certificate, or goes away


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        if self.server.trusted is not None:  # the handshake, in a thread of this connection
            self.request = self.server.trusted.wrap_socket(self.request, server_side=True)
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        time.sleep(self.server.delay)
        path, _, query = self.path.partition("?")
        bucket, _, key = unquote(path).strip("/").partition("/")
        file = self.server.folder / key
        if bucket != self.server.bucket:
            self._tell(404, "<Error><Code>NoSuchBucket</Code></Error>")
        elif not key:
            asked = {name: values[0] for name, values in parse_qs(query).items()}
            told = listing(self.server.folder, bucket, asked.get("prefix", ""), asked.get("delimiter", ""))
            self._tell(200, f'<?xml version="1.0" encoding="UTF-8"?>{told}')
        elif not file.is_file():
            self._tell(404, "<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._give(file)

    do_HEAD = do_GET

    def _tell(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _give(self, file: Path) -> None:
        size, header = file.stat().st_size, self.headers.get("Range")
        asked = asked_range(header, size)
        if asked is None:
            self._tell(416, "<Error><Code>InvalidRange</Code></Error>")
            return
        start, stop = asked
        self.send_response(200 if header is None else 206)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("ETag", f'"{size}"')
        self.send_header("Last-Modified", formatdate(file.stat().st_mtime, usegmt=True))
        self.end_headers()
        if self.command == "HEAD":
            return
        with file.open("rb") as content:
            if isinstance(self.connection, ssl.SSLSocket):
                with mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as every:
                    self.connection.sendall(every[start:stop])
                return
            while start < stop:
                start += os.sendfile(self.connection.fileno(), content.fileno(), start, stop - start)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    """Serve."""
    server = _Server(("127.0.0.1", 0), _Answer)
    server.folder, server.bucket, server.delay = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    if len(sys.argv) > 4:
        server.trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.trusted.load_cert_chain(sys.argv[4])
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
