"""Help in plain text: two columns, no boxes, readable in a terminal, a file and a page."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from cyclopts.help.formatters import PlainFormatter

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

_NO_DEFAULTS = ("None", "False", "[]", "{}", "")
_NAMES = 26  # columns of the names of options
OPTIONS = "Options"
_EVERYWHERE = (("-h, --help", "show this help and exit"), ("--version", "show the version and exit"))
_WIDEST = 110  # columns: longer lines are hard to read


class Columns(PlainFormatter):
    """Names on the left, what they mean on the right."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print a panel of commands or options."""
        entries = [entry for entry in panel.entries if entry.display_labels]
        if not entries:
            return
        lines = [f"{panel.title}:"] if panel.title else []
        width = min(console.width, _WIDEST)
        for entry in entries:
            lines += _entry(entry, _names(entry, panel.format), width)
        if panel.title == OPTIONS:
            lines += [f"  {names:<{_NAMES}}{what}" for names, what in _EVERYWHERE]
        self._print_plain(console, "\n".join(lines))
        console.print()


def _names(entry: HelpEntry, kind: str) -> str:
    if kind == "command":
        return ", ".join(entry.display_labels)
    names = ", ".join(sorted(entry.all_options, key=len))
    options = f"{names} {entry.metavar}" if names and entry.metavar else names
    if entry.positional_label:
        place = entry.positional_label if entry.required else f"[{entry.positional_label}]"
        return f"{place}, or {options}" if options else place
    return options


def _entry(entry: HelpEntry, names: str, width: int) -> list[str]:
    text = _plain(entry.description).rstrip(".")
    notes = ["required"] if entry.required and not entry.positional_label else []
    default = str(entry.default).strip("()").replace(",", "").removesuffix(".0")
    if default not in _NO_DEFAULTS and "default" not in text.lower():
        notes.append(f"default: {default}")
    text += f" ({'; '.join(notes)})" if notes else ""
    indent = " " * (_NAMES + 2)
    wrapped = textwrap.wrap(
        text.strip(), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    if len(names) > _NAMES - 2 or not wrapped:
        return [f"  {names}", *wrapped]
    return [f"  {names:<{_NAMES}}{wrapped[0].lstrip()}", *wrapped[1:]]


def _plain(description: Any) -> str:
    """Return the text of a description, without the notes in brackets that cyclopts appends."""
    text = getattr(description, "primary_renderable", description)
    return " ".join((getattr(text, "plain", None) or str(text or "")).split())
