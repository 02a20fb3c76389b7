"""How things show themselves in a notebook: a small table of names and values."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape


def as_html(title: str, facts: Mapping[str, object]) -> str:
    """Return a table as HTML; its colours are the notebook's own, light or dark."""
    rows = "".join(
        f'<tr><th style="text-align:left;padding:2px 12px 2px 0">{escape(name)}</th>'
        f'<td style="text-align:left;padding:2px 0">{escape(str(value))}</td></tr>'
        for name, value in facts.items()
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table></div>"


def as_text(title: str, facts: Mapping[str, object]) -> str:
    """Return the same for a terminal, a line for each fact."""
    width = max((len(name) for name in facts), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {value}" for name, value in facts.items())])
