"""Several seeds of one run: how much of a score is luck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from eegzarr.train.loop.resuming import check_begun_alike
from eegzarr.train.loop.run import RunFolder, write_json
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.evaluate import PARTS
from eegzarr.train.scoring.summary import FitSummary

SCORES, CARD = "seeds.json", "model-card.md"


@dataclass(frozen=True, kw_only=True)
class SeedScores:
    """Scores of runs that differ in their seed alone.

    Attributes
    ----------
    metric : str
        "NRMSE" or "balanced accuracy".
    seeds : tuple of int
    scores : dict of str to tuple of float
        Of each part, by seed: the subjects are the same.
    baselines : dict of str to dict of str to float
        Of each part, by name: those of the first seed.
    runs : tuple of str
        Folders, for `eegzarr.train.ensemble`.
    """

    metric: str
    seeds: tuple[int, ...]
    scores: dict[str, tuple[float, ...]]
    baselines: dict[str, dict[str, float]]
    runs: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return each part's mean and spread, in words."""
        return [
            f"{self.metric} {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} (SD of {len(values)} seeds: "
            f"{', '.join(f'{value:.3f}' for value in values)}) on the {PARTS[part]} part; "
            + ", ".join(f"{name} {value:.3f}" for name, value in self.baselines[part].items())
            for part, values in self.scores.items()
        ]


def fit_seeds(
    options: FitOptions, count: int, folder: str | Path, fit_or_resume: Callable[[FitOptions, Path], FitSummary]
) -> SeedScores:
    """Train each seed that isn't finished, from that of the options on, and write how far their scores spread.

    Parameters
    ----------
    options : FitOptions
    count : int
        Seeds, at least 2.
    folder : path
        Gets a run per seed, ``seeds.json`` and a card.
    fit_or_resume : callable
        Trains a seed in its folder, or continues it.

    Raises
    ------
    UsageError
        If the folder holds runs of other options.
    """
    folder = Path(folder)
    seeds = tuple(range(options.seed, options.seed + count))
    runs = [RunFolder(folder / f"seed-{seed}") for seed in seeds]
    wanted = [replace(options, seed=seed) for seed in seeds]
    check_begun_alike(runs, wanted)
    for own, run in zip(wanted, runs, strict=True):
        if not run.is_finished:
            fit_or_resume(own, run.path)
    task = runs[0].task()
    summaries = [run.read_json(run.summary)["scores"] for run in runs]
    constant = "chance" if task.classes else "constant"
    result = SeedScores(
        metric=task.metric,
        seeds=seeds,
        scores={part: tuple(one[part][task.metric_key] for one in summaries) for part in summaries[0]},
        baselines={part: {name: one[name] for name in (task.baseline, constant)} for part, one in summaries[0].items()},
        runs=tuple(str(run.path) for run in runs),
    )
    write_json(folder / SCORES, asdict(result))
    head = [f"# {len(seeds)} seeds of {options.recipe}", "", *(f"- {line}" for line in result.lines()), ""]
    links = [f"- [{Path(run).name}]({Path(run).name}/{CARD})" for run in result.runs]
    (folder / CARD).write_text("\n".join([*head, *links, ""]), encoding="utf8")
    return result
