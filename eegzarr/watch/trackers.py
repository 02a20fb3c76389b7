"""Listeners that send a fit's scores to TensorBoard, MLflow or Weights & Biases, where these are installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from eegzarr.errors import MissingPackageError, redacted
from eegzarr.events import BatchEnded, EpochEnded, Event, FitBegan, FitEnded, Listener

TRACKERS = ("tensorboard", "mlflow", "wandb")
Write = Callable[[dict[str, float], int], None]


class Tracker:
    """A listener that gives numbers to a function, by name and step.

    Parameters
    ----------
    begin : callable
        Called when the fit begins: a command that fails before leaves nothing behind. Returns a function that takes
        numbers by name, and the number of batches that were trained on before.
    folder : Path
        Of the run, whose ``summary.json`` has the scores at the end.
    """

    def __init__(self, begin: Callable[[], Write], folder: Path) -> None:
        self._begin, self._folder = begin, folder
        self._write: Write = lambda numbers, step: None
        self._batches = 0  # in an epoch
        self._epochs = 0  # that have ended

    def __call__(self, event: Event) -> None:
        match event:
            case FitBegan():
                self._batches, self._epochs, self._write = event.batches, event.epoch, self._begin()
            case BatchEnded():
                self._write({"train/batch_loss": event.loss}, event.epoch * event.batches + event.batch)
            case EpochEnded():
                name = event.metric.replace(" ", "_").lower()
                numbers = {
                    "train/loss": event.train_loss,
                    f"valid/{name}": event.valid_score,
                    f"valid/best_{name}": event.best_score,
                    "learning_rate": event.learning_rate,
                    "windows_per_second": event.windows_per_second,
                }
                self._epochs = event.epoch + 1
                self._write(numbers, self._epochs * self._batches)
            case FitEnded(finished=True):
                self._write(_final_scores(self._folder), self._epochs * self._batches)


def _final_scores(folder: Path) -> dict[str, float]:
    """Return the scores of the best model, its baselines' too, by part and name."""
    scores = json.loads((folder / "summary.json").read_text())["scores"]
    return {
        f"best/{part}_{name}": float(value)
        for part, score in scores.items()
        for name, value in score.items()
        if isinstance(value, float)
    }


def _options(folder: Path) -> dict[str, Any]:
    """Return the run's options that have a value."""
    options: dict[str, Any] = json.loads((folder / "config.json").read_text())["options"]
    options["lake"] = redacted(options["lake"])
    return {name: value for name, value in options.items() if value not in ("", None, [], {})}


@contextmanager
def trackers(names: Sequence[str], folder: Path) -> Iterator[list[Listener]]:
    """Open trackers by their names inside the ``with``; each is closed after it.

    Parameters
    ----------
    names : sequence of str
        Of `TRACKERS`.
    folder : Path
        Of the run: TensorBoard's files are in it, the others get its name.

    Raises
    ------
    MissingPackageError
        If one isn't installed.
    """
    openers = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
    with ExitStack() as stack:
        opened: list[Listener] = []
        for name in names:
            try:
                opened.append(Tracker(openers[name](folder, stack), folder))
            except ImportError as error:
                raise MissingPackageError(f"--log {name} needs {name}: pip install {name}") from error
        yield opened


def _tensorboard(folder: Path, stack: ExitStack) -> Callable[[], Write]:
    from torch.utils.tensorboard import SummaryWriter

    def begin() -> Write:
        writer = SummaryWriter(str(folder / "tensorboard"))
        stack.callback(writer.close)
        writer.add_text("options", json.dumps(_options(folder), indent=2))

        def write(numbers: dict[str, float], step: int) -> None:
            for name, value in numbers.items():
                writer.add_scalar(name, value, step)

        return write

    return begin


def _mlflow(folder: Path, stack: ExitStack) -> Callable[[], Write]:
    import mlflow

    def begin() -> Write:
        run = stack.enter_context(mlflow.start_run(run_name=folder.name, tags={"folder": str(folder.resolve())}))
        mlflow.log_params(_options(folder))
        return lambda numbers, step: mlflow.log_metrics(numbers, step=step, run_id=run.info.run_id)

    return begin


def _wandb(folder: Path, stack: ExitStack) -> Callable[[], Write]:
    import wandb

    def begin() -> Write:
        run = stack.enter_context(
            wandb.init(project="eegzarr", name=folder.name, dir=str(folder), config=_options(folder))
        )
        return lambda numbers, step: run.log(numbers, step=step)

    return begin
