"""
# Windows and targets by subject

How many windows each subject has, and how the target varies between subjects.
"""

import matplotlib.pyplot as plt

import eegzarr

windows = eegzarr.open_windows("demo/lake.zarr", "challenge1")
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
windows.eegzarr.plot_windows(ax=left)
windows.eegzarr.plot_target(ax=right)

# %%
# A label with few values is drawn as shares:
fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
windows.eegzarr.plot_target("response_type", ax=ax)
