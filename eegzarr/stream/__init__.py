"""Windows for training: selections, streams, datasets, mixtures and splits. Needs only PyTorch."""

from typing import TYPE_CHECKING

from eegzarr.entrance import on_first_use

if TYPE_CHECKING:
    from eegzarr.stream.dataset import WindowDataset
    from eegzarr.stream.lightning import LightningData
    from eegzarr.stream.mixture import MixedStream
    from eegzarr.stream.splits import kfold_by_subject, split_by, split_by_release, split_by_session, split_by_subject
    from eegzarr.stream.stored import list_splits, open_split, store_split
    from eegzarr.stream.stream import WindowStream

_HOMES = {
    "LightningData": "eegzarr.stream.lightning",
    "MixedStream": "eegzarr.stream.mixture",
    "WindowDataset": "eegzarr.stream.dataset",
    "WindowStream": "eegzarr.stream.stream",
    "kfold_by_subject": "eegzarr.stream.splits",
    "list_splits": "eegzarr.stream.stored",
    "open_split": "eegzarr.stream.stored",
    "split_by": "eegzarr.stream.splits",
    "split_by_release": "eegzarr.stream.splits",
    "split_by_session": "eegzarr.stream.splits",
    "split_by_subject": "eegzarr.stream.splits",
    "store_split": "eegzarr.stream.stored",
}

__all__ = [
    "LightningData",
    "MixedStream",
    "WindowDataset",
    "WindowStream",
    "kfold_by_subject",
    "list_splits",
    "open_split",
    "split_by",
    "split_by_release",
    "split_by_session",
    "split_by_subject",
    "store_split",
]

__getattr__, __dir__ = on_first_use(__name__, _HOMES, extra="stream")
