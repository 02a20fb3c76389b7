"""Which channels and which rate the windows of a recording can have, and so the group that it goes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from eegzarr.build.inspect import Inspection
from eegzarr.recipes.montage import Montage, rounded_rate
from eegzarr.recipes.recipe import Recipe
from eegzarr.recordings.header import Header


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Which recordings go to which group.

    Attributes
    ----------
    has_main : bool
        Whether recordings fit the recipe as it is: they go where a build without montages puts them.
    further : mapping of Montage to tuple of str
        Paths of the recordings of each other montage.
    apart : tuple of (str, str)
        All other recordings that give no window, and why.
    """

    has_main: bool
    further: dict[Montage, tuple[str, ...]]
    apart: tuple[tuple[str, str], ...]


def grouped(inspections: Iterable[Inspection], recipe: Recipe) -> Grouping:
    """Decide which recordings go to which group."""
    inspections = tuple(inspections)
    main = Montage(channels=recipe.channels or usual_channels(inspections), sfreq=recipe.sfreq)
    further: dict[Montage, list[str]] = {}
    apart, has_main = [], False
    for inspection in inspections:
        path, header = inspection.recording.path, inspection.header
        montage = main if header is None else montage_of(header, recipe)
        if montage.channels and montage != main:
            further.setdefault(montage, []).append(path)
        elif inspection.reason:
            apart.append((path, inspection.reason))
        else:
            has_main = True
    ordered = sorted(further, key=lambda montage: (-len(further[montage]), montage.name))
    return Grouping(has_main=has_main, further={one: tuple(further[one]) for one in ordered}, apart=tuple(apart))


def montage_of(header: Header, recipe: Recipe) -> Montage:
    """Return which channels a recording's windows can have, and at which rate, if nothing must be left out for it."""
    channels = recipe.channels or header.channels
    if recipe.missing == "skip":
        lacking = set(header.lacking(channels))
        channels = tuple(name for name in channels if name not in lacking)
    is_brought = recipe.preparation.resample or header.has_rate(recipe.sfreq)
    return Montage(channels=channels, sfreq=recipe.sfreq if is_brought else rounded_rate(header.sfreq))


def of_montage(
    inspections: tuple[Inspection, ...], recipe: Recipe, name: str
) -> tuple[tuple[Inspection, ...], tuple[str, ...]]:
    """Return the recordings of a montage, and its channels."""
    found = [(one, montage_of(one.header, recipe)) for one in inspections if one.header is not None]
    own = [(one, montage) for one, montage in found if montage.name == name]
    return tuple(one for one, _ in own), own[0][1].channels if own else ()


def usual_channels(inspections: tuple[Inspection, ...]) -> tuple[str, ...]:
    """Return the channels that most recordings with windows have."""
    counts = Counter(i.header.channels for i in inspections if i.header is not None and i.n_windows)
    return max(counts, key=lambda names: (counts[names], names)) if counts else ()
