"""events.tsv as spreadsheets, scripts and people write it."""

from __future__ import annotations

from conformance.case import Case, Expected, Make, Place
from conformance.edf_bytes import Edf
from conformance.rows_bids import STIMULI

_LINES = ("onset\tduration\tvalue", *(f"{onset:g}\t0\tgo" for onset in STIMULI))
_PLAIN = "\n".join(_LINES) + "\n"


def table(content: str | bytes | None, onsets: tuple[float, ...] | None = STIMULI, lost: int | None = None) -> Make:
    """A recording with this events.tsv, and the stimuli that have a window; None: refused."""

    def make(place: Place) -> Expected | None:
        path = place.file("_eeg.edf", task="events")
        signal = Edf().write(path, place.seed)
        if content is not None:
            events = place.file("_events.tsv", task="events")
            events.write_bytes(content if isinstance(content, bytes) else content.encode())
        return None if onsets is None else Expected(files=(path,), signal=signal, onsets=onsets, lost=lost)

    return make


def tsv_rows() -> list[Case]:
    """All rows of this page."""

    def case(name: str, make: Make, expect: str = "equal") -> Case:
        return Case(format="TSV", name=name, make=make, expect=expect, group="events")

    def lines(*rows: str) -> str:
        return "\n".join(rows) + "\n"

    noted = ("onset\tduration\tvalue\tnote", '1\t0\tgo\t"Hello', "2.5\t0\tgo\tn/a", '4.2\t0\tgo\tthere"')
    return [
        case("events.tsv: plain", table(_PLAIN)),
        case("events.tsv: byte order mark", table(b"\xef\xbb\xbf" + _PLAIN.encode())),
        case("events.tsv: Windows line ends", table(_PLAIN.replace("\n", "\r\n"))),
        case("events.tsv: old Mac line ends", table(_PLAIN.replace("\n", "\r"))),
        case("events.tsv: no line end at the end", table(_PLAIN.rstrip())),
        case("events.tsv: quotes that don't close", table(lines(*noted))),
        case(
            "events.tsv: a quote in one cell",
            table(lines("onset\tduration\tvalue\tnote", *(f'{o:g}\t0\tgo\t3" disk' for o in STIMULI))),
        ),
        case(
            "events.tsv: quoted values",
            table(lines(_LINES[0], *(f'{o:g}\t0\t"go"' for o in STIMULI)), None),
            'no trials|"go"',
        ),
        case("events.tsv: one onset n/a", table(lines(*_LINES, "n/a\t0\tgo"), lost=1)),
        case("events.tsv: one onset empty", table(lines(*_LINES, "\t0\tgo"), lost=1)),
        case(
            "events.tsv: all onsets n/a",
            table(lines(_LINES[0], "n/a\t0\tgo", "n/a\t0\tgo"), None),
            "onset|no trial|n/a",
        ),
        case(
            "events.tsv: an onset that is a word", table(lines(*_LINES, "soon\t0\tgo"), lost=1), "equal or soon|number"
        ),
        case("events.tsv: trailing tabs in rows", table(lines(_LINES[0], *(f"{line}\t" for line in _LINES[1:])))),
        case("events.tsv: trailing tab everywhere", table(lines(*(f"{line}\t" for line in _LINES)))),
        case("events.tsv: trailing tab in the header", table(lines(f"{_LINES[0]}\t", *_LINES[1:]))),
        case("events.tsv: blank lines", table(_PLAIN.replace("\n", "\n\n"))),
        case("events.tsv: spaces around values", table(lines(_LINES[0], *(f" {o:g} \t0\tgo" for o in STIMULI)))),
        case(
            "events.tsv: blanks around one of the names",
            table(lines(_LINES[0], "1\t0\t go ", *_LINES[2:])),
        ),
        case("events.tsv: not sorted", table(lines(_LINES[0], *reversed(_LINES[1:])))),
        case("events.tsv: exponents", table(lines(_LINES[0], *(f"{o:e}\t0\tgo" for o in STIMULI)))),
        case(
            "events.tsv: other columns first",
            table(lines("value\tsample\tonset\tduration", *(f"go\t7\t{o:g}\tn/a" for o in STIMULI))),
        ),
        case("events.tsv: trial_type and no value", table(_PLAIN.replace("value", "trial_type"))),
        case(
            "events.tsv: trial_type beside value",
            table(
                lines("onset\tduration\ttrial_type\tvalue", *(f"{o:g}\t0\tgo\t{i}" for i, o in enumerate(STIMULI))),
            ),
        ),
        case(
            "events.tsv: a column twice",
            table(lines("onset\tduration\tvalue\tvalue", *(f"{o:g}\t0\tgo\tx" for o in STIMULI))),
            "equal or column|twice",
        ),
        case("events.tsv: a window before the start", table(lines(*_LINES, "-0.5\t0\tgo"), lost=1)),
        case("events.tsv: a window past the end", table(lines(*_LINES, "7.5\t0\tgo"), lost=1)),
        case("events.tsv: an onset at the last possible sample", table(lines(*_LINES, "7\t0\tgo"), (*STIMULI, 7.0))),
        case("events.tsv: rows shorter than the header", table(lines("onset\tduration\tvalue\tnote", *_LINES[1:]))),
        case(
            "events.tsv: Latin-1 in a note",
            table(
                lines("onset\tduration\tvalue\tnote", *(f"{o:g}\t0\tgo\tü" for o in STIMULI)).encode("latin-1"), None
            ),
            "equal or UTF-8",
        ),
        case("events.tsv: UTF-16", table(_PLAIN.encode("utf-16")), "equal or UTF-8|UTF-16|encod"),
        case("events.tsv: commas for tabs", table(_PLAIN.replace("\t", ","), None), "commas"),
        case("events.tsv: no column onset", table(_PLAIN.replace("onset", "time"), None), "onset"),
        case("events.tsv: no column of values", table(_PLAIN.replace("value", "kind"), None), "value"),
        case("events.tsv: header only", table(_LINES[0] + "\n", None), "no trials|no events|no rows"),
        case("events.tsv: 0 bytes", table("", None), "no table|empty|0 bytes"),
        case("events.tsv: NUL bytes", table(b"\0" * 500, None), "events.tsv"),
        case("events.tsv: a web page", table("<!DOCTYPE html>\n<html></html>\n", None), "events.tsv"),
        case("events.tsv: other values", table(_PLAIN.replace("go", "walk"), None), "no trial|walk"),
        case("events.tsv: missing", table(None, None), "no events"),
    ]
