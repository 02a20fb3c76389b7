"""What the samples of a cache are, by its file and by what its owner says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eegzarr.challenge.presets import HBN_CHANNELS
from eegzarr.errors import UsageError
from eegzarr.exchange.write import GivenWindows, Read

MICROVOLTS_IN = {"V": 1e6, "mV": 1e3, "uV": 1.0, "µV": 1.0, "μV": 1.0, "nV": 1e-3}
SFREQ_NAMES = ("sfreq", "sampling_rate", "fs", "srate")
CHANNEL_NAMES = ("ch_names", "channels", "channel_names")
UNIT_NAMES = ("units", "unit")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a user says of windows whose file doesn't; it comes before what the file says.

    Parameters
    ----------
    sfreq : float, optional
        Hz.
    channels : tuple of str, optional
        ``("hbn",)`` are HBN's 129.
    units : str, optional
        Of the stored samples: one of `MICROVOLTS_IN`.
    start : float
        Of a window's first sample, in s from what it was cut around.
    trusts : bool
        Whether pickles may be run, which can do anything that the user can; without it only those of arrays,
        numbers and texts are read, and none is run.
    """

    sfreq: float | None = None
    channels: tuple[str, ...] | None = None
    units: str | None = None
    start: float = 0.0
    trusts: bool = False

    def __post_init__(self) -> None:
        if self.units is not None and self.units not in MICROVOLTS_IN:
            raise UsageError(f"--units {self.units!r} is none of {', '.join(MICROVOLTS_IN)}")
        if self.sfreq is not None and not self.sfreq > 0:
            raise UsageError(f"--sfreq must be positive, got {self.sfreq} Hz")


@dataclass(frozen=True)
class Meaning:
    """What samples of a cache are."""

    sfreq: float
    channels: tuple[str, ...]
    factor: float


def meaning_of(path: Path, attributes: dict[str, Any], told: Told, n_channels: int) -> Meaning:
    """Put together what options and attributes say, or name the option that is missing."""
    sfreq = told.sfreq or _first_of(attributes, SFREQ_NAMES)
    units = told.units or _first_of(attributes, UNIT_NAMES)
    channels = told.channels or _first_of(attributes, CHANNEL_NAMES)
    lacking = {"--sfreq HZ": sfreq, "--units V": units, "--channels NAME,NAME,…": channels}
    if missing := [option for option, value in lacking.items() if value is None]:
        raise UsageError(f"{path} doesn't say everything that a lake needs: give {' and '.join(missing)}")
    units = _text(units)
    if units not in MICROVOLTS_IN:
        raise UsageError(f"{path} has the unit {units!r}: give --units {', '.join(MICROVOLTS_IN)}")
    if isinstance(channels, (str, bytes)):
        channels = _text(channels).split(",")
    names = tuple(_text(name).strip() for name in channels)
    names = HBN_CHANNELS if names == ("hbn",) else names
    if len(names) != n_channels:
        raise UsageError(f"{path} has {n_channels} channels, and {len(names)} names are given")
    return Meaning(float(np.asarray(sfreq).item()), names, MICROVOLTS_IN[units])


def _first_of(attributes: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((attributes[name] for name in names if name in attributes), None)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def version_of(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size}:{found.st_mtime_ns}"


def given(
    path: Path, meaning: Meaning, told: Told, labels: pd.DataFrame, n_times: int, fingerprint: str, read: Read
) -> GivenWindows:
    return GivenWindows(
        source=str(path.absolute()),
        channels=meaning.channels,
        sfreq=meaning.sfreq,
        start=told.start,
        n_times=n_times,
        labels=labels,
        fingerprint=fingerprint,
        read=read,
    )
