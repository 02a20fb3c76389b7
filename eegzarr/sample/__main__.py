"""``python -m eegzarr.sample OUT``: see `eegzarr.sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from eegzarr.cli.run import Command
from eegzarr.cli.signature import options_of
from eegzarr.sample.size import SampleSize


@options_of(SampleSize)
def sample(out: Annotated[Path, Parameter(alias="-o")], **options: Any) -> int:
    """Simulate a small dataset like HBN-EEG.

    It has missed and wrong answers, a trial too close to the end of its recording, a recording without events and
    missing factors. A run that was stopped continues with the same command.

    Parameters
    ----------
    out
        Root of the dataset: a new or an empty folder.
    """
    return _sample(out, SampleSize(**options))


def _sample(out: Path, size: SampleSize) -> int:
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import Progress

    from eegzarr.sample.write import is_there, write_sample

    finished = is_there(out, size)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("recordings", total=None)
        root = write_sample(
            out,
            **asdict(size),
            on_recording=lambda done, total: bar.update(task, completed=done, total=total),
        )
    recordings = sum(1 for _ in root.glob("sub-*/eeg/*_eeg.bdf"))
    print(f"{recordings} recordings of {size.subjects} subjects in {root}{', as before' if finished else ''}")
    return 0


main = Command("eegzarr.sample", sample)

if __name__ == "__main__":
    raise SystemExit(main())
