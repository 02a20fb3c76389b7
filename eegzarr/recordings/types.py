"""Which channels of a recording are EEG: by channels.tsv, by the file, by well-known names.

A trigger or an ECG among the window channels gives the label away, and an average that includes them isn't a reference.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from eegzarr.bids.sidecars import ChannelRow, Sidecars
from eegzarr.errors import RecordingError
from eegzarr.recipes.montage import AS_THEY_ARE, Naming

# BIDS types that name something else than the lower-case text does, see
# https://bids-specification.readthedocs.io, "Electroencephalography", channels.tsv; the rest are written alike.
_OF_BIDS = {"veog": "eog", "heog": "eog", "trig": "stim", "temp": "temperature", "photo": "misc", "audio": "misc"}
_TYPES = """
eeg eog veog heog ecg emg misc trig stim resp gsr temp ecog seeg dbs eyegaze pupil photo audio ref nirs nirscwamplitude
"""
_BIDS_TYPES = frozenset(_TYPES.split())

# Names that mean the same everywhere. Each is a whole word of a channel's name, with digits or a side after it.
_KNOWN = {
    "eog": "EOG VEO HEO LOC ROC",
    "ecg": "ECG EKG",
    "emg": "EMG CHIN SUBMENTAL LEG TIB TIBIALIS",
    "stim": "STI STIM STATUS TRIG TRIGGER TRIGGERS MARKER MARKERS EVENT EVENTS DIN ANNOTATIONS ANNOTATION COUNTER",
    "gsr": "GSR EDA",
    "resp": "RESP RESPIRATION AIRFLOW FLOW THOR THORAX ABDO ABDOMEN ABDOMINAL NASAL",
    "temperature": "TEMP TEMPERATURE",
    "bio": "OSAT PULSE PLETH PLET PPG BPM HR HEARTRATE IBI BVP",
    "misc": (
        "PHOTO PHOTODIODE PHOTOSENSOR PHOTIC DIODE LIGHT AUDIO SOUND MIC SNORE POSITION BODY ACC ACCX ACCY ACCZ "
        "ACCEL ACCELEROMETER GYR GYRO GYROX GYROY GYROZ MAGX MAGY MAGZ MISC AUX EXG ERG ANA BURSTS SUPPR VNS "
        "BATTERY BATT BUTTON TIMESTAMP TIMESTAMPS SAMPLECOUNTER DC"
    ),
}
_TYPE_OF_WORD = {word: kind for kind, words in _KNOWN.items() for word in words.split()}
_WORD = re.compile(r"[A-Z]+")
_SIDE = re.compile(r"(?<=[A-Z]{3})[LRUDHVXYZ]$")
# No electrode of any cap begins or ends with these.
_AFFIX = re.compile(r"^[VH]?(EOG|ECG|EKG|EMG|GSR)|(EOG|ECG|EKG|EMG)$")
TAKEN_FOR_EEG = "Unknown types found, setting as type EEG:"  # MNE's words; types and lists of channels follow
_OF_TYPE = re.compile(r"([^][]*): (\[(?:'[^']*'|\"[^\"]*\"|, )*\])")
_GASES = re.compile(r"\b(SA|SP|ET)?(O2|CO2)\b")


@dataclass(frozen=True, kw_only=True)
class ChannelTypes:
    """The type of each channel, in order, as MNE names them; and what was assumed."""

    types: tuple[str, ...]
    notes: tuple[str, ...] = ()


def known_type(name: str) -> str:
    """Return the type that a channel's name alone gives, "" if it gives none."""
    upper = name.upper()
    for word in _WORD.findall(upper):
        found = _TYPE_OF_WORD.get(word) or _TYPE_OF_WORD.get(_SIDE.sub("", word))
        if not found and (affix := _AFFIX.search(word)):
            found = _TYPE_OF_WORD[affix[1] or affix[2]]
        if found:
            return found
    return "bio" if (gas := _GASES.search(upper)) and gas[0] != "O2" else ""


def types_told(notes: Iterable[str]) -> dict[str, str]:
    """Return the types of channels that a file tells in words which MNE doesn't know, and takes for EEG.

    Parameters
    ----------
    notes : iterable of str
        What MNE warned of.
    """
    lists = [note.removeprefix(TAKEN_FOR_EEG) for note in notes if note.startswith(TAKEN_FOR_EEG)]
    told = [found for text in lists for found in _OF_TYPE.findall(text)]
    return {name: kind for word, names in told if (kind := known_type(word)) for name in literal_eval(names)}


def channel_types(
    names: tuple[str, ...], own: tuple[str, ...], sidecars: Sidecars, naming: Naming = AS_THEY_ARE
) -> ChannelTypes:
    """Decide the type of each channel.

    Parameters
    ----------
    names : tuple of str
    own : tuple of str
        Types as the file's reader gives them.
    sidecars : Sidecars
        Where channels.tsv names a channel, its type counts, as `mne_bids.read_raw_bids` applies it: a type that
        is unknown is "misc". Other channels have the file's type, and EEG channels that of their name if
        everybody knows it.
    naming : Naming
        What a recipe calls the channels, by which their names are judged, and what it says they are: that counts
        most.

    Raises
    ------
    RecordingError
        If channels.tsv has different rows for one channel, or two channels would have one name.
    """
    rows = _rows_by_name(sidecars.channels or ())
    typed = {name: row.type for name, row in rows.items()} if any(row.type for row in rows.values()) else {}
    found, by_name, odd = [], [], []
    for name, kind, called in zip(names, own, naming.of(names), strict=True):
        if asked := naming.type_of(called):
            kind = asked
        elif name in typed:
            kind = typed[name].lower()
            if kind not in _BIDS_TYPES:
                odd.append(name)
            kind = _OF_BIDS.get(kind, kind) if kind in _BIDS_TYPES else "misc"
        elif kind == "eeg" and (known := known_type(called)):
            by_name.append(name)
            kind = known
        found.append(kind)
    notes = []
    if by_name:
        notes.append(f"not EEG by their names: {listed(by_name)}")
    if odd:
        notes.append(f"channels.tsv has an unknown type for {listed(odd)}: not taken as EEG")
    in_file = set(names)
    if missing := [name for name in rows if name not in in_file]:
        notes.append(f"channels.tsv has {listed(missing)}, which the file doesn't")
    if typed and (unnamed := [name for name in names if name not in typed]):
        notes.append(f"channels.tsv lacks {listed(unnamed)}")
    return ChannelTypes(types=tuple(found), notes=tuple(notes))


def as_in_file(names: tuple[str, ...], sidecars: Sidecars) -> tuple[Sidecars, tuple[str, ...]]:
    """Return a dataset's rows about channels and electrodes by the names that the file has, and what was assumed.

    A row is about the channel of its name. Where there is none, it is about the only one that differs in its case.
    """
    rows, electrodes = sidecars.channels or (), sidecars.electrodes or ()
    spelled = _spelled([row.name for row in rows], names) | _spelled([name for name, *_ in electrodes], names)
    if not spelled:
        return sidecars, ()
    changed = replace(
        sidecars,
        channels=tuple(replace(row, name=spelled.get(row.name, row.name)) for row in rows)
        if rows
        else sidecars.channels,
        electrodes=tuple((spelled.get(name, name), *at) for name, *at in electrodes)  # type: ignore[misc]
        if electrodes
        else sidecars.electrodes,
    )
    told = [f"{there} as {name}" for there, name in spelled.items()]
    return changed, (f"named otherwise in channels.tsv or electrodes.tsv than in the file: {listed(told)}",)


def _spelled(told: list[str], names: tuple[str, ...]) -> dict[str, str]:
    """Return the file's name for each name of a table that differs from it in its case alone."""
    unnamed, unmatched = set(names) - set(told), set(told) - set(names)
    if not unnamed or not unmatched:
        return {}
    alike: dict[str, list[str]] = {}
    for name in names:
        if name in unnamed:
            alike.setdefault(name.casefold(), []).append(name)
    asking = Counter(name.casefold() for name in unmatched)
    return {
        name: found[0]
        for name in told
        if name in unmatched and len(found := alike.get(name.casefold(), [])) == 1 and asking[name.casefold()] == 1
    }


def bad_channels(names: tuple[str, ...], own: tuple[str, ...], sidecars: Sidecars) -> tuple[str, ...]:
    """Return the bad channels: those of channels.tsv where it has a status, else the file's own."""
    rows = sidecars.channels or ()
    if any(row.status for row in rows):
        bad = {row.name for row in rows if row.is_bad}
        return tuple(name for name in names if name in bad)
    return tuple(name for name in names if name in own)


def _rows_by_name(rows: tuple[ChannelRow, ...]) -> dict[str, ChannelRow]:
    by_name: dict[str, ChannelRow] = {}
    for row in rows:
        if (first := by_name.setdefault(row.name, row)) is not row and first != row:
            raise RecordingError(f"channels.tsv has different rows for {row.name}: leave one of them")
    return by_name


def listed(names: list[str]) -> str:
    """Return names for a message, the first five of many."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
