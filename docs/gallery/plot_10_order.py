"""
# The order of a stream

A stream shuffles all windows, or whole frames through a buffer. Both give every
window once.
"""

import matplotlib.pyplot as plt
import numpy as np

import eegzarr
from eegzarr.stream import WindowStream

windows = eegzarr.open_windows("demo/lake.zarr", "challenge1")
fig, axes = plt.subplots(
    1, 3, figsize=(11, 3.4), sharey=True, layout="constrained"
)
for ax, shuffle in zip(axes, (False, "block", "global"), strict=True):
    stream = WindowStream(
        windows, 32, shuffle=shuffle, seed=0, with_labels=["window"]
    )
    order = np.concatenate([labels["window"] for _, _, labels in stream])
    ax.plot(order, ".", markersize=3)
    ax.set(title=f"shuffle={shuffle!r}", xlabel="place in the epoch")
axes[0].set_ylabel("window")

# %%
# How well the last one mixes, compared with a true permutation:
print(stream.shuffle_quality())
