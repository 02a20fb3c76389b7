"""From a dataset's list of files to its recordings: one for each, whatever number of files it has.

Pure functions. Every file that could be a recording becomes one, with a reason where it can't be read: nothing
that a user may have meant is passed over silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from eegzarr.bids.entities import CHANNELS, EEG_JSON, EVENTS, SCANS, Inheritance, entities_of

# Formats that are read, the preferred ones first: of those whose signal is as it was recorded, the quickest.
FORMATS = (".bdf", ".edf", ".vhdr", ".ahdr", ".set", ".fif", ".fif.gz", ".gdf", ".cnt", ".mff", ".lay", ".nxe")
FOLDERS = (".mff",)  # formats whose recording is a folder
# Files that belong to a recording of another suffix, by their name.
COMPANIONS = {
    ".vhdr": (".vmrk", ".eeg", ".dat"),
    ".ahdr": (".amrk", ".eeg", ".dat"),
    ".set": (".fdt",),
    ".lay": (".dat",),
}
_OWNERS: dict[str, tuple[str, ...]] = {}
for _header, _parts in COMPANIONS.items():
    for _part in _parts:
        _OWNERS[_part] = (*_OWNERS.get(_part, ()), _header)
_UNREAD = {
    ".nwb": "NWB files aren't read: convert them to EDF, BDF or BrainVision",
    ".xdf": "XDF files aren't read: convert them to EDF, BDF or BrainVision",
    ".mat": "MATLAB files aren't read: save the recording as EEGLAB's .set, EDF or BrainVision",
    ".raw": "EGI's .raw files aren't read: convert them to EDF, BDF or BrainVision",
    ".trc": "Micromed's files aren't read: convert them to EDF, BDF or BrainVision",
    ".easy": "NeuroElectrics' .easy files aren't read: convert them to EDF, BDF or BrainVision",
    ".cdt": "Curry's files aren't read: convert them to EDF, BDF or BrainVision",
}
_PACKED = (".gz", ".bz2", ".xz", ".zip")
# What lies beside recordings and is none, whatever its name.
_NO_RECORDING = frozenset(
    (
        *(".json", ".tsv", ".csv", ".txt", ".md", ".rst", ".pdf", ".html", ".xml", ".yml", ".yaml", ".toml", ".bib"),
        *(".png", ".jpg", ".jpeg", ".tif", ".svg", ".nii", ".docx", ".xlsx", ".log", ".py", ".m", ".r"),
        *(".md5", ".sha1"),
    )
)
_NEUROMAG_PART = re.compile(r"(.+?)-(\d+)(\.fif(?:\.gz)?)", re.IGNORECASE)
# Folders whose recordings are of another kind than EEG.
OTHER_MODALITIES = ("meg", "ieeg", "nirs", "motion", "emg")
_OTHER_FOLDERS = ("beh", "func", "physio", "eyetrack", "stimuli")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One EEG recording of a BIDS dataset, with its entities and the files that say something about it.

    All paths are relative to the root of its source, with forward slashes.

    Attributes
    ----------
    path : str
        The file that is opened.
    subject, session, task, run : str
        "" where the file name has none.
    entities : str
        Further ones as the name has them, such as ``acq-clean_desc-preproc``.
    files : tuple of str
        Every file of the recording, as far as its name shows them, `path` first: further splits, and companions.
    events : str
        The events.tsv that applies, or "".
    sidecars : tuple of str
        channels.tsv, electrodes.tsv, coordsystem.json, scans.tsv and every eeg.json that apply, the most general
        first.
    notes : tuple of str
        What was chosen or assumed.
    reason : str
        Why it can't be read, if its name shows that already; else "".
    given : str, optional
        Events that take the place of events.tsv, as the content of one.
    """

    path: str
    subject: str
    session: str
    task: str
    run: str
    entities: str = ""
    files: tuple[str, ...] = ()
    events: str = ""
    sidecars: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""
    given: str | None = None


def find_recordings(files: Iterable[str]) -> tuple[Recording, ...]:
    """Return a dataset's recordings, sorted by path.

    Parameters
    ----------
    files : iterable of str
        Paths of the dataset's files, and of the folders that are recordings, relative to its root.
    """
    there = sorted(files)
    known = set(there)
    inheritance = Inheritance.of(there)
    groups: dict[tuple[str, str], list[str]] = {}
    for path in there:
        if _could_be_one(path):
            groups.setdefault(_group_of(path, known), []).append(path)
    waiting = {folder for (folder, _), members in groups.items() if _lacks_companions(members)}
    found = (_recording(members, waiting) for members in groups.values())
    return tuple(sorted((_with_sidecars(one, inheritance) for one in found if one), key=lambda one: one.path))


def suffix_of(path: str) -> str:
    """Return what a file's name ends in, in lower case: ``.fif.gz`` and the like as a whole."""
    name = PurePosixPath(path)
    suffix = name.suffix.lower()
    return f"{PurePosixPath(name.stem).suffix.lower()}{suffix}" if suffix in _PACKED else suffix


def is_read(path: str) -> bool:
    """Return whether a file has a format that is read."""
    return suffix_of(path) in FORMATS


def _could_be_one(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    if name.startswith(".") or _modality(folder) in OTHER_MODALITIES:
        return False
    suffix = suffix_of(name)
    if suffix in _NO_RECORDING or suffix.removesuffix(PurePosixPath(name).suffix.lower()) in _NO_RECORDING:
        return False
    known = suffix in FORMATS or suffix in _OWNERS or _unpacked(suffix) in (*FORMATS, *_UNREAD)
    # An .edf may be an eye tracker's, a .dat anything: elsewhere only what has a format of EEG alone.
    at_home = _modality(folder) == "eeg" or (suffix in FORMATS and _modality(folder) not in _OTHER_FOLDERS)
    return _is_named_eeg(name) or (known and at_home)


def _modality(folder: str) -> str:
    return folder.rsplit("/", 1)[-1].lower()


def _stem(name: str) -> str:
    return name[: len(name) - len(suffix_of(name))]


def _is_named_eeg(name: str) -> bool:
    stem = _stem(name).lower()
    neuromag = _NEUROMAG_PART.fullmatch(name)
    return stem.endswith("_eeg") or bool(neuromag and neuromag[1].lower().endswith("_eeg"))


def _unpacked(suffix: str) -> str:
    for ending in _PACKED:
        if suffix.endswith(ending) and suffix != ending:
            return suffix.removesuffix(ending)
    return suffix


def _group_of(path: str, known: set[str]) -> tuple[str, str]:
    """Return what all files of one recording share: their folder, and their name without suffix and split."""
    folder, _, name = path.rpartition("/")
    part = _NEUROMAG_PART.fullmatch(name)
    if part and f"{folder}/{part[1]}{part[3]}".lstrip("/") in known:
        return folder, part[1]
    stem = _stem(name)
    if suffix_of(name).startswith(".fif"):
        stem = re.sub(r"_split-[^_]+", "", stem)
    return folder, stem


def _lacks_companions(members: list[str]) -> bool:
    """Return whether a recording has a header that may name its other files otherwise than itself."""
    suffixes = {suffix_of(path) for path in members}
    data = suffixes & {".eeg", ".dat", ".fdt"}
    markers = suffixes & {".vmrk", ".amrk"}
    return bool(suffixes & {".vhdr", ".ahdr"} and not (data and markers)) or bool(
        suffixes & {".set", ".lay"} and not data
    )


def _recording(members: list[str], waiting: set[str]) -> Recording | None:
    """Make one recording of the files that share a name; None for parts of one with another name.

    `waiting` are the folders with a header whose companions have other names.
    """
    readable = [path for path in members if is_read(path)]
    if not readable:
        orphans = [path for path in members if suffix_of(path) in _OWNERS]
        others = [path for path in members if path not in orphans]
        if not others and orphans[0].rpartition("/")[0] in waiting:
            return None
        return named_recording((others or orphans)[0], reason=_why_unread((others or orphans)[0]))
    chosen = min(readable, key=lambda path: (FORMATS.index(suffix_of(path)), path))
    splits = [path for path in readable if suffix_of(path) == suffix_of(chosen)]
    whole = _splits(splits) if suffix_of(chosen).startswith(".fif") else (chosen,)
    passed_over = [path for path in readable if path not in whole]
    notes = (f"{_names(passed_over)} is the same recording, left aside",) if passed_over else ()
    companions = (path for path in members if suffix_of(path) in COMPANIONS.get(suffix_of(chosen), ()))
    named = named_recording(whole[0], reason=_why_not(whole))
    return replace(named, files=(*whole, *sorted(companions)), notes=(*named.notes, *notes))


def _splits(paths: Sequence[str]) -> tuple[str, ...]:
    """Return the files of a split FIF recording in their order: the first leads to the others."""

    def number(path: str) -> tuple[int, str]:
        name = path.rsplit("/", 1)[-1]
        part = _NEUROMAG_PART.fullmatch(name)
        split = entities_of(name).get("split", "")
        return (int(split) if split.isdigit() else int(part[2]) if part else 0), path

    return tuple(sorted(paths, key=number))


def _why_not(files: tuple[str, ...]) -> str:
    """Return why a recording of a known format can't be read, as far as names show it."""
    path = files[0]
    name = path.rsplit("/", 1)[-1]
    entities = entities_of(name)
    folders = path.split("/")[:-1]
    if not _is_named_eeg(name) or "sub" not in entities:
        return f"{name} is no BIDS name of an EEG recording (sub-…_task-…_eeg{PurePosixPath(name).suffix})"
    if not folders or not folders[0].startswith("sub-"):
        return "lies outside of the sub-* folders"
    if folders[-1].lower() != "eeg":
        return "lies outside of an eeg folder"
    if len(folders) > 3 or (len(folders) == 3 and not folders[1].startswith("ses-")):
        return f"lies in {'/'.join(folders)}, where BIDS has no recordings: they are in sub-*/eeg or sub-*/ses-*/eeg"
    for key, folder in zip(("sub", "ses"), folders, strict=False):
        if folder.startswith(f"{key}-") and key in entities and folder != f"{key}-{entities[key]}":
            return f"lies in {folder} but is named {key}-{entities[key]}"
    splits = [int(own) for file in files if (own := entities_of(file).get("split", "")).isdigit()]
    if splits and not suffix_of(path).startswith(".fif"):
        # Where a part lies in the recording, whose events these are: only FIF files say.
        return f"is split {splits[0]} of a recording, which only FIF files lead to" if splits[0] > 1 else ""
    lacking = sorted(set(range(1, max(splits, default=0) + 1)) - set(splits))
    if splits and lacking:
        return f"split {', '.join(map(str, lacking))} of it isn't there"
    return ""


def _why_unread(path: str) -> str:
    suffix = suffix_of(path)
    if suffix in _OWNERS:
        wanted = " or ".join(f"{_stem(path.rsplit('/', 1)[-1])}{header}" for header in _OWNERS[suffix])
        return f"there is no {wanted} beside it"
    if suffix in _UNREAD:
        return _UNREAD[suffix]
    if suffix.endswith(_PACKED):
        return f"packed files ({suffix}) aren't read: unpack it"
    return f"its format ({suffix or 'no suffix'}) isn't known: there are {', '.join(FORMATS)}"


def _names(paths: Sequence[str]) -> str:
    return ", ".join(path.rsplit("/", 1)[-1] for path in paths)


def named_recording(path: str, *, reason: str = "") -> Recording:
    """Return the recording that a file name stands for, without looking at other files."""
    entities = entities_of(path)
    notes: tuple[str, ...] = ()
    if (folders := path.split("/")[:-1])[1:2] and folders[1].startswith("ses-") and "ses" not in entities:
        entities["ses"] = folders[1].removeprefix("ses-")
        notes = (f"its name lacks the session: {folders[1]}, as its folder",)
    others = {key: value for key, value in entities.items() if key not in ("sub", "ses", "task", "run", "split")}
    return Recording(
        path=path,
        subject=entities.get("sub", ""),
        session=entities.get("ses", ""),
        task=entities.get("task", ""),
        run=entities.get("run", ""),
        entities="_".join(f"{key}-{value}" for key, value in others.items()),
        files=(path,),
        notes=notes,
        reason=reason,
    )


def _with_sidecars(recording: Recording, inheritance: Inheritance) -> Recording:
    path = recording.path
    electrodes, coordinates = inheritance.electrodes(path)
    single = (inheritance.nearest(path, SCANS), inheritance.nearest(path, CHANNELS), electrodes, coordinates)
    return replace(
        recording,
        events=inheritance.nearest(path, EVENTS),
        sidecars=(*inheritance.applying(path, EEG_JSON), *(one for one in single if one)),
    )
