"""
# Windows with their labels

Four windows, with subject and target above each.
"""

import matplotlib.pyplot as plt

import eegzarr

windows = eegzarr.open_windows("demo/lake.zarr", "challenge1")
fig, ax = plt.subplots(figsize=(10, 4), layout="constrained")
windows.eegzarr.plot_traces(4, ["E11", "E55", "E62", "E75"], ax=ax)

# %%
# The same labels as a table:
columns = ["subject", "age", "sex", "rt_from_stimulus", "response_type"]
windows.eegzarr.table()[columns].iloc[::60]
