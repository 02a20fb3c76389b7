"""Search for better options with Optuna: ``python -m eegzarr.train.search LAKE --trials 20``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from eegzarr.cli.run import Command
from eegzarr.errors import EegzarrError, Stopped, UsageError
from eegzarr.extras import needs
from eegzarr.machine.memory import parse_share
from eegzarr.train.arguments import fit_options, takes_fit_options


@takes_fit_options(folds=False)
def search_command(
    lake: str | None = None,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o", metavar="STUDY")],
    trials: int = 20,
    max_memory: str = "85%",
    config: Path | None = None,
    model_arg: tuple[str, ...] = (),
    **options: Any,
) -> int:
    """Search for better options of a training.

    Looks for the learning rate, weight decay, batch size, loss and augmentation that predict the validation subjects
    best; those that are given are kept. The test part is never looked at.

    Parameters
    ----------
    lake
        Path or URL; not needed with --config.
    out
        Folder of the study; one that is there is continued.
    trials
        Of the study in all.
    max_memory
        As for eegzarr.train.
    config
        config.json of a run, whose options become the defaults.
    model_arg
        An extra argument of the model; repeatable.
    """
    if trials < 1:
        raise UsageError(f"--trials must be at least 1, got {trials}")
    share = parse_share(max_memory)
    chosen = fit_options(lake, options, config, model_arg)
    try:
        with needs("train", "searching"):
            from eegzarr.train.study import search
            from eegzarr.train.trials import SEARCHED
            from eegzarr.watch.training import FitProgress

            with FitProgress() as progress:
                # What is given is kept; what comes from --config is where the search begins.
                result = search(chosen, out, trials, (progress,), share, kept=[n for n in SEARCHED if n in options])
    except Stopped as error:
        told = str(error).split("; resume")[0].split(" and resume")[0]
        stopped = type(error)(f"{told}; the same command resumes")
        raise stopped from error
    except OSError as error:
        raise EegzarrError(f"--out {out} can't be written: {error.strerror or error}") from error
    values = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in result.best_values.items()
    )
    given_up = f", {sum(result.pruned.values())} given up ({result.given_up})" if result.pruned else ""
    print(f"{out}: {result.finished} trials finished{given_up}")
    print(f"  best validation {result.metric} {result.best_score:.3f}, {result.best_run}: {values}")
    return 0


main = Command(
    "eegzarr.train.search",
    search_command,
    again="the same command continues the study",
    usage="LAKE --out STUDY [OPTIONS]",
)

if __name__ == "__main__":
    raise SystemExit(main())
