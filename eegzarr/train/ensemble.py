"""Several runs as one: ``python -m eegzarr.train.ensemble RUN1 RUN2``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eegzarr.cli.run import Command
from eegzarr.errors import UsageError
from eegzarr.extras import needs


def ensemble(
    run: str,
    /,
    *runs: str,
    lake: str | None = None,
    releases: list[str] | None = None,
    tta: int | None = None,
    stack: bool = False,
    out: Annotated[Path | None, Parameter(alias="-o", metavar="FILE.csv")] = None,
) -> int:
    """Score the mean prediction of several runs, or a weighted mean of cross-validations.

    It is scored on subjects that none of the runs has seen, next to each run, a constant and a ridge.

    Parameters
    ----------
    run
        Folder of a run.
    runs
        Folders of more runs.
    lake
        Lake to score on. Default: that of the runs.
    releases
        Releases to score on. Default: those of the first run, or all of --lake.
    tta
        Views to average. Default: as each run.
    stack
        RUN and RUNS are folders of eegzarr.train --folds: weigh them by how they predicted the subjects that each fold
        left out.
    out
        Write the predictions to this file.
    """
    if tta is not None and tta < 1:
        raise UsageError(f"--tta must be at least 1, got {tta}")
    with needs("train", "an ensemble"):
        import torch

        from eegzarr.train.loop.run import RunFolder, write_csv
        from eegzarr.train.scoring.ensemble import baseline_predictions, ensemble_predictions, held_out_windows
        from eegzarr.train.scoring.evaluate import metric_of, score_part
        from eegzarr.train.scoring.predict import mean_prediction
        from eegzarr.train.scoring.stacking import Stack, folds_of, out_of_fold
        from eegzarr.train.scoring.table import prediction_rows
        from eegzarr.train.task import Task

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # A model of the ensemble is a run, or the folds of a cross-validation.
        members = {path: folds_of(path) if stack else [RunFolder(path)] for path in (run, *runs)}
        windows = held_out_windows([one for folds in members.values() for one in folds], lake, releases)
        each = [mean_prediction(ensemble_predictions(folds, windows, device, tta)) for folds in members.values()]
        beside, model = baseline_predictions(next(iter(members.values()))[0], windows, device)
    task = Task(names=tuple(model.targets), classes=tuple(model.classes))
    weighed = Stack.fitted(out_of_fold(list(members)), task) if stack else None
    together = mean_prediction(each) if weighed is None else weighed.together(each)
    score = score_part(together, beside, model)
    for number, (path, one) in enumerate(zip(members, each, strict=True)):
        weight = "" if weighed is None else f"  weight {weighed.weights[number]:.3f}"
        print(f"  {metric_of(one, task):.3f}  {path}{weight}")
    kind = "stack" if stack else "ensemble"
    print(
        f"{kind} of {len(members)}: {score.score} on {score.windows:,} windows of {score.subjects} unseen subjects; "
        f"{score.baselines}"
    )
    for line in score.details:
        print(f"  {line}")
    if out:
        write_csv(out, prediction_rows("ensemble", together, beside, task))
    return 0


main = Command("eegzarr.train.ensemble", ensemble, again="", usage="RUN ... [OPTIONS]")

if __name__ == "__main__":
    raise SystemExit(main())
