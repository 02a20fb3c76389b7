"""The model card of a run: what the model is, what it was trained on, how good it is, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from eegzarr.errors import redacted
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.evaluate import PARTS, PartScore
from eegzarr.train.scoring.metrics import interval_words
from eegzarr.train.scoring.numbers import NumberScore
from eegzarr.train.scoring.summary import FitSummary
from eegzarr.train.task import Task

if TYPE_CHECKING:
    from eegzarr.train.scoring.classes import ClassScore


def score_lines(scores: Mapping[str, PartScore], task: Task) -> list[str]:
    """Return scores as a Markdown table, and further figures of each part below it."""
    references = list(next(iter(scores.values())).references)
    heads = ["part", "windows", "subjects", task.metric, "95 % interval", references[0], "difference", references[1]]
    lines = [
        f"| {' | '.join(heads)} | subjects' means |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for part, score in scores.items():
        linear, constant = score.references.values()
        lines.append(
            f"| {PARTS[part]} | {score.windows:,} | {score.subjects} | {score.value:.3f} | "
            f"{interval_words(score.interval, score.subjects)} | {linear:.3f} | "
            f"{'' if score.against is None else interval_words(score.against, score.subjects, '+')} | {constant:.3f} | "
            f"{'' if score.of_subjects is None else f'{score.of_subjects:.3f}'} |"
        )
    lines += ["", *(f"- {PARTS[part]}: {line}" for part, score in scores.items() for line in score.details)]
    for part, score in scores.items():
        lines += [] if isinstance(score, NumberScore) else ["", *_confusion_lines(part, score)]
    return lines


def _confusion_lines(part: str, score: ClassScore) -> list[str]:
    head = [
        f"| {PARTS[part]} | {' | '.join(f'as {name}' for name in score.classes)} |",
        "|---" * (len(score.classes) + 1) + "|",
    ]
    rows = zip(score.classes, score.confusion, strict=True)
    return [*head, *(f"| {name} | {' | '.join(map(str, counts))} |" for name, counts in rows)]


_METRIC_NOTES = {
    "NRMSE": (
        "NRMSE is the root mean squared error over the standard deviation of the target: a constant scores about 1. "
        "The intervals are by a jackknife over subjects; the model is ahead of the ridge where the difference to it is "
        "below 0. The ridge sees means over time bins and band power."
    ),
    "balanced accuracy": (
        "Balanced accuracy is the mean over classes of the share of their windows that are recognised. The intervals "
        "are by a jackknife over subjects; the model is ahead of the logistic regression where the difference to it is "
        "above 0. The logistic regression sees means over time bins and band power."
    ),
}


def _loss(options: FitOptions, task: Task) -> str:
    if task.classes:
        return f"cross-entropy{', classes weighted alike' if options.class_weights == 'balanced' else ''}"
    return "mse" if options.loss == "auto" else options.loss


def _predicted(task: Task) -> str:
    if task.classes:
        return f"the probabilities of the classes {', '.join(task.classes)} of `{task.names[0]}`"
    return ", ".join(f"`{name}`" for name in task.names)


def write_card(summary: FitSummary, options: FitOptions, folder: RunFolder) -> None:
    """Write ``model-card.md``."""
    spec, task = folder.read_json(folder.config)["model"], folder.task()
    subjects = {part: len(names) for part, names in folder.read_json(folder.subjects).items()}
    seconds = spec["n_times"] / spec["sfreq"]
    lines = [
        f"# {spec['network']} for {options.recipe}",
        "",
        f"Predicts {_predicted(task)} from {seconds:g} s of {spec['n_chans']}-channel EEG at {spec['sfreq']:g} Hz, "
        f"in uV: (batch, {spec['n_chans']}, {spec['n_times']}) to (batch, {task.n_outputs}). "
        "Scaling of input and output is part of the model.",
        "",
        "## Training",
        "",
        f"- lake `{redacted(options.lake)}`, releases {', '.join(options.releases) or 'all'}: "
        f"{summary.train_windows:,} windows "
        f"of {subjects['train']} subjects; {subjects['valid']} subjects for validation, {subjects['test']} for test, "
        "no subject in two parts",
        *(f"- {note}" for note in summary.notes),
        f"- loss {_loss(options, task)}, {options.optimizer}, learning rate {options.learning_rate:g} with warm-up and "
        f"cosine, batches of {options.batch_size}, augmentation {', '.join(options.augment) or 'none'}, "
        f"seed {options.seed}",
        f"- {summary.epochs} epochs in {summary.seconds:,.0f} s on {summary.device}; the weights are those of epoch "
        f"{summary.best_epoch}, the best on the validation part, whose score is therefore a little too good",
        "",
        "## Scores",
        "",
        *score_lines(summary.scores, task),
        "",
        _METRIC_NOTES[task.metric],
        "",
        "## Use",
        "",
        "```python",
        "from eegzarr.train.models.zoo import load_model",
        f'model = load_model("{folder.path}", unit="uV")  # or unit="V"',
        "```",
        "",
    ]
    folder.card.write_text("\n".join(lines), encoding="utf8")
