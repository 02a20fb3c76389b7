"""What workers import: imported once, by the process that they are forked from. See `eegzarr.build.workers.ahead`."""

from __future__ import annotations

import gc
from importlib import import_module

MODULES = (
    "distributed.nanny",
    "distributed.protocol.numpy",
    "eegzarr.build.workers.cluster",
    "eegzarr.build.content",
    "eegzarr.recordings.positions",
)

# Collections find nothing in what is imported, and what a worker would collect it would have to copy.
gc.disable()
for _module in MODULES:
    import_module(_module)
gc.freeze()
gc.enable()
