"""A small simulated BIDS dataset in the manner of HBN-EEG: ``python -m eegzarr.sample OUT``.

It has what a build must cope with: missed and wrong answers, presses before the target, a
trial too close to the end of its recording, a recording without events, another task,
missing factors. The labels can be learnt from the signals: a deflection after the target
that peaks later on slower trials, and an alpha rhythm that grows with the externalizing score.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eegzarr.sample.size import SampleSize
    from eegzarr.sample.write import MARK, is_there, write_sample

# They load on first use: the command's help needs no pandas.
_HOMES = {"MARK": "write", "SampleSize": "size", "is_there": "write", "write_sample": "write"}
__all__ = ["MARK", "SampleSize", "is_there", "write_sample"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
