"""What all groups of a lake share: its consolidated metadata, and who may change what."""

from __future__ import annotations

import fcntl
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zarr
from zarr.abc.store import Store
from zarr.core.sync import sync
from zarr.errors import ZarrUserWarning

from eegzarr.errors import LakeError
from eegzarr.store.checksums import write_checksums
from eegzarr.store.layout import PARTS, SCRATCH, open_group, open_store


def settle(lake: str, group: str) -> None:
    """Drop what only a build needs and renew the lake's consolidated metadata."""
    store = open_store(lake)
    node = open_group(store, group, "r+")
    if "://" not in lake:
        _drop_parts((Path(lake) / group).rglob(PARTS))
    # Once only: what came later, damage too, must not become what is right.
    if SCRATCH in node:
        write_checksums(store, group, without=f"{group}/{SCRATCH}/")
    sync(store.delete_dir(f"{group}/{SCRATCH}"))
    renew_root(lake, group)


def renew_root(lake: str, group: str = "") -> None:
    """Renew the consolidated metadata of a lake, and drop what broken-off runs left on the way to a group.

    xarray looks for consolidated metadata in the lake's root alone, so that is where it is.
    """
    with _waiting_for_others(lake):
        if "://" not in lake:
            for folder in (Path(lake) / group).relative_to(lake).parents:
                _drop_parts((Path(lake) / folder).glob(PARTS))
        consolidate(open_store(lake))


def _drop_parts(parts: Iterable[Path]) -> None:
    for part in parts:
        part.unlink(missing_ok=True)


@contextmanager
def _waiting_for_others(lake: str) -> Iterator[None]:
    """Let one build at a time renew what all groups of a local lake share, inside the ``with``."""
    if "://" in lake:
        yield
        return
    descriptor = os.open(lake, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def consolidate(store: Store) -> None:
    """Write the metadata of all nodes into the root's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part", ZarrUserWarning)
        zarr.consolidate_metadata(store)


def drop(lake: str, group: str) -> None:
    """Remove what is in a group, but not a local group's folder: a build holds its lock."""
    if "://" in lake:
        sync(open_store(lake).delete_dir(group))
        return
    for entry in (Path(lake) / group).iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextmanager
def only_builder(lake: str, group: str) -> Iterator[None]:
    """Keep a second build off the same local group, inside the ``with``.

    The lock is on the folder itself, which leaves no lock file and goes with its process.

    Raises
    ------
    LakeError
        If another process builds the group.
    """
    if "://" in lake:
        yield
        return
    folder = Path(lake) / group
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise LakeError(f"{folder} is being built by another process; wait for it, or stop it first") from error
    finally:
        os.close(descriptor)
