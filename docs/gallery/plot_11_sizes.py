"""
# Sizes by type

The same windows stored as three types, with the default compression.
"""

import matplotlib.pyplot as plt

import eegzarr

windows = eegzarr.open_windows("demo/lake.zarr", "challenge1")
epochs = eegzarr.to_mne(windows)
sizes = {}
for dtype in ("float32", "float16", "int16"):
    stored = eegzarr.from_mne(
        epochs,
        "demo/sizes.zarr",
        dtype,
        "R1",
        target="rt_from_stimulus",
        dtype=dtype,
        overwrite=True,
    )
    sizes[dtype] = stored.nbytes / 1e6

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
bars = ax.barh(list(sizes), list(sizes.values()))
ax.bar_label(bars, [f" {size:.1f} MB" for size in sizes.values()])
ax.margins(x=0.15)
ax.set_xlabel("MB on the disk")
