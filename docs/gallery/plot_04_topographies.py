"""
# Topographies

The average over the scalp at four times, drawn by MNE.
"""

import matplotlib.pyplot as plt

import eegzarr

windows = eegzarr.open_windows("demo/lake.zarr", "challenge1")
fig, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
for ax, time in zip(axes, (0.6, 1.0, 1.4, 1.8), strict=True):
    windows.eegzarr.plot_topomap(time, ax=ax)
