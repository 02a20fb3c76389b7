"""Which files make one recording: the one that is opened, and those that its header or its name leads to.

One rule, `belonging`, for a folder on this machine and for one in a bucket: what is opened is what is fetched, and what
tells that a recording has changed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from eegzarr.bids.buckets import at_hand, beside
from eegzarr.bids.recordings import Recording, suffix_of
from eegzarr.recordings.brainvision import brainvision_names
from eegzarr.recordings.eeglab import eeglab_data

DATA = "DataFile"
# What each key of a header names, by suffix, and where a recording without it can't be read.
_SUFFIXES = {DATA: (".eeg", ".dat", ".avg", ".fdt"), "MarkerFile": (".vmrk", ".amrk")}
_TRIPLETS = (".vhdr", ".ahdr")
_SPLIT = re.compile(r"^(.*_split-)(\d+)(_.*\.fif)$")


@dataclass(frozen=True, kw_only=True)
class Belonging:
    """The files of one recording, by their names in its folder.

    Attributes
    ----------
    files : tuple of str
        Those that are there, the one that is opened first.
    found : mapping of str to str
        The file that each key of the header means, of those that are there.
    missing : tuple of str
        Files that it can't be read without, and that aren't there.
    notes : tuple of str
        What was assumed.
    """

    files: tuple[str, ...]
    found: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def belonging(name: str, told: Mapping[str, str], there: Collection[str]) -> Belonging:
    """Decide which files belong to a recording.

    A header's file is the one of that name. Where there is none, since the files were renamed and the header's text
    wasn't, the one that has the recording's own name is meant.

    Parameters
    ----------
    name : str
        Of the file that is opened.
    told : mapping of str to str
        The names that its header has, by key.
    there : collection of str
        Names of the files in its folder.
    """
    if suffix_of(name) == ".fif":
        return Belonging(files=(name, *_fif_parts(name, there)))
    stem = name[: len(name) - len(suffix_of(name))]
    found, missing, notes = {}, [], []
    for key, text in told.items():
        named = text.replace("\\", "/").rpartition("/")[2]
        suffixes = dict.fromkeys((PurePosixPath(named).suffix, *_SUFFIXES[key]))
        own = next((file for suffix in suffixes if suffix and (file := _among(there, f"{stem}{suffix}"))), "")
        if file := _among(there, named):
            found[key] = file
            if own and own != file:
                notes.append(f"its header names {named}, not {own}")
        elif own:
            found[key] = own
            notes.append(f"its header names {named}, which isn't there: {own} instead")
        elif key == DATA:
            missing.append(named)
    files = tuple(dict.fromkeys((name, *found.values())))
    return Belonging(files=files, found=found, missing=tuple(missing), notes=tuple(notes))


def _among(there: Collection[str], name: str) -> str:
    """Return the file of a name; without one, the only one whose name differs in its case or its accents' encoding."""
    if name in there:
        return name
    alike = [one for one in there if _plain(one) == _plain(name)]
    return alike[0] if len(alike) == 1 else ""


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _fif_parts(name: str, there: Collection[str]) -> tuple[str, ...]:
    """Return the further parts of a recording that was split for its size, by either way of naming them."""
    match = _SPLIT.match(name)
    number, parts = (int(match[2]) if match else 0), list[str]()
    while True:
        number += 1
        part = (
            f"{match[1]}{number:0{len(match[2])}}{match[3]}" if match else f"{name.removesuffix('.fif')}-{number}.fif"
        )
        if part not in there:
            return tuple(parts)
        parts.append(part)


def _told_by(header: Path, there: Collection[str]) -> dict[str, str]:
    """Return the names of further files that a recording's header has, by key."""
    suffix = header.suffix.lower()
    if suffix in _TRIPLETS:
        return brainvision_names(header)
    beside_it = f"{header.stem}.dat" if suffix == ".lay" else f"{header.stem}.fdt"
    if suffix == ".set" and (name := eeglab_data(header)) is not None:
        return {DATA: name} if name else {}
    return {DATA: beside_it} if suffix in (".set", ".lay") and _among(there, beside_it) else {}


def files_opened(root: str, recording: Recording) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return every file of a dataset that is opened to read a recording, the first one first, and what was assumed.

    Raises
    ------
    RecordingError
        If its header can't be read.
    """
    path, suffix = PurePosixPath(recording.path), suffix_of(recording.path)
    if suffix not in (*_TRIPLETS, ".set", ".lay", ".fif"):
        return recording.files, ()
    there, told = beside(root, recording.path), dict[str, str]()
    # From a bucket a header comes only where it can name a file.
    if suffix != ".fif" and any(suffix_of(name) in (*_SUFFIXES[DATA], *_SUFFIXES["MarkerFile"]) for name in there):
        with at_hand(root, (recording.path,)) as header:
            told = _told_by(header, there)
    own = belonging(path.name, told, there)
    return tuple(str(path.with_name(name)) for name in own.files), own.notes


def companions(path: Path) -> tuple[Path, ...]:
    """Return every file that MNE opens to read a recording on this machine, the recording itself first.

    Files that a header names and that aren't there are among them, at the place where they should be.
    """
    if path.is_dir():
        return (path, *sorted(file for file in path.rglob("*") if file.is_file() or file.is_symlink()))
    own = named_files(path)
    return (path, *(path.with_name(name) for name in (*own.files[1:], *own.missing)))


def named_files(path: Path) -> Belonging:
    """Return the files that belong to a recording on this machine."""
    try:
        there = beside(str(path.parent), path.name)
    except OSError:
        there = []
    return belonging(path.name, _told_by(path, there), there)
