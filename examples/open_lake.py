"""Open a lake with plain xarray: eegzarr is not imported here.

python examples/open_lake.py LAKE [GROUP]
"""

import sys

import xarray as xr

lake, group = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "challenge1/R1"
windows = xr.open_zarr(lake, group=group)
print(windows)

rt = windows.rt_from_stimulus.load()
fast = rt < rt.median()
difference = windows.eeg.sel(window=fast).mean("window") - windows.eeg.sel(window=~fast).mean("window")
largest = abs(difference).max("time").compute()
channel = largest.channel[largest.argmax("channel")].item()
print(f"\nfast and slow trials differ most at {channel}: {largest.max():.1f} uV")
