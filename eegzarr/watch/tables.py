"""A lake in tables for a terminal: they are readable at 80 columns."""

from __future__ import annotations

import math

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eegzarr.amounts import counted, size
from eegzarr.build.foreseen.lines import left_out_lines
from eegzarr.errors import redacted
from eegzarr.recipes.recipe import recipe_from_json
from eegzarr.store.describe import GroupSummary, NumberStatistics, TextStatistics
from eegzarr.store.layout import COMPLETE, LABELS

_STATUS_STYLE = {"complete": "green", "building": "yellow", "damaged": "red"}
_COLUMNS = 80  # where there is no terminal to ask


def print_tables(lake: str, summaries: list[GroupSummary]) -> None:
    """Print the groups, and the labels of each."""
    console = Console(soft_wrap=False)
    if not console.is_terminal:
        longest = max((len(summary.group) for summary in summaries), default=0)
        console = Console(width=max(_COLUMNS, console.width, longest + 64))
    console.print(_group_table(lake, summaries))
    for summary in summaries:
        if summary.note:
            console.print(f"{summary.group}: {summary.note}", style=_STATUS_STYLE[summary.status], markup=False)
        if summary.dtype:
            stored = f"{summary.stored_as}, {counted(summary.channels, 'channel')} at {summary.sampling_rate:g} Hz"
            console.print(f"{summary.group}: {stored}", markup=False, highlight=False)
        by_count = sorted(summary.skipped.items(), key=lambda pair: -pair[1])
        lines = [f"{counted(count, 'recording')}: {reason}" for reason, count in by_count]
        lines += left_out_lines(summary.dropped, summary.left_out, summary.noun)
        for line in lines:
            console.print(Padding.indent(Text(line), 2))
        if summary.labels:
            console.print(_label_table(summary))


def _group_table(lake: str, summaries: list[GroupSummary]) -> Table:
    table = Table(
        title=escape(redacted(lake)), title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD
    )
    table.add_column("group", no_wrap=True)
    for name in ("windows", "subjects", "hours", "size", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
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
        )
    return table


def _label_table(summary: GroupSummary) -> Table:
    table = Table(title=f"{escape(summary.group)}: labels", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("label", no_wrap=True)
    table.add_column("missing", justify="right", no_wrap=True)
    table.add_column("mean ± SD (range), or values (windows)", overflow="fold")
    shown = {name: each for name, each in summary.labels.items() if name in LABELS or name.startswith("target")}
    empty = [name for name, statistics in shown.items() if not any(label_cells(statistics))]
    for name, statistics in shown.items():
        if name in empty:
            continue
        missing = f"{statistics.missing:,}" if statistics.missing else ""
        mean, span, values = label_cells(statistics)
        told = f"{mean} ({span})" if mean else values
        table.add_row(escape(label_title(summary, name)), missing, escape(told))
    further = [name for name in summary.labels if name not in LABELS and not name.startswith("target")]
    lines = [f"and {counted(len(further), 'further label')}: {', '.join(further)}"] if further else []
    lines += [f"without a value: {', '.join(empty)}"] if empty else []
    if lines:
        table.caption = escape("\n".join(lines))
        table.caption_justify = "left"
    return table


def label_title(summary: GroupSummary, name: str) -> str:
    """Return a label's name with its unit; of the target also what it is."""
    told, of = name, name
    if name == "target" and "recipe" in summary.attributes:
        predicted = recipe_from_json(summary.attributes["recipe"]).target
        if isinstance(predicted, str) and predicted and predicted != name:
            told, of = f"target: {predicted}", predicted
    units = LABELS[of][1] if of in LABELS else ""
    return f"{told} ({units})" if units else told


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
    # The count stays on the line of its value.
    return "", "", ", ".join(f"{kind}\N{NO-BREAK SPACE}({count:,})" for kind, count in statistics.counts.items())
