"""A table of windows from the user: each row matched to a recording, whose events it then is.

The table's columns say which recording (``recording``, a path, or ``subject``, ``session``, ``task``, ``run``; of
several releases also ``release``) and where (``onset`` in s, ``duration`` in s if it has one); all others are labels.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from eegzarr.bids.dataset import Source
from eegzarr.bids.recordings import Recording
from eegzarr.bids.tsv import MISSING, Table, parse_tsv
from eegzarr.errors import RecipeError, RecordingError, SourceError
from eegzarr.names import safe_name
from eegzarr.recipes.montage import without_montage
from eegzarr.recipes.recipe import Recipe, WindowSpan
from eegzarr.recipes.rules import plain_value
from eegzarr.suggest import did_you_mean

ENTITIES = ("subject", "session", "task", "run")
RELEASE = "release"
_PLACES = (RELEASE, "recording", *ENTITIES, "onset", "duration")
_VALUE = ("trial_type", "value")
DATAFRAME = "the DataFrame of windows"  # what messages call one


def read_window_table(given: Any) -> tuple[Table, str]:
    """Return a table of windows, and what messages call it.

    Parameters
    ----------
    given : path or DataFrame

    Raises
    ------
    SourceError
        If it can't be read, or lacks a column.
    """
    if isinstance(given, (str, Path)):
        name = os.path.abspath(given)
        try:
            table = parse_tsv(Path(given).read_bytes())
        except OSError as error:
            raise SourceError(f"the table of windows {name} can't be read: {error.strerror or error}") from error
        except RecordingError as error:
            raise SourceError(f"the table of windows {name} {error}") from error
    else:
        name = DATAFRAME
        names = [" ".join(str(column).split()) for column in given.columns]
        if twice := [column for column, count in Counter(names).items() if count > 1]:
            raise SourceError(f"{name} has the column {twice[0]} twice")
        columns = {column: tuple(map(_cell, given.iloc[:, n].tolist())) for n, column in enumerate(names)}
        table = Table(columns, tuple(range(1, len(given) + 1)))
    if "onset" not in table:
        hint = did_you_mean("onset", table.columns)
        raise SourceError(f"{name} has no column onset, in s; it has {', '.join(table.columns)}.{hint}")
    if not any(column in table for column in ("recording", *ENTITIES)):
        raise SourceError(
            f"{name} doesn't say which recordings its windows are of: give a column recording (a path in the source), "
            f"or subject, session, task and run; it has {', '.join(table.columns)}"
        )
    return table, name


def labels_of(table: Table) -> tuple[str, ...]:
    """Return the columns of a table of windows that are labels."""
    return tuple(column for column in table.columns if column not in _PLACES)


def for_windows(recipe: Recipe, table: Table) -> Recipe:
    """Return a recipe that keeps all labels of a table of windows.

    Raises
    ------
    RecipeError
        If its windows don't lie around events.
    """
    if recipe.anchor not in ("event", "interval"):
        raise RecipeError(
            f"recipe {recipe.name}: windows that a table gives need the anchor 'event' (or 'interval', for its "
            f"durations), this one has {recipe.anchor!r}: give --recipe FILE.toml with anchor, span and target"
        )
    keep = dict.fromkeys((*recipe.events.keep, *labels_of(table)))
    return replace(recipe, events=replace(recipe.events, keep=tuple(keep)))


def recipe_of_windows(table: Table, name: str, sfreq: float) -> Recipe:
    """Return the recipe that a table of windows is by itself: each begins at its onset, and all last as long.

    What it predicts is the column ``target``, nothing where there is none.

    Parameters
    ----------
    name : str
        What messages call the table; a file gives the recipe its name.
    sfreq : float
        Of the windows, in Hz.

    Raises
    ------
    RecipeError
        If the table doesn't say how long its windows are, or they differ.
    """
    told = sorted(set(table["duration"])) if "duration" in table else []
    try:
        (length,) = {float(text) for text in told}
    except ValueError:
        there = f"has the durations {', '.join(told[:4])}" if told else "has no column duration"
        raise RecipeError(
            f"{name} {there}, and without a recipe that is how long windows are: give all rows one duration in s, or "
            f"a recipe with anchor, span and target"
        ) from None
    return Recipe(
        name=safe_name(Path(name).stem if name != DATAFRAME else "windows"),
        anchor="event",
        span=WindowSpan(start=0.0, stop=length),
        target="target" if "target" in table else "",
        sfreq=sfreq,
    )


def with_windows(source: Source, recipe: Recipe, table: Table, name: str) -> Source:
    """Return a source whose recordings have the rows of a table for their events.

    A row that names no recording, or several, is left out and noted; a recording that no row names has no windows. Rows
    of other releases are noted.
    """
    rows: dict[str, list[int]] = {}
    lost: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    release = without_montage(source.name)
    found = _Finder(source.root, source.recordings)
    for row in range(len(table)):
        if RELEASE in table and (named := table[RELEASE][row].strip()) not in (*MISSING, release):
            elsewhere[named] += 1
            continue
        said = {key: table[key][row].strip() for key in ("recording", *ENTITIES) if key in table}
        matches = found.matching({key: "" if text in MISSING else text for key, text in said.items()})
        if len(matches) == 1:
            rows.setdefault(matches[0].path, []).append(row)
        else:
            where = ", ".join(f"{key} {text}" for key, text in said.items() if text and text not in MISSING)
            several = f"{len(matches)} recordings" if matches else "no recording of the source"
            hint = "" if matches else found.hint(said)
            lost[f"{several} ({where or 'nothing said'}{hint})"] += 1
    notes = [f"{name}: {count} rows left out: they name {why}" for why, count in lost.most_common(3)]
    if len(lost) > 3:
        notes.append(f"{name}: {sum(lost.values())} rows are left out in all")
    if elsewhere:
        told = ", ".join(sorted(elsewhere)[:4])
        notes.append(f"{name}: {elsewhere.total()} rows are of other releases ({told}): this is {release}")
    notes += [f"{name}: {why}: left out" for _, why in table.left_out.values()]
    told_of = replace_events(source.recordings, rows, table, recipe)
    return replace(source, recordings=told_of, notes=(*source.notes, *notes), windows=name)


def replace_events(
    recordings: Sequence[Recording], rows: dict[str, list[int]], table: Table, recipe: Recipe
) -> tuple[Recording, ...]:
    """Return recordings with their rows of the table, as the content of an events.tsv."""
    columns = {key: values for key, values in table.columns.items() if key not in (RELEASE, "recording", *ENTITIES)}
    if not recipe.events.column and not any(name in columns for name in _VALUE):
        columns["value"] = ("window",) * len(table)
    given = []
    for recording in recordings:
        if own := rows.get(recording.path):
            lines = [list(columns), *([values[row] for values in columns.values()] for row in own)]
            content = "".join("\t".join(line) + "\n" for line in lines)
            given.append(replace(recording, given=content))
        elif recording.reason:
            given.append(recording)
        else:
            given.append(replace(recording, given="", reason="no row of the table of windows names it"))
    return tuple(given)


class _Finder:
    """Finds recordings by their paths or entities."""

    def __init__(self, root: str, recordings: Sequence[Recording]) -> None:
        self._root = root.replace("\\", "/").rstrip("/")
        self._recordings = recordings
        self._by_name: dict[str, list[Recording]] = {}
        for recording in recordings:
            for key in {recording.path, recording.path.rpartition("/")[2]}:
                self._by_name.setdefault(key, []).append(recording)

    def matching(self, told: dict[str, str]) -> list[Recording]:
        """Return the recordings that match everything in a row."""
        wanted = {key: _plain(key, text) for key, text in told.items() if text and key in ENTITIES}
        if not wanted and not told.get("recording"):
            return []
        among = self._recordings
        if told.get("recording"):
            path = told["recording"].replace("\\", "/").removeprefix(f"{self._root}/").removeprefix("./")
            among = self._by_name.get(path, [])
        return [one for one in among if all(_plain(key, getattr(one, key)) == text for key, text in wanted.items())]

    def hint(self, told: dict[str, str]) -> str:
        """Return which subject or session a row may mean, if a spreadsheet removed leading zeros; else ""."""
        for key in ("subject", "session"):
            there = {getattr(one, key) for one in self._recordings}
            own = _plain(key, told.get(key, ""))
            alike = sorted(name for name in there - {own} if own and name.lstrip("0") == own.lstrip("0"))
            if own not in there and alike:
                return f"; there is {key} {alike[0]}"
        return ""


def _plain(key: str, text: str) -> str:
    """Return an entity's value without its prefix, a run's without leading zeros."""
    prefix = {"subject": "sub-", "session": "ses-"}.get(key, f"{key}-")
    own = plain_value(text.removeprefix(prefix))
    return own.lstrip("0") or own[-1:] if key == "run" else own


def _cell(value: Any) -> str:
    """Return a cell of a DataFrame as a file would have it."""
    if value is None or pd.isna(value) is True:
        return "n/a"
    return " ".join((plain_value(str(value)) if isinstance(value, float) else str(value)).split())
