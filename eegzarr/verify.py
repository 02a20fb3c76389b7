"""Check a lake to the last byte, and repair it: ``python -m eegzarr.verify LAKE [--repair]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eegzarr.amounts import counted, size
from eegzarr.cli.run import Command
from eegzarr.cli.signature import options_of
from eegzarr.errors import UsageError, redacted

if TYPE_CHECKING:
    from eegzarr.store.verify import Checked, Fault

FAULTY = 1


def _repairing(*, source: str | None = None, workers: int | None = None, memory_limit: int | str | None = None) -> None:
    """Say what a repair takes.

    Parameters
    ----------
    source
        For repairing, where the dataset is now. Default: where it was.
    workers
        For repairing, as for eegzarr.build.
    memory_limit
        For repairing, as for eegzarr.build.
    """


@options_of(_repairing)
def verify(lake: str, /, *, repair: bool = False, **options: Any) -> int:
    """Compare everything in a lake with its checksums, and repair it.

    Parameters
    ----------
    lake
        Path or URL.
    repair
        Make what is faulty again, from the source.
    """
    if options and not repair:
        raise UsageError(f"--{next(iter(options)).replace('_', '-')} goes with --repair")
    from eegzarr.store.whole import check_whole_lake

    check_whole_lake(lake, "python -m eegzarr.verify {lake}")
    faults = _check(lake)
    if not faults or not repair:
        return FAULTY if faults else 0
    from eegzarr.cut.repair import repair_lake
    from eegzarr.watch.progress import BuildProgress

    before: list[Fault] = []
    while faults and faults != before:  # what hid behind other damage is found once that is repaired
        with BuildProgress() as progress:
            repair_lake(lake, faults, listeners=(progress,), **options)
        print("repaired; checking again")
        before, faults = faults, _check(lake)
    return FAULTY if faults else 0


def _check(lake: str) -> list[Fault]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TransferSpeedColumn

    from eegzarr.store.verify import verify_lake

    console = Console(stderr=True)
    columns = (TextColumn("checking"), BarColumn(), MofNCompleteColumn(), TransferSpeedColumn())
    files = nbytes = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("files", total=None)

        def checked(file: Checked) -> None:
            nonlocal files, nbytes
            files += 1
            nbytes += file.nbytes
            bar.update(task, completed=nbytes)

        faults = verify_lake(lake, checked)
    for fault in faults:
        print(fault)
    told = f"{len(faults)} don't match their checksums" if faults else "all match their checksums"
    print(f"{redacted(lake)}: {counted(files, 'file')}, {size(nbytes)} checked; {told}")
    return faults


main = Command(
    "eegzarr.verify",
    verify,
    again="",
    epilogue="Exit codes: 0 everything matches its checksum, or was repaired; 1 something doesn't.",
)

if __name__ == "__main__":
    raise SystemExit(main())
