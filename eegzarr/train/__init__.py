"""Training: streams of windows, splits, models, fits. Needs ``pip install 'eegzarr[train]'``."""

from typing import TYPE_CHECKING

from eegzarr.entrance import on_first_use

if TYPE_CHECKING:
    from eegzarr.stream.splits import kfold_by_subject, split_by_subject
    from eegzarr.stream.stream import WindowStream

_HOMES = {
    "WindowStream": "eegzarr.stream.stream",
    "kfold_by_subject": "eegzarr.stream.splits",
    "split_by_subject": "eegzarr.stream.splits",
}

__all__ = ["WindowStream", "kfold_by_subject", "split_by_subject"]

__getattr__, __dir__ = on_first_use(__name__, _HOMES, extra="stream")
