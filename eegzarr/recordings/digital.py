"""The integers that an amplifier has recorded: how many uV one of them is, as far as a file says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eegzarr.recordings.boundary import boundary
from eegzarr.recordings.brainvision import brainvision_channels
from eegzarr.recordings.edf import open_edf
from eegzarr.recordings.header import Header
from eegzarr.recordings.reader import edf_rows
from eegzarr.recordings.units import microvolts

_SAME = 1e-6  # of a step
_INTEGERS = re.compile(r"^BinaryFormat\s*=\s*U?INT_(16|32)\s*$", re.IGNORECASE | re.MULTILINE)
_HALVES = (1, 2)  # an EDF file whose digital range isn't symmetric has its zero between two integers


def recorded_step(path: Path, channels: tuple[str, ...], header: Header) -> float | None:
    """Return the step in uV that the channels' samples are multiples of, by a recording's header.

    Known of EDF, BDF and BrainVision files of integers; None of others, and of channels without a common step.

    Raises
    ------
    RecordingError
        If the file can't be read.
    """
    factors, in_file = dict(header.factors), header.in_file(channels)
    with boundary(path):
        if header.reader == "edf" and (edf := open_edf(path)) is not None:
            rows, unit = edf_rows(edf, in_file, factors)
            return common_step(_steps(edf.gain[rows] * unit, edf.offset[rows] * unit))
        if path.suffix.lower() in (".vhdr", ".ahdr"):
            return common_step(_brainvision_steps(path, in_file, factors))
    return None


def common_step(steps: npt.NDArray[np.float64]) -> float | None:
    """Return the smallest of some steps if all others are multiples of it, else None."""
    if not len(steps) or not np.isfinite(steps).all() or not (steps > 0).all():
        return None
    smallest = float(steps.min())
    return smallest if _are_whole(steps / smallest).all() else None


def _steps(gain: npt.NDArray[np.float64], offset: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the largest step of each channel that both a digit and the digital zero are multiples of."""
    steps = np.full(len(gain), np.nan)
    for parts in reversed(_HALVES):
        step = np.abs(gain) / parts
        steps = np.where(_are_whole(offset / step), step, steps)
    return steps


def _are_whole(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.abs(counts - np.rint(counts)) <= _SAME * np.maximum(1, np.abs(counts))


def _brainvision_steps(path: Path, channels: tuple[str, ...], factors: dict[str, float]) -> npt.NDArray[np.float64]:
    text, told = brainvision_channels(path)
    if not _INTEGERS.search(text):
        return np.full(len(channels), np.nan)
    steps = {}
    for name, _, resolution, unit in told:
        size = factors.get(name, microvolts(unit or "uV"))
        steps[name] = np.nan if size is None else float(resolution or 1) * size
    return np.array([steps.get(name, np.nan) for name in channels])
