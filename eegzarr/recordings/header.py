"""What a recording says of itself and what its dataset says of it: values, nothing is read here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from eegzarr.errors import RecordingError
from eegzarr.recipes.montage import Missing, Naming, ten_twenty
from eegzarr.recipes.windows import Extent
from eegzarr.recordings.types import listed

_LOST = 0.01  # of a sample; MNE resamples to the nearest whole number of them
SAME_RATE = 1e-4  # relative: exporters round rates
_JOIN = re.compile(r"(BAD|EDGE)[ _]boundary|boundary|New Segment/.*", re.IGNORECASE)
_GAP = "bad_acq_skip"
_HERTZ = re.compile(r"\s*(\d+(?:\.\d*)?)\s*(?:hz)?\s*", re.IGNORECASE | re.ASCII)
NamedPlace = tuple[str, float, float, float]


def is_same_rate(rate: float, sfreq: float) -> bool:
    """Return whether a rate is `sfreq`, both in Hz, apart from what exporters round."""
    return abs(rate - sfreq) <= SAME_RATE * sfreq


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One annotation of a recording: onset and duration in s from its first sample, and its text."""

    onset: float
    duration: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Header:
    """What one recording holds.

    Attributes
    ----------
    sfreq : float
        In Hz, of the EEG channels.
    n_times : int
        Samples from the first to the last, gaps included.
    channels : tuple of str
        EEG channels, in order.
    others : tuple of (str, str)
        Name and MNE type of the other channels, which a recipe may ask for by name.
    bads : tuple of str
        Channels that channels.tsv, or else the file, calls bad.
    unusable : tuple of (str, str)
        Channels whose signal can't be had in uV at `sfreq`, and why.
    factors : tuple of (str, float)
        uV per unit of the file, for channels where that isn't the usual: 1 for EDF and BDF, 1e6 for MNE's volts. By
        their names in the file.
    stretches : tuple of (int, int)
        First sample and end of each stretch without a gap or a join in it; empty for one stretch.
    stored : tuple of (int, int)
        Those that follow each other in the file without the gaps between them; empty where samples lie in the
        file where their number says.
    bad_times : tuple of (int, int)
        Stretches annotated as bad, in samples.
    annotations : tuple of Annotation, optional
        None where the file may have some that were not read.
    marks : tuple of Annotation
        Bad times and joins that the dataset's events tell beside those that the file does.
    reference, line_freq : str, float
        Of eeg.json; "" and NaN where it doesn't say.
    positions : array of float32, shape (channel, 3), optional
        Of each of `channels`, in m in MNE's head frame, NaN where one is unknown; None where neither the dataset
        nor the file has any.
    elsewhere : tuple of (str, float, float, float)
        Electrodes that the dataset places beside those of `channels`.
    names : tuple of (str, str)
        Of channels that a recipe has renamed: the name, and the one that the file has.
    memory : int
        Extra bytes that reading windows takes; 0 for a reader that needs none.
    reader : {"edf", "mne"}
    notes : tuple of str
        What was assumed or found odd.
    """

    sfreq: float
    n_times: int
    channels: tuple[str, ...]
    others: tuple[tuple[str, str], ...] = ()
    bads: tuple[str, ...] = ()
    unusable: tuple[tuple[str, str], ...] = ()
    factors: tuple[tuple[str, float], ...] = ()
    stretches: tuple[tuple[int, int], ...] = ()
    stored: tuple[tuple[int, int], ...] = ()
    bad_times: tuple[tuple[int, int], ...] = ()
    annotations: tuple[Annotation, ...] | None = None
    marks: tuple[Annotation, ...] = ()
    reference: str = ""
    line_freq: float = float("nan")
    positions: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    elsewhere: tuple[NamedPlace, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    memory: int = 0
    reader: str = "edf"
    notes: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.n_times / self.sfreq

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """First sample and end of each stretch without a gap or a join in it."""
        return self.stretches or ((0, self.n_times),)

    @property
    def extent(self) -> Extent:
        """The samples that windows can be cut from."""
        return Extent(sfreq=self.sfreq, n_times=self.n_times, stretches=self.stretches, bad_times=self.bad_times)

    def has_rate(self, sfreq: float) -> bool:
        """Return whether the recording's rate is `sfreq`, apart from what exporters round."""
        return is_same_rate(self.sfreq, sfreq)

    def at(self, sfreq: float) -> Header:
        """Return the header that the recording has once it is resampled; itself at a rate that is the same."""
        if self.has_rate(sfreq):
            return self
        ratio = sfreq / self.sfreq
        n_times = _whole(self.n_times * ratio)
        stretches, after = list[tuple[int, int]](), 0
        for start, stop in self.stretches:
            # Where rounding lets two meet, the later one gives way.
            begin = min(max(after, round(start * ratio)), n_times)
            after = min(begin + _whole((stop - start) * ratio), n_times)
            stretches.append((begin, after))
        bad = tuple((int(start * ratio), -int(-stop * ratio // 1)) for start, stop in self.bad_times)
        return replace(self, sfreq=sfreq, n_times=n_times, stretches=tuple(stretches), bad_times=bad)

    def holds(self, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.bool_]:
        """Return which windows of `length` samples lie in one stretch, outside of times annotated as bad."""
        return self.extent.holds(starts, length)

    def check(self, channels: tuple[str, ...], *, missing: Missing = "skip") -> None:
        """Refuse channels whose signal can't be had; and those that the recording lacks, if that is to skip it.

        Raises
        ------
        RecordingError
        """
        lacking = self.lacking(channels)
        if lacking and missing == "skip":
            raise RecordingError(
                f"has no channel {listed([*lacking])}; its EEG channels are {listed([*self.channels])}"
                f"{self._other_spelling(lacking)}"
            )
        for name, reason in self.unusable:
            if name in channels:
                raise RecordingError(reason)

    def lacking(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of some channels that the recording doesn't have."""
        there = {*self.channels, *(name for name, _ in self.others)}
        return tuple(name for name in channels if name not in there)

    def _other_spelling(self, lacking: tuple[str, ...]) -> str:
        """Return how to get channels that seem to be missing, where only their spelling differs; else ""."""
        there = {ten_twenty(name).casefold(): name for name in self.channels}
        found = [own for name in lacking if (own := there.get(ten_twenty(name).casefold())) is not None]
        return f". {found[0]} is another spelling: give {lacking[0]} by rename, or rename = '10-20'" if found else ""

    def in_file(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names that channels have in the file."""
        own = dict(self.names)
        return tuple(own.get(name, name) for name in channels)

    def renamed(self, naming: Naming) -> Header:
        """Return the header with the names that a recipe gives to channels."""
        before = (*self.channels, *(name for name, _ in self.others))
        called = dict(zip(before, naming.of(before), strict=True))
        # Electrodes that the file has no channel for keep their names if these would be another's.
        free = {name: naming.of((name,))[0] for name, *_ in self.elsewhere}
        taken = set(called.values())
        return replace(
            self,
            channels=tuple(called[name] for name in self.channels),
            others=tuple((called[name], kind) for name, kind in self.others),
            bads=tuple(called.get(name, name) for name in self.bads),
            unusable=tuple((called.get(name, name), why) for name, why in self.unusable),
            elsewhere=tuple((free[name], *at) for name, *at in self.elsewhere if free[name] not in taken),  # type: ignore[misc]
            names=tuple((new, old) for old, new in called.items() if new != old),
        )

    def in_stretches(self, stretches: tuple[tuple[int, int], ...]) -> Header:
        """Return the header of a recording with gaps, by its stretches in recorded time."""
        n_times = stretches[-1][1]
        gapped = () if stretches == ((0, n_times),) else stretches
        return replace(self, n_times=n_times, stretches=gapped, stored=gapped)

    def described(self, eeg_json: Mapping[str, object]) -> Header:
        """Return the header with the reference and the line frequency of eeg.json."""
        reference = eeg_json.get("EEGReference", "")
        return replace(
            self,
            reference=reference if isinstance(reference, str) and reference.lower() != "n/a" else "",
            line_freq=_frequency(eeg_json.get("PowerLineFrequency")),
        )

    def annotated(self, annotations: tuple[Annotation, ...]) -> Header:
        """Return the header with a recording's annotations, and what they say of joins, gaps and bad times."""
        return replace(self._heeding(annotations), annotations=annotations)

    def marked(self, marks: tuple[Annotation, ...]) -> Header:
        """Return the header with what the dataset's events say of joins, gaps and bad times."""
        return replace(self._heeding(marks), marks=marks) if marks else self

    def _heeding(self, annotations: tuple[Annotation, ...]) -> Header:
        """Return the header with the joins, gaps and bad times that annotations tell.

        Joins are MNE's ``EDGE boundary`` and ``BAD boundary``, EEGLAB's ``boundary`` and BrainVision's ``New
        Segment``; ``BAD_ACQ_SKIP`` is a gap; other texts that begin with ``bad`` are bad times, as
        `mne.Epochs` takes them.
        """
        stretches, bad = list(self.spans), list(self.bad_times)
        for annotation in annotations:
            text = annotation.text.strip()
            # An EEGLAB boundary lies between two samples: the next one begins a stretch.
            first = int(np.ceil(round(annotation.onset * self.sfreq, 3)))
            if _JOIN.fullmatch(text):
                stretches = _parted(stretches, first, first)
            elif text.lower().startswith(_GAP):
                stop = first + round(annotation.duration * self.sfreq)
                stretches = _parted(stretches, first, stop)
            elif text.lower().startswith("bad"):
                begin = int(round(annotation.onset * self.sfreq, 3))
                stop = int(np.ceil(round((annotation.onset + annotation.duration) * self.sfreq, 3)))
                bad.append((begin, stop))  # a moment without a duration is bad for what it lies inside of, as for MNE
        stretches = stretches or [(0, 0)]  # nothing but gaps
        whole = stretches == [(0, self.n_times)]
        return replace(self, stretches=() if whole else tuple(stretches), bad_times=tuple(bad))


def _frequency(told: object) -> float:
    """Return a frequency in Hz that stands as a number, or as the text of one; NaN where there is none."""
    found = _HERTZ.fullmatch(str(told)) if isinstance(told, str | int | float) else None
    return float(found[1]) or float("nan") if found else float("nan")


def _whole(samples: float) -> int:
    """Return the whole samples in a number of them, allowing for rates that a file rounds to float32."""
    return int(samples + _LOST)


def _parted(stretches: list[tuple[int, int]], first: int, stop: int) -> list[tuple[int, int]]:
    """Return stretches without the samples from `first` to `stop`, and none across them."""
    parts = []
    for begin, end in stretches:
        for part in ((begin, min(end, first)), (max(begin, stop), end)):
            if part[0] < part[1]:
                parts.append(part)
    return parts
