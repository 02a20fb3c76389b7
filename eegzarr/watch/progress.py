"""A build's progress in the terminal: windows, windows per second, time left, memory."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from eegzarr.amounts import counted, duration, memory
from eegzarr.errors import redacted
from eegzarr.events import BuildBegan, Event, Inspected, MemorySampled, Noticed, ShardFinished

_QUIET_INTERVAL = 10.0  # seconds between lines where there is no terminal


class _Clock(ProgressColumn):
    """The time left, or the time so far until that is known."""

    max_refresh = 0.5  # s

    def render(self, task: Task) -> Text:
        if (left := task.time_remaining) is not None and not task.finished:
            return Text(f"{duration(left)} left", style="progress.remaining")
        return Text(f"{duration(task.elapsed or 0)} so far", style="progress.elapsed")


class BuildProgress:
    """A listener that draws a bar on a terminal, and writes a line now and then elsewhere.

    Use it inside a ``with``, which clears the bar away.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            _Clock(),
            TextColumn("{task.fields[memory]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None, rate="", memory="")
        self._group = ""
        self._windows = 0
        self._began = time.monotonic()
        self._last_line = 0.0

    def __enter__(self) -> BuildProgress:
        if not self._bar.disable:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._bar.disable:  # rich before 14.3 prints an empty line
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Inspected(done=done, total=total):
                self._bar.update(self._task, description="inspecting", completed=done, total=total)
            case BuildBegan():
                self._begin(event)
            case ShardFinished(windows=windows):
                self._windows += windows
                rate = self._windows / max(1e-9, time.monotonic() - self._began)
                self._bar.update(self._task, advance=windows, rate=f"{rate:,.0f} windows/s")
                task = self._bar.tasks[0]
                if task.total is not None and task.completed >= task.total:
                    # Labels, tables and checksums follow.
                    self._bar.update(self._task, description=f"{self._group}: finishing")
                self._write_line()
            case MemorySampled(tree=tree, limit=limit):
                of_limit = f" of {memory(limit)}" if limit else ""
                self._bar.update(self._task, memory=f"{memory(tree)}{of_limit}")
            case Noticed(message=message):
                self._console.print(redacted(message), style="yellow", highlight=False, markup=False, soft_wrap=True)

    def _begin(self, began: BuildBegan) -> None:
        self._began = time.monotonic()
        self._group = began.group
        self._bar.reset(
            self._task, description=began.group, completed=began.windows_finished, total=max(1, began.windows)
        )
        resumed = f", {began.finished:,} of them finished before" if began.finished else ""
        self._console.print(
            f"{began.group}: {counted(began.windows, 'window')} of "
            f"{counted(began.recordings - began.skipped, 'recording')} "
            f"in {counted(began.shards, 'shard')}{resumed}; {counted(began.workers, 'worker')}",
            highlight=False,
            soft_wrap=True,
        )

    def _write_line(self) -> None:
        if self._console.is_terminal or time.monotonic() - self._last_line < _QUIET_INTERVAL:
            return
        self._last_line = time.monotonic()
        task = self._bar.tasks[0]
        self._console.print(
            f"{task.completed:,.0f} of {task.total or 0:,.0f} windows, {task.fields['rate']}, {task.fields['memory']}",
            highlight=False,
            soft_wrap=True,
        )
