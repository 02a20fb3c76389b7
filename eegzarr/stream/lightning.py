"""LightningData: a lake's parts as a LightningDataModule."""

from __future__ import annotations

from typing import Any

import xarray as xr
from torch.utils.data import DataLoader

from eegzarr.errors import UsageError
from eegzarr.stream.stream import WindowStream

try:
    from lightning.pytorch import LightningDataModule
except ModuleNotFoundError:
    try:
        from pytorch_lightning import LightningDataModule  # type: ignore[assignment]  # the same under its older name
    except ModuleNotFoundError as missing:
        raise UsageError("LightningData needs Lightning: pip install lightning") from missing

_DECIDED = ("shuffle", "drop_last", "uneven")


class LightningData(LightningDataModule):
    """Training, validation and test parts for Lightning's Trainer.

    Each process is given its share of the training and validation batches, and the next epoch comes by itself: leave
    ``use_distributed_sampler`` as it is, since it has no effect on streams.

    Parameters
    ----------
    train : Dataset
        As for `eegzarr.stream.WindowStream`.
    valid, test, predict : Dataset, optional
        Streamed in order, whole windows or the middle of them, and normalised by the training part.
    batch_size : int
    seed : int
        Of the training part's order.
    num_workers : int
        DataLoader workers; threads decode, so that 0 is rarely slower.
    **options
        Further options of `eegzarr.stream.WindowStream`, for all parts; `balance` and `random_crop` are for the
        training part alone, and the others have its classes.
    """

    def __init__(
        self,
        train: xr.Dataset,
        valid: xr.Dataset | None = None,
        test: xr.Dataset | None = None,
        predict: xr.Dataset | None = None,
        *,
        batch_size: int = 128,
        seed: int = 0,
        num_workers: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        if own := [name for name in options if name in _DECIDED]:
            raise UsageError(
                f"LightningData takes no {own[0]}: it shuffles the training part and drops its smaller last batch, and "
                "gives the other parts in order; make a WindowStream of each part for anything else"
            )
        self._num_workers = num_workers
        shared = {"batch_size": batch_size, **options}
        self.train_stream = WindowStream(train, shuffle=True, seed=seed, drop_last=True, **shared)
        self._streams: dict[str, WindowStream] = {}
        for name, part in {"valid": valid, "test": test, "predict": predict}.items():
            if part is not None:
                self._streams[name] = WindowStream(part, uneven="pad", **_to_evaluate(shared, train, self.train_stream))

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled batches of the training part."""
        return self._loader(self.train_stream)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Return batches of the validation part, in order."""
        return self._of("valid")

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Return batches of the test part, in order."""
        return self._of("test")

    def predict_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Return batches of the part to predict, in order."""
        return self._of("predict")

    def _loader(self, stream: WindowStream) -> DataLoader[Any]:
        return DataLoader(stream, batch_size=None, num_workers=self._num_workers)

    def _of(self, name: str) -> DataLoader[Any] | list[Any]:
        return self._loader(self._streams[name]) if name in self._streams else []


def _to_evaluate(options: dict[str, Any], train: xr.Dataset, stream: WindowStream) -> dict[str, Any]:
    """Return the options of a part that is evaluated: each window once, as the training part is scaled and coded."""
    own = {name: value for name, value in options.items() if name != "balance"}
    if stream.views == 1:  # several are always random
        own.pop("random_crop", None)
    if options.get("normalize") == "channel":
        own.setdefault("statistics", train)
    if stream.classes is not None and stream.targets is not None and stream.targets.ndim == 1:
        own.setdefault("classes", stream.classes)
    return own
