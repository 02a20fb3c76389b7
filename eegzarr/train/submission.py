"""Pack runs for the challenge: ``python -m eegzarr.train.submission RUN1 RUN2 -o submission.zip``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from eegzarr.amounts import counted
from eegzarr.challenge.rules import NUMBERS, WEIGHTS
from eegzarr.cli.run import Command
from eegzarr.errors import redacted
from eegzarr.extras import needs


def submit(
    run: str,
    /,
    *runs: str,
    out: Annotated[Path, Parameter(alias="-o", metavar="FILE.zip")] = Path("submission.zip"),
    unit: Literal["V", "uV"] = "V",
    no_score: bool = False,
) -> int:
    """Pack runs for the EEG Foundation Challenge and score the archive.

    Runs of challenge 1 and of challenge 2 go into one archive for the challenge's evaluator; several of one challenge
    are averaged, and a run that predicts the targets of both answers both. The archive is loaded as the evaluator
    loads it, and scored on the subjects that the runs held out.

    Parameters
    ----------
    run
        Folder of a run.
    runs
        Folders of more runs.
    out
        The archive to write.
    unit
        Of the signals that the evaluator gives; MNE's are in V.
    no_score
        Load the archive, but don't score it.
    """
    with needs("train", "a submission"):
        import torch

        from eegzarr.challenge.submission import braindecode_lines, load_submission, score_submission, write_submission
        from eegzarr.train.loop.run import RunFolder
        from eegzarr.train.scoring.metrics import overall_nrmse

        by_challenge = write_submission([RunFolder(path) for path in (run, *runs)], out, unit)
        versions = braindecode_lines(by_challenge)
    missing = sorted(set(NUMBERS) - set(by_challenge))
    models = {str(run.path) for members in by_challenge.values() for run in members}
    print(f"{out}: {counted(len(models), 'model')}, input in {unit}")
    for line in versions:
        print(f"  {line}")
    if missing:
        print(f"  no run of {missing[0]} was given: the evaluator will want one")
    if no_score:
        with tempfile.TemporaryDirectory() as folder:
            load_submission(out, Path(folder), 100.0, torch.device("cpu"))
        return 0
    scores = score_submission(out, by_challenge, unit)
    for recipe, score in scores.items():
        print(f"  {recipe}: NRMSE {score:.4f} on the held-out subjects, loaded from the archive")
    for recipe in sorted(set(by_challenge) - set(scores)):
        lake = redacted(by_challenge[recipe][0].options().lake)
        print(f"  {recipe}: not scored, {lake} has no windows of it (python -m eegzarr.build … --recipe {recipe})")
    if set(scores) == set(WEIGHTS):
        print(f"  overall: {overall_nrmse(scores):.4f} (0.3 of challenge 1, 0.7 of challenge 2)")
    return 0


main = Command("eegzarr.train.submission", submit, again="", usage="RUN ... [OPTIONS]")

if __name__ == "__main__":
    raise SystemExit(main())
