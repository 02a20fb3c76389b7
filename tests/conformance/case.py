"""A row of the table: an input, how it is made, and what eegzarr must do with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mne
import numpy as np
import numpy.typing as npt

CHANNELS = ("Fz", "Cz", "Pz", "Oz")
RATE = 100
SECONDS = 8

# What downloads leave in place of a file.
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"

Signal = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A subject's folder in a dataset, in which a row makes its input."""

    root: Path
    subject: str

    @property
    def seed(self) -> int:
        """A number of the row's own."""
        return int(self.subject[1:])

    @property
    def folder(self) -> Path:
        """The subject's folder."""
        return self.root / f"sub-{self.subject}"

    def file(self, suffix: str, *, session: str = "", task: str = "rest", entities: str = "") -> Path:
        """The path of a recording, or of a file beside it: ``_eeg.edf``, ``_events.tsv``."""
        folder = self.folder / f"ses-{session}" if session else self.folder
        ses = f"_ses-{session}" if session else ""
        path = folder / "eeg" / f"sub-{self.subject}{ses}_task-{task}{entities}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a recording holds.

    Attributes
    ----------
    files : tuple of Path
        The recording, by any of these paths.
    signal : array of float, shape (channel, time), optional
        In uV, by construction; NaN where no window may lie. None: what `says` reads.
    step : float
        uV by which a program that reads the file rightly may differ from `signal`.
    says : {"mne", "mne-bids", "truth"}
        Who is asked: a reader that isn't ours, or only the numbers that were written.
    onsets : tuple of float, optional
        s of the stimuli that have a window; None: windows follow each other.
    lost : int
        Events that could have been a window and must be counted as dropped.
    channels : tuple of str
        Channels of the windows, in order.
    prepare : callable, optional
        What MNE does to the whole recording before windows are cut.
    absent : tuple of (int, int)
        Samples of what MNE reads that no window may touch.
    """

    files: tuple[Path, ...]
    signal: Signal | None = None
    step: float = 1e-3
    says: Literal["mne", "mne-bids", "truth"] = "mne"
    onsets: tuple[float, ...] | None = None
    lost: int | None = None
    channels: tuple[str, ...] = CHANNELS
    prepare: Callable[[mne.io.BaseRaw], mne.io.BaseRaw] | None = None
    absent: tuple[tuple[int, int], ...] = ()


Make = Callable[[Place], Expected | list[Expected] | None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row.

    Attributes
    ----------
    format, name : str
        What the input is.
    make : callable
        Writes it; returns what its recordings hold, or None for a row that must be refused.
    expect : str
        ``equal``, or a regular expression that the reason of the refusal must match.
    group : str
        The recipe that it is built with.
    known : str
        Why eegzarr doesn't do it yet; "" in a suite that holds.
    """

    format: str
    name: str
    make: Make
    expect: str = "equal"
    group: str = "rest"
    known: str = ""


def random_signal(seed: int, seconds: float = SECONDS, rate: float = RATE, channels: int = len(CHANNELS)) -> Signal:
    """Noise in uV that no two rows, channels or windows share, (channel, time)."""
    random = np.random.default_rng(seed)
    spread = 10.0 + 10 * np.arange(channels)[:, None]
    return random.normal(0, 1, (channels, round(seconds * rate))) * spread
