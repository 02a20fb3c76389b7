"""A fit's progress in the terminal: loss, windows/s, time left, and a line per epoch."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eegzarr.events import BatchEnded, EpochEnded, Event, FitBegan, Noticed


class FitProgress:
    """A listener that draws a bar per epoch on a terminal, and writes a line per epoch anywhere."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("epoch 0", total=None, told="")
        self._epoch = -1

    def __enter__(self) -> FitProgress:
        if not self._bar.disable:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._bar.disable:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Noticed(message=message):
                self._say(message)
            case FitBegan():
                self._begin(event)
            case BatchEnded():
                self._batch(event)
            case EpochEnded():
                self._end_epoch(event)

    def _begin(self, began: FitBegan) -> None:
        resumed = f"; resuming in epoch {began.epoch}, batch {began.batch}" if began.epoch or began.batch else ""
        self._say(
            f"{began.run}: {began.model} for {began.recipe} on {began.device}; "
            f"{began.train_windows:,} windows to train on, {began.valid_windows:,} for validation, "
            f"{began.test_windows:,} for test{resumed}"
        )

    def _batch(self, ended: BatchEnded) -> None:
        if ended.epoch != self._epoch:
            self._epoch = ended.epoch
            self._bar.reset(self._task, description=f"epoch {ended.epoch}", total=ended.batches)
        rate = ended.windows / max(1e-9, ended.seconds)
        self._bar.update(self._task, completed=ended.batch, told=f"loss {ended.loss:.3f}, {rate:,.0f} windows/s")

    def _end_epoch(self, ended: EpochEnded) -> None:
        best = " *" if ended.valid_score == ended.best_score else ""
        self._say(
            f"epoch {ended.epoch}: loss {ended.train_loss:.3f}, "
            f"validation {ended.metric} {ended.valid_score:.3f}{best}, "
            f"{ended.windows_per_second:,.0f} windows/s, {ended.share_waiting:.1%} waiting for data"
        )

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)
