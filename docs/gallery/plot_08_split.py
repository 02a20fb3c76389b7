"""
# Split by subject

No subject is in two parts.
"""

import matplotlib.pyplot as plt

import eegzarr

windows = eegzarr.open_windows("demo/lake.zarr", "challenge1")
parts = eegzarr.split_by_subject(windows, (0.6, 0.2, 0.2), seed=2025)
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for name, part in zip(("train", "valid", "test"), parts, strict=True):
    table = part.eegzarr.table()
    counts = table.groupby("subject").size()
    ax.barh(counts.index, counts, label=f"{name}: {len(table)} windows")
ax.set_xlabel("windows")
ax.legend()

# %%
# Nothing was read but labels:
for name, part in zip(("train", "valid", "test"), parts, strict=True):
    print(name, sorted(set(part.subject.values)))
