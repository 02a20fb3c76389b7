"""
# Power spectral density

The median channel, and where 50 % and 90 % of the channels lie. Each window is
read once.
"""

import matplotlib.pyplot as plt

import eegzarr

windows = eegzarr.open_windows("demo/lake.zarr", "challenge1")
fig, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
windows.eegzarr.plot_psd(ax=ax)
