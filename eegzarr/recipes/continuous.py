"""The preset that stores whole recordings."""

from __future__ import annotations

from eegzarr.recipes.recipe import Recipe, WindowSpan

# Of tiles of 129 channels, 96 to 200 samples were the fastest to gather windows from: at 100 Hz, 1 to 2 s.
CONTINUOUS = Recipe(
    name="continuous",
    anchor="recording",
    span=WindowSpan(start=0.0, stop=2.0),
    target="",
    sfreq=0.0,
    require=(),
    whole=True,
)
