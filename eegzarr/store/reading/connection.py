"""One connection to a web server, over which content comes straight into memory that waits for it.

http.client reads through a buffer of its own, and over https asks the system for each record of 16 kB by itself,
while 16 threads hand Python's lock to each other. Here content is received where it belongs, and one thread at a time
takes all that has come encrypted and decrypts it.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, parse_headers
from typing import Protocol, cast
from urllib.parse import SplitResult

_PATIENCE = 60  # s
_PORTS = {"http": 80, "https": 443}
_AT_ONCE = 2**19  # encrypted bytes that are taken from the system at once
_HEAD = 2**14  # bytes that an answer's status and headers are read by
_LARGEST_HEAD = 2**16


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server says of its answer.

    Attributes
    ----------
    status : int
    reason : str
    nbytes : int or None
        Of the content; None where they aren't known before.
    """

    status: int
    reason: str
    nbytes: int | None


class TrustError(OSError):
    """The two sides can't agree on TLS: on a certificate, most often."""


class Decryption:
    """What connections of a process share to decrypt what comes, one at a time.

    Parameters
    ----------
    context : SSLContext
        Whom to trust.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.lock = threading.Lock()
        self.encrypted = memoryview(bytearray(_AT_ONCE))


class Connection:
    """A connection; for one thread.

    Parameters
    ----------
    url : SplitResult
        Of which the scheme, the host and the port matter.
    decryption : Decryption, optional
        For https.

    Raises
    ------
    TrustError
        If the server can't be trusted.
    OSError
        If it can't be reached.

    Attributes
    ----------
    is_last : bool
        Whether the server ends the connection after the answer that came last.
    """

    def __init__(self, url: SplitResult, decryption: Decryption | None) -> None:
        self._host = url.netloc
        host = url.hostname or ""
        plain = socket.create_connection((host, url.port or _PORTS[url.scheme]), _PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._channel: _Channel = _Plain(plain)
        if decryption is not None:
            try:
                self._channel = _Secured(plain, host, decryption)
            except ssl.SSLError as error:
                plain.close()
                raise TrustError(f"{host}: {error}") from error
            except OSError:
                plain.close()
                raise
        self._begun = b""  # content that came with its headers
        self.is_last = False

    def ask(self, target: str, header: dict[str, str]) -> Answer:
        """Make a GET request, and wait for the beginning of its answer.

        Raises
        ------
        ConnectionError
            If the server has ended the connection before.
        OSError
        """
        headers = {"Host": self._host, "Accept-Encoding": "identity", **header}
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._channel.send("\r\n".join(lines).encode("ascii"))
        head, buffer = b"", bytearray(_HEAD)
        while b"\r\n\r\n" not in head:
            count = self._channel.receive_into(memoryview(buffer))
            if not count:
                raise ConnectionResetError("the server ended the connection without an answer")
            head += buffer[:count]
            if len(head) > _LARGEST_HEAD:
                raise OSError("the server's answer isn't HTTP")
        head, _, self._begun = head.partition(b"\r\n\r\n")
        return self._understood(head)

    def _understood(self, head: bytes) -> Answer:
        status_line, _, lines = head.partition(b"\r\n")
        try:
            version, status, reason = (status_line.decode("latin-1") + "  ").split(" ", 2)
            headers = parse_headers(io.BytesIO(lines + b"\r\n\r\n"))
            nbytes = headers.get("Content-Length") if "Transfer-Encoding" not in headers else None
            answer = Answer(status=int(status), reason=reason.strip(), nbytes=None if nbytes is None else int(nbytes))
        except (HTTPException, ValueError) as error:
            raise OSError(f"the server's answer isn't HTTP: {error}") from error
        kept = headers.get("Connection", "").lower()
        self.is_last = kept == "close" or (version == "HTTP/1.0" and kept != "keep-alive")
        return answer

    def receive(self, content: memoryview) -> None:
        """Fill memory with what follows of an answer.

        Raises
        ------
        OSError
            If the server ends the connection before.
        """
        begun = min(len(self._begun), len(content))
        content[:begun], self._begun = self._begun[:begun], self._begun[begun:]
        left = content[begun:]
        while left:
            count = self._channel.receive_into(left)
            if not count:
                raise ConnectionResetError(f"the server ended the connection with {len(left)} bytes left")
            left = left[count:]

    def close(self) -> None:
        """End it."""
        self._channel.close()


class _Channel(Protocol):
    def send(self, content: bytes) -> None: ...
    def receive_into(self, content: memoryview) -> int: ...  # 0 at the end
    def close(self) -> None: ...


class _Plain:
    def __init__(self, plain: socket.socket) -> None:
        self.send, self.receive_into, self.close = plain.sendall, plain.recv_into, plain.close


class _Secured:
    """TLS over a socket."""

    def __init__(self, plain: socket.socket, host: str, shared: Decryption) -> None:
        self._plain, self._shared, self.close = plain, shared, plain.close
        self._come, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = shared.context.wrap_bio(self._come, self._going, server_hostname=host)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._wait()
                with shared.lock:
                    self._take()
        self._give()

    def send(self, content: bytes) -> None:
        self._tls.write(content)
        self._give()

    def receive_into(self, content: memoryview) -> int:
        count = self._decrypted(content) if self._come.pending or self._tls.pending() else None
        while count is None:
            self._wait()
            with self._shared.lock:
                self._take()
                count = self._decrypted(content)
        return count

    def _decrypted(self, content: memoryview) -> int | None:
        """Fill memory with what has come; return None where it takes more for a further byte, 0 at the end."""
        done = 0
        read = cast("Callable[[int, memoryview], int]", self._tls.read)  # what it is where it has memory to fill
        try:
            while done < len(content) and (count := read(len(content) - done, content[done:])):
                done += count
        except ssl.SSLWantReadError:
            return done or None
        return done

    def _wait(self) -> None:
        """Wait for something to come, without taking it."""
        self._give()  # what TLS says by itself
        self._plain.recv(1, socket.MSG_PEEK)

    def _take(self) -> None:
        count = self._plain.recv_into(self._shared.encrypted)
        if not count:
            raise ConnectionResetError("the server ended the connection")
        self._come.write(self._shared.encrypted[:count])

    def _give(self) -> None:
        if self._going.pending:
            self._plain.sendall(self._going.read())
