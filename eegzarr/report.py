"""A page about a lake: ``python -m eegzarr.report LAKE -o report.html``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eegzarr.cli.run import Command
from eegzarr.errors import UsageError


def report(
    lake: str | Path, *, check: bool = True, signals: bool = True, on_step: Callable[[str], None] = lambda step: None
) -> str:
    """Return a page about a lake, as HTML: see `eegzarr.pictures.lake.lake_page`."""
    from eegzarr.pictures.lake import lake_page

    return lake_page(lake, check=check, signals=signals, on_step=on_step)


def report_command(
    lake: str,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o")] = Path("report.html"),
    no_check: bool = False,
    no_signals: bool = False,
) -> int:
    """Write a page about a lake.

    What is in it, where it came from, what was skipped and why, and pictures of labels and signals. Signals are read
    once, a block at a time. The page is one file that needs no network.

    Parameters
    ----------
    lake
        Path or URL.
    out
        The file to write.
    no_check
        Don't compare the lake with its checksums.
    no_signals
        Leave out pictures that read signals.
    """
    from eegzarr.amounts import size
    from eegzarr.store.whole import check_whole_lake

    check_whole_lake(lake, "python -m eegzarr.report {lake}")
    html = report(
        lake,
        check=not no_check,
        signals=not no_signals,
        on_step=lambda step: print(step, file=sys.stderr, flush=True),
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(html, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} can't be written: {error.strerror or error}") from error
    print(f"{out}: {size(len(html))}")
    return 0


main = Command("eegzarr.report", report_command, again="")

if __name__ == "__main__":
    raise SystemExit(main())
