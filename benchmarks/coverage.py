"""How often intervals of an NRMSE hold the truth: ``python -m benchmarks.coverage``.

Subjects are simulated, with errors that are shared by the windows of a subject. Beside the jackknife, which
eegzarr reports from ten subjects on, the percentile and the BCa interval of a bootstrap over subjects.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from eegzarr.train.scoring.metrics import nrmse, subject_interval

Values = npt.NDArray[np.float64]
Subjects = tuple[Values, Values, npt.NDArray[np.int64]]  # targets, predictions, subject, (window,)
_WINDOWS = 20
_LEVEL = 0.95


def within(generator: np.random.Generator, subjects: int) -> Subjects:
    """Targets that vary in a subject, as reaction times, with subjects of different noise."""
    name = np.repeat(np.arange(subjects), _WINDOWS)
    noise = np.exp(generator.normal(0, 0.35, subjects))[name]
    target = generator.normal(0, 0.6, subjects)[name] + noise * generator.normal(size=name.size)
    error = generator.normal(0, 0.5, subjects)[name] + noise * generator.normal(0, 0.6, name.size)
    return target, target + error, name


def person(generator: np.random.Generator, subjects: int) -> Subjects:
    """A target of the person, predicted with an error that the windows of a subject share in part."""
    return _of_person(generator, generator.normal(size=subjects))


def skewed(generator: np.random.Generator, subjects: int) -> Subjects:
    """A target of the person that few have much of, as symptoms."""
    return _of_person(generator, generator.gamma(1.5, 1, subjects))


def _of_person(generator: np.random.Generator, own: Values) -> Subjects:
    name = np.repeat(np.arange(len(own)), _WINDOWS)
    target = own[name]
    error = generator.normal(0, 0.5, len(own))[name] + generator.normal(0, 0.6, name.size)
    return target, 0.4 * target + error, name


def bootstraps(generator: np.random.Generator, data: Subjects) -> dict[str, tuple[float, float]]:
    """Return the percentile and the BCa interval."""
    target, prediction, name = data
    subjects = int(name.max()) + 1
    times = generator.multinomial(subjects, np.full(subjects, 1 / subjects), size=600)

    def scores(weight: Values) -> Values:
        count, total, squares, errors = (
            weight @ np.bincount(name, values)
            for values in (np.ones_like(target), target, target**2, (target - prediction) ** 2)
        )
        variance = squares / count - (total / count) ** 2
        return np.sqrt(errors / count / np.where(variance > 1e-9, variance, np.nan))

    drawn = scores(times.astype(float))
    drawn = drawn[np.isfinite(drawn)]
    own = float(scores(np.ones((1, subjects)))[0])
    without = scores(1.0 - np.eye(subjects))
    tails = np.array([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    bias = norm.ppf(np.clip((drawn < own).mean(), 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    distance = without.mean() - without
    skew = (distance**3).sum() / (6 * (distance**2).sum() ** 1.5)
    moved = bias + norm.ppf(tails)
    corrected = norm.cdf(bias + moved / (1 - skew * moved))
    if not np.isfinite(corrected).all():  # a score that doesn't exist without some subject
        corrected = tails
    return {
        kind: (float(low), float(high))
        for kind, (low, high) in (
            ("percentile", np.quantile(drawn, tails)),
            ("BCa", np.quantile(drawn, corrected)),
        )
    }


def coverage(draw: Callable[[np.random.Generator, int], Subjects], subjects: int, repeats: int) -> dict[str, float]:
    """Return how often each kind of interval holds the truth, where there is one."""
    target, prediction, _ = draw(np.random.default_rng(1), 100_000)
    truth = nrmse(target, prediction)
    generator = np.random.default_rng(subjects)
    held: dict[str, list[bool]] = {"jackknife": [], "percentile": [], "BCa": []}
    for _ in range(repeats):
        data = draw(generator, subjects)
        jackknife = subject_interval(*data, level=_LEVEL, fewest=2)
        intervals = bootstraps(generator, data) | ({} if jackknife is None else {"jackknife": jackknife})
        for kind, (low, high) in intervals.items():
            held[kind].append(bool(low <= truth <= high))
    return {kind: float(np.mean(one)) if one else float("nan") for kind, one in held.items()}


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--subjects", type=int, nargs="+", default=[10, 15, 30, 100])
    arguments = parser.parse_args()
    print(f"| targets | kind | {' | '.join(f'{count} subjects' for count in arguments.subjects)} |")
    print(f"|---|---|{'---|' * len(arguments.subjects)}")
    for title, draw in {"vary in a subject": within, "of the person": person, "of the person, skewed": skewed}.items():
        found = [coverage(draw, subjects, arguments.repeats) for subjects in arguments.subjects]
        for kind in found[0]:
            print(f"| {title} | {kind} | {' | '.join(f'{one[kind]:.1%}' for one in found)} |", flush=True)


if __name__ == "__main__":
    main()
