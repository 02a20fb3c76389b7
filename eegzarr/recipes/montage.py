"""What channels are called and what they are, whatever a recording calls them; and what is done without one.

Names of the 10-20 system and its extensions: Oostenveld & Praamstra (2001), doi:10.1016/S1388-2457(00)00527-7.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from eegzarr.errors import RecipeError, RecordingError
from eegzarr.suggest import did_you_mean

Missing = Literal["skip", "nan", "interpolate"]
Pairs = tuple[tuple[str, str], ...]
TEN_TWENTY = "10-20"

CHANNEL_TYPES = (
    *("eeg", "eog", "ecg", "emg", "misc", "stim", "resp", "gsr", "temperature", "bio", "seeg", "ecog", "dbs"),
    *("ref_meg", "eyegaze", "pupil"),
)
# Rows of electrodes from the front to the back, as they are written; in the halves between them too.
_ROWS = (
    *("N", "Fp", "AFp", "AF", "AFF", "F", "FFT", "FFC", "FT", "FTT", "FC", "FCC", "T", "TTP", "C", "CCP", "TP", "TPP"),
    *("CP", "CPP", "P", "PPO", "PO", "POO", "O", "OI", "I", "A", "M"),
)
_ROW = {row.upper(): row for row in _ROWS}
_ELECTRODE = re.compile(r"([A-Z]{1,3})(Z|\d{1,2}(?:H)?)")
_RENAMED = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}  # by the American EEG Society, 1991
_KIND = re.compile(r"^(?:EEG|POL)[\s:_-]+", re.IGNORECASE)
# What is subtracted from all channels alike, and so says nothing of one of them: linked ears, averages.
_COMMON = frozenset(("REF", "LE", "AR", "AV", "AVG", "AVE", "AVERAGE", "CAR", "A1A2", "A1+A2", "M1M2", "M1+M2"))


def ten_twenty(name: str) -> str:
    """Return a channel's name as the 10-20 system writes it; itself where it isn't one of its electrodes.

    ``Fc5.`` is FC5, ``EEG FP1-REF`` is Fp1, ``T3`` is T7. A derivation of two electrodes stays one: ``EEG FPZ-CZ`` is
    Fpz-Cz.
    """
    bare = _KIND.sub("", name.strip()).rstrip(". ").strip()
    electrodes = [part.strip() for part in bare.split("-")]
    if len(electrodes) == 2 and electrodes[1].upper() in _COMMON:
        electrodes.pop()
    spelled = [_electrode(part) for part in electrodes]
    return "-".join(spelled) if all(spelled) and len(spelled) <= 2 else name


def _electrode(text: str) -> str:
    """Return an electrode's name as it is written, "" where there is none of that name."""
    match = _ELECTRODE.fullmatch(text.upper())
    if match is None or match[1] not in _ROW:
        return ""
    written = f"{_ROW[match[1]]}{match[2].lower()}"
    return _RENAMED.get(written, written)


@dataclass(frozen=True, kw_only=True)
class Naming:
    """What channels are called and what they are.

    Parameters
    ----------
    rename : tuple of (str, str), or "10-20"
        Names in the recordings and the names that they get; those that a recording doesn't have mean nothing for it.
    types : tuple of (str, str)
        New names, and what these channels are, as MNE names types: over what the dataset and the file say.
    """

    rename: Pairs | str = ()
    types: Pairs = ()

    def __post_init__(self) -> None:
        if isinstance(self.rename, str) and self.rename != TEN_TWENTY:
            raise RecipeError(f"rename must be a table of names, or {TEN_TWENTY!r}, got {self.rename!r}")
        for name, kind in self.types:
            if kind not in CHANNEL_TYPES:
                raise RecipeError(
                    f"types.{name} must be one of {', '.join(CHANNEL_TYPES)}, got {kind!r}."
                    f"{did_you_mean(kind, CHANNEL_TYPES)}"
                )

    def of(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return what a recording's channels are called.

        Raises
        ------
        RecordingError
            If two of them would have one name.
        """
        if isinstance(self.rename, str):
            given = tuple(ten_twenty(name) for name in names)
        else:
            by_name = dict(self.rename)
            given = tuple(by_name.get(name, name) for name in names)
        if twice := [name for name, count in Counter(given).items() if count > 1]:
            those = [old for old, new in zip(names, given, strict=True) if new == twice[0]]
            raise RecordingError(f"rename gives {' and '.join(those)} one name, {twice[0]}")
        return given

    def type_of(self, name: str) -> str:
        """Return what a channel is, by its new name; "" where the recipe doesn't say."""
        return dict(self.types).get(name, "")


AS_THEY_ARE = Naming()
_OF_MONTAGE = re.compile(r"-\d+ch-[\d.]+Hz-[0-9a-f]{6}$")


@dataclass(frozen=True, kw_only=True)
class Montage:
    """Channels of windows, in order, and their rate in Hz."""

    channels: tuple[str, ...]
    sfreq: float

    @property
    def name(self) -> str:
        """Their number, their rate, and six digits that stand for their names: ``64ch-256Hz-3f9a1c``."""
        digest = hashlib.sha256("\0".join(self.channels).encode()).hexdigest()
        return f"{len(self.channels)}ch-{self.sfreq:.6g}Hz-{digest[:6]}"


def rounded_rate(sfreq: float) -> float:
    """Return a rate as groups are named after it: exporters round in the digits after these."""
    return float(f"{sfreq:.6g}")


def without_montage(release: str) -> str:
    """Return the release that a group of one montage belongs to: people are the same in all of its groups."""
    return _OF_MONTAGE.sub("", release)


def checked_rename(value: object, where: str) -> Pairs | str:
    """Return a table of names, or the name of a system, as TOML or JSON gives it."""
    return value if isinstance(value, str) else checked_pairs(value, where)


def checked_pairs(value: object, where: str) -> Pairs:
    """Return a table of texts as pairs in the order of its keys.

    Raises
    ------
    RecipeError
    """
    items = list(value.items()) if isinstance(value, Mapping) else None
    if items is None and isinstance(value, (list, tuple)) and all(isinstance(one, (list, tuple)) for one in value):
        items = [tuple(one) for one in value]  # from Python, as a recipe holds it
    if items is None or not all(len(one) == 2 and all(isinstance(text, str) and text for text in one) for one in items):
        raise RecipeError(f'{where} must be a table of texts, such as {{ "EEG 001" = "Fp1" }}, got {value!r}')
    return tuple(sorted((str(old), str(new)) for old, new in items))


def checked_missing(value: object, where: str) -> object:
    """Refuse an unknown rule for missing channels.

    Raises
    ------
    RecipeError
    """
    ways = get_args(Missing)
    if value not in ways:
        raise RecipeError(f"{where} must be one of {', '.join(ways)}, got {value!r}.{did_you_mean(str(value), ways)}")
    return value


def check_channels(recipe: str, channels: tuple[str, ...], missing: str) -> None:
    """Refuse channels named twice, and a rule for missing channels where none are named.

    Raises
    ------
    RecipeError
    """
    if twice := [name for name, count in Counter(channels).items() if count > 1]:
        raise RecipeError(f"recipe {recipe}: channels has {twice[0]!r} twice")
    if missing != "skip" and not channels:
        raise RecipeError(f"recipe {recipe}: missing = {missing!r} needs channels: name those that windows have")
