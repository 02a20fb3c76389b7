"""From recordings to a group of a lake: plan, tasks on Dask, finish."""
