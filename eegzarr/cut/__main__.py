"""Cut windows from whole recordings: ``python -m eegzarr.cut LAKE --recipe NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from eegzarr.amounts import counted
from eegzarr.cli.run import Command
from eegzarr.cli.signature import options_of
from eegzarr.cut.api import cut_lake
from eegzarr.errors import redacted
from eegzarr.recipes.windows import WITHOUT_A_PLACE

if TYPE_CHECKING:
    from eegzarr.cut.api import CutSummary


@options_of(cut_lake, leave_out=("lake", "recipe", "windows", "releases"))
def cut(
    lake: str,
    /,
    *,
    recipe: Annotated[str | None, Parameter(metavar="NAME|FILE.toml|TABLE.tsv")] = None,
    windows: Annotated[Path | None, Parameter(metavar="TABLE.tsv")] = None,
    releases: tuple[str, ...] = (),
    **options: Any,
) -> int:
    """Cut windows of any recipe from a lake's whole recordings.

    Only the lake is read. Labels, statistics and where each window begins are written, no samples; the windows open,
    stream and train like any others.

    Parameters
    ----------
    lake
        Path or URL of a lake with groups of whole recordings, as eegzarr build --recipe continuous makes them.
    recipe
        What a window is: the name of a preset, or a .toml file; or a table of windows that says all, with their length
        in the column duration and what they predict, if anything, in the column target.
    windows
        A table of windows in place of the recordings' events, as for eegzarr.build: a column recording (path in the
        source) or subject, session, task, run; release, where the lake has several; onset in s; every other column
        becomes a label.
    releases
        Releases to cut from. Default: all.
    """
    from eegzarr.watch.interrupts import Interrupts

    with Interrupts():  # at SIGTERM, too, as SLURM ends a job
        summaries = cut_lake(lake, recipe, windows=windows, releases=releases or None, **options)
    for summary in summaries:
        print(describe(summary, lake))
    return 0


def describe(summary: CutSummary, lake: str) -> str:
    """Return what was cut, in a few lines."""
    done = "stored" if summary.stored else "cut"
    told = "was already there" if summary.already else f"{done} from {summary.signals}"
    lines = [
        f"{redacted(lake)}/{summary.group}: {told}",
        f"  {counted(summary.windows, 'window')} of {counted(summary.subjects, 'subject')} "
        f"from {counted(summary.recordings, 'recording')}",
    ]
    if summary.dropped:
        lines.append(f"  {counted(summary.dropped, 'trial')} left out: {WITHOUT_A_PLACE}")
    if summary.left_out:
        lines.append(f"  {counted(summary.left_out, 'trial')} left out: the table of recordings says why")
    if summary.invalid:
        lines.append(f"  {counted(summary.invalid, 'window')} marked invalid: the signal could not be read")
    return "\n".join([*lines, *(f"  {redacted(note)}" for note in summary.notes)])


main = Command("eegzarr.cut", cut)

if __name__ == "__main__":
    raise SystemExit(main())
