"""TSV files as BIDS writes them: UTF-8, one tab between cells, no quoting.

See https://bids-specification.readthedocs.io, "Tabular files". What departs from that is read where it can
only mean one thing, and noted; else it is refused with its cause.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eegzarr.errors import RecordingError

MISSING = frozenset(("n/a", "N/A", "NA", "nan", "NaN", ""))
_LINE_END = re.compile(r"\r\n|\n|\r")
_POINTERS = {
    b"version https://git-lfs": "is a Git LFS pointer: its content is not downloaded",
    b"/annex/objects/": "is a git-annex pointer: its content is not downloaded",
    b"<!doctype html": "is a web page, not the file",
    b"<html": "is a web page, not the file",
}


@dataclass(frozen=True)
class Table:
    """A table of unchanged texts.

    Attributes
    ----------
    columns : mapping of str to tuple of str
        Every column in the file's order, all of one length; "" for a cell that its row lacks.
    lines : tuple of int
        Line of the file that each row is in, from 1.
    left_out : mapping of int to (str, str)
        Rows that can't be read, by their line: what their first cell has, and the reason.
    notes : tuple of str
        What was assumed.
    """

    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int] = ()
    left_out: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Sequence[str]:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.lines)


def parse_tsv(content: bytes, *, encodings: tuple[str, ...] = ()) -> Table:
    """Read the content of a TSV file.

    Parameters
    ----------
    encodings : tuple of str
        Tried where the content isn't UTF-8; that is noted.

    Raises
    ------
    RecordingError
        If it isn't a table; the message follows the file's name.
    """
    text, notes = _decoded(content, encodings)
    numbered = [(number, line) for number, line in enumerate(_LINE_END.split(text), 1) if line.strip()]
    if not numbered:
        raise RecordingError("is no table: it is empty")
    first = [cell.strip() for cell in numbered[0][1].rstrip("\t ").split("\t")]
    if all(_is_quoted(name) for name in first):  # unlike any table of BIDS: a program quoted every text
        numbered = [(number, "\t".join(map(unquoted, line.split("\t")))) for number, line in numbered]
        notes.append("has its texts in quotes: read without them")
    header, renamed = _header(numbered[0][1])
    if len(header) == 1:
        _check_separator([line for _, line in numbered])
    rows, lines, left_out, short = [], [], {}, 0
    width = len(header)
    for number, line in numbered[1:]:
        cells = line.split("\t")
        if len(cells) > width:
            if any(cell.strip() for cell in cells[width:]):
                left_out[number] = (cells[0], f"line {number} has {len(cells)} cells for {width} columns")
                continue
            cells = cells[:width]
        elif len(cells) < width:
            short += 1
            cells += [""] * (width - len(cells))
        rows.append(cells)
        lines.append(number)
    if short:
        notes.append(f"{short} of its rows lack their last cells, which are missing values now")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(header, ())
    return Table(columns, tuple(lines), left_out, tuple(notes + renamed))


def check_pointer(content: bytes) -> None:
    """Refuse what downloads leave in place of a small file.

    Raises
    ------
    RecordingError
    """
    start = content[:200].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    for mark, meaning in _POINTERS.items():
        if start.startswith(mark):
            raise RecordingError(meaning)


def unquoted(text: str) -> str:
    """Return a value without the quotes and blanks that spreadsheet programs put around one."""
    text = text.strip()
    return text[1:-1].strip() if _is_quoted(text) else text


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] == '"'


def _decoded(content: bytes, encodings: tuple[str, ...]) -> tuple[str, list[str]]:
    check_pointer(content)
    head = content[:200]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head:
        zeros = (head[::2].count(0), head[1::2].count(0))
        wide = head[:2] in (b"\xff\xfe", b"\xfe\xff") or (min(zeros) == 0 and max(zeros) > len(head) // 4)
        encoding = "UTF-16" if wide else "binary"
        raise RecordingError(f"is not UTF-8 text, it looks like {encoding}: save it as UTF-8")
    try:
        return content.decode("utf-8-sig"), []  # without the byte order mark that spreadsheet programs write
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        for encoding in encodings:
            return content.decode(encoding), [f"is not UTF-8 and was read as {encoding}"]
        raise RecordingError(
            f"is not UTF-8 (byte 0x{content[error.start]:02x} in line {line}, probably Latin-1): save it as UTF-8"
        ) from error


def _header(line: str) -> tuple[list[str], list[str]]:
    """Return distinct names of the columns, without those that trailing tabs make."""
    names = [name.strip() for name in line.split("\t")]
    while len(names) > 1 and not names[-1]:
        names.pop()
    header: list[str] = []
    notes = []
    for number, name in enumerate(names, 1):
        own = name or f"column_{number}"
        while own in header:
            own = f"{own}_{number}"
        if own != name:
            notes.append(f"its column {number} is named {name!r}{' again' if name else ''}: read as {own!r}")
        header.append(own)
    return header, notes


def _check_separator(lines: list[str]) -> None:
    """Refuse a table of one column that is one of several with another separator."""
    for separator, name in ((",", "commas"), (";", "semicolons")):
        cells = {line.count(separator) for line in lines}
        if min(cells) > 0:
            raise RecordingError(f"is separated by {name}, not by tabs: save it with tabs")
    words = {len(line.split()) for line in lines}
    if len(lines) > 1 and words == {len(lines[0].split())} and len(lines[0].split()) > 1:
        raise RecordingError("is separated by spaces, not by tabs: save it with tabs")
