"""The events of a fit, for those who watch it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch

from eegzarr.events import BatchEnded, FitBegan, Listener, MemorySampled, Noticed, tell
from eegzarr.train.loop.parts import Parts
from eegzarr.train.loop.position import Position
from eegzarr.train.loop.ranks import Ranks
from eegzarr.train.loop.stop import MemoryGuard
from eegzarr.train.options import FitOptions

_INTERVAL = 0.25  # s between events: reading the loss waits for a GPU


@dataclass(kw_only=True)
class Pace:
    """How fast an epoch goes, in this process.

    Attributes
    ----------
    taken : int
        Windows that were trained on.
    waited : float
        Seconds in which a batch was waited for.
    """

    taken: int = 0
    waited: float = 0.0
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the epoch, or what was left of it, began."""
        return max(1e-9, time.monotonic() - self.began)


class Teller:
    """Turns steps into events, no more often than people can read."""

    def __init__(
        self, watchers: tuple[Listener, ...], options: FitOptions, parts: Parts, ranks: Ranks, batches: int
    ) -> None:
        self.watchers, self.options, self.parts, self.ranks = watchers, options, parts, ranks
        self.batches = batches  # in an epoch
        self.told_at = 0.0

    def begin(self, run: str, model: str, windows: dict[str, int], position: Position) -> None:
        """Report what is about to run, on how many windows of each part, and what to know about these."""
        for note in self.parts.notes:
            self.notice(note)
        tell(
            self.watchers,
            FitBegan(
                run=run,
                recipe=self.options.recipe,
                model=model,
                device=str(self.ranks.device),
                train_windows=windows["train"],
                valid_windows=windows["valid"],
                test_windows=windows.get("test", 0),
                epochs=self.options.epochs,
                batches=self.batches,
                epoch=position.epoch,
                batch=position.batch,
            ),
        )

    def notice(self, message: str) -> None:
        """Report a sentence."""
        tell(self.watchers, Noticed(message=message))

    def batch_ended(self, position: Position, loss: torch.Tensor, pace: Pace, guard: MemoryGuard) -> None:
        """Report a step, unless the last report was a moment ago and the epoch continues."""
        now = time.monotonic()
        if not self.watchers or (now - self.told_at < _INTERVAL and position.batch < self.batches):
            return
        self.told_at = now
        tell(
            self.watchers,
            BatchEnded(
                epoch=position.epoch,
                batch=position.batch,
                batches=self.batches,
                loss=loss.item(),
                windows=pace.taken * self.ranks.count,
                seconds=pace.seconds,
                waited=pace.waited,
            ),
        )
        tell(self.watchers, MemorySampled(tree=guard.tree, limit=None, machine_used_share=guard.share))
