"""A group that was given in place of the lake: the call to make instead."""

from __future__ import annotations

import json
import os
from typing import Any

import zarr
from zarr.abc.store import Store

from eegzarr.errors import EegzarrError, LakeError
from eegzarr.store.layout import METADATA, UNREADABLE, lake_url, open_group, open_store
from eegzarr.store.private import get_bytes
from eegzarr.store.staging import list_names
from eegzarr.urls import one_line_errors

OPEN = "eegzarr.open_windows({lake!r}, {recipe!r}, releases=[{release!r}])"
OPEN_ALL = "eegzarr.open_windows({lake!r}, {recipe!r})"


def check_whole_lake(lake: str | os.PathLike[str], call: str) -> None:
    """Refuse a group of a lake, or the groups of a recipe, where a lake is wanted; see `refuse_part`.

    What isn't a lake at all is reported where it is opened.
    """
    url = lake_url(lake)
    store = open_store(url, read_only=True)
    try:
        with one_line_errors(url, LakeError, but=(FileNotFoundError,)):
            refuse_part(url, open_group(store), call, call)
    except EegzarrError:
        raise
    except UNREADABLE:
        return


def refuse_part(url: str, root: zarr.Group, call: str = OPEN, call_for_all: str = OPEN_ALL) -> None:
    """Raise an error with the right call if what was opened is a part of a lake.

    Parameters
    ----------
    url : str
        Path or URL of what was opened.
    root : zarr.Group
        What was opened.
    call, call_for_all : str
        The right call where it is a group, and where it is a recipe's folder of groups, as formats that are given
        ``lake``, ``recipe`` and ``release``.

    Raises
    ------
    LakeError
        If it is a part of a lake.
    """
    if "status" in root.attrs:
        lake, recipe, release = url.rstrip("/").rsplit("/", 2)
        right = call.format(lake=lake, recipe=recipe, release=release)
        raise LakeError(f"{url} is one group of the lake {lake}. Give the lake:\n  {right}")
    if any(has_status(root.store, name) for name in list_names(root.store, root.path) if name != METADATA):
        lake, recipe = url.rstrip("/").rsplit("/", 1)
        right = call_for_all.format(lake=lake, recipe=recipe, release="")
        raise LakeError(f"{url} holds the groups of one recipe of the lake {lake}. Give the lake:\n  {right}")


def node_metadata(store: Store, path: str) -> dict[str, Any]:
    """Return what a node of Zarr says of itself; nothing where there is none, or a damaged one."""
    try:
        found = json.loads(get_bytes(store, f"{path}/{METADATA}" if path else METADATA) or b"")
    except (ValueError, NotADirectoryError):
        return {}
    return found if isinstance(found, dict) else {}


def has_status(store: Store, path: str) -> bool:
    """Return whether a node of Zarr is a group of a lake, by its own metadata."""
    attributes = node_metadata(store, path).get("attributes")
    return isinstance(attributes, dict) and "status" in attributes
