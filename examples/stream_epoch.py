"""Stream one shuffled epoch of training windows.

python examples/stream_epoch.py LAKE [RECIPE]
"""

import sys
import time

import eegzarr
from eegzarr.train import WindowStream

lake, recipe = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "challenge1"
windows = eegzarr.open_windows(lake, recipe)
train, valid, test = eegzarr.split_by_subject(windows, (0.6, 0.2, 0.2), seed=2025)
for name, part in {"training": train, "validation": valid, "test": test}.items():
    print(f"{name}: {part.sizes['window']} windows of {len(set(part.subject.values.tolist()))} subjects")

stream = WindowStream(train, batch_size=32, shuffle=True, seed=0)
seen = 0
began = time.perf_counter()
for batch in stream:
    seen += len(batch[0])
seconds = time.perf_counter() - began
x, y = batch
print(f"last batch: x {tuple(x.shape)} {x.dtype} in uV, y {tuple(y.shape)}, mean reaction time {y.mean():.2f} s")
print(f"an epoch of {seen} windows in {len(stream)} batches: {seconds * 1e3:.0f} ms, {seen / seconds:,.0f} windows/s")
