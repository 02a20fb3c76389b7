"""
# Average by condition

The event-related potential for each button, with the 95 % band over subjects.
"""

import matplotlib.pyplot as plt

import eegzarr

windows = eegzarr.open_windows("demo/lake.zarr", "challenge1")
fig, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
windows.eegzarr.plot_erp(by="response_type", channel="E62", ax=ax)
