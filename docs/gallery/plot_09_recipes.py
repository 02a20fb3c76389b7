"""
# Recipes on a time line

Two recipes cut windows from the same whole recordings: one window after each
stimulus, and windows of 4 s every 2 s.
"""

import matplotlib.pyplot as plt

import eegzarr
from eegzarr.pictures.windows import timeline

recipes = {
    name: eegzarr.cut("demo/whole.zarr", name)
    for name in ("challenge1", "challenge2")
}
fig, ax = plt.subplots(figsize=(10, 3), layout="constrained")
timeline(recipes, seconds=20, ax=ax)
