"""The challenge's two recipes, as its start kit cuts windows."""

from __future__ import annotations

from eegzarr.recipes.recipe import Recipe, WindowSpan

# Cz is the reference of the 128-channel HydroCel net, delivered as an all-zero channel.
HBN_CHANNELS = (*(f"E{i}" for i in range(1, 129)), "Cz")

# The challenge's start kit: 2 s windows from 0.5 s after the contrast target, reaction time
# as the target (https://eeg2025.github.io, challenge_1.py).
CHALLENGE1 = Recipe(
    name="challenge1",
    tasks=("contrastChangeDetection",),
    anchor="stimulus",
    span=WindowSpan(start=0.5, stop=2.5),
    target="rt_from_stimulus",
    channels=HBN_CHANNELS,
)

# 4 s windows every 2 s, of which training crops 2 s at random (challenge_2.py).
CHALLENGE2 = Recipe(
    name="challenge2",
    anchor="recording",
    span=WindowSpan(start=0.0, stop=4.0),
    stride=2.0,
    target="externalizing",
    channels=HBN_CHANNELS,
    require=(),
)
