"""All private parts of dependencies that eegzarr uses: if a new version breaks something, look here.

zarr-python's stores are asynchronous, and the loop that their connections belong to is its own. numcodecs brings a
compiled Blosc, and shows of it what Python code needs. xarray's guide for backends imports `xarray.core.indexing`.
"""

from __future__ import annotations

import ctypes
import ssl
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from numcodecs import blosc
from zarr.abc.store import Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync

if TYPE_CHECKING:
    from xarray.core import indexing

__all__ = ["Buffer", "BufferPrototype", "blosc_address", "context_of", "get_buffer", "get_bytes", "indexing", "run"]
__all__ += ["set_bytes", "set_bytes_if_missing", "signed_url"]

_Result = TypeVar("_Result")


def __getattr__(name: str) -> Any:
    # Workers read and write without xarray, which takes half a second and 60 MB to load.
    if name != "indexing":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from xarray.core import indexing

    return indexing


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run what a store promises in zarr-python's own loop, and wait for it."""
    return sync(work)


def signed_url(filesystem: Any, path: str, seconds: int) -> str:
    """Return a URL at which an object of s3fs can be read for a time; a filesystem of a store signs in its loop.

    To make another one, outside of the loop, takes botocore a quarter of a second.
    """
    options = {"expires": seconds, **filesystem.req_kw}
    url: str = run(filesystem._url(path, **options)) if filesystem.asynchronous else filesystem.url(path, **options)
    return url


def context_of(filesystem: Any) -> ssl.SSLContext:
    """Return how a filesystem of s3fs trusts servers, once it has signed a URL: as the user has told it to.

    That is ``verify`` and a client's certificate in its options, else AWS_CA_BUNDLE or what the AWS configuration
    names, else the authorities that come with botocore.
    """
    from botocore.httpsession import get_cert_path

    session = filesystem._s3._endpoint.http_session
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if session._verify:
        context.load_verify_locations(get_cert_path(session._verify))
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if session._cert_file:
        context.load_cert_chain(session._cert_file, session._key_file)
    return context


async def get_buffer(store: Store, path: str) -> Buffer | None:
    """Return the content of a file in a store as zarr-python holds it, None if it isn't there."""
    return await store.get(path, default_buffer_prototype())


def get_bytes(store: Store, path: str) -> bytes | None:
    """Return the content of a file in a store, None if it isn't there."""
    content = run(get_buffer(store, path))
    return None if content is None else content.to_bytes()


def set_bytes(store: Store, path: str, content: bytes) -> None:
    """Write a file in a store."""
    run(store.set(path, default_buffer_prototype().buffer.from_bytes(content)))


def set_bytes_if_missing(store: Store, path: str, content: bytes) -> None:
    """Write a file in a store, unless it is there."""
    run(store.set_if_not_exists(path, default_buffer_prototype().buffer.from_bytes(content)))


def blosc_address() -> int | None:
    """Return the address of numcodecs' compiled ``blosc_decompress_ctx`` (source, destination, its size, threads).

    Compiled code calls it without Python's lock. None if numcodecs is linked in another way.
    """
    try:
        decompress = ctypes.CDLL(blosc.__file__).blosc_decompress_ctx
    except (OSError, AttributeError):
        return None
    return ctypes.cast(decompress, ctypes.c_void_p).value
