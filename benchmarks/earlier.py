"""Epochs of an earlier eegzarr, whichever is on the path: run by its file, since that version has no such module.

PYTHONPATH=CHECKOUT python benchmarks/earlier.py LAKE DTYPE EPOCHS     # prints the windows/s of each as JSON
"""

from __future__ import annotations

import json
import sys
import time

import eegzarr
from eegzarr.train import WindowStream


def main() -> None:
    """Measure as `benchmarks.epochs` does."""
    lake, dtype, epochs = sys.argv[1:]
    found = []
    begun = time.perf_counter()
    stream = WindowStream(eegzarr.open_windows(lake, "challenge1"), 128, shuffle="global", dtype=dtype)
    for epoch in range(int(epochs)):
        stream.set_epoch(epoch)
        count = 0
        for x, y in stream:
            x.sum()
            count += len(y)
        found.append(count / (time.perf_counter() - begun))
        begun = time.perf_counter()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
