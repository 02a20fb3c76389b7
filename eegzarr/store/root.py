"""What all groups of a lake share: its consolidated metadata, and who may change what.

The lake's copy of a group's metadata is what plain xarray opens. It is there only while the group
is complete: a group that is to change leaves it before, and comes back when all is written.
"""

from __future__ import annotations

import errno
import json
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from eegzarr.errors import LakeError, UsageError
from eegzarr.events import Listener
from eegzarr.machine.system import Locked, locked
from eegzarr.machine.waits import Wait
from eegzarr.store.checksums import write_checksums
from eegzarr.store.layout import (
    CHECKSUMS,
    COMPLETE,
    EEG,
    METADATA,
    PARTS,
    SCRATCH,
    SPLITS,
    UNREADABLE,
    open_group,
    open_store,
)
from eegzarr.store.private import Buffer, get_bytes, run, set_bytes, set_bytes_if_missing
from eegzarr.store.staging import delete_all, get_all, paths_below

# Of file systems without hard links, such as exFAT and shares of Windows: Zarr's way to write only what isn't there.
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL}
_ROUNDS = 20  # of builders that finish while a bucket's root is written


def settle(lake: str, group: str, watchers: tuple[Listener, ...] = ()) -> None:
    """Drop what only a build needs and renew the lake's consolidated metadata; see `renew_root`."""
    store = open_store(lake)
    node = open_group(store, group, "r+")
    if "://" not in lake:
        _drop_parts((Path(lake) / group).rglob(PARTS))
    # Only where a build of an earlier version was killed before: what came later, damage too, must not become right.
    if SCRATCH in node and CHECKSUMS not in node:
        write_checksums(store, group, without=f"{group}/{SCRATCH}/")
    run(store.delete_dir(f"{group}/{SCRATCH}"))
    require_folder(lake, group, watchers)
    renew_root(lake, group, watchers)


def require_folder(lake: str, group: str, watchers: tuple[Listener, ...] = ()) -> None:
    """Have the lake and the folder of a group's recipe be groups of Zarr, also where their metadata are damaged."""
    store = open_store(lake)
    root = get_bytes(store, METADATA)
    if root is None:
        # Consolidated from the first moment on: without, plain xarray would open a group that is being built.
        try:
            set_bytes_if_missing(store, METADATA, consolidated(store))
        except OSError as error:
            if "://" in lake or error.errno not in _NO_LINKS:
                raise
            renew_root(lake, watchers=watchers)
    elif not _is_json(root):
        renew_root(lake, watchers=watchers)
    folder = _folder_of(group)
    if get_bytes(store, folder) != empty_group():
        set_bytes(store, folder, empty_group())


def _folder_of(group: str) -> str:
    return f"{group.partition('/')[0]}/{METADATA}"


def _is_json(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False


def empty_group() -> bytes:
    """Return the metadata of a group that only holds others, as Zarr writes them."""
    store = MemoryStore()
    zarr.open_group(store, mode="w", zarr_format=3)
    written = get_bytes(store, METADATA)
    assert written is not None
    return written


def is_settled(lake: str, group: str, attributes: dict[str, Any]) -> bool:
    """Return whether nothing of a complete group's build is left, and what the lake says of it is right."""
    store = open_store(lake, read_only=True)
    is_tidy = not run(store.exists(f"{group}/{SCRATCH}/{METADATA}"))
    return is_tidy and _copied(store, group) == attributes and get_bytes(store, _folder_of(group)) == empty_group()


def leave_root(lake: str, group: str, watchers: tuple[Listener, ...] = ()) -> None:
    """Take a group out of the lake's consolidated metadata, where it is in them.

    The group must say already that it isn't complete: whoever renews the lake's metadata reads that.
    """
    if _copied(open_store(lake, read_only=True), group) is not None:
        renew_root(lake, watchers=watchers)


def _copied(store: Store, group: str) -> dict[str, Any] | None:
    """Return a group's attributes as the lake's consolidated metadata have them, None where they don't."""
    content = get_bytes(store, METADATA)
    if content is None:
        return None
    try:
        copied = json.loads(content)["consolidated_metadata"]["metadata"]
        return dict(copied[group]["attributes"]) if group in copied else None
    except UNREADABLE:
        return None


def renew_root(lake: str, group: str = "", watchers: tuple[Listener, ...] = ()) -> None:
    """Renew the consolidated metadata of a lake, and drop what broken-off runs left on the way to a group.

    xarray looks for consolidated metadata in the lake's root alone, so that is where it is.

    Parameters
    ----------
    watchers : tuple of callable
        Told where another process renews them, and that takes long.

    Raises
    ------
    BuildStopped
        If it takes too long. Nothing is lost: whoever finishes a group, or finds it finished, renews them.
    """
    with _waiting_for_others(lake, watchers):
        if "://" not in lake:
            for folder in (Path(lake) / group).relative_to(lake).parents:
                _drop_parts((Path(lake) / folder).glob(PARTS))
        consolidate(open_store(lake), has_lock="://" not in lake)


def _drop_parts(parts: Iterable[Path]) -> None:
    for part in parts:
        part.unlink(missing_ok=True)


@contextmanager
def _waiting_for_others(lake: str, watchers: tuple[Listener, ...]) -> Iterator[None]:
    """Let one build at a time renew what all groups of a local lake share, inside the ``with``."""
    if "://" in lake:
        yield
        return
    # Looked at again and again: a wait that the system does can't be limited.
    wait = Wait(f"another process that holds the lock of {lake}", watchers)
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(Path(lake), _lock_file(lake, "lake")))
                break
            except Locked:
                wait.once_more()
        yield


def consolidate(store: Store, *, has_lock: bool) -> None:
    """Write the metadata of all complete groups into the root's.

    Buckets have no locks: another builder may have finished its group since these were read, and this have written over
    its root. So what was written is compared with the groups once more; whoever writes last sees all of them.
    """
    written = b""
    for _ in range(_ROUNDS):
        wanted = consolidated(store)
        if wanted == written:
            return
        set_bytes(store, METADATA, wanted)
        if has_lock:
            return
        written = wanted


def consolidated(store: Store) -> bytes:
    """Return what the root's metadata must be: those of all complete groups and what lies in them.

    A group that isn't complete is left out, so that plain Zarr and xarray refuse to open it. So is one whose
    metadata are damaged, which may not keep others from theirs.
    """
    paths = [path for path in paths_below(store, "") if _is_metadata(path) and path != METADATA]
    contents = dict(zip(paths, get_all(store, paths), strict=True))
    unfinished = tuple(
        f"{path.removesuffix(METADATA)}"
        for path, content in contents.items()
        if path.count("/") == 2 and content is not None and not _says_complete(content.to_bytes())
    )
    kept = {p: content for p, content in contents.items() if content is not None and not p.startswith(unfinished)}
    own = _own_attributes(store)
    try:
        return _consolidated_of(kept, own)
    except UNREADABLE:
        damaged = tuple(group for group in sorted({_top(path) for path in kept}) if not _is_readable(kept, group))
        if not damaged:
            raise
        sound = {path: content for path, content in kept.items() if not path.startswith(damaged)}
        return _consolidated_of(sound, own)


def _own_attributes(store: Store) -> dict[str, Any]:
    """Return the attributes of the root, which eegzarr leaves to others; none where it is another node's file."""
    try:
        attributes = dict(json.loads(get_bytes(store, METADATA) or b"{}").get("attributes", {}))
    except (ValueError, TypeError, AttributeError):
        return {}
    return {} if "status" in attributes else attributes


def _top(path: str) -> str:
    """Return the folder of the group that a file is of, ``RECIPE/RELEASE/``; the file itself of those between."""
    parts = path.split("/")
    return f"{parts[0]}/{parts[1]}/" if len(parts) > 2 else path


def _is_readable(contents: Mapping[str, Buffer], group: str) -> bool:
    # As a lake of its own: where nothing lies above it, Zarr doesn't look into a folder.
    own = {path.removeprefix(group) or METADATA: one for path, one in contents.items() if path.startswith(group)}
    try:
        _consolidated_of(own)
    except UNREADABLE:
        return False
    return True


def _consolidated_of(contents: Mapping[str, Buffer], attributes: dict[str, Any] | None = None) -> bytes:
    copy = MemoryStore()
    zarr.create_group(copy, zarr_format=3, attributes=attributes or {})
    for path, content in contents.items():
        run(copy.set(path, content))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part", ZarrUserWarning)
        zarr.consolidate_metadata(copy)
    written = get_bytes(copy, METADATA)
    assert written is not None
    return written


def _is_metadata(path: str) -> bool:
    # Below the signals' own metadata are only shards, thousands of them. Splits aren't part of what xarray opens.
    return path.rpartition("/")[2] == METADATA and f"/{EEG}/c/" not in path and not path.startswith(f"{SPLITS}/")


def _says_complete(metadata: bytes) -> bool:
    try:
        return bool(json.loads(metadata)["attributes"]["status"] == COMPLETE)
    except UNREADABLE:
        return False


def check_outside_lakes(folder: Path, option: str) -> None:
    """Refuse a folder for files of another kind that lies in a lake, or is one.

    Raises
    ------
    UsageError
    """
    lakes = [parent for parent in (folder.absolute(), *folder.absolute().parents) if is_node(parent)]
    if lakes:
        where = "is a lake" if lakes[-1] == folder.absolute() else f"lies in the lake {lakes[-1]}"
        raise UsageError(f"{option} {folder} {where}: give a folder outside of it, its files aren't the lake's")


def is_node(folder: Path) -> bool:
    """Return whether a folder is a node of a Zarr hierarchy, such as a lake or a group of one."""
    try:
        return bool(json.loads((folder / METADATA).read_bytes())["zarr_format"] == 3)
    except UNREADABLE:
        return False


def drop(lake: str, group: str) -> None:
    """Remove what is in a group, but not its own metadata nor a local group's folder: a build holds its lock."""
    if "://" in lake:
        store = open_store(lake)
        delete_all(store, (path for path in paths_below(store, f"{group}/") if path != f"{group}/{METADATA}"))
        return
    for entry in (Path(lake) / group).iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != METADATA:
            entry.unlink()


@contextmanager
def only_builder(lake: str, group: str) -> Iterator[None]:
    """Keep a second build off the same local group, inside the ``with``.

    Folders that were made for it and are still empty at the end are removed again.

    Raises
    ------
    LakeError
        If another process builds the group.
    """
    if "://" in lake:
        yield
        return
    folder = Path(lake) / group
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        with locked(folder, _lock_file(lake, group.replace("/", "-"))):
            try:
                yield
            finally:
                for empty in made:
                    try:
                        empty.rmdir()
                    except OSError:
                        break
    except Locked as error:
        raise LakeError(f"{folder} is being built by another process; wait for it, or stop it first") from error


def _lock_file(lake: str, name: str) -> Path:
    """Return the file of a lock where the system has no locks on folders: beside the lake, not in it."""
    return Path(f"{lake}.locks", f"{name}.lock")


# What file managers leave in every folder that they show, and what is left of a file that was being written.
LITTER = (".DS_Store", "._*", "Thumbs.db", "desktop.ini", ".directory", ".nfs*", "*.swp", PARTS)


def is_litter(path: str) -> bool:
    """Return whether a file can be deleted: file managers and stopped writes leave such files."""
    name = path.rpartition("/")[2]
    return any(fnmatch(name, pattern) for pattern in LITTER)


def remove_strays(lake: str, paths: Iterable[str]) -> None:
    """Delete litter, and move all else to the same path in ``LAKE.strays``."""
    paths = list(paths)
    store = open_store(lake)
    kept = [path for path in paths if not is_litter(path)]
    if kept:
        aside = open_store(f"{lake.rstrip('/')}.strays")
        for path, content in zip(kept, get_all(store, kept), strict=True):
            if content is not None:
                run(aside.set(path, content))
    delete_all(store, paths)
    if "://" not in lake:
        _drop_empty({(Path(lake) / path).parent for path in paths}, Path(lake))


def _drop_empty(folders: Iterable[Path], lake: Path) -> None:
    for folder in folders:
        while folder != lake and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
