"""What a lake holds is somebody's word: reading it ends with a result, or with one line that says what is wrong.

Zarr, xarray and codecs raise anything for files that aren't what was written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from eegzarr.errors import EegzarrError, LakeError, UnreadableLakeError
from eegzarr.urls import is_out_of_reach, reason


@contextmanager
def damage_named(what: str, *, but: tuple[type[Exception], ...] = (FileNotFoundError,)) -> Iterator[None]:
    """Turn whatever is raised for what a lake holds, inside the ``with``, into one line.

    Parameters
    ----------
    what : str
        What is read, for the message.
    but : tuple of exception classes
        That pass, as eegzarr's own errors do.

    Raises
    ------
    UnreadableLakeError
        If a disk or a server is what went wrong.
    LakeError
        Of anything else.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (EegzarrError, *but)):
            raise
        logging.getLogger(__name__).debug("what went wrong with %s", what, exc_info=True)
        if is_out_of_reach(error):
            raise UnreadableLakeError(f"{what} can't be read: {reason(error)}") from error
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LakeError(f"{what} is damaged ({told}): python -m eegzarr.verify finds what else is") from error
