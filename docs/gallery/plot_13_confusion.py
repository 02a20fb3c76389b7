"""
# Confusion matrix

A network learns which hand responds, and is scored on subjects that it hasn't
seen.
"""

import matplotlib.pyplot as plt
import numpy as np

from eegzarr.train import FitOptions, fit

options = FitOptions(
    lake="demo/lake.zarr",
    target=["response_type"],
    epochs=3,
    batch_size=16,
    device="cpu",
)
score = fit(options, "demo/hands").scores["test"]

fig, ax = plt.subplots(figsize=(4.5, 4), layout="constrained")
counts = np.array(score.confusion)
ax.imshow(counts, cmap="Blues", vmin=0)
ax.set_xticks(range(len(score.classes)), score.classes)
ax.set_yticks(range(len(score.classes)), score.classes)
for row, column in np.ndindex(counts.shape):
    ax.text(column, row, counts[row, column], ha="center", color="#d55e00")
ax.set(xlabel="predicted", ylabel="class")
ax.set_title(f"balanced accuracy {score.balanced_accuracy:.2f}")
