"""Training: streams of windows, splits, models, fits. Needs ``pip install 'eegzarr[train]'``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eegzarr.extras import needs

if TYPE_CHECKING:
    from eegzarr.stream.splits import kfold_by_subject, split_by_subject
    from eegzarr.stream.stream import WindowStream

_HOMES = {
    "WindowStream": "eegzarr.stream.stream",
    "kfold_by_subject": "eegzarr.stream.splits",
    "split_by_subject": "eegzarr.stream.splits",
}

__all__ = ["WindowStream", "kfold_by_subject", "split_by_subject"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needs("stream", f"eegzarr.train.{name}"):
        return getattr(import_module(_HOMES[name]), name)
