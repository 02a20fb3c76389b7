"""Lakes and recordings in buckets: what goes wrong with a URL, in one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from eegzarr.errors import EegzarrError, MissingPackageError
from eegzarr.extras import install_command, missing_package

# Packages that reach buckets. Each has dozens of exception classes, so they are recognised by their package.
_REACHES_BUCKETS = {
    *("aiobotocore", "aiohttp", "botocore", "boto3", "s3fs", "gcsfs", "google", "adlfs", "azure", "fsspec", "obstore"),
    *("requests", "urllib3"),
}
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


@contextmanager
def one_line_errors(
    url: str, error_class: type[EegzarrError], *, but: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn what goes wrong with a URL inside the ``with`` into one line; of a local path, change nothing.

    Errors of the classes `but` pass: whoever catches them knows more.

    Raises
    ------
    MissingPackageError
        If the URL's kind needs a package that isn't there.
    EegzarrError
        Of `error_class`, if the URL can't be reached, read or written.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (EegzarrError, *but)) or "://" not in url or not _is_of_bucket(error):
            raise
        logging.getLogger(__name__).debug("what went wrong with %s", url, exc_info=True)
        if isinstance(error, ImportError):
            raise MissingPackageError(f"{url} needs another package: {_install(url, error)}") from error
        raise error_class(f"{url} can't be used: {reason(error)}") from error


def is_out_of_reach(error: BaseException) -> bool:
    """Return whether an error is a disk's, a network's or a server's, rather than of what is stored there."""
    there = (FileNotFoundError, NotADirectoryError, IsADirectoryError, UnicodeError)
    return not isinstance(error, there) and _is_of_bucket(error)


def is_silence(error: BaseException) -> bool:
    """Return whether a server gave no answer, or stopped in the middle of one: it may work later."""
    name = type(error).__name__
    is_named_so = any(part in name for part in ("Timeout", "ConnectionError", "ConnectionClosed", "IncompleteRead"))
    return isinstance(error, TimeoutError | ConnectionError) or (is_named_so and _is_of_bucket(error))


def _is_of_bucket(error: BaseException) -> bool:
    if isinstance(error, ValueError):  # fsspec's, of an unknown scheme
        return str(error).startswith("Protocol not known")
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, ImportError | OSError) or package in _REACHES_BUCKETS


def _install(url: str, error: ImportError) -> str:
    extra = _EXTRAS.get(url.partition("://")[0])
    missing = missing_package(error)
    return install_command(extra) if extra else f"pip install {missing}" if missing else str(error)


def reason(error: BaseException) -> str:
    """Return what went wrong, and what to do where that is known."""
    name = type(error).__name__
    text = (str(error).strip() or name).splitlines()[0]
    if name in ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"):
        return f"{text}. Set credentials, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if isinstance(error, FileNotFoundError):
        return f"there is no such bucket or folder ({text})"
    if isinstance(error, PermissionError):
        return f"access is denied ({text}). Check the credentials and the bucket's policy"
    if isinstance(error, OSError) or "onnect" in name or "Timeout" in name:
        return f"{text}. Check the network, and a proxy or firewall"
    return text
