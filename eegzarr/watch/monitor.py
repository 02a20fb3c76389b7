"""The monitor's drawing of a view."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from eegzarr.amounts import duration, memory
from eegzarr.watch.view import FINISHED, Bar, View

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 60


def draw(view: View) -> RenderableType:
    """Return a panel with bars, figures and the course of the loss."""
    bars = Table.grid(padding=(0, 1), expand=True)
    bars.add_column()
    bars.add_column(ratio=1)
    bars.add_column(justify="right")
    for bar in view.bars[:1] if view.phase == FINISHED else view.bars:  # no epoch is running
        bars.add_row(bar.name, ProgressBar(total=max(1, bar.total), completed=bar.done), _far(bar))
    figures = Table.grid(padding=(0, 2))
    for name, value in _figures(view).items():
        figures.add_row(Text(name, style="dim"), Text(value))
    return Panel(Group(bars, Text(), figures), title=f"{view.phase} · {view.title}", title_align="left")


def _far(bar: Bar) -> str:
    if not bar.total:
        return "starting"
    done = f"{bar.done:,} of {bar.total:,} {bar.unit}"
    if not bar.also:
        return done
    return f"{bar.also} ({done})" if bar.total > 1 else bar.also


def _figures(view: View) -> dict[str, str]:
    figures = dict(view.facts)
    if view.losses:
        figures["loss"] = f"{view.losses[-1]:.3f} {sparkline(view.losses)}"
    if view.rate is not None:
        figures["speed"] = f"{view.rate:,.0f} windows/s"
    if view.waiting is not None:
        figures["waiting for data"] = f"{view.waiting:.1%} of the time"
    if view.tree is not None:
        figures["memory"] = f"{memory(view.tree)} of this process tree"
    figures["machine"] = f"{view.machine:.0%} of the memory in use"
    for number, line in enumerate(view.gpus):
        figures[f"GPU {number}"] = line
    if view.left is not None:
        figures["time left"] = duration(view.left)
    return figures


def sparkline(values: tuple[float, ...]) -> str:
    """Return values as a line of blocks, the last on the right."""
    size = -(-len(values) // _WIDTH)
    means = [sum(values[i : i + size]) / len(values[i : i + size]) for i in range(0, len(values), size)]
    low, high = min(means), max(means)
    if not high > low:
        return _BLOCKS[0] * len(means)
    return "".join(_BLOCKS[round((value - low) / (high - low) * (len(_BLOCKS) - 1))] for value in means)
