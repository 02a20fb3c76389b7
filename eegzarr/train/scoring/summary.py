"""How a run ended, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from eegzarr.train.scoring.evaluate import PartScore


@dataclass(frozen=True, kw_only=True)
class FitSummary:
    """How a run ended.

    Attributes
    ----------
    scores : dict of str to PartScore
        Of the best epoch's model, by part: ``valid`` and, unless a release is the validation
        part, ``test``.
    seconds : float
        Of all the processes that worked on it, one after another.
    peak_memory : int
        Bytes of the process tree, in the last of them.
    """

    run: str
    recipe: str
    model: str
    device: str
    notes: tuple[str, ...]
    train_windows: int
    epochs: int
    best_epoch: int
    scores: dict[str, PartScore]
    seconds: float
    peak_memory: int

    @property
    def score(self) -> float:
        """The score to report, NRMSE or balanced accuracy: of the test part where there is one."""
        return self.scores.get("test", self.scores["valid"]).value
