"""Training: streams of windows, splits, models, fits. Needs ``pip install 'eegzarr[train]'``."""

from typing import TYPE_CHECKING

from eegzarr.entrance import on_first_use

if TYPE_CHECKING:
    from eegzarr.stream.splits import kfold_by_subject, split_by_subject
    from eegzarr.stream.stream import WindowStream
    from eegzarr.train.loop.fit import fit, resume
    from eegzarr.train.models.zoo import load_model
    from eegzarr.train.options import FitOptions
    from eegzarr.train.using import predict, score

_HOMES = {
    "FitOptions": "eegzarr.train.options",
    "WindowStream": "eegzarr.stream.stream",
    "fit": "eegzarr.train.loop.fit",
    "kfold_by_subject": "eegzarr.stream.splits",
    "load_model": "eegzarr.train.models.zoo",
    "predict": "eegzarr.train.using",
    "resume": "eegzarr.train.loop.fit",
    "score": "eegzarr.train.using",
    "split_by_subject": "eegzarr.stream.splits",
}

__all__ = [
    "FitOptions",
    "WindowStream",
    "fit",
    "kfold_by_subject",
    "load_model",
    "predict",
    "resume",
    "score",
    "split_by_subject",
]

__getattr__, __dir__ = on_first_use(__name__, _HOMES, extra="train")
