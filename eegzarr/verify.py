"""Check a lake to the last byte, and repair it: ``python -m eegzarr.verify LAKE [--repair]``."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TransferSpeedColumn

from eegzarr.build.repair import repair_lake
from eegzarr.command import parsed_by, run_command
from eegzarr.machine.memory import parse_bytes
from eegzarr.store.verify import Checked, Fault, verify_lake
from eegzarr.watch.progress import BuildProgress

FAULTY = 1


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m eegzarr.verify",
        description="Read everything in a lake and compare it with its checksums.",
        epilog="Exit codes: 0 all is as it was written, or was repaired; 1 something isn't.",
    )
    parser.add_argument("lake", metavar="LAKE")
    parser.add_argument("--repair", action="store_true", help="make what is faulty again, from the source")
    parser.add_argument("--workers", type=int, metavar="N", help="for repairing, as for eegzarr.build")
    parser.add_argument(
        "--memory-limit", type=parsed_by(parse_bytes), metavar="2GiB", help="for repairing, as for eegzarr.build"
    )
    arguments = parser.parse_args(argv)
    return run_command("eegzarr.verify", lambda: _verify(arguments), again="")


def _verify(arguments: argparse.Namespace) -> int:
    faults = _check(arguments.lake)
    if not faults or not arguments.repair:
        return FAULTY if faults else 0
    with BuildProgress() as progress:
        repair_lake(
            arguments.lake,
            faults,
            workers=arguments.workers,
            memory_limit=arguments.memory_limit,
            listeners=(progress,),
        )
    print("repaired; checking again")
    return FAULTY if _check(arguments.lake) else 0


def _check(lake: str) -> list[Fault]:
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
    told = f"{len(faults)} are not as they were written" if faults else "all as they were written"
    print(f"{lake}: {files} files, {nbytes / 1e6:,.1f} MB checked; {told}")
    return faults


if __name__ == "__main__":
    raise SystemExit(main())
