"""Windows for training: selections, streams, datasets, mixtures and splits. Needs torch alone."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eegzarr.stream.dataset import WindowDataset
    from eegzarr.stream.lightning import LightningData
    from eegzarr.stream.mixture import MixedStream
    from eegzarr.stream.splits import kfold_by_subject, split_by, split_by_release, split_by_session, split_by_subject
    from eegzarr.stream.stream import WindowStream

_HOMES = {
    "LightningData": "eegzarr.stream.lightning",
    "MixedStream": "eegzarr.stream.mixture",
    "WindowDataset": "eegzarr.stream.dataset",
    "WindowStream": "eegzarr.stream.stream",
    "kfold_by_subject": "eegzarr.stream.splits",
    "split_by": "eegzarr.stream.splits",
    "split_by_release": "eegzarr.stream.splits",
    "split_by_session": "eegzarr.stream.splits",
    "split_by_subject": "eegzarr.stream.splits",
}

__all__ = [
    "LightningData",
    "MixedStream",
    "WindowDataset",
    "WindowStream",
    "kfold_by_subject",
    "split_by",
    "split_by_release",
    "split_by_session",
    "split_by_subject",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
