"""What others see of a lake at every moment of a command, and what is left of it where the command is killed there.

A process that is killed leaves on the disk what lies there at that moment: so a copy of the lake, taken between two
writes, is what a kill leaves. Tests of builds kill real processes besides, at any moment.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import xarray as xr

import eegzarr
from eegzarr.errors import LakeError

KILLS = int(os.environ.get("EEGZARR_KILLS", "0"))  # of each command; 0 for a few
# Other moments in each run; EEGZARR_SEED=N repeats those of one that failed, which printed its seed.
SEED = int(os.environ.get("EEGZARR_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
LONG = pytest.mark.timeout(0 if KILLS else 300)
ONLY_LONG = pytest.mark.skipif(not KILLS, reason="a part of the long form, with EEGZARR_KILLS")
REFUSED = "refused"
_CHANGES = {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.truncate"}
_look: list[Callable[[], None]] = []  # an audit hook can't be taken off again
_looking = threading.Lock()


def is_change(event: str, arguments: tuple) -> bool:
    """Tell whether an audit event is a change of a file."""
    return event in _CHANGES or (
        event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & os.O_ACCMODE)
    )


def _before_each_change(event: str, arguments: tuple) -> None:
    # What zarr's own thread does, nobody can look at with zarr: it is the thread that would look. What one opens to
    # look is no change, and what another thread does meanwhile isn't looked at.
    if not _look or not is_change(event, arguments) or threading.current_thread().name.startswith("zarr_io"):
        return
    if _looking.acquire(blocking=False):
        try:
            for look in _look[:]:
                look()
        finally:
            _looking.release()


sys.addaudithook(_before_each_change)


@contextmanager
def looked_at(look: Callable[[], None]) -> Iterator[None]:
    """Call `look` before every change that this process makes to a file, inside the ``with``, and after the last."""
    _look.append(look)
    try:
        yield
    finally:
        _look.clear()
    look()


def content(dataset: xr.Dataset) -> str:
    """Digest of all values of a group."""
    digest = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        values = dataset[name].to_numpy()
        digest.update(values.tobytes() if values.dtype.kind in "fiub" else "\0".join(map(str, values)).encode())
    return digest.hexdigest()


def digests_of(lake: Path, group: str) -> set[str]:
    """Digests of a complete group as plain xarray opens it, and as eegzarr does."""
    recipe, release = group.split("/")
    return {content(xr.open_zarr(lake, group=group)), content(eegzarr.open_windows(lake, recipe, [release]))}


class Onlooker:
    """What is seen of a group through the lake, through the group's own metadata, and by `eegzarr.open_windows`.

    Each is the name of one of the allowed states, or "refused".
    """

    def __init__(self, lake: Path, group: str, **allowed: set[str]) -> None:
        self.lake, self.group = lake, group
        self.states = {digest: name for name, digests in reversed(allowed.items()) for digest in digests}
        self.looks = 0
        self.seen: list[tuple[str, str, str]] = []
        self._files_seen: set[tuple[str, int, int, int]] = set()

    def __call__(self) -> None:
        self.looks += 1
        files = self._files()
        if files != self._files_seen:  # most changes are of other files, or of those that are being written
            self._see()
            self._files_seen = files

    def _files(self) -> set[tuple[str, int, int, int]]:
        """Inode, size and time of what decides what is seen: of the metadata alone, where these refuse the group."""
        group = f"{self.lake}/{self.group}"
        files = [f"{self.lake}/zarr.json", f"{group}/zarr.json"]
        if KILLS or not self.seen or set(self.seen[-1]) != {REFUSED}:
            files += [f"{folder}/{name}" for folder, _, names in os.walk(group) for name in names]
        found = ((file, _stat(file)) for file in files if not file.endswith(".partial"))
        return {(file, stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in found if stat}

    def _see(self) -> None:
        seen = self._through_the_lake(), self._through_its_own(), self._through_eegzarr()
        if self.seen[-1:] != [seen]:
            self.seen.append(seen)

    def _through_the_lake(self) -> str:
        if not (self.lake / "zarr.json").exists():
            return self._through_its_own()
        # There from the first moment on: without, plain xarray would open a group that is being built.
        copied = json.loads((self.lake / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
        if self.group not in copied:
            with pytest.raises(KeyError):
                xr.open_zarr(self.lake, group=self.group)
            return REFUSED
        return self._opened(xr.open_zarr(self.lake, group=self.group))

    def _through_its_own(self) -> str:
        if not (self.lake / self.group / "zarr.json").exists():
            return REFUSED
        attributes = json.loads((self.lake / self.group / "zarr.json").read_text())["attributes"]
        if attributes["status"] != "complete":
            return REFUSED
        return self._opened(xr.open_zarr(self.lake / self.group, consolidated=False))

    def _through_eegzarr(self) -> str:
        recipe, release = self.group.split("/")
        try:
            return self._opened(eegzarr.open_windows(self.lake, recipe, [release]))
        except LakeError:
            return REFUSED

    def _opened(self, dataset: xr.Dataset) -> str:
        assert dataset.attrs["status"] == "complete"
        return self.states[content(dataset)]


def _stat(file: str) -> os.stat_result | None:
    try:
        return os.stat(file)
    except FileNotFoundError:
        return None


def steps(*several: str) -> list[tuple[str, str, str]]:
    """What may be seen of states that follow one another: eegzarr believes the group, plain xarray the lake's copy."""
    between = {("old", REFUSED): ("old", REFUSED, REFUSED), (REFUSED, "new"): (REFUSED, "new", "new")}
    seen: list[tuple[str, str, str]] = []
    for state in several:
        seen += [between[seen[-1][1], state]] if seen else []
        seen.append((state, state, state))
    return seen


def in_order(seen: list[tuple[str, ...]], wanted: list[tuple[str, ...]]) -> bool:
    """Tell whether `wanted` was seen, from its first to its last; another thread may write while one looks."""
    remaining = iter(wanted)
    return [seen[0], seen[-1]] == [wanted[0], wanted[-1]] and all(state in remaining for state in seen)


class Copies:
    """Copies of a lake at some moments, each as likely as any other: what a kill would leave there."""

    def __init__(self, lake: Path, folder: Path, count: int, onlooker: Callable[[], None]) -> None:
        self.lake, self.folder, self.count, self.onlooker = lake, folder, KILLS or count, onlooker
        self.taken: list[Path] = []
        self._moments = 0
        self._random = random_of("copies")

    def __call__(self) -> None:
        self.onlooker()
        self._moments += 1
        place = self._random.randrange(self._moments)
        if place < self.count:
            copy = self.folder / f"{min(place, len(self.taken))}.zarr"
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir(parents=True)
            if self.lake.exists():
                _copy(self.lake, copy)
            self.taken = sorted(self.folder.iterdir())


def _copy(folder: Path, to: Path) -> None:
    """Copy files that other processes may rename at the moment, by links: none is ever changed in its place."""
    for file in sorted(folder.rglob("*")):
        try:
            target = to / file.relative_to(folder)
            if file.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(file, target)
        except FileNotFoundError:
            continue


def random_of(purpose: str) -> random.Random:
    """Return random numbers of this run, and print how to have them again."""
    print(f"EEGZARR_SEED={SEED} repeats the moments of {purpose}")
    return random.Random(f"{SEED} {purpose}")


def moments_among(changes: int, count: int, purpose: str) -> list[tuple[int, float]]:
    """Return when to kill: after how many of the changes of files, and how many ms later; one in each part of them."""
    rng, count = random_of(purpose), KILLS or count
    places = [1 + int((part + rng.random()) * changes / count) for part in range(count)]
    return [(place, rng.choice([0, rng.uniform(0, 5)]) if KILLS else 0) for place in places]
