"""Files that hold weights: read whole, or refused in a line."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from crc32c import crc32c

from eegzarr.errors import EegzarrError, UsageError

OUTLINE = "outline"  # what a checkpoint says it holds
_SHOWN = 3
_CONTAINER = "parts: "  # no text of a value begins so: those of texts are in quotes
_LOG = logging.getLogger(__name__)


def read_checkpoint(path: Path, remedy: str, *, needs_outline: bool = False) -> dict[str, Any]:
    """Return what a run saved.

    Parameters
    ----------
    path : Path
    remedy : str
        What to do about a damaged file, to end a message with.
    needs_outline : bool
        Refuse a file that doesn't say what it holds. Models of early runs don't.

    Raises
    ------
    UsageError
        If it isn't there, is damaged, or any part of it isn't as it was saved.
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
        told = content.pop(OUTLINE, None)
        if told is None and needs_outline:
            raise ValueError(f"it has no {OUTLINE!r}, which says what else it holds")
        if told is not None and (wrong := _differences(told, outline(content))):
            raise ValueError(wrong)
    return content


def outline(content: object, path: str = "") -> dict[str, str]:
    """Return what a checkpoint holds, by the path of each part: a value as text, a tensor by type, shape and checksum.

    It is saved in the checkpoint. So one that lacks a part, or has another part in its place, isn't taken for whole:
    an optimizer that lacks the moments of a weight would silently begin them again.
    """
    if isinstance(content, torch.Tensor):
        values = content.detach().cpu().contiguous().reshape(-1)
        checksum = crc32c(values.view(torch.uint8).numpy())  # type: ignore[arg-type]  # any buffer
        return {path: f"{str(content.dtype).removeprefix('torch.')}{list(content.shape)} {checksum:08x}"}
    if not isinstance(content, dict | list | tuple):
        return {path: repr(content)}
    items = content.items() if isinstance(content, dict) else enumerate(content)
    found = {path: f"{_CONTAINER}{len(content)}"}
    for name, value in items:
        found |= outline(value, f"{path}/{name}" if path else str(name))
    return found


def _differences(told: object, found: dict[str, str]) -> str:
    """Return how parts differ from what was saved, in words; "" if they don't."""
    if not isinstance(told, dict):
        return f"its {OUTLINE!r} isn't as it was saved"
    if missing := [name for name in told if name not in found]:
        return f"it lacks {_some(missing)}"
    other = [name for name, value in found.items() if told.get(name) != value]
    own = [name for name in other if not found[name].startswith(_CONTAINER)]  # what contains these differs with them
    return f"not as it was saved: {_some(own or other)}" if other else ""


def _some(names: list[str]) -> str:
    """Return the first of some parts, without those inside them."""
    outer = [name for name in names if not any(name.startswith(f"{other}/") for other in names)]
    return ", ".join(outer[:_SHOWN]) + (f" and {len(outer) - _SHOWN} more" if len(outer) > _SHOWN else "")


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
        raise UsageError(f"{path} is damaged ({reason[:200]}): {remedy}") from error
