"""Listeners that send a fit's scores to TensorBoard, MLflow or Weights & Biases, where these are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from eegzarr.errors import MissingPackageError
from eegzarr.events import BatchEnded, EpochEnded, Event, FitBegan, Listener

TRACKERS = ("tensorboard", "mlflow", "wandb")
Write = Callable[[dict[str, float], int], None]


class Tracker:
    """A listener that gives numbers to a function, by name and step.

    Parameters
    ----------
    begin : callable
        Called when the fit begins: a command that fails before leaves nothing behind. Returns a function that takes
        numbers by name, and the number of batches that were trained on before.
    """

    def __init__(self, begin: Callable[[], Write]) -> None:
        self._begin = begin
        self._write: Write = lambda numbers, step: None
        self._batches = 0  # in an epoch

    def __call__(self, event: Event) -> None:
        match event:
            case FitBegan():
                self._batches, self._write = event.batches, self._begin()
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
                self._write(numbers, (event.epoch + 1) * self._batches)


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
                opened.append(Tracker(openers[name](folder, stack)))
            except ImportError as error:
                raise MissingPackageError(f"--log {name} needs {name}: pip install {name}") from error
        yield opened


def _tensorboard(folder: Path, stack: ExitStack) -> Callable[[], Write]:
    from torch.utils.tensorboard import SummaryWriter

    def begin() -> Write:
        writer = SummaryWriter(str(folder / "tensorboard"))
        stack.callback(writer.close)

        def write(numbers: dict[str, float], step: int) -> None:
            for name, value in numbers.items():
                writer.add_scalar(name, value, step)

        return write

    return begin


def _mlflow(folder: Path, stack: ExitStack) -> Callable[[], Write]:
    import mlflow

    def begin() -> Write:
        run = stack.enter_context(mlflow.start_run(run_name=folder.name, tags={"folder": str(folder.resolve())}))
        return lambda numbers, step: mlflow.log_metrics(numbers, step=step, run_id=run.info.run_id)

    return begin


def _wandb(folder: Path, stack: ExitStack) -> Callable[[], Write]:
    import wandb

    def begin() -> Write:
        run = wandb.init(project="eegzarr", name=folder.name, dir=str(folder))
        stack.callback(run.finish)
        return lambda numbers, step: run.log(numbers, step=step)

    return begin
