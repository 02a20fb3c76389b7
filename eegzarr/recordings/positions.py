"""Where electrodes are: by electrodes.tsv, by the file, or by a cap whose names these are.

In MNE's head frame: x to the right ear, y to the nose, z up, from between the ears; in m.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from eegzarr.bids.sidecars import Sidecars
from eegzarr.recordings.header import Header, NamedPlace

Place = npt.NDArray[np.float64]

_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
_HEAD = (0.04, 0.25)  # m that the farthest electrode has from the origin, of infants to adults
# How BIDS calls systems with MNE's axes, and those with x to the nose and y to the left ear. mne-bids takes them
# like this: https://bids-specification.readthedocs.io, "Coordinate systems".
_LIKE_HEAD = ("captrak", "elektaneuromag", "chietiitab")
_NOSE_FIRST = ("eeglab", "eeglab-hj", "ctf", "4dbti", "kityokogawa")
# Caps that number their electrodes: the same name is another place on each.
_NUMBERED = (
    *(f"GSN-HydroCel-{n}" for n in ("129", "128", "32", "64_1.0", "65_1.0", "256", "257")),
    *(f"biosemi{n}" for n in (128, 160, 256)),
)
_REFERENCE = "Cz"  # of those caps, which recordings may leave out
_TEN_FIVE = ("colin27_1005", "standard_1005")  # one montage; the second name is that of older releases
_NUMBER = re.compile(r"[A-H]\d+")


def electrode_positions(header: Header, channels: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """Return where channels of a recording are, in m, (channel, 3), NaN where that isn't known.

    Also channels that the recording lacks: where electrodes.tsv has them, else where a cap with these names does.
    """
    lacking = header.lacking(channels)
    if header.positions is None:
        return channel_positions(channels, (*header.channels, *lacking))
    places: dict[str, npt.NDArray] = dict(zip(header.channels, header.positions, strict=True))
    places |= {name: np.array(place) for name, *place in header.elsewhere if name in lacking}
    if unplaced := tuple(name for name in lacking if name not in places):
        places |= dict(zip(unplaced, channel_positions(unplaced, (*header.channels, *lacking)), strict=True))
    return np.array([places.get(name, (np.nan,) * 3) for name in channels], np.float32).reshape(-1, 3)


def channel_positions(channels: tuple[str, ...], among: tuple[str, ...] | None = None) -> npt.NDArray[np.float32]:
    """Return where a standard cap has its electrodes, in m, (channel, 3), NaN where none is known.

    A cap with numbered electrodes is known by having all of its names, or all but the reference. Names of the
    10-05 system mean one place each.

    Parameters
    ----------
    channels : tuple of str
        Channels wanted.
    among : tuple of str, optional
        All EEG channels of the recording, by which a cap is known; default `channels`.
    """
    import mne

    names = set(among or channels)
    builtin = mne.channels.get_builtin_montages()
    for cap in _NUMBERED:
        if cap not in builtin:
            continue
        montage = mne.channels.make_standard_montage(cap)
        if names <= set(montage.ch_names) and set(montage.ch_names) - names <= {_REFERENCE}:
            return _placed(montage, {name: name for name in channels})
    montage = mne.channels.make_standard_montage(next(name for name in _TEN_FIVE if name in builtin))
    spelled = {name.upper(): name for name in montage.ch_names}
    # A1 and A2 are ears, but not on a cap that has an A3.
    numbered = {name for name in names if _NUMBER.fullmatch(name)}
    is_cap = bool(numbered - {"A1", "A2", "C1", "C2", "C3", "C4", "C5", "C6", "F1", "F2"} - set(montage.ch_names))
    known = {name: spelled.get("" if is_cap and name in numbered else name.upper(), "") for name in channels}
    return _placed(montage, known)


def _placed(montage: object, named: Mapping[str, str]) -> npt.NDArray[np.float32]:
    """Return the head positions of a montage's electrodes, by their names in it."""
    import mne

    wanted = [name for name in named.values() if name]
    places = {}
    if wanted:
        info = mne.create_info(list(dict.fromkeys(wanted)), 1.0, "eeg").set_montage(montage)
        places = {channel["ch_name"]: channel["loc"][:3] for channel in info["chs"]}
    return np.array([places.get(name, (np.nan,) * 3) for name in named.values()], dtype=np.float32).reshape(-1, 3)


def told_positions(
    sidecars: Sidecars, channels: tuple[str, ...]
) -> tuple[npt.NDArray[np.float32] | None, tuple[NamedPlace, ...], str]:
    """Return where electrodes.tsv says that channels are, in m, (channel, 3); None where it says nothing of use.

    The second value are other electrodes that it places; the third says what was assumed, or why it isn't used.
    """
    places = _told(sidecars)
    found = np.array([places.get(name, (np.nan,) * 3) for name in channels], np.float32).reshape(-1, 3)
    if not np.isfinite(found).any():
        return None, (), _why_not_told(sidecars, bool(places))
    others = [name for name in places if name not in channels]
    unit = "" if sidecars.coordinate_units.lower() in _METRES else _unit_note(sidecars)
    return found, tuple((name, *places[name].tolist()) for name in others), unit


def _unit_note(sidecars: Sidecars) -> str:
    names = {size: name for name, size in _METRES.items()}
    return f"electrodes.tsv has no unit that is known: taken as {names[_guessed_scale(_finite(sidecars))]}"


def _why_not_told(sidecars: Sidecars, is_placed: bool) -> str:
    if not sidecars.electrodes:
        return ""
    if is_placed:
        return "electrodes.tsv isn't used: it has none of the EEG channels"
    if not _finite(sidecars):
        return ""  # a table of n/a says nothing
    if sidecars.coordinate_units.lower() not in _METRES and not _guessed_scale(_finite(sidecars)):
        return f"electrodes.tsv isn't used: its unit ({sidecars.coordinate_units or 'none told'}) isn't known"
    system = sidecars.coordinate_system or "none told"
    return f"electrodes.tsv isn't used: its coordinate system ({system}) has no landmarks that lead to the head's"


def _told(sidecars: Sidecars) -> dict[str, Place]:
    """Return the positions of electrodes.tsv in the head frame; none if they can't be brought into it."""
    rows = _finite(sidecars)
    if not rows:
        return {}
    scale = _METRES.get(sidecars.coordinate_units.lower()) or _guessed_scale(rows)
    if not scale:
        return {}
    system = sidecars.coordinate_system.lower()
    landmarks = {name.upper(): np.array(place, float) for name, place in sidecars.anatomical_landmarks.items()}
    if system in _LIKE_HEAD:
        return {name: place * scale for name, place in rows.items()}
    if system in _NOSE_FIRST:
        return {name: np.array([-place[1], place[0], place[2]]) * scale for name, place in rows.items()}
    if {"NAS", "LPA", "RPA"} <= set(landmarks):
        turn, origin = _head_frame(landmarks["NAS"], landmarks["LPA"], landmarks["RPA"])
        return {name: turn @ (place - origin) * scale for name, place in rows.items()}
    return {}


def _finite(sidecars: Sidecars) -> dict[str, Place]:
    return {name: np.array(place, float) for name, *place in sidecars.electrodes or () if np.isfinite(place).all()}


def _guessed_scale(rows: Mapping[str, Place]) -> float:
    """Return the unit in m in which electrodes lie on a head, 0 where none does so."""
    reach = max(float(np.abs(place).max()) for place in rows.values())
    return next((unit for unit in _METRES.values() if _HEAD[0] <= reach * unit <= _HEAD[1]), 0.0)


def _head_frame(nasion: Place, left: Place, right: Place) -> tuple[Place, Place]:
    """Return rotation and origin of MNE's head frame, from landmarks in another frame."""
    x = (right - left) / np.linalg.norm(right - left)
    origin = left + x * (x @ (nasion - left))
    y = (nasion - origin) / np.linalg.norm(nasion - origin)
    return np.array([x, y, np.cross(x, y)]), origin
