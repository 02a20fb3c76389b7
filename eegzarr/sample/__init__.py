"""A small simulated BIDS dataset like HBN-EEG: ``python -m eegzarr.sample OUT``.

It has what a build must cope with: missed and wrong answers, presses before the target, a
trial too close to the end of its recording, a recording without events, another task,
missing factors. The labels can be learnt from the signals: a deflection after the target
that peaks later on slower trials, and an alpha rhythm that grows with the externalizing score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eegzarr.entrance import on_first_use

if TYPE_CHECKING:
    from eegzarr.sample.size import SampleSize
    from eegzarr.sample.write import MARK, is_there, write_sample

# They load on first use: the command's help needs no pandas.
_HOMES = {
    "MARK": "eegzarr.sample.write",
    "SampleSize": "eegzarr.sample.size",
    "is_there": "eegzarr.sample.write",
    "write_sample": "eegzarr.sample.write",
}
__all__ = ["MARK", "SampleSize", "is_there", "write_sample"]

__getattr__, __dir__ = on_first_use(__name__, _HOMES)
