"""Output that ends when its reader does, without ending the work."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Windows says EINVAL where a pipe's reader has gone.
_GONE = {errno.EPIPE, errno.EINVAL} if os.name == "nt" else {errno.EPIPE}


class _UntilClosed(io.FileIO):
    """A file descriptor that drops what is written once its reader has gone."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in _GONE:
                raise
        # Everything else that writes to this descriptor, such as a handler of logging, goes there too.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        return len(data)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Let no output stop the work: print ? for characters that the terminal can't show, and survive a closed pipe.

    Streams that a caller has put in the place of Python's own are left as they are.
    """
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    for name, stream in before.items():
        if stream is getattr(sys, f"__{name}__") and stream is not None:
            with suppress(OSError, ValueError):  # a stream without a descriptor
                setattr(sys, name, _lasting(stream))
    try:
        yield
    finally:
        for name, stream in before.items():
            current = getattr(sys, name)
            if current is not stream:
                current.flush()
                setattr(sys, name, stream)


def _lasting(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    raw = _UntilClosed(stream.fileno(), "w", closefd=False)
    errors = "replace" if stream.errors == "strict" else stream.errors
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=stream.encoding, errors=errors, line_buffering=stream.line_buffering
    )
