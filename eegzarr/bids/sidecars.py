"""What the files beside a recording say about it: values only, nothing is read here.

The texts of channels.tsv are kept as they are written; what follows from them (units, types, rates) is decided
where the signals are read. The files: https://bids-specification.readthedocs.io, "Electroencephalography".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ChannelRow:
    """One row of channels.tsv, its texts unchanged; "" where a column is missing or says ``n/a``."""

    name: str
    type: str = ""
    units: str = ""
    status: str = ""
    status_description: str = ""
    sampling_frequency: str = ""
    low_cutoff: str = ""
    high_cutoff: str = ""
    reference: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether the dataset says that the channel is bad."""
        return self.status.lower() == "bad"


@dataclass(frozen=True, kw_only=True)
class Sidecars:
    """What the files beside a recording say about it, by BIDS inheritance.

    Attributes
    ----------
    channels : tuple of ChannelRow, optional
        Of channels.tsv, in its order; None where no channels.tsv applies.
    electrodes : tuple of (str, float, float, float), optional
        Name, x, y and z as electrodes.tsv has them, NaN for a coordinate that it lacks; None where none applies.
    coordinate_system, coordinate_units : str
        ``EEGCoordinateSystem`` and ``EEGCoordinateUnits`` of coordsystem.json.
    anatomical_landmarks : mapping of str to (float, float, float)
        ``NAS``, ``LPA``, ``RPA`` and so on, in the electrodes' units.
    eeg : mapping
        All ``*_eeg.json`` that apply, merged key by key, the most specific last.
    notes : tuple of str
        What could not be read, or was assumed.
    """

    channels: tuple[ChannelRow, ...] | None = None
    electrodes: tuple[tuple[str, float, float, float], ...] | None = None
    coordinate_system: str = ""
    coordinate_units: str = ""
    anatomical_landmarks: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    eeg: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def bad_channels(self) -> tuple[str, ...]:
        """Names of the channels whose status is bad, in order."""
        return tuple(row.name for row in self.channels or () if row.is_bad)
