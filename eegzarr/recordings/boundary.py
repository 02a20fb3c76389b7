"""The one boundary to readers that aren't ours, which raise anything and warn of everything."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eegzarr.errors import EegzarrError, RecordingError
from eegzarr.machine.memory import machine_memory

_WRONG = re.compile(r"edge artifacts|Invalid tag|truncated|corrupt", re.IGNORECASE)
# About names of files and texts, not about their content; or about what the header says itself.
_IMMATERIAL = re.compile(r"does not conform to MNE naming|'boundary' events|date|filter setting|cutoff frequency")
_NEEDS = re.compile(r"the (?:module|package) (\w+) is (?:needed|required)")
_log = logging.getLogger("eegzarr.recordings")
_log.setLevel(logging.INFO)  # for those who listen, as a build's log does; by itself Python shows warnings only


@contextmanager
def boundary(what: Path | str) -> Iterator[list[str]]:
    """Turn whatever a foreign reader raises, inside the ``with``, into a RecordingError; its traceback is logged.

    Yields
    ------
    list of str
        Filled, at the end, with what the reader warned of.

    Raises
    ------
    RecordingError
        Also where a warning means that values are wrong. Interrupts and want of memory pass.
    """
    notes: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield notes
    except EegzarrError:
        raise
    except MemoryError as error:
        # A damaged header may ask for any size.
        if getattr(error, "_total_size", 0) < machine_memory():
            raise
        raise RecordingError(f"unreadable: {first_line(error)}") from error
    except Exception as error:
        _log.info("%s can't be read", what, exc_info=True)  # to the build's log, not to a terminal
        raise RecordingError(f"unreadable: {_without_folder(first_line(error), what)}") from error
    for warning in caught:
        text = _without_folder(" ".join(str(warning.message).split()), what)
        if issubclass(warning.category, (DeprecationWarning, FutureWarning, ResourceWarning)):
            continue
        if _WRONG.search(text):
            raise RecordingError(f"unreadable: {text}")
        if not _IMMATERIAL.search(text) and text not in notes:
            notes.append(text)


def _without_folder(text: str, what: Path | str) -> str:
    """Take a recording's folder out of a message, which goes into the lake: it is another one elsewhere."""
    return (
        text.replace(f"{what.absolute().parent}/", "").replace(f"{what.parent}/", "")
        if isinstance(what, Path)
        else text
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; where that says little, with its class and the place."""
    text, kind = str(error).strip(), type(error).__name__
    if not text:
        return f"{kind} without a message{_where(error)}: the file isn't what its reader expects there"
    line = text.splitlines()[0]
    if needed := _NEEDS.search(line):
        return f"to read it takes the package {needed[1]}: pip install {needed[1]}"
    if line.endswith(":"):  # what follows is a list of calls
        line = line.rpartition(". ")[0] or line
    # A KeyError has the key alone, and others one word or number.
    return line if " " in line and not isinstance(error, KeyError) else f"{kind}: {line}{_where(error)}"


def _where(error: BaseException) -> str:
    """Return the function that raised an error, and its module."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" in {trace.tb_frame.f_code.co_name} of {trace.tb_frame.f_globals.get('__name__', '')}"
