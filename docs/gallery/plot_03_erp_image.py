"""
# Single trials, sorted by reaction time

Each row is a trial; the line is the response.
"""

import matplotlib.pyplot as plt

import eegzarr

windows = eegzarr.open_windows("demo/lake.zarr", "challenge1")
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
windows.eegzarr.plot_erp_image(channel="E62", ax=ax)
