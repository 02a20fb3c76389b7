"""
# Open a lake and average

Plain xarray opens a lake. Averages are lazy and need little memory.
"""

import matplotlib.pyplot as plt
import xarray as xr

windows = xr.open_zarr("demo/lake.zarr", group="challenge1/R1")
windows[["eeg", "subject", "age", "target"]]

# %%
# The average over all windows at three channels:
erp = windows.eeg.sel(channel=["E11", "E62", "E75"]).mean("window")
erp.plot.line(x="time", figsize=(7, 3.5))
plt.tight_layout()
