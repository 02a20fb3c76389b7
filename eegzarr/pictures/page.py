"""One self-contained HTML page: headings, tables and pictures, no script and nothing to fetch."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

_LONG_WORD, _LONG_TEXT = 30, 20  # characters
_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #24323f; --faint: #5d6b78; --line: #e2e8ee; --paper: #ffffff; --ground: #f4f6f8; --blue: #0072b2;
  --good: #00724f; --bad: #b54700; --bar: #d55e00;
}
@media (prefers-color-scheme: dark) { :root {
  --ink: #dfe6ec; --faint: #9fb0bf; --line: #33414d; --paper: #1b242c; --ground: #12181d; --blue: #6db9e8;
  --good: #4cc79a; --bad: #ff9d5c;
} }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 36px 24px 64px; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 20px; line-height: 1.3; margin: 44px 0 12px; overflow-wrap: anywhere; }
h3 { font-size: 15px; line-height: 1.35; margin: 0 0 10px; overflow-wrap: anywhere; }
p.note { margin: -8px 0 10px; color: var(--faint); font-size: 13px; overflow-wrap: anywhere; }
p.lead { margin: 0 0 18px; color: var(--faint); overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; }
nav a { color: var(--blue); text-decoration: none; }
nav a:hover { text-decoration: underline; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 12px; margin: 0 0 16px; }
.fact { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.fact b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
.fact span { color: var(--faint); font-size: 13px; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(370px, 100%), 1fr)); gap: 16px; }
.grid { margin: 0 0 16px; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 18px; margin: 0 0 16px; }
.grid .card { margin: 0; }
.grid .card:last-child:nth-child(odd) { grid-column: 1 / -1; }
.card img { display: block; width: 100%; max-width: 680px; height: auto; margin: 0 auto; }
.card > :last-child { margin-bottom: 0; }
.card > p:first-child { margin-top: 0; }
.card .wide { overflow-x: auto; }
.card .wide img { min-width: 620px; max-width: none; }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(280px, 100%), 1fr)); gap: 12px 20px; }
.scroll { overflow-x: auto; max-height: 420px; overflow-y: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: var(--faint); font-weight: 600; position: sticky; top: 0; background: var(--paper); }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.text { overflow-wrap: break-word; min-width: 6em; }
td.long { min-width: 15em; }
td.path { overflow-wrap: anywhere; min-width: 14em; }
details { border-top: 1px solid var(--line); padding: 8px 0; }
summary { cursor: pointer; }
summary b { font-variant-numeric: tabular-nums; }
table.bars td { border: 0; vertical-align: middle; }
table.bars td:first-child { width: 42%; }
table.bars td.number { width: 5em; }
table.bars i { display: block; height: 14px; min-width: 2px; border-radius: 3px; background: var(--bar); }
.good { color: var(--good); } .bad { color: var(--bad); }
@media (max-width: 560px) {
  main { padding: 20px 12px 40px; }
  h1 { font-size: 22px; }
  h2 { margin-top: 32px; }
  .card { padding: 12px; }
  table.bars td:first-child { width: auto; }
  table.bars td:last-child { display: none; }
}
@media print { body { background: white; } .card { break-inside: avoid; } .scroll { max-height: none; } }
"""


def page(title: str, lead: str, sections: Iterable[tuple[str, str]]) -> str:
    """Return a page; `sections` are headings with their content as HTML."""
    sections = list(sections)
    links = "".join(f'<a href="#s{i}">{escape(name)}</a>' for i, (name, _) in enumerate(sections))
    body = "".join(f'<h2 id="s{i}">{_breakable(name)}</h2>\n{html}\n' for i, (name, html) in enumerate(sections))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>"
        f'<h1>{_breakable(title)}</h1><p class="lead">{_breakable(lead)}</p><nav>{links}</nav>\n'
        f"{body}</main></body></html>\n"
    )


def facts(values: Iterable[tuple[str, str]]) -> str:
    """Return figures side by side: each a value and what it counts."""
    cells = (f'<div class="fact"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in values)
    return f'<div class="facts">{"".join(cells)}</div>'


def card(heading: str, html: str, note: str = "") -> str:
    """Return a box with a heading and a note below it; without a heading where that of the section says it."""
    head = f"<h3>{_breakable(heading)}</h3>" if heading else ""
    below = f'<p class="note">{_breakable(note)}</p>' if note else ""
    return f'<div class="card">{head}{below}{html}</div>'


def grid(cards: Iterable[str]) -> str:
    """Return boxes side by side, as many as there is room for; the last one fills its row."""
    return f'<div class="grid">{"".join(cards)}</div>'


def small(pictures: Iterable[str]) -> str:
    """Return small pictures side by side, as many as there is room for."""
    return f'<div class="small">{"".join(pictures)}</div>'


def picture(svg: bytes, told: str) -> str:
    """Return an SVG picture, with words for those who don't see it."""
    # As an image of its own: identifiers inside two pictures don't meet.
    return f'<img alt="{escape(told)}" src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}">'


def wide(picture: str) -> str:
    """Return a picture that a narrow screen shows in part, at a readable size, and scrolls."""
    return f'<div class="wide">{picture}</div>'


def bars(counts: Mapping[str, int], total: int) -> str:
    """Return a bar for each count, with its share of a total; the longest fills its column."""
    most = max(counts.values(), default=1)
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{count:,}</td><td class="number">{count / total:.1%}</td>'
        f'<td><i style="width: {count / most:.1%}"></i></td></tr>'
        for name, count in counts.items()
    )
    return f'<table class="bars">{rows}</table>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; numbers are on the right."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(heading: str, count: int, html: str) -> str:
    """Return what opens when its heading is clicked: a reason and how often it is there."""
    return f"<details><summary><b>{count:,}</b> × {escape(heading)}</summary>{html}</details>"


def _breakable(text: str) -> str:
    """Return text that breaks behind the separators of a path or a name before it breaks within a word."""
    return re.sub(r"([/_.-]+)(?=\w)", r"\1<wbr>", escape(text))


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    if isinstance(value, float):
        return f'<td class="number">{value:.4g}</td>'
    text = str(value)
    # A path or a digest may break anywhere, words don't.
    kind = "text long" if len(text) > _LONG_TEXT else "text"
    kind = "path" if len(max(text.split(), key=len, default="")) > _LONG_WORD else kind
    return f'<td class="{kind}">{escape(text)}</td>'
