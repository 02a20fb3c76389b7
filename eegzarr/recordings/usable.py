"""Which channels can be had in microvolts: their header's unit, or else that of channels.tsv."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from eegzarr.bids.sidecars import Sidecars
from eegzarr.recordings.types import listed
from eegzarr.recordings.units import is_no_voltage, microvolts


@dataclass(frozen=True, kw_only=True)
class SettledUnits:
    """What is known of the channels' units.

    Attributes
    ----------
    types : tuple of str
        The channels' types: one in degrees or per cent that nothing calls EEG is "misc".
    factors : tuple of (str, float)
        uV per unit of the file, for channels where that isn't the usual.
    unusable : tuple of (str, str)
        Channels without a scale, and why.
    """

    types: tuple[str, ...]
    factors: tuple[tuple[str, float], ...]
    unusable: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def settled_units(
    names: tuple[str, ...],
    types: tuple[str, ...],
    units: tuple[str, ...],
    usual: float,
    sidecars: Sidecars,
    undefined: Collection[str] = (),
) -> SettledUnits:
    """Decide how many uV a unit of each channel is.

    Parameters
    ----------
    units : tuple of str
        As the file has them; channels.tsv counts where the file's text is no known voltage.
    usual : float
        uV per unit of most channels, which are in no list.
    undefined : collection of str
        Channels whose header defines no scale.
    """
    rows = {row.name: row for row in sidecars.channels or ()}
    kinds, factors, unusable, by_table, others = [], [], [], [], []
    for name, kind, unit in zip(names, types, units, strict=True):
        factor = microvolts(unit)
        if factor is None and name in rows and (factor := microvolts(rows[name].units)) is not None:
            by_table.append(name)
        if factor is not None and factor != usual:
            factors.append((name, factor))
        elif factor is None:
            is_called_eeg = name in rows and rows[name].type.lower() == "eeg"
            if kind == "eeg" and is_no_voltage(unit) and not is_called_eeg:
                others.append(f"{name} ({unit})")
                kind = "misc"
            told = f"the unit of {name} is {unit!r}, no voltage" if unit else f"{name} has no unit"
            unusable.append((name, f"{told}: give its units in channels.tsv"))
        if name in undefined:
            unusable.append((name, f"{name} has no scale: its header's physical or digital range is empty"))
        kinds.append(kind)
    notes = []
    if by_table:
        notes.append(f"units of {listed(by_table)} by channels.tsv")
    if others:
        notes.append(f"not EEG by their units: {listed(others)}")
    return SettledUnits(types=tuple(kinds), factors=tuple(factors), unusable=tuple(unusable), notes=tuple(notes))
