"""A fit's progress in the terminal: loss, windows/s, time left, and a line an epoch."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eegzarr.events import BatchEnded, EpochEnded, Event


class FitProgress:
    """A listener that draws a bar an epoch on a terminal, and writes a line an epoch anywhere."""

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
        self._windows = 0
        self._began = time.monotonic()

    def __enter__(self) -> FitProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case BatchEnded():
                self._batch(event)
            case EpochEnded():
                self._epoch(event)

    def _batch(self, event: BatchEnded) -> None:
        if event.batch == 1:
            self._windows, self._began = 0, time.monotonic()
            self._bar.reset(self._task, description=f"epoch {event.epoch}", total=event.batches)
        self._windows += event.windows
        rate = self._windows / max(1e-9, time.monotonic() - self._began)
        self._bar.update(self._task, completed=event.batch, told=f"loss {event.loss:.3f}, {rate:,.0f} windows/s")

    def _epoch(self, event: EpochEnded) -> None:
        best = " *" if event.valid_nrmse == event.best_nrmse else ""
        self._console.print(
            f"epoch {event.epoch}: loss {event.train_loss:.3f}, validation NRMSE {event.valid_nrmse:.3f}{best}, "
            f"{event.windows_per_second:,.0f} windows/s, {event.share_waiting:.1%} waiting for data",
            highlight=False,
            soft_wrap=True,
        )
