"""The model card of a run: what the model is, what it was trained on, how good it is, how to use it."""

from __future__ import annotations

from eegzarr.train.loop.run import RunFolder
from eegzarr.train.options import FitOptions
from eegzarr.train.score.evaluate import PARTS, PartScore
from eegzarr.train.score.metrics import interval_words
from eegzarr.train.score.summary import FitSummary


def score_lines(scores: dict[str, PartScore]) -> list[str]:
    """Return a Markdown table of scores."""
    lines = [
        "| part | windows | subjects | NRMSE | 95 % interval | ridge | difference | constant | subjects' means |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for part, score in scores.items():
        interval = interval_words(score.interval, score.subjects)
        difference = "" if score.against_ridge is None else interval_words(score.against_ridge, score.subjects, "+")
        by_subject = "" if score.nrmse_by_subject is None else f"{score.nrmse_by_subject:.3f}"
        lines.append(
            f"| {PARTS[part]} | {score.windows:,} | {score.subjects} | {score.nrmse:.3f} | {interval} | "
            f"{score.ridge:.3f} | {difference} | {score.constant:.3f} | {by_subject} |"
        )
    return lines


def write_card(summary: FitSummary, options: FitOptions, folder: RunFolder) -> None:
    """Write ``model-card.md``."""
    spec = folder.read_json(folder.config)["model"]
    subjects = {part: len(names) for part, names in folder.read_json(folder.subjects).items()}
    seconds = spec["n_times"] / spec["sfreq"]
    lines = [
        f"# {spec['network']} for {options.recipe}",
        "",
        f"Predicts the target of the recipe `{options.recipe}` from {seconds:g} s of {spec['n_chans']}-channel EEG at "
        f"{spec['sfreq']:g} Hz, in uV: (batch, {spec['n_chans']}, {spec['n_times']}) to (batch, 1). "
        "Scaling of input and output is part of the model.",
        "",
        "## Training",
        "",
        f"- lake `{options.lake}`, releases {', '.join(options.releases) or 'all'}: {summary.train_windows:,} windows "
        f"of {subjects['train']} subjects; {subjects['valid']} subjects for validation, {subjects['test']} for test, "
        "nobody in two parts",
        *(f"- {note}" for note in summary.notes),
        f"- loss {options.loss}, {options.optimizer}, learning rate {options.learning_rate:g} with warm-up and cosine, "
        f"batches of {options.batch_size}, augmentation {', '.join(options.augment) or 'none'}, seed {options.seed}",
        f"- {summary.epochs} epochs in {summary.seconds:,.0f} s on {summary.device}; the weights are those of epoch "
        f"{summary.best_epoch}, the best on the validation part, whose score is therefore a little too good",
        "",
        "## Scores",
        "",
        *score_lines(summary.scores),
        "",
        "NRMSE is the root mean squared error over the standard deviation of the target: a constant scores about 1. "
        "The intervals are by a jackknife over subjects; the model is ahead of the ridge where the difference to it is "
        "below 0. The ridge sees means over time bins and band power.",
        "",
        "## Use",
        "",
        "```python",
        "from eegzarr.train.models.zoo import load_model",
        f'model = load_model("{folder.path}", unit="uV")  # or unit="V"',
        "```",
        "",
    ]
    folder.card.write_text("\n".join(lines))
