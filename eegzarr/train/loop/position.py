"""How far a fit is: what a checkpoint holds beside what learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch


@dataclass(kw_only=True)
class Position:
    """Where a fit is between two steps.

    Attributes
    ----------
    epoch, batch : int
        Steps are numbered by the epoch that is under way and the batches done of it.
    loss_sum : float or Tensor
        Of the batches done of this epoch; on the model's device, since reading it there waits for a GPU.
    best, best_epoch : float, int
        The best validation score so far, and the epoch that had it; -1 before the first.
    history : list of dict
        Rows of ``metrics.csv``, one for each epoch that has ended.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float | torch.Tensor = 0.0
    best: float = float("inf")
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, saved: dict[str, Any]) -> Position:
        """Return the position that a checkpoint was saved at.

        Raises
        ------
        ValueError
            If no run can be there.
        """
        found = cls(**{name: saved[name] for name in cls.__dataclass_fields__})
        is_possible = (
            len(found.history) == found.epoch
            and -1 <= found.best_epoch < max(1, found.epoch)
            and (found.best_epoch >= 0) == (found.epoch > 0)
            and found.batch >= 0
        )
        if not is_possible:
            raise ValueError(
                f"it is {found.batch} batches beyond epoch {found.epoch}, with the scores of {len(found.history)}, "
                f"the best that of epoch {found.best_epoch}"
            )
        return found

    def state(self) -> dict[str, Any]:
        """Return what `of` takes, in numbers alone."""
        return asdict(self) | {"loss_sum": float(self.loss_sum)}

    def is_left_to_train(self, epochs: int, patience: int) -> bool:
        """Return whether another epoch is due: fewer than `epochs` are done, and a better score isn't long ago."""
        return self.epoch < epochs and self.epoch - 1 - self.best_epoch < patience

    def take_score(self, score: float, is_better: Callable[[float, float], bool]) -> bool:
        """Take the score of the current epoch; return whether it is the best so far."""
        if self.best_epoch >= 0 and not is_better(score, self.best):
            return False
        self.best, self.best_epoch = score, self.epoch
        return True

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Go to the beginning of the next epoch."""
        self.history.append(row)
        self.epoch, self.batch, self.loss_sum = self.epoch + 1, 0, 0.0
