"""Files that hold weights: read whole, or refused in a line."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from eegzarr.errors import EegzarrError, UsageError

_LOG = logging.getLogger(__name__)


def read_checkpoint(path: Path, remedy: str) -> dict[str, Any]:
    """Return what a run saved.

    Parameters
    ----------
    path : Path
    remedy : str
        What to do about a damaged file, to end a message with.

    Raises
    ------
    UsageError
        If it isn't there, or is damaged.
    """
    if not path.is_file():
        raise UsageError(f"{path} isn't there: {path.parent} holds no finished epoch of a run")
    with checked_contents(path, remedy):
        with zipfile.ZipFile(path) as archive:  # PyTorch doesn't compare checksums
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"the checksum of {damaged} is wrong")
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, not what a run saves")
    return content


@contextmanager
def checked_contents(path: Path, remedy: str) -> Iterator[None]:
    """Turn whatever PyTorch raises for a damaged file inside the ``with`` into one line.

    Raises
    ------
    UsageError
    """
    try:
        yield
    except EegzarrError:
        raise
    except Exception as error:
        # Anything can be raised by a file that holds anything; PyTorch's own advice is to switch its checks off.
        _LOG.debug("%s", path, exc_info=True)
        cause = next(iter(str(error).splitlines()), "") or type(error).__name__
        reason = "it isn't a checkpoint" if "weights_only" in str(error) else cause
        raise UsageError(f"{path} is damaged ({reason[:120]}): {remedy}") from error
