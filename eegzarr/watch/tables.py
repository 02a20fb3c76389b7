"""A lake in tables for a terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eegzarr.build.foreseen.lines import left_out_lines
from eegzarr.errors import redacted
from eegzarr.store.describe import GroupSummary, NumberStatistics, TextStatistics
from eegzarr.store.layout import COMPLETE, LABELS

_STATUS_STYLE = {"complete": "green", "building": "yellow", "damaged": "red"}
_NARROWEST = 120  # columns of text that the tables need where there is no terminal to ask


def print_tables(lake: str, summaries: list[GroupSummary]) -> None:
    """Print the groups, and the labels of each."""
    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(width=max(_NARROWEST, console.width))
    console.print(_group_table(lake, summaries))
    for summary in summaries:
        if summary.note:
            console.print(f"{summary.group}: {summary.note}", style=_STATUS_STYLE[summary.status], markup=False)
        for reason, count in sorted(summary.skipped.items(), key=lambda pair: -pair[1]):
            recordings = "recording" if count == 1 else "recordings"
            console.print(f"{summary.group}: {count} {recordings}: {reason}", markup=False, highlight=False)
        for line in left_out_lines(summary.dropped, summary.left_out, summary.noun):
            console.print(f"{summary.group}: {line}", markup=False, highlight=False)
        if summary.labels:
            console.print(_label_table(summary))


def _group_table(lake: str, summaries: list[GroupSummary]) -> Table:
    table = Table(title=escape(redacted(lake)), title_justify="left", title_style="bold", header_style="bold")
    table.add_column("group", no_wrap=True)
    for name in ("windows", "subjects", "hours", "size", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("status", "recipe", "stored as"):
        table.add_column(name, no_wrap=name != "stored as")
    for summary in summaries:
        is_known = summary.status == COMPLETE
        style = _STATUS_STYLE[summary.status]
        table.add_row(
            escape(summary.group),
            f"{summary.windows:,}",
            f"{summary.subjects:,}" if is_known else "",
            f"{summary.hours:,.1f}",
            size(summary.nbytes) if is_known else "",
            f"{summary.ratio:.2f}" if summary.nbytes else "",
            f"[{style}]{summary.status}[/]",
            escape(summary.recipe),
            f"{summary.stored_as}, {summary.channels} ch, {summary.sampling_rate:g} Hz" if summary.dtype else "",
        )
    return table


def _label_table(summary: GroupSummary) -> Table:
    table = Table(title=f"{escape(summary.group)}: labels", title_justify="left", header_style="bold")
    for name in ("label", "missing", "mean ± SD", "range", "values"):
        table.add_column(name, justify="right" if name == "missing" else "left", no_wrap=name != "values")
    for name, statistics in summary.labels.items():
        if name in LABELS:
            missing = f"{statistics.missing:,}" if statistics.missing else ""
            table.add_row(escape(name), missing, *label_cells(statistics))
    if further := [name for name in summary.labels if name not in LABELS]:
        table.caption = f"and {len(further)} further labels: {escape(', '.join(further))}"
        table.caption_justify = "left"
    return table


def label_cells(statistics: NumberStatistics | TextStatistics) -> tuple[str, str, str]:
    """Return a label's mean and deviation, its range, and its commonest values, as texts."""
    if isinstance(statistics, NumberStatistics):
        if math.isnan(statistics.mean):
            return "", "", ""
        return (
            f"{statistics.mean:.4g} ± {statistics.std:.3g}",
            f"{statistics.smallest:.4g} … {statistics.largest:.4g}",
            "",
        )
    if statistics.kinds > len(statistics.counts):
        return "", "", f"{statistics.kinds:,} different"
    return "", "", ", ".join(f"{escape(kind)} {count:,}" for kind, count in statistics.counts.items())


def size(nbytes: float) -> str:
    """Return a number of bytes for people, in the units of disks."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit in ("B", "kB") else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.2f} TB"
